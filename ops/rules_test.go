package ops_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

func f32(shape ...int) ir.Type { return ir.T(ir.F32, shape...) }

func TestRuleErrors(t *testing.T) {
	conv := func(a ops.ConvAttrs) func(*ops.Builder, []*ir.Value) {
		return func(b *ops.Builder, in []*ir.Value) { b.Conv2D(in[0], in[1], a) }
	}
	op := func(kind string, results int, attrs ...ir.Attr) func(*ops.Builder, []*ir.Value) {
		return func(b *ops.Builder, in []*ir.Value) { b.Op(kind, results, in, attrs...) }
	}
	convWith := func(strides, pads, dilations []int, groups int) func(*ops.Builder, []*ir.Value) {
		return op("conv2d", 1, ir.A("strides", strides), ir.A("pads", pads), ir.A("dilations", dilations), ir.A("groups", groups))
	}
	pool := func(kernel, strides, pads []int) func(*ops.Builder, []*ir.Value) {
		return op("max_pool2d", 1, ir.A("kernel", kernel), ir.A("strides", strides), ir.A("pads", pads))
	}
	tests := []struct {
		name  string
		in    []ir.Type
		build func(b *ops.Builder, in []*ir.Value)
		want  string
	}{
		{"unknown operation", nil, op("fft", 1), `fft: unknown operation "fft"`},
		{"no operands", nil, op("relu", 1), "relu: has 0 operands, wants x"},
		{"no operands of several rules", nil, convWith([]int{1, 1}, []int{0, 0, 0, 0}, []int{1, 1}, 1), "conv2d: has 0 operands, wants x, w[, bias]"},
		{"no operands of a norm", nil, op("batch_norm", 1, ir.A("eps", eps)), "batch_norm: has 0 operands, wants x, mean, var[, gamma, beta]"},
		{"missing attributes", types(f32(2)), op("reduce_sum", 1), "reduce_sum: has 0 attributes, wants 1: [axes]"},
		{"attribute of another name", types(f32(2)), op("reduce_sum", 1, ir.A("axis", 0)), "reduce_sum: attribute axes is missing or not of type []int"},
		{"attribute of another type", types(f32(2)), op("reduce_sum", 1, ir.A("axes", 0)), "reduce_sum: attribute axes is missing or not of type []int"},
		{"integers", types(ir.T(ir.I32, 2)), unary((*ops.Builder).Relu), "relu: operand 0 is i32[2], wants a floating-point type"},
		{"shapes that differ", types(f32(2, 3), f32(3, 2)), binary((*ops.Builder).Add),
			"add: operands are f32[2,3] and f32[3,2], want equal shapes or a scalar"},
		{"types that differ", types(f32(2), f64(2)), binary((*ops.Builder).Add), "add: operands are f32[2] and f64[2], want one element type"},
		{"sum of bytes", types(ir.T(ir.U8, 2), ir.T(ir.U8, 2)), binary((*ops.Builder).Add), "add: operands are u8[2] and u8[2], want a type with a sign"},
		{"quotient of integers", types(i64, i64), binary((*ops.Builder).Div), "div: operands are i64[] and i64[], want a floating-point type"},
		{"unknown element type", types(f32(2)), op("cast", 1, ir.A("to", "f16")), `cast: unknown element type "f16": want bool, u8, i32, i64, bf16, f32 or f64`},

		{"channels", types(f32(64, 32, 16, 16), f32(16, 1, 5, 5)), conv(convAttrs(one, [4]int{2, 2, 2, 2}, one, 16)),
			"conv2d: input [64 32 16 16] has 32 channels, weights [16 1 5 5] in 16 groups want 16"},
		{"outputs and groups", types(f32(1, 4, 3, 3), f32(3, 2, 1, 1)), conv(convAttrs(one, [4]int{}, one, 2)),
			"conv2d: weights [3 2 1 1]: 3 outputs do not divide into 2 groups"},
		{"small image", types(f32(1, 2, 2, 8), f32(2, 2, 3, 3)), conv(convAttrs(one, [4]int{}, [2]int{2, 1}, 1)),
			"conv2d: input [1 2 2 8] is too small for kernel [3 3] with dilation 2 and pads [0 0 0 0]"},
		{"rank of the weights", types(f32(1, 2, 2, 8), f32(2, 2, 3)), conv(ops.Conv(1, 0)), "conv2d: operand 1 is f32[2,2,3], wants rank 4"},
		{"weights of another type", types(f32(1, 2, 2, 8), f64(2, 2, 1, 1)), conv(ops.Conv(1, 0)),
			"conv2d: operands are f32[1,2,2,8] and f64[2,2,1,1], want one element type"},
		{"two pads", types(f32(1, 2, 4, 4), f32(2, 2, 3, 3)), convWith([]int{1, 1}, []int{1, 1}, []int{1, 1}, 1),
			"conv2d: attribute pads [1 1] has 2 numbers, wants 4"},
		{"no strides", types(f32(1, 2, 4, 4), f32(2, 2, 3, 3)), convWith([]int{}, []int{1, 1, 1, 1}, []int{1, 1}, 1),
			"conv2d: attribute strides [] has 0 numbers, wants 2"},
		{"stride 0", types(f32(1, 2, 4, 4), f32(2, 2, 3, 3)), convWith([]int{1, 0}, []int{1, 1, 1, 1}, []int{1, 1}, 1),
			"conv2d: attribute strides [1 0]: want numbers from 1 to 1073741824"},
		{"huge pads", types(f32(1, 2, 4, 4), f32(2, 2, 3, 3)), convWith([]int{1, 1}, []int{math.MaxInt, 1, 1, 1}, []int{1, 1}, 1),
			"conv2d: attribute pads [9223372036854775807 1 1 1]: want numbers from -1073741824 to 1073741824"},
		{"no groups", types(f32(1, 2, 4, 4), f32(2, 2, 3, 3)), convWith([]int{1, 1}, []int{1, 1, 1, 1}, []int{1, 1}, 0),
			"conv2d: attribute groups is 0, wants a number from 1 to 1073741824"},
		{"cotangent of another size", types(f32(1, 3, 4, 4), f32(3, 2, 3, 3)),
			func(b *ops.Builder, in []*ir.Value) {
				b.Conv2DInputGrad(in[0], in[1], []int{1, 2, 5, 4}, ops.Conv(1, 1))
			},
			"conv2d_input_grad: cotangent has shape [1 3 4 4], the convolution's result [1 3 5 4]"},
		{"shape of three", types(f32(1, 2, 4, 4), f32(1, 3, 4, 4)),
			func(b *ops.Builder, in []*ir.Value) {
				b.Conv2DWeightGrad(in[0], in[1], []int{3, 2, 3}, ops.Conv(1, 1))
			},
			"conv2d_weight_grad: attribute shape [3 2 3] wants 4 dimensions"},
		{"negative shape", types(f32(1, 3, 4, 4), f32(3, 2, 3, 3)),
			func(b *ops.Builder, in []*ir.Value) {
				b.Conv2DInputGrad(in[0], in[1], []int{1, -2, 4, 4}, ops.Conv(1, 1))
			},
			"conv2d_input_grad: type f32[1,-2,4,4]: dimension -2 is not positive"},

		{"no kernel", types(f32(1, 2, 4, 4)), pool([]int{}, []int{1, 1}, []int{0, 0, 0, 0}), "max_pool2d: attribute kernel [] has 0 numbers, wants 2"},
		{"two pads of a pool", types(f32(1, 2, 4, 4)), pool([]int{3, 3}, []int{1, 1}, []int{1, 1}), "max_pool2d: attribute pads [1 1] has 2 numbers, wants 4"},
		{"window in the pad", types(f32(1, 2, 4, 4)), pool([]int{2, 2}, []int{1, 1}, []int{2, 0, 0, 0}),
			"max_pool2d: pads [2 0 0 0] must be smaller than the kernel [2 2], or a window holds no element"},
		{"window larger than the image", types(f32(1, 2, 4, 2)), pool([]int{3, 3}, []int{1, 1}, []int{0, 0, 0, 0}),
			"max_pool2d: input [1 2 4 2] is too small for a window of [3 3]"},
		{"pool of a matrix", types(f32(4, 2)), pool([]int{3, 3}, []int{1, 1}, []int{0, 0, 0, 0}), "max_pool2d: operand 0 is f32[4,2], wants rank 4"},
		{"pool of integers", types(ir.T(ir.I32, 1, 1, 2, 2)), pool([]int{2, 2}, []int{1, 1}, []int{0, 0, 0, 0}),
			"max_pool2d: operand 0 is i32[1,1,2,2], wants a floating-point type"},
		{"cotangent of a pool", types(f32(1, 1, 2, 2), f32(1, 1, 4, 4)),
			func(b *ops.Builder, in []*ir.Value) { b.MaxPool2DGrad(in[0], in[1], ops.Pool(3, 1, 1)) },
			"max_pool2d_grad: cotangent has shape [1 1 2 2], the pooling's result [1 1 4 4]"},

		{"gamma without beta", types(f32(2, 3), f32(3), f32(3), f32(3)),
			func(b *ops.Builder, in []*ir.Value) { b.BatchNorm(in[0], in[1], in[2], in[3:], eps) },
			"batch_norm: has 4 operands, wants x, mean, var[, gamma, beta]"},
		{"statistics of other channels", types(f32(2, 3, 4, 4), f32(4), f32(3)),
			func(b *ops.Builder, in []*ir.Value) { b.BatchNorm(in[0], in[1], in[2], nil, eps) }, "batch_norm: operand 1 is f32[4], wants f32[3]"},
		{"norm of a vector", types(f32(3)), func(b *ops.Builder, in []*ir.Value) { b.BatchNormTrain(in[0], nil, eps) },
			"batch_norm_train: operand 0 is f32[3], wants a floating-point [N,C,…]"},
		{"eps below zero", types(f32(3, 2)), func(b *ops.Builder, in []*ir.Value) { b.BatchNormTrain(in[0], nil, -1) },
			"batch_norm_train: attribute eps is -1, wants a number from 0 to 1.7976931348623157e+308"},
		{"gradient through the statistics", types(f32(3, 2), f32(2)), func(b *ops.Builder, in []*ir.Value) {
			_, mean, _ := b.BatchNormTrain(in[0], nil, eps)
			op := mean.Def
			ops.Lookup(op.Kind).Gradient(b, op, []*ir.Value{nil, in[1], nil})
		}, "batch_norm_train: gradients through the returned statistics are not defined"},

		{"inner dimensions", types(f32(2, 3), f32(4, 5)), matmul(false, false), "matmul: f32[2,3] and f32[4,5]: inner dimensions 3 and 4 differ"},
		{"product of vectors", types(f32(3), f32(3)), matmul(false, false), "matmul: operand 0 is f32[3], wants rank 2"},
		{"bias of another size", types(f32(2, 3), f32(2)), binary((*ops.Builder).BiasAdd), "bias_add: operand 1 is f32[2], wants f32[3]"},

		{"negative concat axis", types(f32(2), f32(2)), op("concat", 1, ir.A("axis", -1)), "concat: axis -1 does not fit operand f32[2]"},
		{"concat axis of another rank", types(f32(2), f32(2)), op("concat", 1, ir.A("axis", 1)), "concat: axis 1 does not fit operand f32[2]"},
		{"concat of other sizes", types(f32(2, 3), f32(3, 3)), op("concat", 1, ir.A("axis", 1)), "concat: operand 1 is f32[3,3], wants f32[2,3] but for axis 1"},
		{"concat of other ranks", types(f32(2, 3), f32(2)), op("concat", 1, ir.A("axis", 1)), "concat: operand 1 is f32[2], wants f32[2,3] but for axis 1"},
		{"concat too large", slices.Repeat(types(ir.T(ir.U8, 1<<60)), 8), op("concat", 1, ir.A("axis", 0)), "concat: the result is too large to address"},
		{"negative shape of a reshape", types(f32(2, 3)), op("reshape", 1, ir.A("shape", []int{-2, -3})), "reshape: type f32[-2,-3]: dimension -2 is not positive"},
		{"elements of a reshape", types(f32(2, 3)), op("reshape", 1, ir.A("shape", []int{7})), "reshape: operand is f32[2,3], shape [7] has another number of elements"},
		{"slice past the end", types(f32(2, 3)), op("slice", 1, ir.A("starts", []int{0, 1}), ir.A("ends", []int{2, 4})), "slice: slice from [0 1] to [2 4] leaves f32[2,3]"},
		{"slice of nothing", types(f32(2, 3)), op("slice", 1, ir.A("starts", []int{0, 3}), ir.A("ends", []int{2, 3})), "slice: slice from [0 3] to [2 3] leaves f32[2,3]"},
		{"slice of other rank", types(f32(2, 3)), op("slice", 1, ir.A("starts", []int{0}), ir.A("ends", []int{2})), "slice: starts [0] and ends [2] do not fit f32[2,3]"},
		{"negative pad", types(f32(2)), op("pad", 1, ir.A("low", []int{-1}), ir.A("high", []int{0})), "pad: attribute low [-1]: want numbers from 0 to 1073741824"},
		{"order of no axes", types(f32(2, 3)), op("transpose", 1, ir.A("order", []int{})), "transpose: order [] does not name each axis of f32[2,3] once"},
		{"order out of range", types(f32(2, 3)), op("transpose", 1, ir.A("order", []int{5, 0})), "transpose: order [5 0] does not name each axis of f32[2,3] once"},
		{"axis out of range", types(f32(2, 3)), op("reduce_sum", 1, ir.A("axes", []int{2})), "reduce_sum: axes [2] do not fit shape [2 3]"},
		{"axes in disorder", types(f32(2, 3)), op("reduce_sum", 1, ir.A("axes", []int{1, 0})), "reduce_sum: axes [1 0] must be in ascending order, each once"},
		{"broadcast of another shape", types(f32(2)), op("broadcast", 1, ir.A("axes", []int{0}), ir.A("shape", []int{2, 3})),
			"broadcast: operand is f32[2], shape [2 3] without axes [0] is [3]"},
		{"whole constant", nil, func(b *ops.Builder, in []*ir.Value) { b.Constant(ir.T(ir.I64), 0.5) }, "constant: value 0.5 is not a whole number, which i64 wants"},
		{"constant too large", nil, func(b *ops.Builder, in []*ir.Value) { b.Constant(f32(1<<40, 1<<40), 0) },
			"constant: result: type f32[1099511627776,1099511627776] is too large to address"},

		{"softmax of a scalar", types(f32()), unary((*ops.Builder).Softmax), "softmax: operand is a scalar, wants at least rank 1"},
		{"softmax_grad of a scalar", types(f32(), f32()), binary((*ops.Builder).SoftmaxGrad), "softmax_grad: operand is a scalar, wants at least rank 1"},
		{"labels of another size", types(f32(4, 10), ir.T(ir.I32, 5)), func(b *ops.Builder, in []*ir.Value) { b.CrossEntropy(in[0], in[1], 0, "mean") },
			"cross_entropy: operand 1 is i32[5], wants i32[4]"},
		{"unknown reduction", types(f32(4, 10), ir.T(ir.I32, 4)), func(b *ops.Builder, in []*ir.Value) { b.CrossEntropy(in[0], in[1], 0, "max") },
			`cross_entropy: reduction "max": want mean or sum`},
		{"smoothing above one", types(f32(4, 10), ir.T(ir.I32, 4)), func(b *ops.Builder, in []*ir.Value) { b.CrossEntropy(in[0], in[1], 1.5, "mean") },
			"cross_entropy: attribute label_smoothing is 1.5, wants a number from 0 to 1"},
		{"top none", types(f32(4, 10), ir.T(ir.I32, 4)), func(b *ops.Builder, in []*ir.Value) { b.Correct(in[0], in[1], 0) },
			"correct: attribute k is 0, wants a number from 1 to 1073741824"},
		{"weight that is not there", types(f32(2, 2), f32(3)), func(b *ops.Builder, in []*ir.Value) { b.WeightedSum(in[0], in[1:], []int{4}) },
			"weighted_sum: selects weight 4 of f32[2,2]"},
		{"weights and terms", types(f32(2, 2), f32(3), f32(3)), func(b *ops.Builder, in []*ir.Value) { b.WeightedSum(in[0], in[1:], []int{1}) },
			"weighted_sum: selects 1 weights for 2 terms"},
		{"drop path of a scalar", types(f32(), f32(), i64, i64), func(b *ops.Builder, in []*ir.Value) { b.DropPath(in[0], in[1], in[2], in[3], 0) },
			"drop_path: operand is a scalar, wants at least rank 1"},
		{"seed of another type", types(f32(2), f32(), ir.T(ir.I32), i64), func(b *ops.Builder, in []*ir.Value) { b.DropPath(in[0], in[1], in[2], in[3], 0) },
			"drop_path: operand 2 is i32[], wants i64[]"},
		{"means and channels", types(ir.T(ir.U8, 2, 4, 4, 3)), func(b *ops.Builder, in []*ir.Value) { b.NormalizeImage(in[0], []float64{1}, []float64{1}) },
			"normalize_image: images u8[2,4,4,3] need 3 means and deviations, not 1 and 1"},
		{"deviation zero", types(ir.T(ir.U8, 2, 4, 4, 1)), func(b *ops.Builder, in []*ir.Value) { b.NormalizeImage(in[0], []float64{1}, []float64{0}) },
			"normalize_image: std [0]: want positive numbers"},
		{"negative padding", types(ir.T(ir.U8, 2, 4, 4, 1), i64, i64), func(b *ops.Builder, in []*ir.Value) { b.RandomCrop(in[0], in[1], in[2], -1, 0) },
			"random_crop: attribute padding is -1, wants a number from 0 to 1073741824"},
		{"rate that is no scalar", types(f32(2), f32(2), f32(2), f32(2), f32()),
			func(b *ops.Builder, in []*ir.Value) { b.SGD(in[0], in[1], in[2], in[3], in[4], 0, 0) }, "sgd: operand 3 is f32[2], wants f32[]"},
		{"gradient of a vector", types(f32(2), f32(2)), func(b *ops.Builder, in []*ir.Value) { b.Gradient(in[0], in[1]) },
			"gradient: operand 0 is f32[2], wants rank 0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := ops.NewBuilder(ir.NewModule("m"), "p")
			var in []*ir.Value
			for _, typ := range test.in {
				in = append(in, b.Input("", typ))
			}
			test.build(b, in)
			_, err := b.Build()
			if want := "program p: " + test.want; err == nil || err.Error() != want {
				t.Errorf("\n got %v\nwant %s", err, want)
			}
		})
	}
}

