package ops

import (
	"fmt"
	"math"
	"slices"

	"github.com/dartsc/dartsc/ir"
)

var shapeDefs = []*Def{
	{
		// constant: every element has one value.
		Kind: "constant", Operands: "", Attrs: []AttrDef{{"dtype", ""}, {"shape", []int{}}, {"value", 0.0}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantOperands(op, 0, 0); err != nil {
				return nil, err
			}
			dtype, err := ir.ParseDType(op.Attrs.Text("dtype"))
			if v := op.Attrs.Float("value"); err == nil && !dtype.Float() && v != math.Trunc(v) {
				err = fmt.Errorf("value %v is not a whole number, which %s wants", v, dtype)
			}
			return []ir.Type{{DType: dtype, Shape: op.Attrs.Ints("shape")}}, err
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out := NewTensor(op.Results[0].Type)
			for i := range out.Data {
				out.Data[i] = op.Attrs.Float("value")
			}
			return []*Tensor{out}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value { return nil },
		FLOPs:    noFLOPs,
		ONNX: func(e Exporter, op *ir.Op) error {
			t := op.Results[0].Type
			data := make([]float64, t.Elements())
			for i := range data {
				data[i] = op.Attrs.Float("value")
			}
			e.Node("Identity", []string{e.Constant(t, data)}, op.Results)
			return nil
		},
	},
	{
		Kind: "reshape", Operands: "x", Attrs: []AttrDef{{"shape", []int{}}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantOperands(op, 1, 1); err != nil {
				return nil, err
			}
			x := op.Operands[0].Type
			t := ir.Type{DType: x.DType, Shape: op.Attrs.Ints("shape")}
			if err := t.Check(); err != nil {
				return nil, err
			}
			if t.Elements() != x.Elements() {
				return nil, fmt.Errorf("operand is %s, shape %v has another number of elements", x, t.Shape)
			}
			return []ir.Type{t}, nil
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			return []*Tensor{{Type: op.Results[0].Type, Data: in[0].Clone().Data}}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			return values(b.Reshape(g[0], op.Operands[0].Type.Shape...))
		},
		FLOPs: noFLOPs,
		ONNX: func(e Exporter, op *ir.Op) error {
			shape, x := slices.Clone(op.Attrs.Ints("shape")), op.Operands[0].Type.Shape
			keepsFirst := len(shape) > 0 && len(x) > 0 && shape[0] == x[0]
			if keepsFirst && len(shape) == 2 {
				e.Node("Flatten", []string{e.Name(op.Operands[0])}, op.Results, ir.A("axis", 1))
				return nil
			}
			// The first dimension may be a batch of any size: 0 copies it, -1 is what the others leave.
			if keepsFirst {
				shape[0] = 0
			} else if len(shape) > 0 {
				shape[0] = -1
			}
			e.Node("Reshape", []string{e.Name(op.Operands[0]), onnxInts(e, shape)}, op.Results)
			return nil
		},
	},
	{
		Kind: "concat", Operands: "x…", Attrs: []AttrDef{{"axis", 0}},
		Infer: inferConcat,
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out, axis, at := NewTensor(op.Results[0].Type), op.Attrs.Int("axis"), 0
			outStrides := strides(out.Type.Shape)
			for _, x := range in {
				each(x.Type.Shape, func(p int, index []int) { out.Data[dot(index, outStrides)+at*outStrides[axis]] = x.Data[p] })
				at += x.Type.Shape[axis]
			}
			return []*Tensor{out}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			var parts []*ir.Value
			axis, at := op.Attrs.Int("axis"), 0
			for _, x := range op.Operands {
				starts, ends := make([]int, len(x.Type.Shape)), slices.Clone(x.Type.Shape)
				starts[axis], ends[axis] = at, at+x.Type.Shape[axis]
				at = ends[axis]
				parts = append(parts, b.Slice(g[0], starts, ends))
			}
			return parts
		},
		FLOPs: noFLOPs,
		ONNX: func(e Exporter, op *ir.Op) error {
			return onnxNode("Concat", ir.A("axis", op.Attrs.Int("axis")))(e, op)
		},
	},
	{
		// slice(x): the box from starts to ends (exclusive).
		Kind: "slice", Operands: "x", Attrs: []AttrDef{{"ends", []int{}}, {"starts", []int{}}},
		Infer: inferSlice,
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out, from := NewTensor(op.Results[0].Type), strides(in[0].Type.Shape)
			start := dot(op.Attrs.Ints("starts"), from)
			each(out.Type.Shape, func(p int, index []int) { out.Data[p] = in[0].Data[start+dot(index, from)] })
			return []*Tensor{out}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			x := op.Operands[0].Type.Shape
			high := make([]int, len(x))
			for i := range x {
				high[i] = x[i] - op.Attrs.Ints("ends")[i]
			}
			return values(b.Pad(g[0], op.Attrs.Ints("starts"), high))
		},
		FLOPs: noFLOPs,
		ONNX: func(e Exporter, op *ir.Op) error {
			// The batch axis stays whole, so that its size may be symbolic.
			var starts, ends, axes []int
			for i, d := range op.Operands[0].Type.Shape {
				if s, t := op.Attrs.Ints("starts")[i], op.Attrs.Ints("ends")[i]; s != 0 || t != d {
					starts, ends, axes = append(starts, s), append(ends, t), append(axes, i)
				}
			}
			if len(axes) == 0 {
				return onnxNode("Identity")(e, op)
			}
			e.Node("Slice", []string{e.Name(op.Operands[0]), onnxInts(e, starts), onnxInts(e, ends), onnxInts(e, axes)}, op.Results)
			return nil
		},
	},
	{
		// pad(x): low zeros before and high zeros after, along each axis.
		Kind: "pad", Operands: "x", Attrs: []AttrDef{{"high", []int{}}, {"low", []int{}}},
		Infer: inferPad,
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out := NewTensor(op.Results[0].Type)
			to := strides(out.Type.Shape)
			start := dot(op.Attrs.Ints("low"), to)
			each(in[0].Type.Shape, func(p int, index []int) { out.Data[start+dot(index, to)] = in[0].Data[p] })
			return []*Tensor{out}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			low, ends := op.Attrs.Ints("low"), slices.Clone(op.Operands[0].Type.Shape)
			for i := range ends {
				ends[i] += low[i]
			}
			return values(b.Slice(g[0], low, ends))
		},
		FLOPs:  noFLOPs,
		NoONNX: trainingOnly,
	},
	{
		// transpose(x): axis i of the result is axis order[i] of x.
		Kind: "transpose", Operands: "x", Attrs: []AttrDef{{"order", []int{}}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantOperands(op, 1, 1); err != nil {
				return nil, err
			}
			x, order := op.Operands[0].Type, op.Attrs.Ints("order")
			axes, shape := make([]int, len(x.Shape)), make([]int, len(x.Shape))
			for i := range axes {
				axes[i] = i
			}
			if !slices.Equal(slices.Sorted(slices.Values(order)), axes) {
				return nil, fmt.Errorf("order %v does not name each axis of %s once", order, x)
			}
			for i, axis := range order {
				shape[i] = x.Shape[axis]
			}
			return []ir.Type{{DType: x.DType, Shape: shape}}, nil
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out, from := NewTensor(op.Results[0].Type), strides(in[0].Type.Shape)
			permuted := make([]int, len(from))
			for i, axis := range op.Attrs.Ints("order") {
				permuted[i] = from[axis]
			}
			each(out.Type.Shape, func(p int, index []int) { out.Data[p] = in[0].Data[dot(index, permuted)] })
			return []*Tensor{out}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			order := op.Attrs.Ints("order")
			inverse := make([]int, len(order))
			for i, axis := range order {
				inverse[axis] = i
			}
			return values(b.Transpose(g[0], inverse...))
		},
		FLOPs: noFLOPs,
		ONNX: func(e Exporter, op *ir.Op) error {
			return onnxNode("Transpose", ir.A("perm", op.Attrs.Ints("order")))(e, op)
		},
	},
}

