package cpu

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// The cases of the kernels that move, sum, compare and update data.

type build = func(b *ops.Builder, in []*ir.Value) []*ir.Value

// one makes the meaning of a launch with one result.
func one(f func(b *ops.Builder, in []*ir.Value) *ir.Value) build {
	return func(b *ops.Builder, in []*ir.Value) []*ir.Value { return []*ir.Value{f(b, in)} }
}

func init() {
	for seed := range 10 {
		kernelCases = append(kernelCases, shapeCases(rand.New(rand.NewPCG(3, uint64(seed))), fmt.Sprint("random ", seed))...)
	}
	kernelCases = append(kernelCases, reduceCases()...)
	kernelCases = append(kernelCases, moveCases()...)
	kernelCases = append(kernelCases, lossCases()...)
	kernelCases = append(kernelCases, imageCases()...)
	kernelCases = append(kernelCases, optimiserCases()...)
}

// anyShape returns a shape and a layout.
func anyShape(r *rand.Rand) ([]int, plan.Layout) {
	shape := make([]int, 1+r.IntN(5))
	for i := range shape {
		shape[i] = 1 + r.IntN(9)
	}
	return shape, anyOrder(r, len(shape))
}

func anyOrder(r *rand.Rand, rank int) plan.Layout {
	switch {
	case r.IntN(4) == 0:
		return nil
	case rank == 4 && r.IntN(2) == 0:
		return slices.Clone([]plan.Layout{channelsLast, outputsLast}[r.IntN(2)])
	}
	return r.Perm(rank)
}

// shapeCases are one case of every kernel that takes any layout.
func shapeCases(r *rand.Rand, name string) []kernelCase {
	shape, order := anyShape(r)
	rank := len(shape)
	x := operand{Type: ir.T(ir.F32, shape...), order: order}
	numbers := operand{Type: ir.T([]ir.DType{ir.I32, ir.I64, ir.U8}[r.IntN(3)], shape...), order: order}
	numbers.fill = func(_ int, r *rand.Rand) float64 { return float64(r.IntN(100)) }
	result := map[int]plan.Layout{0: anyOrder(r, rank)}
	starts, ends, low, high := make([]int, rank), make([]int, rank), make([]int, rank), make([]int, rank)
	for i, size := range shape {
		starts[i] = r.IntN(size)
		ends[i] = starts[i] + 1 + r.IntN(size-starts[i])
		low[i], high[i] = r.IntN(3), r.IntN(3)
	}
	permutation, along := r.Perm(rank), r.IntN(rank)
	other := slices.Clone(shape)
	other[along] = 1 + r.IntN(4)
	var axes []int
	for i := range shape {
		if r.IntN(2) == 0 {
			axes = append(axes, i)
		}
	}
	kept := map[int]plan.Layout{0: anyOrder(r, rank-len(axes))}
	// Of a shape like [a,b,c]: [a,b·c] and [c·b,a], which share boundaries with it or do not.
	front, back := shape[0], 1
	for _, size := range shape[1:] {
		back *= size
	}
	flat, turned := []int{front, back}, []int{back, front}
	narrowed := operand{Type: x.Type, order: anyOrder(r, rank), fill: x.fill}
	narrowed.Type.Shape = slices.Delete(slices.Clone(shape), along, along+1)
	narrowed.order = anyOrder(r, rank-1)
	return []kernelCase{
		{kernel: "copy", name: name, operands: []operand{x}, orders: result, build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return in[0] })},
		{kernel: "copy", name: name + " integers", operands: []operand{numbers}, orders: result, build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return in[0] })},
		{kernel: "slice", name: name, operands: []operand{x}, orders: result, build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Slice(in[0], starts, ends) })},
		{kernel: "pad", name: name, operands: []operand{numbers}, orders: result, build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Pad(in[0], low, high) })},
		{kernel: "transpose", name: name, operands: []operand{x}, orders: result, build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Transpose(in[0], permutation...) })},
		{kernel: "concat", name: name, operands: []operand{x, {Type: ir.T(ir.F32, other...), order: anyOrder(r, rank)}, x}, orders: result,
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Concat(along, in...) })},
		{kernel: "reshape", name: name, operands: []operand{numbers}, orders: map[int]plan.Layout{0: {1, 0}},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Reshape(in[0], flat...) })},
		{kernel: "reshape", name: name + " turned", operands: []operand{x}, orders: map[int]plan.Layout{0: anyOrder(r, 2)},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Reshape(in[0], turned...) })},
		{kernel: "broadcast", name: name, operands: []operand{narrowed}, orders: result,
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Broadcast(in[0], shape, along) })},
		{kernel: "reduce_sum", name: name, operands: []operand{x}, orders: kept,
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.ReduceSum(in[0], axes...) })},
		{kernel: "reduce_mean", name: name, operands: []operand{x}, orders: kept,
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.ReduceMean(in[0], axes...) })},
		{kernel: "cast", name: name + " to f32", operands: []operand{numbers}, orders: map[int]plan.Layout{0: order},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Cast(in[0], ir.F32) })},
		{kernel: "cast", name: name + " to i32", operands: []operand{x}, orders: map[int]plan.Layout{0: order},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Cast(in[0], ir.I32) })},
	}
}

