package ir

import (
	"fmt"
	"slices"
)

// A scan is a loop over the steps of a sequence, one operation with a body that is there once, however long the
// sequence is:
//
//	%5, %6 = scan(%length, %h0, %x, %w) {carried=1, reverse=false, stacked=1, steps=35} : f32[4,2], f32[35,4,2]
//	  body "scan"(%0 "carried0" f32[4,2], %1 "stacked0" f32[4,3], %2 "captured0" f32[3,2]) { … return("carried0" %7, "output0" %8) }
//
// The first operand, an i64, says how many steps there are this time: from 0 to the attribute steps, which is how much
// room there is. Then come the first values of what is carried from step to step, values that are stacked along their
// first axis, of which each step sees its own part, and captured values, which every step sees whole. The body takes
// these in the same order and returns the new values of what is carried, then outputs. The results are the last values
// of what is carried, and the outputs stacked along a new first axis, zero beyond the last step.
//
// With attribute reverse the steps run from the last to the first.

// Loop gives the parts of a scan their names.
type Loop struct {
	*Op
	Steps                    int // most
	Carried, Stacked, Inputs int // the first body inputs are carried, the next stacked, the rest captured; all of them
	Reverse                  bool
}

// LoopOf reads the attributes of a scan.
func LoopOf(op *Op) Loop {
	l := Loop{Op: op, Steps: op.Attrs.Int("steps"), Carried: op.Attrs.Int("carried"), Stacked: op.Attrs.Int("stacked"), Reverse: op.Attrs.Bool("reverse")}
	if op.Body != nil {
		l.Inputs = len(op.Body.Inputs)
	}
	return l
}

// Length is the operand that says how many steps there are.
func (l Loop) Length() *Value { return l.Operands[0] }

// Outer is the operand that stands for body input i.
func (l Loop) Outer(i int) *Value { return l.Operands[1+i] }

// SetParts writes the attributes after inputs or results were added or removed.
func (l Loop) SetParts(carried, stacked int) {
	l.Attrs = l.Attrs.With("carried", carried).With("stacked", stacked)
	l.Op.Attrs = l.Attrs
}

// StackedType is the type of a value of every step together.
func StackedType(steps int, t Type) Type {
	return Type{DType: t.DType, Shape: append([]int{steps}, t.Shape...)}
}

func inferScan(op *Op) ([]Type, error) {
	want := map[string]bool{"carried": true, "reverse": true, "stacked": true, "steps": true}
	for _, a := range op.Attrs {
		_, number := a.Value.(int)
		_, flag := a.Value.(bool)
		if !want[a.Name] || flag != (a.Name == "reverse") || number == flag {
			return nil, fmt.Errorf("attribute %s: want integers carried, stacked and steps, and reverse", a.Name)
		}
	}
	if len(op.Attrs) != len(want) || op.Body == nil {
		return nil, fmt.Errorf("needs a body and the attributes carried, reverse, stacked and steps")
	}
	l := LoopOf(op)
	if l.Steps < 1 || l.Carried < 0 || l.Stacked < 0 || l.Carried > l.Inputs || l.Stacked > l.Inputs-l.Carried || l.Carried > len(op.Body.Results) {
		return nil, fmt.Errorf("%d steps, %d carried and %d stacked values do not fit a body of %d inputs and %d results",
			l.Steps, l.Carried, l.Stacked, l.Inputs, len(op.Body.Results))
	}
	if len(op.Operands) != l.Inputs+1 {
		return nil, fmt.Errorf("has %d operands, wants a length and as many as the body has inputs, %d", len(op.Operands), l.Inputs)
	}
	if !l.Length().Type.Equal(T(I64)) {
		return nil, fmt.Errorf("length is %s, wants %s", l.Length().Type, T(I64))
	}
	for i, in := range op.Body.Inputs {
		inner := in.Type
		if l.Carried <= i && i < l.Carried+l.Stacked {
			inner = StackedType(l.Steps, inner)
		}
		if t := l.Outer(i).Type; !t.Equal(inner) {
			return nil, fmt.Errorf("operand %d is %s, the body wants %s", i+1, t, inner)
		}
	}
	var types []Type
	for i, r := range op.Body.Results {
		switch {
		case r.Value == nil:
			return nil, fmt.Errorf("result %q of the body is not a value", r.Name)
		case i >= l.Carried:
			types = append(types, StackedType(l.Steps, r.Value.Type))
		case !r.Value.Type.Equal(op.Body.Inputs[i].Type):
			return nil, fmt.Errorf("carried value %d is %s and becomes %s", i, op.Body.Inputs[i].Type, r.Value.Type)
		default:
			types = append(types, r.Value.Type)
		}
	}
	return types, nil
}