// FuzzInfer gives the shape rules what a module parsed from any text may hold: they must not panic, and what they let
// through must evaluate. Each seed spoils one of the cases in a few places.
func FuzzInfer(f *testing.F) {
	for seed := range uint64(4000) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		op := spoil(r, cases[r.IntN(len(cases))].program(t).Ops[0])
		results, err := ops.Rules.Infer(op)
		if err != nil {
			return
		}
		small := true
		for _, v := range op.Operands {
			small = small && v.Type.Elements() < 1<<10
		}
		for i, typ := range results {
			if err := typ.Check(); err != nil {
				t.Fatalf("%s%s: result %d: %v", op.Kind, op.Attrs, i, err)
			}
			op.Results = append(op.Results, &ir.Value{Type: typ, Def: op, At: i})
			small = small && typ.Elements() < 1<<10
		}
		if flops := ops.FLOPs(op); !(flops >= 0) {
			t.Errorf("%s%v: got %v FLOPs", op.Kind, op.Attrs, flops)
		}
		if def := ops.Lookup(op.Kind); small && def.Eval != nil {
			in := make([]*ops.Tensor, len(op.Operands))
			for i, v := range op.Operands {
				in[i] = ops.NewTensor(v.Type)
				fillDefault(v.Type, r, in[i].Data)
			}
			for i, y := range def.Eval(op, in) {
				if len(y.Data) != results[i].Elements() {
					t.Errorf("%s%v: result %d has %d elements, its type is %s", op.Kind, op.Attrs, i, len(y.Data), results[i])
				}
			}
		}
	})
}