// reduceCases are large enough for several parts.
func reduceCases() []kernelCase {
	var cases []kernelCase
	add := func(name string, x operand, axes ...int) {
		for _, mean := range []bool{false, true} {
			c := kernelCase{kernel: "reduce_sum", name: name, operands: []operand{x}}
			c.build = one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.ReduceSum(in[0], axes...) })
			if mean {
				c.kernel = "reduce_mean"
				c.build = one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.ReduceMean(in[0], axes...) })
			}
			cases = append(cases, c)
		}
	}
	add("global pooling", image(5, 33, 9, 11), 2, 3)
	add("per channel", image(5, 33, 9, 11), 0, 2, 3)
	add("per row of the batch", image(5, 33, 9, 11), 1, 2, 3)
	add("to a scalar", plain(3, 7001), 0, 1)
	add("bias", plain(311, 47), 0)
	add("along rows", plain(311, 47), 1)
	add("nothing", plain(3, 5001))
	add("scalar", plain())
	add("one element", plain(1, 1, 1), 0, 2)
	add("far from zero", filled(ir.F32, 1000.1, 40001), 0)
	return cases
}

func moveCases() []kernelCase {
	identity := one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return in[0] })
	rows := map[int]plan.Layout{0: nil}
	cases := []kernelCase{
		{kernel: "copy", name: "to channels last", operands: []operand{plain(3, 17, 19, 23)}, build: identity},
		{kernel: "copy", name: "from channels last", operands: []operand{image(3, 17, 19, 23)}, orders: rows, build: identity},
		{kernel: "copy", name: "same layout", operands: []operand{image(3, 17, 19, 23)}, build: identity},
		{kernel: "copy", name: "scalar", operands: []operand{integers(ir.I64, 9)}, build: identity},
		{kernel: "concat", name: "channels", operands: []operand{image(3, 16, 11, 13), image(3, 5, 11, 13), image(3, 16, 11, 13)},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Concat(1, in...) })},
		{kernel: "slice", name: "channels", operands: []operand{image(3, 37, 11, 13)},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
				return b.Slice(in[0], []int{0, 16, 0, 0}, []int{3, 37, 11, 13})
			})},
		{kernel: "pad", name: "image", operands: []operand{image(3, 17, 11, 13)},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
				return b.Pad(in[0], []int{0, 0, 1, 2}, []int{0, 0, 0, 3})
			})},
		{kernel: "reshape", name: "classifier", operands: []operand{image(64, 256, 1, 1)},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Reshape(in[0], 64, 256) })},
		{kernel: "reshape", name: "flatten an image", operands: []operand{image(3, 16, 11, 13)},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Reshape(in[0], 3, 16*11*13) })},
		{kernel: "broadcast", name: "scalar to image", operands: []operand{plain()},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
				return b.Broadcast(in[0], []int{3, 5, 17, 19}, 0, 1, 2, 3)
			})},
		{kernel: "broadcast", name: "per channel", operands: []operand{plain(5)},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
				return b.Broadcast(in[0], []int{3, 5, 17, 19}, 0, 2, 3)
			})},
	}
	for _, dtype := range []ir.DType{ir.F32, ir.I32, ir.I64, ir.U8} {
		cases = append(cases, kernelCase{
			kernel: "fill", name: dtype.String(), params: plan.Params{"value": 3.0},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Constant(ir.T(dtype, 3, 3001), 3) }),
		}, kernelCase{
			kernel: "cast", name: "u8 to " + dtype.String(), operands: []operand{integers(ir.U8, 256, 5, 1001)},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Cast(in[0], dtype) }),
		})
	}
	return cases
}

