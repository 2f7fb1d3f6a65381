package onnx

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// A program has static shapes; the ONNX file shall run with any batch, and any number of steps. Which dimensions follow
// one of these is found by inferring every type once more with one more of it: what changes is symbolic, and where a
// shape rule fails, the operation holds for the one size only.

// symbol is what that inference found of one symbolic size.
type symbol struct {
	name  string
	size  int                   // the program's, 0 where the program has none
	other map[*ir.Value]ir.Type // the types of all values with size+1
}

// firstAxes names the first dimension of every input that has the size of the first such one.
func firstAxes(p *ir.Program, name string) map[string][]string {
	axes, size := map[string][]string{}, 0
	for _, v := range p.Inputs {
		if len(v.Type.Shape) == 0 {
			continue
		}
		if size == 0 {
			size = v.Type.Shape[0]
		}
		if v.Type.Shape[0] == size {
			axes[v.Name] = []string{name}
		}
	}
	return axes
}

// traceSymbols follows each of the names that inputs have for their axes through a program.
func traceSymbols(p *ir.Program, axes map[string][]string) ([]symbol, error) {
	var symbols []symbol
	for _, v := range p.Inputs {
		for axis, name := range axes[v.Name] {
			if axis >= len(v.Type.Shape) {
				return nil, fmt.Errorf("input %s is %s, and %d axes of it have names", v.Name, v.Type, len(axes[v.Name]))
			}
			i := slices.IndexFunc(symbols, func(s symbol) bool { return s.name == name })
			switch size := v.Type.Shape[axis]; {
			case name == "":
			case i < 0:
				symbols = append(symbols, symbol{name, size, map[*ir.Value]ir.Type{}})
			case symbols[i].size != size:
				return nil, fmt.Errorf("input %s is %s, axis %d of it is a %s, which is %d elsewhere", v.Name, v.Type, axis, name, symbols[i].size)
			}
		}
	}
	for _, s := range symbols {
		for _, v := range p.Inputs {
			t := ir.T(v.Type.DType, slices.Clone(v.Type.Shape)...)
			for axis, name := range axes[v.Name] {
				if name == s.name {
					t.Shape[axis]++
				}
			}
			s.other[v] = t
		}
		if err := s.trace(p); err != nil {
			return nil, err
		}
	}
	return symbols, nil
}

// trace infers the results of all operations of a program or body.
func (s symbol) trace(p *ir.Program) error {
	for _, op := range p.Ops {
		types, err := s.infer(op)
		if op.Kind == ir.Scan && err != nil {
			return err // it has the position
		}
		if err != nil {
			return fmt.Errorf("%s: fits no %s but the program's %d: %w", op.Position(), s.name, s.size, err)
		}
		for i, v := range op.Results {
			s.other[v] = types[i]
		}
	}
	return nil
}

func (s symbol) infer(op *ir.Op) ([]ir.Type, error) {
	other := &ir.Op{Kind: op.Kind, Attrs: op.Attrs}
	for _, v := range op.Operands {
		other.Operands = append(other.Operands, &ir.Value{Type: s.other[v]})
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
	case ir.Scan:
		return s.loop(ir.LoopOf(op))
	case "reshape":
		shape, err := otherShape(op.Attrs.Ints("shape"), op.Operands[0].Type, s.other[op.Operands[0]])
		if err != nil {
			return nil, err
		}
		other.Attrs = op.Attrs.With("shape", shape)
	case "slice": // an axis that stays whole does so in ONNX too
		ends := append([]int{}, op.Attrs.Ints("ends")...)
		for i, start := range op.Attrs.Ints("starts") {
			if start == 0 && ends[i] == op.Operands[0].Type.Shape[i] {
				ends[i] = s.other[op.Operands[0]].Shape[i]
			}
		}
		other.Attrs = op.Attrs.With("ends", ends)
	}
	return ops.Rules.Infer(other)
}

// loop infers the types of a loop's body and results. ONNX's Scan has as many steps as what is stacked, which may be
// symbolic.
func (s symbol) loop(l ir.Loop) ([]ir.Type, error) {
	steps := l.Steps
	for i, in := range l.Body.Inputs {
		t := s.other[l.Outer(i)]
		if l.Carried <= i && i < l.Carried+l.Stacked {
			steps, t.Shape = t.Shape[0], t.Shape[1:]
		}
		s.other[in] = t
	}
	if err := s.trace(l.Body); err != nil {
		return nil, err
	}
	var types []ir.Type
	for i, r := range l.Body.Results {
		t := s.other[r.Value]
		if i >= l.Carried {
			t = ir.StackedType(steps, t)
		} else if before := s.other[l.Outer(i)]; !t.Equal(before) {
			return nil, fmt.Errorf("%s: fits no %s but the program's %d: carried value %d is %s and becomes %s", l.Position(), s.name, s.size, i, before, t)
		}
		types = append(types, t)
	}
	return types, nil
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

// symbolic says whether dimension i of a value varies, and by which name if it is a symbol and no function of symbols.
func (e *exporter) symbolic(v *ir.Value, i int) (name string, varies bool) {
	d := v.Type.Shape[i]
	for _, s := range e.symbols {
		other := s.other[v].Shape[i]
		if other == d {
			continue
		}
		if varies || d != s.size || other != d+1 {
			return "", true
		}
		name, varies = s.name, true
	}
	return name, varies
}
