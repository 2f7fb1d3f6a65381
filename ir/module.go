// Package ir is the graph that dartsc compiles: values in static single assignment form with static shapes, operations
// with typed attributes, programs that share named variables, a builder, a verifier, and a text form that prints and
// parses back to the same module.
//
// A module for one training step reads, in the text form:
//
//	module "example" {
//	  variable @w weight f32[2,2] = uniform(0.5)
//	  program "step"(%0 "x" f32[4,2]) {
//	    %1 = read() @w : f32[2,2]
//	    %2 = matmul(%0, %1) {transpose_a=false, transpose_b=false} : f32[4,2] at "head"
//	    return("y" %2)
//	  }
//	}
//
// The package knows what a graph is and nothing of what an operation means: shape rules come in through [Rules], which
// package ops implements. It knows no device, no plan and no model. Start with [Module], then [Builder].
package ir

import (
	"fmt"
	"slices"
)

// Module is a set of programs over shared variables.
type Module struct {
	Name      string
	Variables []*Variable
	Programs  []*Program

	names map[string]*Variable
}

// Kind tells apart what a variable is for. Optimisers and checkpoints select by it: the alphas of a search are never
// in the hands of the weight optimiser, because they are of another kind.
type Kind uint8

// The kinds of variables.
const (
	Weight    Kind = iota // a trained parameter of the network
	Alpha                 // an architecture parameter
	Moment                // the state of an optimiser (momentum buffer, Adam's moments and step count)
	Statistic             // a running statistic of BatchNorm
	Control               // a scalar that changes from step to step: learning rate, seed, step counter, probability
	Data                  // what programs read and never assign, and no checkpoint keeps: a data set that stays on the device
)

var kinds = [...]string{Weight: "weight", Alpha: "alpha", Moment: "moment", Statistic: "statistic", Control: "control", Data: "data"}

