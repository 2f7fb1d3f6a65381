package ops_test

import (
	"math/rand/v2"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// opCase is one operation on operands of the given types. Every kind has at least one.
type opCase struct {
	name  string
	in    []ir.Type
	build func(b *ops.Builder, in []*ir.Value) // appends the one operation

	data      map[int]filler // operands with values of their own, by position
	constant  []int          // floating-point operands that the gradient holds constant by intent
	firstOnly bool           // only the first result has a cotangent
}

// filler gives an operand its values.
type filler func(r *rand.Rand, data []float64)

// fillDefault gives values that stay away from kinks: floats are distinct by much more than the step of a finite
// difference and never near zero, so that no ReLU switches and no maximum changes.
func fillDefault(t ir.Type, r *rand.Rand, data []float64) {
	for i, rank := range r.Perm(len(data)) {
		switch t.DType {
		case ir.U8:
			data[i] = float64(r.IntN(256))
		case ir.I32: // labels of at least three classes, some of them not to be counted
			data[i] = float64(rank%4 - 1)
		case ir.I64:
			data[i] = float64(1 + r.IntN(100))
		default:
			data[i] = 0.2 + 1.5*float64(rank)/float64(len(data))
			if r.IntN(2) == 0 {
				data[i] = -data[i]
			}
		}
	}
}

func positive(r *rand.Rand, data []float64) {
	for i := range data {
		data[i] = 0.3 + r.Float64()
	}
}

// all gives every element one value.
func all(v float64) filler {
	return func(_ *rand.Rand, data []float64) {
		for i := range data {
			data[i] = v
		}
	}
}

func f64(shape ...int) ir.Type { return ir.T(ir.F64, shape...) }

func types(list ...ir.Type) []ir.Type { return list }

func unary(f func(b *ops.Builder, x *ir.Value) *ir.Value) func(*ops.Builder, []*ir.Value) {
	return func(b *ops.Builder, in []*ir.Value) { f(b, in[0]) }
}

func binary(f func(b *ops.Builder, x, y *ir.Value) *ir.Value) func(*ops.Builder, []*ir.Value) {
	return func(b *ops.Builder, in []*ir.Value) { f(b, in[0], in[1]) }
}

// eachBroadcast repeats a binary case with a scalar on either side and on both.
func eachBroadcast(name string, f func(b *ops.Builder, x, y *ir.Value) *ir.Value) []opCase {
	return []opCase{
		{name: name, in: types(f64(2, 3), f64(2, 3)), build: binary(f)},
		{name: name + ", scalar left", in: types(f64(), f64(2, 3, 2)), build: binary(f)},
		{name: name + ", scalar right", in: types(f64(5), f64()), build: binary(f)},
		{name: name + ", scalars", in: types(f64(), f64()), build: binary(f)},
		{name: name + ", scalar and one element", in: types(f64(), f64(1)), build: binary(f)},
		{name: name + ", the same value", in: types(f64(4)), build: func(b *ops.Builder, in []*ir.Value) { f(b, in[0], in[0]) }},
	}
}

var elementwiseCases = join([]opCase{
	{name: "neg", in: types(f64(2, 3)), build: unary((*ops.Builder).Neg)},
	{name: "exp", in: types(f64(7)), build: unary((*ops.Builder).Exp)},
	{name: "log", in: types(f64(7)), build: unary((*ops.Builder).Log), data: map[int]filler{0: positive}},
	{name: "sqrt", in: types(f64(2, 1, 3)), build: unary((*ops.Builder).Sqrt), data: map[int]filler{0: positive}},
	{name: "tanh", in: types(f64()), build: unary((*ops.Builder).Tanh)},
	{name: "sigmoid", in: types(f64(3, 2)), build: unary((*ops.Builder).Sigmoid)},
	{name: "relu", in: types(f64(2, 3, 4, 5)), build: unary((*ops.Builder).Relu)},
	{name: "detach", in: types(f64(2, 3)), build: unary((*ops.Builder).Detach), constant: []int{0}},
	{name: "cast down", in: types(f64(3)), build: func(b *ops.Builder, in []*ir.Value) { b.Cast(in[0], ir.F32) }},
	{name: "cast of integers", in: types(ir.T(ir.I32, 3)), build: func(b *ops.Builder, in []*ir.Value) { b.Cast(in[0], ir.F64) }},
	{name: "add of counters", in: types(ir.T(ir.I64), ir.T(ir.I64)), build: binary((*ops.Builder).Add)},
},
	eachBroadcast("add", (*ops.Builder).Add),
	eachBroadcast("sub", (*ops.Builder).Sub),
	eachBroadcast("mul", (*ops.Builder).Mul),
	eachBroadcast("div", (*ops.Builder).Div),
	eachBroadcast("relu_grad", (*ops.Builder).ReluGrad),
	eachBroadcast("axpby", func(b *ops.Builder, x, y *ir.Value) *ir.Value { return b.Axpby(x, y, 1.5, -0.25) }),
)

var shapeCases = []opCase{
	{name: "constant", build: func(b *ops.Builder, in []*ir.Value) { b.Constant(f64(2, 3), 0.5) }},
	{name: "constant scalar", build: func(b *ops.Builder, in []*ir.Value) { b.Constant(ir.T(ir.I64), -3) }},
	{name: "reshape", in: types(f64(2, 3, 4)), build: func(b *ops.Builder, in []*ir.Value) { b.Reshape(in[0], 6, 4) }},
	{name: "reshape to a scalar", in: types(f64(1, 1)), build: func(b *ops.Builder, in []*ir.Value) { b.Reshape(in[0]) }},
	{name: "concat", in: types(f64(2, 1, 3), f64(2, 4, 3), f64(2, 2, 3)),
		build: func(b *ops.Builder, in []*ir.Value) { b.Concat(1, in...) }},
	{name: "concat twice the same", in: types(f64(2, 3)),
		build: func(b *ops.Builder, in []*ir.Value) { b.Concat(0, in[0], in[0]) }},
	{name: "slice", in: types(f64(3, 4, 5)),
		build: func(b *ops.Builder, in []*ir.Value) { b.Slice(in[0], []int{0, 1, 2}, []int{3, 4, 3}) }},
	{name: "slice of a scalar", in: types(f64()), build: func(b *ops.Builder, in []*ir.Value) { b.Slice(in[0], []int{}, []int{}) }},
	{name: "pad", in: types(f64(2, 3)), build: func(b *ops.Builder, in []*ir.Value) { b.Pad(in[0], []int{1, 0}, []int{2, 3}) }},
	{name: "transpose", in: types(f64(2, 3, 4, 5)),
		build: func(b *ops.Builder, in []*ir.Value) { b.Transpose(in[0], 2, 0, 3, 1) }},
	{name: "reduce_sum", in: types(f64(2, 3, 4)), build: func(b *ops.Builder, in []*ir.Value) { b.ReduceSum(in[0], 0, 2) }},
	{name: "reduce_sum of nothing", in: types(f64(2, 3)), build: func(b *ops.Builder, in []*ir.Value) { b.ReduceSum(in[0]) }},
	{name: "reduce_mean", in: types(f64(2, 3, 4)), build: func(b *ops.Builder, in []*ir.Value) { b.ReduceMean(in[0], 1) }},
	{name: "reduce_mean of an image", in: types(f64(2, 3, 4, 5)),
		build: func(b *ops.Builder, in []*ir.Value) { b.ReduceMean(in[0], 2, 3) }},
	{name: "broadcast", in: types(f64(3)), build: func(b *ops.Builder, in []*ir.Value) { b.Broadcast(in[0], []int{2, 3, 4}, 0, 2) }},
	{name: "broadcast of a scalar", in: types(f64()), build: func(b *ops.Builder, in []*ir.Value) { b.Broadcast(in[0], []int{2, 2}, 0, 1) }},
}

func matmul(tx, ty bool) func(*ops.Builder, []*ir.Value) {
	return binary(func(b *ops.Builder, x, y *ir.Value) *ir.Value { return b.MatMul(x, y, tx, ty) })
}

var matmulCases = []opCase{
	{name: "matmul", in: types(f64(2, 3), f64(3, 4)), build: matmul(false, false)},
	{name: "matmul, first transposed", in: types(f64(3, 2), f64(3, 4)), build: matmul(true, false)},
	{name: "matmul, second transposed", in: types(f64(2, 3), f64(4, 3)), build: matmul(false, true)},
	{name: "matmul, both transposed", in: types(f64(3, 2), f64(4, 3)), build: matmul(true, true)},
	{name: "bias_add of images", in: types(f64(2, 3, 2, 2), f64(3)), build: binary((*ops.Builder).BiasAdd)},
	{name: "bias_add", in: types(f64(3, 4), f64(4)), build: binary((*ops.Builder).BiasAdd)},
}

// convCases gives the convolution of x and w and both of its gradients.
func convCases(name string, x, w ir.Type, a ops.ConvAttrs, y ir.Type) []opCase {
	return []opCase{
		{name: "conv2d, " + name, in: types(x, w), build: binary(func(b *ops.Builder, x, w *ir.Value) *ir.Value { return b.Conv2D(x, w, a) })},
		{name: "conv2d with bias, " + name, in: types(x, w, f64(w.Shape[0])), build: func(b *ops.Builder, in []*ir.Value) { b.Conv2DBias(in[0], in[1], in[2], a) }},
		{name: "conv2d_input_grad, " + name, in: types(y, w), build: binary(func(b *ops.Builder, g, w *ir.Value) *ir.Value {
			return b.Conv2DInputGrad(g, w, x.Shape, a)
		})},
		{name: "conv2d_weight_grad, " + name, in: types(x, y), build: binary(func(b *ops.Builder, x, g *ir.Value) *ir.Value {
			return b.Conv2DWeightGrad(x, g, w.Shape, a)
		})},
	}
}

func convAttrs(strides [2]int, pads [4]int, dilations [2]int, groups int) ops.ConvAttrs {
	return ops.ConvAttrs{Strides: strides, Pads: pads, Dilations: dilations, Groups: groups}
}

var one = [2]int{1, 1}

var allConvCases = join(
	convCases("pointwise", f64(2, 3, 2, 3), f64(4, 3, 1, 1), ops.Conv(1, 0), f64(2, 4, 2, 3)),
	convCases("not square, stride 2", f64(1, 2, 5, 4), f64(3, 2, 3, 3), ops.Conv(2, 1), f64(1, 3, 3, 2)),
	convCases("strides that differ", f64(1, 1, 5, 6), f64(2, 1, 2, 3), convAttrs([2]int{3, 2}, [4]int{0, 1, 2, 0}, one, 1), f64(1, 2, 2, 3)),
	convCases("depthwise, dilation 2", f64(1, 3, 5, 6), f64(3, 1, 3, 3), convAttrs(one, [4]int{2, 2, 2, 2}, [2]int{2, 2}, 3), f64(1, 3, 5, 6)),
	convCases("two groups", f64(2, 4, 3, 3), f64(6, 2, 2, 2), convAttrs(one, [4]int{}, one, 2), f64(2, 6, 2, 2)),
	convCases("1x7", f64(1, 2, 3, 4), f64(2, 2, 1, 7), convAttrs([2]int{1, 2}, [4]int{0, 3, 0, 3}, one, 1), f64(1, 2, 3, 2)),
	convCases("7x1", f64(1, 2, 4, 3), f64(2, 2, 7, 1), convAttrs([2]int{2, 1}, [4]int{3, 0, 3, 0}, one, 1), f64(1, 2, 2, 3)),
	convCases("negative pads", f64(1, 2, 5, 5), f64(2, 2, 1, 1), convAttrs([2]int{2, 2}, [4]int{-1, -1, 1, 1}, one, 1), f64(1, 2, 3, 3)),
	convCases("kernel larger than the image", f64(1, 1, 1, 2), f64(1, 1, 5, 5), ops.Conv(1, 2), f64(1, 1, 1, 2)),
)

const eps = 1e-5

var normCases = []opCase{
	{name: "batch_norm_train, plain", in: types(f64(3, 2, 2, 3)), firstOnly: true,
		build: func(b *ops.Builder, in []*ir.Value) { b.BatchNormTrain(in[0], nil, eps) }},
	{name: "batch_norm_train, affine", in: types(f64(2, 3, 1, 4), f64(3), f64(3)), firstOnly: true,
		build: func(b *ops.Builder, in []*ir.Value) { b.BatchNormTrain(in[0], in[1:], eps) }},
	{name: "batch_norm_train of rows", in: types(f64(5, 3), f64(3), f64(3)), firstOnly: true,
		build: func(b *ops.Builder, in []*ir.Value) { b.BatchNormTrain(in[0], in[1:], 0.1) }},
	{name: "batch_stats", in: types(f64(2, 3, 2, 2)), build: func(b *ops.Builder, in []*ir.Value) { b.BatchStats(in[0]) }},
	{name: "batch_norm, plain", in: types(f64(2, 3, 2, 1), f64(3), f64(3)), data: map[int]filler{2: positive}, constant: []int{1, 2},
		build: func(b *ops.Builder, in []*ir.Value) { b.BatchNorm(in[0], in[1], in[2], nil, eps) }},
	{name: "batch_norm, affine", in: types(f64(2, 2, 3, 2), f64(2), f64(2), f64(2), f64(2)), data: map[int]filler{2: positive}, constant: []int{1, 2},
		build: func(b *ops.Builder, in []*ir.Value) { b.BatchNorm(in[0], in[1], in[2], in[3:], eps) }},
	{name: "batch_norm_sums", in: types(f64(2, 3, 2, 2), f64(2, 3, 2, 2), f64(3), f64(3)), data: map[int]filler{3: positive},
		build: func(b *ops.Builder, in []*ir.Value) { b.BatchNormSums(in[0], in[1], in[2], in[3], eps) }},
	{name: "batch_norm_input_grad, plain", in: types(f64(2, 3), f64(2, 3), f64(3), f64(3), f64(3), f64(3)), data: map[int]filler{3: positive},
		build: func(b *ops.Builder, in []*ir.Value) {
			b.BatchNormInputGrad(in[0], in[1], in[2], in[3], in[4], in[5], nil, eps)
		}},
	{name: "batch_norm_input_grad, affine", in: types(f64(2, 3), f64(2, 3), f64(3), f64(3), f64(3), f64(3), f64(3)), data: map[int]filler{3: positive},
		build: func(b *ops.Builder, in []*ir.Value) {
			b.BatchNormInputGrad(in[0], in[1], in[2], in[3], in[4], in[5], in[6:], eps)
		}},
}

// poolCases gives both poolings of x and their gradients.
func poolCases(name string, x ir.Type, a ops.PoolAttrs, y ir.Type) []opCase {
	including := a
	including.CountIncludePad = true
	return []opCase{
		{name: "max_pool2d, " + name, in: types(x), build: func(b *ops.Builder, in []*ir.Value) { b.MaxPool2D(in[0], a) }},
		{name: "max_pool2d_grad, " + name, in: types(y, x), build: func(b *ops.Builder, in []*ir.Value) { b.MaxPool2DGrad(in[0], in[1], a) }},
		{name: "avg_pool2d, " + name, in: types(x), build: func(b *ops.Builder, in []*ir.Value) { b.AvgPool2D(in[0], a) }},
		{name: "avg_pool2d_grad, " + name, in: types(y), build: func(b *ops.Builder, in []*ir.Value) { b.AvgPool2DGrad(in[0], x.Shape, a) }},
		{name: "avg_pool2d including pads, " + name, in: types(x), build: func(b *ops.Builder, in []*ir.Value) { b.AvgPool2D(in[0], including) }},
		{name: "avg_pool2d_grad including pads, " + name, in: types(y),
			build: func(b *ops.Builder, in []*ir.Value) { b.AvgPool2DGrad(in[0], x.Shape, including) }},
	}
}

var allPoolCases = join(
	poolCases("3x3", f64(1, 2, 4, 5), ops.Pool(3, 1, 1), f64(1, 2, 4, 5)),
	poolCases("stride 2, odd", f64(2, 1, 5, 3), ops.Pool(3, 2, 1), f64(2, 1, 3, 2)),
	poolCases("sides that differ", f64(1, 1, 5, 6), ops.PoolAttrs{Kernel: [2]int{2, 4}, Strides: [2]int{1, 3}, Pads: [4]int{1, 0, 0, 3}}, f64(1, 1, 5, 2)),
	poolCases("gaps between the windows", f64(1, 1, 5, 5), ops.Pool(1, 2, 0), f64(1, 1, 3, 3)),
)

var lossCases = []opCase{
	{name: "weighted_sum", in: types(f64(2, 3), f64(2, 2), f64(2, 2), f64(2, 2)),
		build: func(b *ops.Builder, in []*ir.Value) { b.WeightedSum(in[0], in[1:], []int{4, 0, 4}) }},
	{name: "weighted_sum of one", in: types(f64(), f64(2, 1, 2)),
		build: func(b *ops.Builder, in []*ir.Value) { b.WeightedSum(in[0], in[1:], []int{0}) }},
	{name: "weighted_sum_weight_grad", in: types(f64(2, 2), f64(2, 2), f64(2, 2)),
		build: func(b *ops.Builder, in []*ir.Value) { b.WeightedSumWeightGrad(in[0], in[1:], []int{1, 3}, []int{2, 2}) }},
	{name: "softmax", in: types(f64(3, 4)), build: unary((*ops.Builder).Softmax)},
	{name: "softmax of a vector", in: types(f64(5)), build: unary((*ops.Builder).Softmax)},
	{name: "softmax_grad", in: types(f64(3, 4), f64(3, 4)), build: binary((*ops.Builder).SoftmaxGrad)},
	{name: "cross_entropy, mean", in: types(f64(5, 3), ir.T(ir.I32, 5)),
		build: func(b *ops.Builder, in []*ir.Value) { b.CrossEntropy(in[0], in[1], 0, "mean") }},
	{name: "cross_entropy, smoothed sum", in: types(f64(5, 4), ir.T(ir.I32, 5)),
		build: func(b *ops.Builder, in []*ir.Value) { b.CrossEntropy(in[0], in[1], 0.1, "sum") }},
	{name: "cross_entropy, no row counts", in: types(f64(2, 3), ir.T(ir.I32, 2)), data: map[int]filler{1: all(-1)},
		build: func(b *ops.Builder, in []*ir.Value) { b.CrossEntropy(in[0], in[1], 0, "mean") }},
	{name: "cross_entropy_grad", in: types(f64(), f64(5, 4), ir.T(ir.I32, 5)),
		build: func(b *ops.Builder, in []*ir.Value) { b.CrossEntropyGrad(in[0], in[1], in[2], 0.1, "mean") }},
	{name: "correct", in: types(f64(5, 4), ir.T(ir.I32, 5)),
		build: func(b *ops.Builder, in []*ir.Value) { b.Correct(in[0], in[1], 2) }},
}

var i64 = ir.T(ir.I64)

var randomCases = []opCase{
	{name: "drop_path", in: types(f64(6, 2, 3), f64(), i64, i64), data: map[int]filler{1: all(0.3)}, constant: []int{1},
		build: func(b *ops.Builder, in []*ir.Value) { b.DropPath(in[0], in[1], in[2], in[3], 7) }},
	{name: "take_images", in: types(ir.T(ir.U8, 9, 4, 5, 3), ir.T(ir.I32, 4)), data: map[int]filler{1: words},
		build: func(b *ops.Builder, in []*ir.Value) { b.TakeImages(in[0], in[1]) }},
	{name: "random_crop", in: types(ir.T(ir.U8, 3, 4, 5, 3), i64, i64),
		build: func(b *ops.Builder, in []*ir.Value) { b.RandomCrop(in[0], in[1], in[2], 2, 1) }},
	{name: "random_flip", in: types(ir.T(ir.U8, 3, 4, 5, 1), i64, i64),
		build: func(b *ops.Builder, in []*ir.Value) { b.RandomFlip(in[0], in[1], in[2], 2) }},
	{name: "normalize_image", in: types(ir.T(ir.U8, 2, 4, 5, 3)),
		build: func(b *ops.Builder, in []*ir.Value) {
			b.NormalizeImage(in[0], []float64{0.4, 0.5, 0.6}, []float64{0.2, 0.3, 0.1})
		}},
	{name: "cutout", in: types(f64(2, 3, 6, 5), i64, i64),
		build: func(b *ops.Builder, in []*ir.Value) { b.Cutout(in[0], in[1], in[2], 3, 4) }},
}

var optimiserCases = []opCase{
	{name: "sgd", in: types(f64(2, 3), f64(2, 3), f64(2, 3), f64(), f64()),
		build: func(b *ops.Builder, in []*ir.Value) { b.SGD(in[0], in[1], in[2], in[3], in[4], 0.9, 3e-4) }},
	{name: "adam", in: types(f64(4), f64(4), f64(4), f64(4), f64(), f64()), data: map[int]filler{3: positive, 5: all(3)},
		build: func(b *ops.Builder, in []*ir.Value) {
			b.Adam(in[0], in[1], in[2], in[3], in[4], in[5], ops.AdamAttrs{Beta1: 0.5, Beta2: 0.999, Eps: 1e-8, WeightDecay: 1e-3})
		}},
	{name: "global_norm", in: types(f64(4), f64(2, 3), f64()), build: func(b *ops.Builder, in []*ir.Value) { b.GlobalNorm(in...) }},
	{name: "clip_scale", in: types(f64()), data: map[int]filler{0: positive}, build: func(b *ops.Builder, in []*ir.Value) { b.ClipScale(in[0], 0.2) }},
	{name: "gradient", in: types(f64(), f64(3), f64(2, 2)), build: func(b *ops.Builder, in []*ir.Value) { b.Gradient(in[0], in[1:]...) }},
}

var highwayAttrs = ops.HighwayAttrs{Activations: "none,tanh,relu,sigmoid,identity", Edges: []int{3, 1}, Blocks: []int{1, 0}}

var highwayCases = []opCase{
	{name: "highway", in: types(f64(4, 5), f64(2, 12), f64(2, 6), f64(2, 3), f64(2, 3)), build: func(b *ops.Builder, in []*ir.Value) {
		b.Highway(in[0], in[1:3], in[3:5], highwayAttrs)
	}},
	{name: "highway of a derived cell", in: types(f64(1, 1), f64(2, 6), f64(2, 3)), build: func(b *ops.Builder, in []*ir.Value) {
		b.Highway(in[0], in[1:2], in[2:3], ops.HighwayAttrs{Activations: "relu", Edges: []int{0}, Blocks: []int{0}})
	}},
	{name: "highway_product_grad", in: types(f64(4, 5), f64(2, 18), f64(2, 3), f64(2, 3), f64(2, 3)), build: func(b *ops.Builder, in []*ir.Value) {
		b.HighwayProductGrad(in[0], in[1], in[2], in[3:], ops.HighwayAttrs{Activations: highwayAttrs.Activations, Edges: []int{0, 2}, Blocks: []int{2, 0}})
	}},
	{name: "highway_state_grad", in: types(f64(4, 5), f64(2, 12), f64(2, 3), f64(2, 3)), build: func(b *ops.Builder, in []*ir.Value) {
		b.HighwayStateGrad(in[0], in[1], in[2:], highwayAttrs)
	}},
	{name: "highway_weight_grad", in: types(f64(2, 3), f64(2, 12), f64(2, 6), f64(2, 3), f64(2, 3)), build: func(b *ops.Builder, in []*ir.Value) {
		b.HighwayWeightGrad(in[0], in[1:3], in[3:5], []int{4, 5}, highwayAttrs)
	}},
}

// words gives word numbers of which some are outside of a table of four.
func words(r *rand.Rand, data []float64) {
	for i := range data {
		data[i] = float64(r.IntN(6) - 1)
	}
}

var textCases = []opCase{
	{name: "embedding", in: types(ir.T(ir.I32, 3, 4), f64(4, 2)), data: map[int]filler{0: words}, build: binary((*ops.Builder).Embedding)},
	{name: "embedding_grad", in: types(f64(3, 4, 2), ir.T(ir.I32, 3, 4)), data: map[int]filler{1: words},
		build: func(b *ops.Builder, in []*ir.Value) { b.EmbeddingGrad(in[0], in[1], 4) }},
	{name: "dropout_mask", in: types(i64, i64), build: func(b *ops.Builder, in []*ir.Value) { b.DropoutMask(f64(3, 5), 0.25, in[0], in[1], 7) }},
	{name: "mask_steps", in: types(f64(4, 2, 3), i64), data: map[int]filler{1: all(3)}, build: binary((*ops.Builder).MaskSteps)},
}

// cases is the table that all tests over the operations share.
var cases = join(elementwiseCases, shapeCases, matmulCases, allConvCases, normCases, allPoolCases, lossCases, highwayCases, textCases, randomCases, optimiserCases)

func join(lists ...[]opCase) []opCase {
	var joined []opCase
	for _, list := range lists {
		joined = append(joined, list...)
	}
	return joined
}