func inferConcat(op *ir.Op) ([]ir.Type, error) {
	if len(op.Operands) == 0 {
		return nil, fmt.Errorf("has no operands, wants at least one")
	}
	axis, x := op.Attrs.Int("axis"), op.Operands[0].Type
	if axis < 0 || axis >= len(x.Shape) {
		return nil, fmt.Errorf("axis %d does not fit operand %s", axis, x)
	}
	shape := slices.Clone(x.Shape)
	shape[axis] = 0
	for i, v := range op.Operands {
		want := ir.Type{DType: x.DType, Shape: slices.Clone(x.Shape)}
		if len(v.Type.Shape) == len(x.Shape) {
			want.Shape[axis] = v.Type.Shape[axis]
			if shape[axis] += v.Type.Shape[axis]; shape[axis] < 0 {
				return nil, fmt.Errorf("the result is too large to address")
			}
		}
		if !v.Type.Equal(want) {
			return nil, fmt.Errorf("operand %d is %s, wants %s but for axis %d", i, v.Type, x, axis)
		}
	}
	return []ir.Type{{DType: x.DType, Shape: shape}}, nil
}

func inferSlice(op *ir.Op) ([]ir.Type, error) {
	if err := wantOperands(op, 1, 1); err != nil {
		return nil, err
	}
	x, starts, ends := op.Operands[0].Type, op.Attrs.Ints("starts"), op.Attrs.Ints("ends")
	if len(starts) != len(x.Shape) || len(ends) != len(x.Shape) {
		return nil, fmt.Errorf("starts %v and ends %v do not fit %s", starts, ends, x)
	}
	shape := make([]int, len(starts))
	for i := range starts {
		if starts[i] < 0 || ends[i] <= starts[i] || ends[i] > x.Shape[i] {
			return nil, fmt.Errorf("slice from %v to %v leaves %s", starts, ends, x)
		}
		shape[i] = ends[i] - starts[i]
	}
	return []ir.Type{{DType: x.DType, Shape: shape}}, nil
}

