package ir_test

import (
	"slices"
	"testing"

	"github.com/dartsc/dartsc/ir"
)

func TestCloneIsIndependent(t *testing.T) {
	m := example(t)
	text := m.String()
	c := m.Clone()
	if got := c.String(); got != text {
		t.Fatalf("clone prints\n%s\nwant\n%s", got, text)
	}
	if err := ir.Verify(c, rules{}); err != nil {
		t.Fatalf("clone: %v", err)
	}

	c.Name = "changed"
	for _, v := range c.Variables {
		v.Name, v.Kind, v.Type, v.Init = v.Name+"!", ir.Moment, ir.T(ir.U8), ir.Init{Value: 7}
	}
	if _, err := c.Declare(ir.Variable{Name: "new", Type: ir.T(ir.F32)}); err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Programs {
		change(p)
	}
	c.Programs = append(c.Programs, &ir.Program{Name: "new"})
	if got := m.String(); got != text {
		t.Errorf("after changes of its clone the module prints\n%s\nwant\n%s", got, text)
	}
	if m.Variable("new") != nil {
		t.Error("a variable of the clone is in the module")
	}
	if err := ir.Verify(m, rules{}); err != nil {
		t.Errorf("after changes of its clone: %v", err)
	}
}

// change overwrites all that a program has, its bodies included.
func change(p *ir.Program) {
	p.Name += "!"
	for _, v := range p.Inputs {
		v.Name, v.Type = "changed", ir.T(ir.Bool)
	}
	for _, op := range p.Ops {
		op.Kind, op.Phase, op.Scope = "changed", "changed", "changed"
		for i := range op.Attrs {
			op.Attrs[i] = ir.A("changed", true)
		}
		for i := range op.Operands {
			op.Operands[i] = p.Ops[len(p.Ops)-1].Result()
		}
		for _, v := range op.Results {
			v.Type = ir.T(ir.Bool)
		}
		if op.Body != nil {
			change(op.Body)
		}
	}
	for i := range p.Results {
		p.Results[i].Name = "changed"
	}
}

func TestNumberAndUses(t *testing.T) {
	p := example(t).Program("step")
	split, fusion := p.Ops[opSplit], p.Ops[opFusion]
	p.Ops = slices.Delete(p.Ops, opRead, opAssign+1) // the learning rate, assigned to itself
	split.Results[0].Def, split.Results[0].At = fusion, 9
	p.Inputs[1].Def = fusion
	if got, want := p.Number(), 7; got != want {
		t.Fatalf("got %d values, want %d", got, want)
	}
	values := slices.Clone(p.Inputs)
	for _, op := range p.Ops {
		for i, v := range op.Results {
			if v.Def != op || v.At != i {
				t.Errorf("value %d: defined by %v at %d, want %v at %d", v.ID, v.Def.Position(), v.At, op.Position(), i)
			}
			values = append(values, v)
		}
	}
	for i, v := range values {
		if v.ID != i {
			t.Errorf("value %d has number %d", i, v.ID)
		}
	}
	if p.Inputs[1].Def != nil {
		t.Error("an input has a definition")
	}
	// x and its labels, the weight, the convolution, both its parts, and the sum, which is the result.
	if got, want := p.Uses(7), []int{1, 0, 1, 1, 1, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("got uses %v, want %v", got, want)
	}
	fusion.Operands[1] = fusion.Operands[0]
	if got, want := p.Uses(7), []int{1, 0, 1, 1, 2, 0, 1}; !slices.Equal(got, want) {
		t.Errorf("with an operand twice: got uses %v, want %v", got, want)
	}
}

func TestDeclareAgain(t *testing.T) {
	m := ir.NewModule("m")
	first, err := m.Declare(ir.Variable{Name: "w", Type: ir.T(ir.F32, 2)})
	if err != nil {
		t.Fatal(err)
	}
	again, err := m.Declare(ir.Variable{Name: "w", Type: ir.T(ir.F32, 2), Init: ir.Init{Value: 3}})
	if err != nil || again != first || len(m.Variables) != 1 {
		t.Errorf("got another variable %v (of %d), error %v, want the first", again, len(m.Variables), err)
	}
}
