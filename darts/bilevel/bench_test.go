package bilevel

import (
	"context"
	"fmt"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
)

func benchmarkPlan(b *testing.B, channels, layers, batch int, unrolled bool) *plan.Plan {
	b.Helper()
	m := ir.NewModule("search")
	config := Defaults()
	config.Unrolled = unrolled
	config.Batch = Batch{Size: batch, Height: 32, Width: 32, Channels: 3, Mean: []float64{.5, .5, .5}, Std: []float64{.2, .2, .2}, Augment: Augment{Padding: 4, Flip: true}}
	if err := BuildSearchStep(m, cnn.Supernet{Channels: channels, Layers: layers, Classes: 10}, config); err != nil {
		b.Fatal(err)
	}
	p, err := compiler.Compile(context.Background(), m, compiler.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// BenchmarkCompile compiles a search step of the original's size and reports what the plan needs beside what no plan
// of that schedule can go below.
func BenchmarkCompile(b *testing.B) {
	for _, order := range []string{"first", "second"} {
		b.Run(order+"/C16L8b64", func(b *testing.B) {
			for b.Loop() {
				program := benchmarkPlan(b, 16, 8, 64, order == "second").Program(SearchStep)
				b.ReportMetric(float64(len(program.Launches)), "launches")
				b.ReportMetric(float64(program.PeakBytes)/(1<<20), "peak-MiB")
				b.ReportMetric(float64(program.PeakBytes)/float64(program.LowerBound), "peak/bound")
			}
		})
	}
}

// BenchmarkSearchStep runs whole steps on this processor.
func BenchmarkSearchStep(b *testing.B) {
	for _, size := range []struct{ channels, layers, batch int }{{4, 3, 16}, {8, 4, 16}, {16, 8, 16}, {16, 8, 64}} {
		for _, order := range []string{"first", "second"} {
			b.Run(fmt.Sprintf("cpu/%s/C%dL%db%d", order, size.channels, size.layers, size.batch), func(b *testing.B) {
				p := benchmarkPlan(b, size.channels, size.layers, size.batch, order == "second")
				s, err := runtime.Open(p, cpu.New(0))
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				if err := s.Initialize(1); err != nil {
					b.Fatal(err)
				}
				pixels := size.batch * 32 * 32 * 3
				inputs := map[string]any{
					"train_images": make([]uint8, pixels), "train_labels": make([]int32, size.batch),
					"valid_images": make([]uint8, pixels), "valid_labels": make([]int32, size.batch),
				}
				for i := range pixels {
					inputs["train_images"].([]uint8)[i], inputs["valid_images"].([]uint8)[i] = uint8(i*7919>>3), uint8(i*104729>>4)
				}
				loss := map[string]any{"loss": make([]float32, 1)}
				flops := 0.0
				for _, l := range p.Program(SearchStep).Launches {
					flops += l.FLOPs
				}
				b.ReportAllocs()
				for b.Loop() {
					if err := s.Run(context.Background(), SearchStep, inputs, loss); err != nil {
						b.Fatal(err)
					}
				}
				seconds := b.Elapsed().Seconds() / float64(b.N)
				b.ReportMetric(1000*seconds, "ms/step")
				b.ReportMetric(flops/seconds/1e9, "GFLOP/s")
			})
		}
	}
}
