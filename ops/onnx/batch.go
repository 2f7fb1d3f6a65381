package onnx

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// A program has static shapes; the ONNX file shall run with any batch. Which dimensions follow the batch is found by
// inferring every type once more with a batch of one more: what changes is symbolic, and where a shape rule fails, the
// operation holds for the one batch only.

// batch is what that inference found.
type batch struct {
	name  string
	size  int                   // the static batch, 0 where the program has none
	other map[*ir.Value]ir.Type // the types of all values with a batch of size+1
}

// traceBatch follows the batch, the first dimension of the first input that has one, through a program.
func traceBatch(p *ir.Program, name string) (batch, error) {
	b := batch{name: name, other: map[*ir.Value]ir.Type{}}
	if name == "" {
		b.name = "batch"
	}
	for _, v := range p.Inputs {
		b.other[v] = v.Type
		if len(v.Type.Shape) == 0 {
			continue
		}
		if b.size == 0 {
			b.size = v.Type.Shape[0]
		}
		if v.Type.Shape[0] == b.size {
			b.other[v] = ir.T(v.Type.DType, append([]int{b.size + 1}, v.Type.Shape[1:]...)...)
		}
	}
	for _, op := range p.Ops {
		types, err := b.infer(op)
		if err != nil {
			return b, fmt.Errorf("%s: fits no batch but the program's %d: %w", op.Position(), b.size, err)
		}
		for i, v := range op.Results {
			b.other[v] = types[i]
		}
	}
	return b, nil
}

func (b batch) infer(op *ir.Op) ([]ir.Type, error) {
	other := &ir.Op{Kind: op.Kind, Attrs: op.Attrs}
	for _, v := range op.Operands {
		other.Operands = append(other.Operands, &ir.Value{Type: b.other[v]})
	}
	switch op.Kind {
	case ir.Read:
		return []ir.Type{op.Variable.Type}, nil
	case ir.Assign, ir.Fusion: // refused when they are written
		types := make([]ir.Type, len(op.Results))
		for i, v := range op.Results {
			types[i] = v.Type
		}
		return types, nil
	case "reshape":
		shape, err := otherShape(op.Attrs.Ints("shape"), op.Operands[0].Type, b.other[op.Operands[0]])
		if err != nil {
			return nil, err
		}
		other.Attrs = op.Attrs.With("shape", shape)
	case "slice": // an axis that stays whole does so in ONNX too
		ends := append([]int{}, op.Attrs.Ints("ends")...)
		for i, start := range op.Attrs.Ints("starts") {
			if start == 0 && ends[i] == op.Operands[0].Type.Shape[i] {
				ends[i] = b.other[op.Operands[0]].Shape[i]
			}
		}
		other.Attrs = op.Attrs.With("ends", ends)
	}
	return ops.Rules.Infer(other)
}

// otherShape is the shape that reshape gives another operand: in ONNX the first dimension is copied where it is the
// operand's, and otherwise is what the others leave.
func otherShape(shape []int, x, other ir.Type) ([]int, error) {
	if len(shape) == 0 {
		return shape, nil
	}
	shape = append([]int{}, shape...)
	if len(x.Shape) > 0 && shape[0] == x.Shape[0] {
		shape[0] = other.Shape[0]
		return shape, nil
	}
	rest := ir.T(x.DType, shape[1:]...).Elements()
	if other.Elements()%rest != 0 {
		return nil, fmt.Errorf("the elements of %s do not divide into rows of %d", other, rest)
	}
	shape[0] = other.Elements() / rest
	return shape, nil
}