// spoil returns a copy of the operation, without results, with one to three parts replaced by others.
func spoil(r *rand.Rand, op *ir.Op) *ir.Op {
	spoiled := &ir.Op{Kind: op.Kind, Operands: slices.Clone(op.Operands), Attrs: slices.Clone(op.Attrs)}
	for range 1 + r.IntN(3) {
		switch n := len(spoiled.Operands); {
		case len(spoiled.Attrs) > 0 && r.IntN(3) > 0:
			a := &spoiled.Attrs[r.IntN(len(spoiled.Attrs))]
			a.Value = randomAttr(r, a.Value)
		case n > 0 && r.IntN(4) == 0:
			spoiled.Operands = spoiled.Operands[:r.IntN(n)]
		case n > 0 && r.IntN(4) > 0:
			i := r.IntN(n)
			spoiled.Operands[i] = &ir.Value{Type: randomType(r, spoiled.Operands[i].Type)}
		default:
			spoiled.Operands = append(spoiled.Operands, &ir.Value{Type: randomType(r, f64(2, 3))})
		}
	}
	return spoiled
}

var numbers = []int{-1 << 62, -1 << 40, -7, -2, -1, 0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 1 << 29, 1 << 30, 1<<30 + 1, 1 << 31, 1 << 40, 1 << 61, math.MaxInt}

