package cpu

import (
	"math/rand/v2"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

func init() {
	const all = "none,tanh,relu,sigmoid,identity"
	for _, c := range []struct {
		name string
		n, b int
	}{{"tiny", 3, 2}, {"large", 75, 33}} {
		n, b := c.n, c.b
		two := ops.HighwayAttrs{Activations: all, Edges: []int{3, 1}, Blocks: []int{1, 0}}
		gaps := ops.HighwayAttrs{Activations: all, Edges: []int{0, 2}, Blocks: []int{2, 0}}
		derived := ops.HighwayAttrs{Activations: "relu", Edges: []int{0}, Blocks: []int{0}}
		kernelCases = append(kernelCases,
			kernelCase{kernel: "highway", name: c.name, operands: []operand{plain(4, 5), plain(b, 4*n), plain(b, 2*n), plain(b, n), plain(b, n)},
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Highway(in[0], in[1:3], in[3:5], two) })},
			kernelCase{kernel: "highway", name: c.name + " derived", operands: []operand{plain(1, 1), plain(b, 2*n), plain(b, n)},
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Highway(in[0], in[1:2], in[2:3], derived) })},
			kernelCase{kernel: "highway_product_grad", name: c.name, operands: []operand{plain(4, 5), plain(b, 6*n), plain(b, n), plain(b, n), plain(b, n)},
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
					return b.HighwayProductGrad(in[0], in[1], in[2], in[3:], gaps)
				})},
			kernelCase{kernel: "highway_product_grad", name: c.name + " derived", operands: []operand{plain(1, 1), plain(b, 2*n), plain(b, n), plain(b, n)},
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
					return b.HighwayProductGrad(in[0], in[1], in[2], in[3:], derived)
				})},
			kernelCase{kernel: "highway_state_grad", name: c.name, operands: []operand{plain(4, 5), plain(b, 6*n), plain(b, n), plain(b, n)},
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.HighwayStateGrad(in[0], in[1], in[2:], gaps) })},
			kernelCase{kernel: "highway_weight_grad", name: c.name, operands: []operand{plain(b, n), plain(b, 4*n), plain(b, 2*n), plain(b, n), plain(b, n)},
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
					return b.HighwayWeightGrad(in[0], in[1:3], in[3:5], []int{4, 5}, two)
				})},
		)
	}
	numbers := integers(ir.I64, 50)
	for _, n := range []int{5, 200} {
		name := map[int]string{5: "few columns", 200: "several parts"}[n]
		kernelCases = append(kernelCases,
			kernelCase{kernel: "embedding", name: name, operands: []operand{words(6, 40), plain(7, n)},
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Embedding(in[0], in[1]) })},
			kernelCase{kernel: "embedding_grad", name: name, operands: []operand{plain(6, 40, n), words(6, 40)},
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.EmbeddingGrad(in[0], in[1], 7) })},
			kernelCase{kernel: "dropout_mask", name: name, operands: []operand{numbers, numbers},
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
					return b.DropoutMask(ir.T(ir.F32, 50, n), 0.3, in[0], in[1], 3)
				})},
			kernelCase{kernel: "mask_steps", name: name, operands: []operand{plain(9, 3, n), filled(ir.I64, 4)}, inPlace: []int{0},
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.MaskSteps(in[0], in[1]) })},
		)
	}
}

// words are numbers of seven words or images, and of some that are not there.
func words(shape ...int) operand {
	return operand{Type: ir.T(ir.I32, shape...), fill: func(_ int, r *rand.Rand) float64 { return float64(r.IntN(9) - 1) }}
}