// String returns the name of the kind in the text form.
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// ParseKind is the inverse of String.
func ParseKind(name string) (Kind, error) {
	for k, n := range kinds {
		if n == name {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("unknown kind of variable %q: want weight, alpha, moment, statistic, control or data", name)
}

// Distribution is how a variable starts.
type Distribution uint8

// The distributions: all elements Value; uniform in [-Value, Value); normal with deviation Value and mean 0.
const (
	Constant Distribution = iota
	Uniform
	Normal
)

var distributions = [...]string{Constant: "constant", Uniform: "uniform", Normal: "normal"}

// String returns the name of the distribution in the text form.
func (d Distribution) String() string {
	if int(d) < len(distributions) {
		return distributions[d]
	}
	return fmt.Sprintf("Distribution(%d)", uint8(d))
}

// Init says what a variable holds before the first step.
type Init struct {
	Distribution Distribution
	Value        float64
}

// String returns the text form, for example uniform(0.25).
func (i Init) String() string {
	return i.Distribution.String() + "(" + formatFloat(i.Value) + ")"
}

// Variable is state that outlives a step and is shared by the programs of a module.
type Variable struct {
	Name string
	Kind Kind
	Type Type
	Init Init
}

// Program is one function of a module: a list of operations in an order in which they may run. Reads and assignments
// of variables happen in that order.
type Program struct {
	Name    string
	Inputs  []*Value
	Ops     []*Op
	Results []Result
}

// Result is a named value that a program returns.
type Result struct {
	Name  string
	Value *Value
}

// Value is the single result of one operation, or an input of a program.
type Value struct {
	ID   int // position in the program, given by Program.Number
	Name string
	Type Type
	Def  *Op // nil for an input of a program
	At   int // which result of Def, or which input
}

// The operations that ir itself understands. All others are only names to it.
const (
	Read   = "read"   // the value of a variable
	Assign = "assign" // a variable takes a value
	Fusion = "fusion" // a group of operations that becomes one launch; its body is in Op.Body
	Scan   = "scan"   // a loop over steps of time; its body is in Op.Body (see loop.go)
)

// Op is one operation. Scope is its position in the model ("cell 3/edge 1→4/sep_conv_5x5") and goes into every error
// and profile. Phase names the part of a step it belongs to ("alpha", "train"): values of one phase are not kept alive
// to save work in another.
type Op struct {
	Kind     string
	Operands []*Value
	Results  []*Value
	Attrs    Attrs
	Variable *Variable // of Read and Assign
	Body     *Program  // of Fusion and Scan
	Phase    string
	Scope    string
}

// Result returns the first result.
func (o *Op) Result() *Value { return o.Results[0] }

// Position is the place in the model for messages: the scope, or the kind where there is none.
func (o *Op) Position() string {
	if o.Scope == "" {
		return o.Kind
	}
	return o.Scope + ": " + o.Kind
}

// NewModule returns an empty module.
func NewModule(name string) *Module {
	return &Module{Name: name, names: map[string]*Variable{}}
}

// Declare adds a variable. Declaring one again with the same type and kind returns the first, so that several programs
// may be built by the same code.
func (m *Module) Declare(v Variable) (*Variable, error) {
	if err := v.Type.Check(); err != nil {
		return nil, fmt.Errorf("variable %s: %w", v.Name, err)
	}
	if old := m.names[v.Name]; old != nil {
		if !old.Type.Equal(v.Type) || old.Kind != v.Kind {
			return nil, fmt.Errorf("variable %s declared as %s %s, before as %s %s", v.Name, v.Kind, v.Type, old.Kind, old.Type)
		}
		return old, nil
	}
	added := v
	m.Variables = append(m.Variables, &added)
	m.names[v.Name] = &added
	return &added, nil
}

// Variable returns the variable of that name, or nil.
func (m *Module) Variable(name string) *Variable { return m.names[name] }

// Remove takes a variable out of the module. No program may use it any more.
func (m *Module) Remove(v *Variable) {
	if m.names[v.Name] == v {
		delete(m.names, v.Name)
		m.Variables = slices.DeleteFunc(m.Variables, func(other *Variable) bool { return other == v })
	}
}

// Program returns the program of that name, or nil.
func (m *Module) Program(name string) *Program {
	for _, p := range m.Programs {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Number gives every value of the program (its bodies have numbers of their own) an ID in order of definition and
// returns how many there are, so that passes can keep facts in slices.
func (p *Program) Number() int {
	n := 0
	for i, v := range p.Inputs {
		v.ID, v.At, v.Def, n = n, i, nil, n+1
	}
	for _, op := range p.Ops {
		for i, v := range op.Results {
			v.ID, v.At, v.Def, n = n, i, op, n+1
		}
	}
	return n
}

// Uses counts, for every value by its ID, the operands and results of the program that are it. Number must have been
// called since the last change.
func (p *Program) Uses(values int) []int {
	uses := make([]int, values)
	for _, op := range p.Ops {
		for _, v := range op.Operands {
			uses[v.ID]++
		}
	}
	for _, r := range p.Results {
		uses[r.Value.ID]++
	}
	return uses
}

// Clone copies the module deeply, so that passes can change it. Only what is never changed in place stays shared:
// shapes and the lists in attributes.
func (m *Module) Clone() *Module {
	c := NewModule(m.Name)
	variables := map[*Variable]*Variable{}
	for _, v := range m.Variables {
		nv := *v
		c.Variables = append(c.Variables, &nv)
		c.names[v.Name] = &nv
		variables[v] = &nv
	}
	for _, p := range m.Programs {
		c.Programs = append(c.Programs, p.clone(variables))
	}
	return c
}

// Clone copies a program that touches no variables, as the bodies of operations do not.
func (p *Program) Clone() *Program { return p.clone(nil) }

func (p *Program) clone(variables map[*Variable]*Variable) *Program {
	c := &Program{Name: p.Name}
	values := make(map[*Value]*Value, len(p.Ops))
	copyValue := func(v *Value, def *Op) *Value {
		nv := *v
		nv.Def = def
		values[v] = &nv
		return &nv
	}
	for _, v := range p.Inputs {
		c.Inputs = append(c.Inputs, copyValue(v, nil))
	}
	for _, op := range p.Ops {
		nop := &Op{Kind: op.Kind, Attrs: slices.Clone(op.Attrs), Variable: variables[op.Variable], Phase: op.Phase, Scope: op.Scope}
		if op.Body != nil {
			nop.Body = op.Body.clone(variables)
		}
		for _, v := range op.Operands {
			nop.Operands = append(nop.Operands, values[v])
		}
		for _, v := range op.Results {
			nop.Results = append(nop.Results, copyValue(v, nop))
		}
		c.Ops = append(c.Ops, nop)
	}
	for _, r := range p.Results {
		c.Results = append(c.Results, Result{r.Name, values[r.Value]})
	}
	return c
}