func randomAttr(r *rand.Rand, old any) any {
	switch v := old.(type) {
	case int:
		return numbers[r.IntN(len(numbers))]
	case float64:
		return []float64{0, -1, 0.5, 2, math.Inf(1), math.NaN()}[r.IntN(6)]
	case bool:
		return !v
	case string:
		return []string{"", "f32", "i64", "bool", "mean", "max"}[r.IntN(6)]
	case []int:
		if len(v) > 0 && r.IntN(3) > 0 { // the right length, one other number
			v = slices.Clone(v)
			v[r.IntN(len(v))] = numbers[r.IntN(len(numbers))]
			return v
		}
		list := make([]int, r.IntN(6))
		for i := range list {
			list[i] = numbers[r.IntN(len(numbers))]
		}
		return list
	case []float64:
		return make([]float64, 1+r.IntN(4))
	}
	return old
}

// randomType returns a valid type: the old one with another dimension or element type, or any.
func randomType(r *rand.Rand, old ir.Type) ir.Type {
	for {
		t := ir.Type{DType: []ir.DType{old.DType, old.DType, old.DType, ir.F64, ir.F32, ir.I64, ir.U8, ir.Bool}[r.IntN(8)], Shape: slices.Clone(old.Shape)}
		if len(t.Shape) == 0 || r.IntN(3) == 0 {
			t.Shape = make([]int, r.IntN(6))
			for i := range t.Shape {
				t.Shape[i] = 1 + r.IntN(4)
			}
		}
		if len(t.Shape) > 0 {
			t.Shape[r.IntN(len(t.Shape))] = numbers[r.IntN(len(numbers))]
		}
		if t.Check() == nil {
			return t
		}
	}
}
