package cpu

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler/fuse"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// TestDropped: a cotangent that drop path is applied to is made only where something else than a way back reads it.
func TestDropped(t *testing.T) {
	for _, c := range []struct {
		name string
		more func(b *ops.Builder, dropped *ir.Value)
		want string // kernels, with the number of their operands; sums that read one tensor are one launch
	}{
		{"sums and way back", func(*ops.Builder, *ir.Value) {}, "batch_norm_sums 7, separable_grad 11"},
		{"a result", func(b *ops.Builder, dropped *ir.Value) { b.Result("dropped", dropped) }, "drop_path 4, batch_norm_sums 4, separable_grad 8"},
		{"an addition", func(b *ops.Builder, dropped *ir.Value) { b.Result("twice", b.Add(dropped, dropped)) }, "drop_path 4, batch_norm_sums 4, separable_grad 8, elementwise 1"},
		{"as x too", func(b *ops.Builder, dropped *ir.Value) {
			n := b.Input("n", ir.T(ir.F32, 3))
			sum, _ := b.BatchNormSums(dropped, dropped, n, n, 1e-5)
			b.Result("x", sum)
		}, "drop_path 4, batch_norm_sums 8, separable_grad 8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := ir.NewModule("drop")
			b := ops.NewBuilder(m, "main")
			image, vector := ir.T(ir.F32, 2, 3, 4, 4), ir.T(ir.F32, 3)
			g, z := b.Input("g", image), b.Input("z", image)
			mean, variance := b.Input("mean", vector), b.Input("variance", vector)
			filter := func(name string, shape ...int) *ir.Value {
				return b.Read(b.Declare(ir.Variable{Name: name, Kind: ir.Weight, Type: ir.T(ir.F32, shape...)}))
			}
			depthwise, pointwise := filter("depthwise", 3, 1, 3, 3), filter("pointwise", 3, 3, 1, 1)
			dropped := b.DropPath(g, b.Input("p", ir.T(ir.F32)), b.Input("seed", ir.T(ir.I64)), b.Input("step", ir.T(ir.I64)), 5)
			sum, sumZ := b.BatchNormSums(dropped, z, mean, variance, 1e-5)
			dz := b.BatchNormInputGrad(dropped, z, mean, variance, sum, sumZ, nil, 1e-5)
			between := b.Conv2DInputGrad(dz, pointwise, image.Shape, ops.Conv(1, 0))
			b.Result("dx", b.Conv2DInputGrad(between, depthwise, image.Shape, ops.ConvAttrs{Strides: [2]int{1, 1}, Pads: [4]int{1, 1, 1, 1}, Dilations: [2]int{1, 1}, Groups: 3}))
			c.more(b, dropped)
			if _, err := b.Build(); err != nil {
				t.Fatal(err)
			}
			if err := fuse.Fuse(true)(m); err != nil {
				t.Fatal(err)
			}
			lowered, err := Target{}.Lower(m.Programs[0])
			if err != nil {
				t.Fatal(err)
			}
			var kernels []string
			for _, l := range lowered.Launches {
				kernels = append(kernels, fmt.Sprint(l.Kernel, " ", len(l.Operands)))
				bytes := 0.0
				for _, at := range append(l.Operands, l.Results...) {
					bytes += float64(lowered.Tensors[at].Bytes())
				}
				if l.Sets == 0 && l.Bytes != bytes {
					t.Errorf("%s counts %v bytes, its tensors have %v", l.Kernel, l.Bytes, bytes)
				}
			}
			if got := strings.Join(kernels, ", "); got != c.want {
				t.Errorf("launches are %s, want %s", got, c.want)
			}
		})
	}
}
