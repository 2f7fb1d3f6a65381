package ir

import (
	"fmt"
	"slices"
	"strings"
)

// Rules is what the operations mean to a graph: the types of an operation's results, or what is wrong with it. Package
// ops implements it; ir gives Read, Assign, Fusion and Scan their own rules.
type Rules interface {
	Infer(op *Op) ([]Type, error)
}

// Builder appends operations to one program of a module. The first error sticks: it names the position in the model,
// later calls do nothing, and Build returns it. So model code needs no error handling between operations.
type Builder struct {
	Module  *Module
	Program *Program

	rules  Rules
	scopes []string
	phase  string
	err    error
}

// NewBuilder starts a program. The program becomes part of the module when Build succeeds.
func NewBuilder(m *Module, name string, rules Rules) *Builder {
	return &Builder{Module: m, Program: &Program{Name: name}, rules: rules}
}

// Continue returns a builder that appends to an operation list of its own, for passes that rewrite a program: the
// operations appear in Program.Ops, and the caller puts them where they belong.
func Continue(m *Module, rules Rules) *Builder {
	return &Builder{Module: m, Program: &Program{Name: "rewrite"}, rules: rules}
}

// Err returns the first error.
func (b *Builder) Err() error { return b.err }

// Fail records an error at the present position of the model.
func (b *Builder) Fail(err error) {
	if b.err == nil {
		if scope := b.Scope(); scope != "" {
			err = fmt.Errorf("%s: %w", scope, err)
		}
		b.err = err
	}
}

// Scope is the present position in the model.
func (b *Builder) Scope() string { return strings.Join(b.scopes, "/") }

// Phase is the present phase of the step.
func (b *Builder) Phase() string { return b.phase }

// At runs build inside a named part of the model.
func (b *Builder) At(scope string, build func()) {
	outer := b.scopes
	b.scopes = append(slices.Clone(outer), scope)
	build()
	b.scopes = outer
}

// In runs build inside a phase of the step.
func (b *Builder) In(phase string, build func()) {
	old := b.phase
	b.phase = phase
	build()
	b.phase = old
}

// Place sets position and phase at once, for passes that give new operations the place of old ones.
func (b *Builder) Place(op *Op) {
	b.phase, b.scopes = op.Phase, nil
	if op.Scope != "" {
		b.scopes = []string{op.Scope}
	}
}

// Input adds an input of the program.
func (b *Builder) Input(name string, t Type) *Value {
	if err := t.Check(); err != nil {
		b.Fail(fmt.Errorf("input %s: %w", name, err))
	}
	v := &Value{Name: name, Type: t, At: len(b.Program.Inputs)}
	b.Program.Inputs = append(b.Program.Inputs, v)
	return v
}

// Result names a value that the program returns.
func (b *Builder) Result(name string, v *Value) {
	if v == nil || v.Type.DType == Invalid {
		b.Fail(fmt.Errorf("result %s is not a value", name))
	}
	b.Program.Results = append(b.Program.Results, Result{name, v})
}

// Declare adds a variable to the module, or finds the one declared before.
func (b *Builder) Declare(v Variable) *Variable {
	if b.err != nil {
		return &v
	}
	declared, err := b.Module.Declare(v)
	if err != nil {
		b.Fail(err)
		return &v
	}
	return declared
}

// Read returns the value of a variable.
func (b *Builder) Read(v *Variable) *Value {
	return b.append(&Op{Kind: Read, Variable: v}, 1)[0]
}

// Assign gives a variable a value.
func (b *Builder) Assign(v *Variable, value *Value) {
	b.append(&Op{Kind: Assign, Variable: v, Operands: []*Value{value}}, 0)
}

// Op appends an operation with the given number of results; on an error it returns values of invalid type.
func (b *Builder) Op(kind string, results int, operands []*Value, attrs ...Attr) []*Value {
	sorted, err := NewAttrs(attrs...)
	if err != nil {
		b.Fail(fmt.Errorf("%s: %w", kind, err))
	}
	return b.append(&Op{Kind: kind, Operands: operands, Attrs: sorted}, results)
}

