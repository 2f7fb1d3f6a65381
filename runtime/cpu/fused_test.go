package cpu

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// The forms that kernels have for groups of operations, beside the prologues of convolutions.
func init() {
	mixtureCases()
	sumsCases()
	scaledCases()
	accumulateCases()
}

// mixtureCases are weighted sums of which some terms are normalised.
func mixtureCases() {
	for _, c := range []struct {
		x          operand
		selected   []int
		normalized []int
	}{
		{image(2, 3, 5, 4), []int{0, 3}, []int{0}},
		{image(2, 3, 5, 4), []int{4, 1}, []int{1}},
		{image(1, 16, 7, 7), []int{0, 1, 2, 5}, []int{0, 1, 3}},
		{image(3, 17, 3, 5), []int{2, 2, 2}, []int{0, 1, 2}},
		{image(2, 1500, 1, 2), []int{1, 0}, []int{1}}, // a pixel larger than a block
	} {
		kernelCases = append(kernelCases, mixtureCase(c.x, c.selected, c.normalized))
	}
}

// sumsCases are weighted sums of the same terms in one launch.
func sumsCases() {
	for _, x := range []operand{image(2, 3, 5, 4), image(8, 16, 20, 20), plain(7)} {
		kernelCases = append(kernelCases, kernelCase{
			kernel: "weighted_sum", name: fmt.Sprint("several", x.Shape), operands: []operand{plain(6), x, x}, params: plan.Params{"select": []int{0, 5, 2, 1, 3, 3}},
			build: func(b *ops.Builder, in []*ir.Value) (sums []*ir.Value) {
				for _, selected := range [][]int{{0, 5}, {2, 1}, {3, 3}} {
					sums = append(sums, b.WeightedSum(in[0], in[1:], selected))
				}
				return sums
			},
		})
	}
}

// mixtureCase mixes so many terms by those of six weights.
func mixtureCase(x operand, selected, normalized []int) kernelCase {
	n := x.Shape[1]
	operands := []operand{plain(6)}
	inPlace := []int{}
	for i := range selected {
		operands, inPlace = append(operands, x), append(inPlace, 1+i)
	}
	eps := []float64{}
	for k := range normalized {
		operands, eps = append(operands, plain(n), positive(n)), append(eps, 1e-5*float64(1+k))
	}
	terms := len(selected)
	return kernelCase{
		kernel: "weighted_sum", name: fmt.Sprint("normalised", x.Shape, normalized), operands: operands, inPlace: inPlace,
		params: plan.Params{"normalized": normalized, "eps": eps},
		build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
			x := append([]*ir.Value{}, in[1:1+terms]...)
			for k, i := range normalized {
				x[i] = b.BatchNorm(x[i], in[1+terms+2*k], in[2+terms+2*k], nil, eps[k])
			}
			return []*ir.Value{b.WeightedSum(in[0], x, selected)}
		},
	}
}

// scaledCases are gradients of BatchNorm times a weight.
func scaledCases() {
	for _, x := range []operand{image(2, 3, 5, 4), image(1, 16, 7, 7), image(3, 17, 3, 5)} {
		for _, affine := range []bool{false, true} {
			n := x.Shape[1]
			operands := []operand{x, x, plain(n), positive(n), plain(n), plain(n)}
			if affine {
				operands = append(operands, plain(n))
			}
			operands = append(operands, plain(2, 3))
			kernelCases = append(kernelCases, kernelCase{
				kernel: "batch_norm_input_grad", name: fmt.Sprint("scaled", x.Shape, affine), operands: operands, inPlace: []int{0, 1},
				params: plan.Params{"scale": 4},
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					last := len(in) - 1
					dx := b.BatchNormInputGrad(in[0], in[1], in[2], in[3], in[4], in[5], in[6:last], 1e-5)
					return []*ir.Value{b.WeightedSum(in[last], []*ir.Value{dx}, []int{4})}
				},
			})
		}
	}
}

// accumulateCases are gradients of a convolution's input that are added to something.
func accumulateCases() {
	for _, c := range convCases() {
		kernelCases = append(kernelCases, kernelCase{
			kernel: "conv2d_input_grad", name: "added_" + c.String(), operands: []operand{c.y(), c.k(), c.x()}, inPlace: []int{2},
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				return []*ir.Value{b.Add(in[2], b.Conv2DInputGrad(in[0], in[1], c.x().Shape, c.a))}
			},
		})
		partsCases(c)
	}
}

// partsCases are gradients of the input of a convolution of a concat of two, behind ReLUs, for every other case one that is added
// to something.
func partsCases(c convCase) {
	x := c.x()
	n, first := x.Shape[1], (x.Shape[1]+1)/2
	if n < 2 || c.a.Strides != [2]int{1, 1} {
		return
	}
	part := func(channels int) operand { return image(x.Shape[0], channels, x.Shape[2], x.Shape[3]) }
	for _, added := range []bool{false, true} {
		operands := []operand{c.y(), c.k()}
		if added {
			operands = append(operands, x)
		}
		masks := len(operands)
		kernelCases = append(kernelCases, kernelCase{
			kernel: "conv2d_input_grad", name: fmt.Sprintf("parts_%v_%v", added, c), operands: append(operands, part(n-first), part(first)),
			params: plan.Params{"parts": []int{first, 0}},
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				dx := b.Conv2DInputGrad(in[0], in[1], x.Shape, c.a)
				if added {
					dx = b.Add(in[2], dx)
				}
				slice := func(from, to int) *ir.Value {
					ends := slices.Clone(x.Shape)
					ends[1] = to
					return b.Slice(dx, []int{0, from, 0, 0}, ends)
				}
				return []*ir.Value{b.ReluGrad(slice(first, n), in[masks]), b.ReluGrad(slice(0, first), in[masks+1])}
			},
		})
	}
}
