package emulation_test

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/emulation"
)

// TestTraffic: shared memory is what bounds separable convolutions on a GPU, so lanes of a warp hardly meet in its memory banks, in the shapes of a search.
func TestTraffic(t *testing.T) {
	if _, err := exec.LookPath("g++"); err != nil {
		t.Skip(emulation.ErrNoCompiler)
	}
	most := map[string]float64{cuda.FP32: 1.06, cuda.BF16: 1.14} // times the fewest wavefronts
	for _, precision := range []string{cuda.FP32, cuda.BF16} {
		for _, channels := range []int{16, 64} {
			t.Run(fmt.Sprint(precision, " ", channels), func(t *testing.T) {
				c := separablePair(channels)
				m := ir.NewModule("traffic")
				program := c.add(t, m, "both")
				p, err := compiler.Compile(t.Context(), m, compiler.Options{Target: target, Precision: precision})
				if err != nil {
					t.Fatal(err)
				}
				traffic := map[string]emulation.Traffic{}
				s, err := runtime.Open(p, emulation.Device{Plans: target, Cache: emulation.TestCache(), Traffic: traffic})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				inputs, want := c.reference(t, program)
				run(t, s, "both", inputs, want)
				found := 0
				for _, kernel := range slices.Sorted(maps.Keys(traffic)) {
					if !strings.HasPrefix(kernel, "Separable") {
						continue
					}
					found++
					k := traffic[kernel]
					t.Logf("%s: %d wavefronts, %d at least", kernel, k.Wavefronts, k.Least)
					if k.Least == 0 || float64(k.Wavefronts) > most[precision]*float64(k.Least) {
						t.Errorf("%s takes %d wavefronts of shared memory, want at most %g times %d", kernel, k.Wavefronts, most[precision], k.Least)
					}
				}
				if found < 3 {
					t.Errorf("%d kernels of separable convolutions, want one forward and two on the way back", found)
				}
			})
		}
	}
}

// separablePair are a separable convolution of an image as wide as a search's with so many channels, ReLU before, then one with BatchNorm as well, and the way back.
func separablePair(channels int) kernelCase {
	size := 512 / channels
	s := separableShape{2, channels, size, size, channels, 3, 1, 1, 1}
	x, dw, pw, depthwise, pointwise := s.parts()
	return kernelCase{
		name: fmt.Sprint("pair ", channels), in: []ir.Type{f32(x...), f32(dw...), f32(pw...), f32(x...), f32(channels), f32(channels), f32(x...)}, fill: fills{5: between(0.2, 3)},
		build: func(b *ops.Builder, in []*ir.Value) (results []*ir.Value) {
			for i, before := range []*ir.Value{in[0], b.BatchNorm(in[0], in[4], in[5], nil, 1e-3)} {
				g := in[3+3*i]
				relu := b.Relu(before)
				between := b.Conv2D(relu, in[1], depthwise)
				dBetween := b.Conv2DInputGrad(g, in[2], between.Type.Shape, pointwise)
				dx := b.ReluGrad(b.Conv2DInputGrad(dBetween, in[1], x, depthwise), before)
				results = append(results, b.Conv2D(between, in[2], pointwise), dx, b.Conv2DWeightGrad(relu, dBetween, dw, depthwise), b.Conv2DWeightGrad(between, g, pw, pointwise))
			}
			return results
		},
	}
}
