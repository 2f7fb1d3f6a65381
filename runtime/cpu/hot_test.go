package cpu

import (
	"fmt"
	"math/rand/v2"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Cases of normalisation, pooling, mixing and matrices.

func init() {
	normCases()
	poolCases()
	mixedCases()
	matrixCases()
}

// shifted is x with a mean far from zero, where naive sums of squares fail.
func shifted(x operand) operand {
	x.fill = func(_ int, r *rand.Rand) float64 { return 100 + r.NormFloat64() }
	return x
}

func normCases() {
	const eps = 1e-5
	add := func(c kernelCase) { kernelCases = append(kernelCases, c) }
	stats := func(b *ops.Builder, in []*ir.Value) []*ir.Value {
		mean, variance := b.BatchStats(in[0])
		return []*ir.Value{mean, variance}
	}
	for _, x := range []operand{image(1, 1, 1, 1), image(2, 3, 5, 7), image(3, 16, 12, 11), image(20, 5, 16, 15), plain(37, 6), plain(2000, 9)} {
		n, name := x.Shape[1], fmt.Sprint(x.Shape)
		add(kernelCase{kernel: "batch_stats", name: name, operands: []operand{x}, build: stats})
		// float32 holds 100±1 to 7e-6: the variance of what it holds is exact to 1e-4 only after the subtraction.
		add(kernelCase{kernel: "batch_stats", name: "shifted_" + name, operands: []operand{shifted(x)}, build: stats, tolerance: 2e-5})
		for _, affine := range []bool{false, true} {
			for _, relu := range []bool{false, true} {
				operands := []operand{x, plain(n), positive(n)}
				if affine {
					operands = append(operands, plain(n), plain(n))
				}
				add(kernelCase{
					kernel: "batch_norm", name: fmt.Sprintf("%s_affine=%v_relu=%v", name, affine, relu), operands: operands,
					params: plan.Params{"relu": relu}, inPlace: []int{0},
					build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
						y := b.BatchNorm(in[0], in[1], in[2], in[3:], eps)
						if relu {
							y = b.Relu(y)
						}
						return []*ir.Value{y}
					},
				})
			}
			gamma := []operand{}
			if affine {
				gamma = []operand{plain(n)}
			}
			add(kernelCase{
				kernel: "batch_norm_input_grad", name: fmt.Sprintf("%s_affine=%v", name, affine), inPlace: []int{0, 1},
				operands: append([]operand{x, x, plain(n), positive(n), plain(n), plain(n)}, gamma...),
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return []*ir.Value{b.BatchNormInputGrad(in[0], in[1], in[2], in[3], in[4], in[5], in[6:], eps)}
				},
			})
		}
		add(kernelCase{
			kernel: "batch_norm_sums", name: name, operands: []operand{x, x, plain(n), positive(n)},
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				sum, sumX := b.BatchNormSums(in[0], in[1], in[2], in[3], eps)
				return []*ir.Value{sum, sumX}
			},
		})
	}
	for _, shape := range [][4]int{{9, 5, 6, 4}, {40, 36, 16, 16}, {1, 3, 2, 2}} {
		x, n := image(shape[0], shape[1], shape[2], shape[3]), shape[1]
		add(kernelCase{
			kernel: "batch_norm_sums", name: fmt.Sprint("dropped", shape), operands: append([]operand{x, x, plain(n), positive(n)}, dropOperands()...),
			params: plan.Params{"eps": eps, "drop": droppedStream}, tolerance: 2e-5,
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				sum, sumX := b.BatchNormSums(b.DropPath(in[0], in[4], in[5], in[6], droppedStream), in[1], in[2], in[3], eps)
				return []*ir.Value{sum, sumX}
			},
		})
	}
	// One pixel: the result may lie where a statistic lies.
	add(kernelCase{
		kernel: "batch_norm", name: "one_pixel", operands: []operand{image(1, 5, 1, 1), plain(5), positive(5), plain(5), plain(5)},
		inPlace: []int{0, 1, 2, 3, 4},
		build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
			return []*ir.Value{b.BatchNorm(in[0], in[1], in[2], in[3:], eps)}
		},
	})
}

