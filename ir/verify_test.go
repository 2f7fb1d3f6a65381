package ir_test

import (
	"testing"

	"github.com/dartsc/dartsc/ir"
)

// The operations of the example's program step, by what they are.
const (
	opRead = iota
	opAssign
	opReadWeight
	opConv
	opSplit
	opFusion
)

func TestVerify(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, m *ir.Module, step *ir.Program)
		want  string
	}{
		{"use before definition", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Ops[opConv], step.Ops[opSplit] = step.Ops[opSplit], step.Ops[opConv]
		}, "program step: operation 3, cell 3: split: operand 0 is used before its definition"},
		{"missing operand", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Ops[opSplit].Operands[0] = nil
		}, "program step: operation 4, cell 3: split: operand 0 is used before its definition"},
		{"defined twice", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Ops = append(step.Ops, step.Ops[opConv])
		}, "program step: operation 6, cell 3/edge 1→4/sep_conv_5x5: conv2d: a value is defined twice or missing"},
		{"input is there twice", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Inputs = append(step.Inputs, step.Inputs[0])
		}, "program step: input 2: a value is defined twice or missing"},
		{"value of two programs", func(t *testing.T, m *ir.Module, step *ir.Program) {
			m.Programs[1].Ops = append(m.Programs[1].Ops, step.Ops[opRead])
		}, "program evaluate: operation 1, read: a value is defined twice or missing"},
		{"value of program and body", func(t *testing.T, m *ir.Module, step *ir.Program) {
			body := step.Ops[opFusion].Body
			body.Ops[1].Results[0] = step.Ops[opFusion].Results[0]
			body.Results[0].Value = step.Ops[opFusion].Results[0]
		}, "program step: operation 5, cell 3: fusion: a value is defined twice or missing"},
		{"foreign variable", func(t *testing.T, m *ir.Module, step *ir.Program) {
			foreign := *step.Ops[opReadWeight].Variable
			step.Ops[opReadWeight].Variable = &foreign
		}, "program step: operation 2, cell 3/edge 1→4/sep_conv_5x5: read: variable cells.0.weight does not belong here"},
		{"variable no longer in the module", func(t *testing.T, m *ir.Module, step *ir.Program) {
			m.Variables = m.Variables[1:]
		}, "program step: operation 2, cell 3/edge 1→4/sep_conv_5x5: read: variable cells.0.weight does not belong here"},
		{"variable declared twice", func(t *testing.T, m *ir.Module, step *ir.Program) {
			again := *m.Variables[0]
			m.Variables = append(m.Variables, &again)
		}, "variable cells.0.weight is declared twice"},
		{"variable type", func(t *testing.T, m *ir.Module, step *ir.Program) {
			m.Variables[0].Type = ir.Type{}
		}, "variable cells.0.weight: invalid element type"},
		{"wrong result type", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Ops[opConv].Results[0].Type = ir.T(ir.F64, 4, 8, 6, 5)
		}, "program step: operation 3, cell 3/edge 1→4/sep_conv_5x5: conv2d: result 0 is f64[4,8,6,5], its rule gives f32[4,8,6,5]"},
		{"wrong number of results", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Ops[opSplit].Results = step.Ops[opSplit].Results[:1]
		}, "program step: operation 4, cell 3: split: has 1 results, its rule gives 2"},
		{"rule broken", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Ops[opSplit].Attrs = step.Ops[opSplit].Attrs.With("at", 4)
		}, "program step: operation 4, cell 3: split: cannot split f32[4,8,6,5] at 4"},
		{"attribute type", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Ops[opSplit].Attrs = step.Ops[opSplit].Attrs.With("by", int64(1))
		}, "program step: operation 4, cell 3: split: attribute by has type int64: want int, float64, bool, string, []int or []float64"},
		{"program twice", func(t *testing.T, m *ir.Module, step *ir.Program) {
			m.Programs[1].Name = "step"
		}, "program step is there twice"},
		{"input name twice", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Inputs[1].Name = "x"
		}, `program step: input "x" is there twice`},
		{"result name twice", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Results = append(step.Results, step.Results[0])
		}, `program step: result "y" is there twice`},
		{"result of another program", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Results[0].Value = m.Programs[1].Results[0].Value
		}, `program step: result "y" is not defined in the program`},
		{"fusion with another number of operands", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Ops[opFusion].Operands = step.Ops[opFusion].Operands[:1]
		}, "program step: operation 5, cell 3: fusion: needs a body with as many inputs as it has operands"},
		{"fusion of other types", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Ops[opFusion].Body = sum(t, ir.T(ir.F32, 9))
		}, "program step: operation 5, cell 3: fusion: operand 0 is f32[2,8,6,5], the body wants f32[9]"},
		{"broken body", func(t *testing.T, m *ir.Module, step *ir.Program) {
			body := step.Ops[opFusion].Body
			body.Ops = body.Ops[1:]
		}, "program step: operation 5, cell 3: fusion: body: operation 0, relu: operand 0 is used before its definition"},
		{"body reads a value of the program", func(t *testing.T, m *ir.Module, step *ir.Program) {
			step.Ops[opFusion].Body.Ops[0].Operands[0] = step.Ops[opSplit].Results[0]
		}, "program step: operation 5, cell 3: fusion: body: operation 0, add: operand 0 is used before its definition"},
		{"body reads a variable", func(t *testing.T, m *ir.Module, step *ir.Program) {
			b := ir.Continue(m, rules{})
			b.Read(m.Variables[0])
			body := step.Ops[opFusion].Body
			body.Ops = append(b.Program.Ops, body.Ops...)
		}, "program step: operation 5, cell 3: fusion: body: operation 0, read: variable cells.0.weight does not belong here"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := example(t)
			test.spoil(t, m, m.Program("step"))
			err := ir.Verify(m, rules{})
			if err == nil || err.Error() != test.want {
				t.Errorf("\n got %v\nwant %s", err, test.want)
			}
		})
	}
}