// LoopBody is what the function that writes the body of a scan is given, and what it returns.
type LoopBody struct {
	Carried, Stacked []*Value
}

// Scan appends a scan. Write appends the body through the builder it is given, and returns the new values of what is
// carried and the outputs; it may use values of the program around it, which are captured. The results are the last
// values of what is carried and the stacked outputs.
func (b *Builder) Scan(length *Value, steps int, carried, stacked []*Value, reverse bool,
	write func(b *Builder, in LoopBody) (next, outputs []*Value)) (last, outputs []*Value) {
	inner := &Builder{Module: b.Module, Program: &Program{Name: Scan}, rules: b.rules, scopes: slices.Clone(b.scopes), phase: b.phase}
	var in LoopBody
	for i, v := range carried {
		in.Carried = append(in.Carried, inner.Input(fmt.Sprintf("carried%d", i), v.Type))
	}
	for i, v := range stacked {
		t := v.Type
		if len(t.Shape) == 0 || t.Shape[0] != steps {
			inner.Fail(fmt.Errorf("stacked value %d is %s, wants %d steps along its first axis", i, t, steps))
		} else {
			t.Shape = t.Shape[1:]
		}
		in.Stacked = append(in.Stacked, inner.Input(fmt.Sprintf("stacked%d", i), t))
	}
	next, made := write(inner, in)
	if len(next) != len(carried) {
		inner.Fail(fmt.Errorf("scan: the body carries %d values on, wants %d", len(next), len(carried)))
	}
	for i, v := range next {
		inner.Result(fmt.Sprintf("carried%d", i), v)
	}
	for i, v := range made {
		inner.Result(fmt.Sprintf("output%d", i), v)
	}
	if inner.err != nil {
		if b.err == nil {
			b.err = inner.err // it has the position
		}
		return invalid(len(carried)), invalid(len(made))
	}
	operands := slices.Concat([]*Value{length}, carried, stacked, inner.Program.capture())
	results := b.Loop(inner.Program, operands, Loop{Steps: steps, Carried: len(carried), Stacked: len(stacked), Reverse: reverse})
	return results[:len(carried)], results[len(carried):]
}

// Loop appends a scan of a body that is there already, for passes; of the shape it reads the attributes.
func (b *Builder) Loop(body *Program, operands []*Value, shape Loop) []*Value {
	attrs, err := NewAttrs(A("carried", shape.Carried), A("reverse", shape.Reverse), A("stacked", shape.Stacked), A("steps", shape.Steps))
	if err != nil {
		b.Fail(err)
	}
	return b.append(&Op{Kind: Scan, Operands: operands, Attrs: attrs, Body: body}, len(body.Results))
}

// invalid is what a builder returns after an error.
func invalid(n int) []*Value {
	values := make([]*Value, n)
	for i := range values {
		values[i] = &Value{}
	}
	return values
}

// capture gives a body inputs for the values that it uses and does not define, and returns these.
func (p *Program) capture() (captured []*Value) {
	known := map[*Value]*Value{}
	for _, v := range p.Inputs {
		known[v] = v
	}
	for _, op := range p.Ops {
		for _, v := range op.Results {
			known[v] = v
		}
	}
	inside := func(v *Value) *Value {
		if in := known[v]; in != nil {
			return in
		}
		in := &Value{Name: fmt.Sprintf("captured%d", len(captured)), Type: v.Type}
		p.Inputs, captured = append(p.Inputs, in), append(captured, v)
		known[v] = in
		return in
	}
	for _, op := range p.Ops {
		for i, v := range op.Operands {
			op.Operands[i] = inside(v)
		}
	}
	for i, r := range p.Results {
		p.Results[i].Value = inside(r.Value)
	}
	p.Number()
	return captured
}