func inferPad(op *ir.Op) ([]ir.Type, error) {
	if err := wantOperands(op, 1, 1); err != nil {
		return nil, err
	}
	x, low, high := op.Operands[0].Type, op.Attrs.Ints("low"), op.Attrs.Ints("high")
	if len(low) != len(x.Shape) || len(high) != len(x.Shape) {
		return nil, fmt.Errorf("low %v and high %v do not fit %s", low, high, x)
	}
	if err := first(wantInts(op, "low", len(low), 0), wantInts(op, "high", len(high), 0)); err != nil {
		return nil, err
	}
	shape := slices.Clone(x.Shape)
	for i := range shape {
		shape[i] += low[i] + high[i]
	}
	return []ir.Type{{DType: x.DType, Shape: shape}}, nil
}

// Constant returns a value whose elements are all v.
func (b *Builder) Constant(t ir.Type, v float64) *ir.Value {
	return b.one("constant", nil, ir.A("dtype", t.DType.String()), ir.A("shape", append([]int{}, t.Shape...)), ir.A("value", v))
}

// Reshape gives x another shape of as many elements.
func (b *Builder) Reshape(x *ir.Value, shape ...int) *ir.Value {
	return b.one("reshape", values(x), ir.A("shape", append([]int{}, shape...)))
}

// Concat joins values along an axis.
func (b *Builder) Concat(axis int, x ...*ir.Value) *ir.Value {
	return b.one("concat", x, ir.A("axis", axis))
}

// Slice takes the box from starts to ends (exclusive).
func (b *Builder) Slice(x *ir.Value, starts, ends []int) *ir.Value {
	return b.one("slice", values(x), ir.A("starts", starts), ir.A("ends", ends))
}

// Pad adds zeros before and after x along each axis.
func (b *Builder) Pad(x *ir.Value, low, high []int) *ir.Value {
	return b.one("pad", values(x), ir.A("low", low), ir.A("high", high))
}

// Transpose reorders the axes: axis i of the result is axis order[i] of x.
func (b *Builder) Transpose(x *ir.Value, order ...int) *ir.Value {
	return b.one("transpose", values(x), ir.A("order", append([]int{}, order...)))
}
