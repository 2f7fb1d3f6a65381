package ops

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/ir"
)

// The mixed operation of DARTS (Liu et al. 2019, eq. 2) is a weighted sum whose weights are rows of softmax(alpha).
// The weights stay one tensor, and each term names the element that weighs it, so that a whole node (every primitive
// of every edge into it) is one operation.

var mixedDefs = []*Def{
	{
		// weighted_sum(weights, x…) → Σ weights[select[i]]·x[i]; select holds row-major positions in weights.
		Kind: "weighted_sum", Operands: "weights, x…", Attrs: []AttrDef{{"select", []int{}}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if len(op.Operands) < 2 {
				return nil, fmt.Errorf("has %d operands, wants weights and at least one term", len(op.Operands))
			}
			return []ir.Type{op.Operands[1].Type}, wantSelect(op, op.Operands[0].Type)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			y := NewTensor(op.Results[0].Type)
			for k, position := range op.Attrs.Ints("select") {
				for i, v := range in[1+k].Data {
					y.Data[i] += in[0].Data[position] * v
				}
			}
			return []*Tensor{y}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			weights, terms, selected := op.Operands[0], op.Operands[1:], op.Attrs.Ints("select")
			grads := values(b.WeightedSumWeightGrad(g[0], terms, selected, weights.Type.Shape))
			for _, position := range selected {
				grads = append(grads, b.WeightedSum(weights, values(g[0]), []int{position}))
			}
			return grads
		},
		FLOPs: func(op *ir.Op) float64 {
			return 2 * float64(len(op.Operands)-1) * float64(op.Results[0].Type.Elements())
		},
		ONNX: weightedSumONNX,
	},
	{
		// weighted_sum_weight_grad(g, x…): zero but for element select[i], to which ⟨g, x[i]⟩ is added.
		Kind: "weighted_sum_weight_grad", Operands: "g, x…", Attrs: []AttrDef{{"select", []int{}}, {"shape", []int{}}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if len(op.Operands) < 2 {
				return nil, fmt.Errorf("has %d operands, wants a cotangent and at least one term", len(op.Operands))
			}
			weights := ir.Type{DType: op.Operands[0].Type.DType, Shape: op.Attrs.Ints("shape")}
			if err := weights.Check(); err != nil {
				return nil, err
			}
			return []ir.Type{weights}, first(wantSelect(op, weights), wantType(op, 1, op.Operands[0].Type))
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out := NewTensor(op.Results[0].Type)
			for k, position := range op.Attrs.Ints("select") {
				for i, v := range in[1+k].Data {
					out.Data[position] += in[0].Data[i] * v
				}
			}
			return []*Tensor{out}
		},
		NoGradient: "is itself a gradient; second derivatives are not needed (the unrolled step uses finite differences)",
		FLOPs: func(op *ir.Op) float64 {
			return 2 * float64(len(op.Operands)-1) * float64(op.Operands[0].Type.Elements())
		},
		NoONNX: trainingOnly,
	},
}

// weightedSumONNX adds up what has one weight before it is weighed.
func weightedSumONNX(e Exporter, op *ir.Op) error {
	node, selected := onnxNamed(e, op.Results[0].Type), op.Attrs.Ints("select")
	var sum []string
	for i, position := range selected {
		if slices.Contains(selected[:i], position) {
			continue
		}
		var terms []string
		for k := i; k < len(selected); k++ {
			if selected[k] == position {
				terms = append(terms, e.Name(op.Operands[1+k]))
			}
		}
		sum = append(sum, onnxWeighted(node, e, node("Sum", terms...), op.Operands[0], position))
	}
	return onnxSum(e, sum, op)
}

// onnxWeighted multiplies x by the element of weights at a row-major position; by nothing where that is a constant 1.
func onnxWeighted(node func(opType string, inputs ...string) string, e Exporter, x string, weights *ir.Value, position int) string {
	if def := e.Source(weights).Def; def != nil && def.Kind == "constant" && def.Attrs.Float("value") == 1 {
		return x
	}
	flat := onnxNamed(e, ir.T(weights.Type.DType, weights.Type.Elements()))("Reshape", e.Name(weights), onnxInts(e, []int{-1}))
	at := e.Constant(ir.T(ir.I64), []float64{float64(position)})
	return node("Mul", x, onnxNamed(e, ir.T(weights.Type.DType))("Gather", flat, at))
}

// wantSelect checks the terms of a weighted sum or of its gradient: one type, one selected weight each.
func wantSelect(op *ir.Op, weights ir.Type) error {
	selected := op.Attrs.Ints("select")
	if len(selected) != len(op.Operands)-1 {
		return fmt.Errorf("selects %d weights for %d terms", len(selected), len(op.Operands)-1)
	}
	for _, position := range selected {
		if position < 0 || position >= weights.Elements() {
			return fmt.Errorf("selects weight %d of %s", position, weights)
		}
	}
	for i := range op.Operands[1:] {
		if err := wantType(op, i+1, op.Operands[1].Type); err != nil {
			return err
		}
	}
	return wantFloat(op, 0, 1)
}

// WeightedSum returns Σ weights[selected[i]]·terms[i].
func (b *Builder) WeightedSum(weights *ir.Value, terms []*ir.Value, selected []int) *ir.Value {
	return b.one("weighted_sum", append(values(weights), terms...), ir.A("select", selected))
}

// WeightedSumWeightGrad is the cotangent of the weights, whose shape is given.
func (b *Builder) WeightedSumWeightGrad(g *ir.Value, terms []*ir.Value, selected, shape []int) *ir.Value {
	return b.one("weighted_sum_weight_grad", append(values(g), terms...), ir.A("select", selected), ir.A("shape", shape))
}