func lossCases() []kernelCase {
	var cases []kernelCase
	labels := func(n, classes int) operand { // some of which do not count
		return operand{Type: ir.T(ir.I32, n), fill: func(i int, r *rand.Rand) float64 { return float64(r.IntN(classes+1) - 1) }}
	}
	far := plain(7, 10)
	far.fill = func(i int, r *rand.Rand) float64 { return 30 * r.NormFloat64() }
	ties := plain(50, 6)
	ties.fill = func(i int, r *rand.Rand) float64 { return float64(r.IntN(3)) }
	for _, c := range []struct {
		name   string
		logits operand
	}{{"small", plain(5, 3)}, {"large", plain(67, 201)}, {"one class", plain(4, 1)}, {"far apart", far}, {"ties", ties}} {
		n, k := c.logits.Shape[0], c.logits.Shape[1]
		both := []operand{c.logits, labels(n, k)}
		for i, smoothing := range []float64{0, 0.1, 0} {
			reduction := []string{"mean", "sum", "sum"}[i]
			name := fmt.Sprintf("%s %s smoothing %v", c.name, reduction, smoothing)
			cases = append(cases,
				kernelCase{kernel: "cross_entropy", name: name, operands: both, build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
					return b.CrossEntropy(in[0], in[1], smoothing, reduction)
				})},
				kernelCase{kernel: "cross_entropy_grad", name: name, inPlace: []int{1}, operands: append([]operand{plain()}, both...), build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return b.Op("cross_entropy_grad", 1, in, ir.A("label_smoothing", smoothing), ir.A("reduction", reduction))
				}})
		}
		cases = append(cases,
			kernelCase{kernel: "softmax", name: c.name, operands: both[:1], build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Softmax(in[0]) })},
			kernelCase{kernel: "softmax_grad", name: c.name, operands: []operand{c.logits, positive(n, k)}, build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				return b.Op("softmax_grad", 1, in)
			}})
		for _, top := range []int{1, 5} {
			cases = append(cases, kernelCase{kernel: "correct", name: fmt.Sprint(c.name, " top ", top), operands: both,
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Correct(in[0], in[1], top) })})
		}
	}
	return append(cases,
		kernelCase{kernel: "softmax", name: "one row", operands: []operand{plain(9)}, build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Softmax(in[0]) })},
		kernelCase{kernel: "cross_entropy", name: "no row counts", operands: []operand{plain(3, 4), filled(ir.I32, -1, 3)},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.CrossEntropy(in[0], in[1], 0, "mean") })})
}