// Fuse appends a fusion: an operation whose meaning is the given body applied to the operands.
func (b *Builder) Fuse(body *Program, operands []*Value, attrs ...Attr) []*Value {
	sorted, err := NewAttrs(attrs...)
	if err != nil {
		b.Fail(fmt.Errorf("%s: %w", Fusion, err))
	}
	results := 0
	if body != nil {
		results = len(body.Results)
	}
	return b.append(&Op{Kind: Fusion, Operands: operands, Attrs: sorted, Body: body}, results)
}

func (b *Builder) append(op *Op, results int) []*Value {
	op.Phase, op.Scope = b.phase, b.Scope()
	values := make([]*Value, results)
	for i := range values {
		values[i] = &Value{Def: op, At: i}
	}
	if b.err != nil {
		return values
	}
	types, err := infer(op, b.rules)
	if err == nil && len(types) != results {
		err = fmt.Errorf("has %d results, not %d", len(types), results)
	}
	if err != nil {
		b.Fail(fmt.Errorf("%s: %w", op.Kind, err))
		return values
	}
	for i := range values {
		values[i].Type = types[i]
	}
	// The caller may do as it likes with its slices.
	op.Operands, op.Results = slices.Clone(op.Operands), slices.Clone(values)
	b.Program.Ops = append(b.Program.Ops, op)
	return values
}

// Build ends the program and adds it to the module.
func (b *Builder) Build() (*Program, error) {
	if b.err != nil {
		return nil, fmt.Errorf("program %s: %w", b.Program.Name, b.err)
	}
	if b.Module.Program(b.Program.Name) != nil {
		return nil, fmt.Errorf("program %s: the module has one of that name", b.Program.Name)
	}
	b.Program.Number()
	b.Module.Programs = append(b.Module.Programs, b.Program)
	return b.Program, nil
}

// isKind says whether the text form can tell the kind of an operation from its own words.
func isKind(kind string) bool {
	return isName(kind) && !slices.Contains([]string{"return", "in", "at", "body"}, kind)
}

// infer gives the types of the results of any operation, those of ir included.
func infer(op *Op, rules Rules) ([]Type, error) {
	if !isKind(op.Kind) {
		return nil, fmt.Errorf("kind %q: want letters, digits and _, and none of the words of the text form", op.Kind)
	}
	for i, v := range op.Operands {
		if v == nil || v.Type.DType == Invalid {
			return nil, fmt.Errorf("operand %d is not a value", i)
		}
	}
	switch op.Kind {
	case Read:
		if op.Variable == nil || len(op.Operands) != 0 {
			return nil, fmt.Errorf("takes a variable and no operands")
		}
		return []Type{op.Variable.Type}, nil
	case Assign:
		if op.Variable == nil || len(op.Operands) != 1 {
			return nil, fmt.Errorf("takes a variable and one operand")
		}
		if !op.Operands[0].Type.Equal(op.Variable.Type) {
			return nil, fmt.Errorf("value %s does not fit variable %s %s", op.Operands[0].Type, op.Variable.Name, op.Variable.Type)
		}
		return nil, nil
	case Fusion:
		if op.Body == nil || len(op.Body.Inputs) != len(op.Operands) {
			return nil, fmt.Errorf("needs a body with as many inputs as it has operands")
		}
		for i, in := range op.Body.Inputs {
			if !in.Type.Equal(op.Operands[i].Type) {
				return nil, fmt.Errorf("operand %d is %s, the body wants %s", i, op.Operands[i].Type, in.Type)
			}
		}
		var types []Type
		for _, r := range op.Body.Results {
			if r.Value == nil {
				return nil, fmt.Errorf("result %q of the body is not a value", r.Name)
			}
			types = append(types, r.Value.Type)
		}
		return types, nil
	case Scan:
		return inferScan(op)
	}
	return rules.Infer(op)
}
