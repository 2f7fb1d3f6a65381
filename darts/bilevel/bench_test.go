package bilevel

import (
	"context"
	"fmt"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/ir"
)

// BenchmarkCompile compiles a search step of the original's size and reports what the plan needs beside what no plan
// of that schedule can go below.
func BenchmarkCompile(b *testing.B) {
	for _, unrolled := range []bool{false, true} {
		b.Run(fmt.Sprintf("unrolled=%t", unrolled), func(b *testing.B) {
			for b.Loop() {
				m := ir.NewModule("search")
				config := Defaults()
				config.Unrolled = unrolled
				config.Batch = Batch{Size: 64, Height: 32, Width: 32, Channels: 3, Mean: []float64{.5, .5, .5}, Std: []float64{.2, .2, .2}, Augment: Augment{Padding: 4, Flip: true}}
				if err := BuildSearchStep(m, cnn.Supernet{Channels: 16, Layers: 8, Classes: 10}, config); err != nil {
					b.Fatal(err)
				}
				p, err := compiler.Compile(context.Background(), m, compiler.Options{})
				if err != nil {
					b.Fatal(err)
				}
				program := p.Program(SearchStep)
				b.ReportMetric(float64(len(program.Launches)), "launches")
				b.ReportMetric(float64(program.PeakBytes)/(1<<20), "peak-MiB")
				b.ReportMetric(float64(program.PeakBytes)/float64(program.LowerBound), "peak/bound")
			}
		})
	}
}