func poolCases() {
	type poolCase struct {
		x operand
		a ops.PoolAttrs
	}
	cases := []poolCase{
		{image(2, 5, 9, 8), ops.Pool(3, 1, 1)},
		{image(2, 16, 9, 7), ops.Pool(3, 2, 1)},
		{image(1, 3, 5, 5), ops.Pool(5, 3, 0)},
		{image(1, 2, 1, 1), ops.Pool(3, 1, 1)},
		{image(2, 19, 1, 2), ops.Pool(3, 1, 1)},
		{image(2, 33, 2, 3), ops.Pool(3, 1, 1)},
		{image(3, 4, 8, 6), ops.Pool(2, 2, 0)},
		{image(2, 3, 4, 4), ops.Pool(4, 1, 0)},
		{image(20, 16, 12, 12), ops.Pool(3, 1, 1)},
		{image(2, 3, 7, 9), ops.PoolAttrs{Kernel: [2]int{2, 3}, Strides: [2]int{1, 2}, Pads: [4]int{1, 0, 0, 2}}},
	}
	for _, c := range cases {
		include := c.a
		include.CountIncludePad = true
		shape := c.x.Shape
		size := func(i int) int {
			return outputSize(shape[2+i]+c.a.Pads[i]+c.a.Pads[2+i], c.a.Kernel[i], c.a.Strides[i], 1)
		}
		y := image(shape[0], shape[1], size(0), size(1))
		ties := c.x // few values: many windows have more than one maximum
		ties.fill = func(_ int, r *rand.Rand) float64 { return float64(r.IntN(3)) }
		name := fmt.Sprint(shape, c.a.Kernel, c.a.Strides, c.a.Pads)
		kernelCases = append(kernelCases,
			kernelCase{kernel: "max_pool2d", name: name, operands: []operand{c.x},
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value { return []*ir.Value{b.MaxPool2D(in[0], c.a)} }},
			kernelCase{kernel: "max_pool2d_grad", name: name, operands: []operand{y, c.x},
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return []*ir.Value{b.MaxPool2DGrad(in[0], in[1], c.a)}
				}},
			kernelCase{kernel: "max_pool2d_grad", name: "ties_" + name, operands: []operand{y, ties},
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return []*ir.Value{b.MaxPool2DGrad(in[0], in[1], c.a)}
				}})
		for _, a := range []ops.PoolAttrs{c.a, include} {
			name := fmt.Sprintf("%s_include=%v", name, a.CountIncludePad)
			kernelCases = append(kernelCases,
				kernelCase{kernel: "avg_pool2d", name: name, operands: []operand{c.x},
					build: func(b *ops.Builder, in []*ir.Value) []*ir.Value { return []*ir.Value{b.AvgPool2D(in[0], a)} }},
				kernelCase{kernel: "avg_pool2d_grad", name: name, operands: []operand{y},
					build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
						return []*ir.Value{b.AvgPool2DGrad(in[0], shape, a)}
					}})
		}
	}
}

func mixedCases() {
	for _, c := range []struct {
		x        operand
		weights  []int
		selected []int
	}{
		{image(2, 3, 5, 7), []int{4, 3}, []int{0, 7, 11, 7}},
		{image(8, 16, 12, 11), []int{14, 8}, []int{1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 8, 0}},
		{plain(2, 2), []int{2, 2}, []int{3}},
	} {
		terms := []operand{}
		for range c.selected {
			terms = append(terms, c.x)
		}
		inPlace := []int{1, len(terms)}
		if len(terms) == 1 {
			inPlace = []int{0, 1} // the weights are as large as the result
		}
		name := fmt.Sprint(c.x.Shape, c.selected)
		kernelCases = append(kernelCases,
			kernelCase{kernel: "weighted_sum", name: name, operands: append([]operand{plain(c.weights...)}, terms...), inPlace: inPlace,
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return []*ir.Value{b.WeightedSum(in[0], in[1:], c.selected)}
				}},
			kernelCase{kernel: "weighted_sum_weight_grad", name: name, operands: append([]operand{c.x}, terms...),
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return []*ir.Value{b.WeightedSumWeightGrad(in[0], in[1:], c.selected, c.weights)}
				}})
	}
}

func matrixCases() {
	for _, s := range [][3]int{{1, 1, 1}, {5, 7, 3}, {16, 64, 10}, {64, 100, 33}, {130, 40, 70}} {
		for _, transposed := range [][2]bool{{false, false}, {true, false}, {false, true}, {true, true}} {
			a, b := plain(s[0], s[1]), plain(s[1], s[2])
			if transposed[0] {
				a = plain(s[1], s[0])
			}
			if transposed[1] {
				b = plain(s[2], s[1])
			}
			kernelCases = append(kernelCases, kernelCase{kernel: "matmul", name: fmt.Sprint(s, transposed), operands: []operand{a, b},
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return []*ir.Value{b.MatMul(in[0], in[1], transposed[0], transposed[1])}
				}}, kernelCase{kernel: "matmul", name: fmt.Sprint(s, transposed, " onto a sum"), operands: []operand{a, b, plain(s[0], s[2])}, inPlace: []int{2},
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return []*ir.Value{b.Add(b.MatMul(in[0], in[1], transposed[0], transposed[1]), in[2])}
				}})
		}
	}
	kernelCases = append(kernelCases, kernelCase{kernel: "bias_add", name: "image", operands: []operand{image(3, 5, 4, 7), plain(5)}, inPlace: []int{0},
		build: func(b *ops.Builder, in []*ir.Value) []*ir.Value { return []*ir.Value{b.BiasAdd(in[0], in[1])} }})
	for _, shape := range [][]int{{1, 4}, {3, 5}, {1000, 10}} {
		inPlace := []int{0}
		if shape[0] == 1 {
			inPlace = []int{0, 1}
		}
		kernelCases = append(kernelCases, kernelCase{kernel: "bias_add", name: fmt.Sprint(shape), operands: []operand{plain(shape...), plain(shape[1])}, inPlace: inPlace,
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value { return []*ir.Value{b.BiasAdd(in[0], in[1])} }})
	}
}
