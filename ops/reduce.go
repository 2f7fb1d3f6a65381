package ops

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/ir"
)

// Reductions drop the axes they sum over; broadcast is their transpose.

var reduceDefs = []*Def{
	reduction("reduce_sum", func(n int) float64 { return 1 }, "ReduceSum"),
	reduction("reduce_mean", func(n int) float64 { return 1 / float64(n) }, "ReduceMean"),
	{
		// broadcast(x): repeats x along the given new axes of shape.
		Kind: "broadcast", Operands: "x", Attrs: []AttrDef{{"axes", []int{}}, {"shape", []int{}}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantOperands(op, 1, 1); err != nil {
				return nil, err
			}
			shape, x := op.Attrs.Ints("shape"), op.Operands[0].Type
			kept, err := dropAxes(shape, op.Attrs.Ints("axes"))
			if err == nil && !slices.Equal(kept, x.Shape) {
				err = fmt.Errorf("operand is %s, shape %v without axes %v is %v", x, shape, op.Attrs.Ints("axes"), kept)
			}
			return []ir.Type{{DType: x.DType, Shape: shape}}, err
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out := NewTensor(op.Results[0].Type)
			eachReduced(out.Type.Shape, op.Attrs.Ints("axes"), func(whole, reduced int) { out.Data[whole] = in[0].Data[reduced] })
			return []*Tensor{out}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			return values(b.ReduceSum(g[0], op.Attrs.Ints("axes")...))
		},
		FLOPs:  noFLOPs,
		NoONNX: trainingOnly,
	},
}

func reduction(kind string, scale func(n int) float64, onnx string) *Def {
	factor := func(op *ir.Op, whole ir.Type) float64 {
		kept, _ := dropAxes(whole.Shape, op.Attrs.Ints("axes"))
		return scale(whole.Elements() / ir.T(whole.DType, kept...).Elements())
	}
	return &Def{
		Kind: kind, Operands: "x", Attrs: []AttrDef{{"axes", []int{}}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 1, 1), wantFloat(op, 0)); err != nil {
				return nil, err
			}
			x := op.Operands[0].Type
			kept, err := dropAxes(x.Shape, op.Attrs.Ints("axes"))
			return []ir.Type{{DType: x.DType, Shape: kept}}, err
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out, f := NewTensor(op.Results[0].Type), factor(op, in[0].Type)
			eachReduced(in[0].Type.Shape, op.Attrs.Ints("axes"), func(whole, reduced int) { out.Data[reduced] += f * in[0].Data[whole] })
			return []*Tensor{out}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			x := op.Operands[0].Type
			spread := b.Broadcast(g[0], x.Shape, op.Attrs.Ints("axes")...)
			if f := factor(op, x); f != 1 {
				spread = b.Axpby(spread, spread, f, 0)
			}
			return values(spread)
		},
		FLOPs: perOperandElement(1),
		ONNX: func(e Exporter, op *ir.Op) error {
			axes := op.Attrs.Ints("axes")
			if len(axes) == 0 {
				return onnxNode("Identity")(e, op) // to ONNX, no axes are all axes
			}
			if onnx == "ReduceMean" && len(op.Operands[0].Type.Shape) == 4 && slices.Equal(axes, []int{2, 3}) {
				// Mean over the image is what runtimes know as global pooling; it keeps the two axes, a Flatten drops them.
				return globalPoolONNX(e, op)
			}
			if onnx == "ReduceSum" {
				e.Node(onnx, []string{e.Name(op.Operands[0]), onnxInts(e, axes)}, op.Results, ir.A("keepdims", 0))
				return nil
			}
			e.Node(onnx, []string{e.Name(op.Operands[0])}, op.Results, ir.A("axes", axes), ir.A("keepdims", 0))
			return nil
		},
	}
}

func globalPoolONNX(e Exporter, op *ir.Op) error {
	x := op.Operands[0].Type
	pooled := &ir.Value{Type: ir.T(x.DType, x.Shape[0], x.Shape[1], 1, 1)}
	e.Node("GlobalAveragePool", []string{e.Name(op.Operands[0])}, values(pooled))
	e.Node("Flatten", []string{e.Name(pooled)}, op.Results, ir.A("axis", 1))
	return nil
}

func dropAxes(shape, axes []int) ([]int, error) {
	if !slices.IsSorted(axes) || len(slices.Compact(slices.Clone(axes))) != len(axes) {
		return nil, fmt.Errorf("axes %v must be in ascending order, each once", axes)
	}
	var kept []int
	for i, d := range shape {
		if !slices.Contains(axes, i) {
			kept = append(kept, d)
		}
	}
	if len(kept)+len(axes) != len(shape) {
		return nil, fmt.Errorf("axes %v do not fit shape %v", axes, shape)
	}
	return kept, nil
}

// eachReduced calls f with every position of shape and the position left when the axes are dropped.
func eachReduced(shape, axes []int, f func(whole, reduced int)) {
	kept, _ := dropAxes(shape, axes)
	keptStrides, reduced := strides(kept), make([]int, len(shape))
	k := 0
	for i := range shape {
		if !slices.Contains(axes, i) {
			reduced[i] = keptStrides[k]
			k++
		}
	}
	each(shape, func(p int, index []int) { f(p, dot(index, reduced)) })
}

// ReduceSum sums over the axes, which it drops.
func (b *Builder) ReduceSum(x *ir.Value, axes ...int) *ir.Value {
	return b.one("reduce_sum", values(x), ir.A("axes", append([]int{}, axes...)))
}

// ReduceMean takes the mean over the axes, which it drops.
func (b *Builder) ReduceMean(x *ir.Value, axes ...int) *ir.Value {
	return b.one("reduce_mean", values(x), ir.A("axes", append([]int{}, axes...)))
}

// Broadcast repeats x along new axes of the given shape.
func (b *Builder) Broadcast(x *ir.Value, shape []int, axes ...int) *ir.Value {
	return b.one("broadcast", values(x), ir.A("axes", append([]int{}, axes...)), ir.A("shape", append([]int{}, shape...)))
}