func imageCases() []kernelCase {
	var cases []kernelCase
	rows := map[int]plan.Layout{0: nil}
	seed, step := filled(ir.I64, 11), filled(ir.I64, 5)
	for i, shape := range [][]int{{5, 8, 8, 3}, {9, 31, 33, 1}, {2, 1, 1, 4}, {40, 13, 9, 3}} {
		name := fmt.Sprint(shape)
		images := integers(ir.U8, 256, shape...)
		n, h, w, c := shape[0], shape[1], shape[2], shape[3]
		for _, taken := range []int{1, n, 30} {
			cases = append(cases, kernelCase{kernel: "take_images", name: fmt.Sprint(name, " taken ", taken), operands: []operand{images, words(taken)}, orders: rows,
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.TakeImages(in[0], in[1]) })})
		}
		for _, padding := range []int{0, 4, 50} {
			cases = append(cases, kernelCase{kernel: "random_crop", name: fmt.Sprint(name, " padding ", padding), operands: []operand{images, seed, step}, orders: rows,
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.RandomCrop(in[0], in[1], in[2], padding, i) })})
		}
		cases = append(cases,
			kernelCase{kernel: "random_flip", name: name, operands: []operand{images, seed, step}, orders: rows,
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.RandomFlip(in[0], in[1], in[2], i) })},
			kernelCase{kernel: "normalize_image", name: name, operands: []operand{images},
				build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
					return b.NormalizeImage(in[0], []float64{0.4, 0.5, 0.45, 0.3}[:c], []float64{0.2, 0.25, 0.3, 1}[:c])
				})})
		for _, length := range []int{0, 1, 5, 16, 1000} {
			cutout := one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Cutout(in[0], in[1], in[2], length, i) })
			cases = append(cases,
				kernelCase{kernel: "cutout", name: fmt.Sprint(name, " length ", length), operands: []operand{image(n, c, h, w), seed, step}, inPlace: []int{0}, build: cutout},
				kernelCase{kernel: "cutout", name: fmt.Sprint(name, " length ", length, " row-major"), operands: []operand{plain(n, c, h, w), seed, step}, orders: rows, build: cutout})
		}
		for _, p := range []float64{0, 0.3, 1} {
			cases = append(cases, kernelCase{kernel: "drop_path", name: fmt.Sprint(name, " p ", p), inPlace: []int{0},
				operands: []operand{image(n, c, h, w), filled(ir.F32, p), seed, step},
				build:    one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.DropPath(in[0], in[1], in[2], in[3], i) })})
		}
	}
	return cases
}

func optimiserCases() []kernelCase {
	sgd := func(b *ops.Builder, in []*ir.Value) []*ir.Value {
		w, v := b.SGD(in[0], in[1], in[2], in[3], in[4], 0.9, 3e-4)
		return []*ir.Value{w, v}
	}
	adam := func(b *ops.Builder, in []*ir.Value) []*ir.Value {
		p, m, v := b.Adam(in[0], in[1], in[2], in[3], in[4], in[5], ops.AdamAttrs{Beta1: 0.5, Beta2: 0.999, Eps: 1e-8, WeightDecay: 1e-3})
		return []*ir.Value{p, m, v}
	}
	norm := one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.GlobalNorm(in...) })
	clip := one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.ClipScale(in[0], 5) })
	rate, t := filled(ir.F32, 0.025), filled(ir.F32, 3)
	w, last := weights(31, 17, 3, 3), map[int]plan.Layout{0: outputsLast, 1: outputsLast}
	return []kernelCase{
		{kernel: "sgd", name: "weights", operands: []operand{w, w, w, rate, filled(ir.F32, 0.5)}, orders: last, inPlace: []int{0, 1, 2}, build: sgd},
		{kernel: "sgd", name: "small", operands: []operand{plain(7, 3), plain(7, 3), plain(7, 3), rate, plain()}, inPlace: []int{0, 1, 2}, build: sgd},
		{kernel: "sgd", name: "vector", operands: []operand{plain(9001), plain(9001), plain(9001), rate, plain()}, inPlace: []int{0, 1, 2}, build: sgd},
		{kernel: "adam", name: "alphas", operands: []operand{plain(14, 8), plain(14, 8), plain(14, 8), positive(14, 8), rate, t}, inPlace: []int{0, 1, 2, 3}, build: adam},
		{kernel: "adam", name: "large", operands: []operand{plain(9001), plain(9001), plain(9001), positive(9001), rate, filled(ir.F32, 1)}, inPlace: []int{0, 1, 2, 3}, build: adam},
		{kernel: "global_norm", name: "one", operands: []operand{plain(3)}, build: norm},
		{kernel: "global_norm", name: "many", operands: []operand{plain(3), weights(31, 17, 3, 3), plain(), plain(5001), image(3, 5, 7, 11), plain(1)}, build: norm},
		{kernel: "clip_scale", name: "clips", operands: []operand{filled(ir.F32, 12)}, build: clip},
		{kernel: "clip_scale", name: "leaves", operands: []operand{filled(ir.F32, 2)}, build: clip},
	}
}
