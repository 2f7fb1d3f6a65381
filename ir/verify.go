package ir

import "fmt"

// Verify checks that a module is well formed: every value is defined once and before its uses, every operation obeys
// its shape rule, variables belong to the module, names are unique. No value may be in two programs, nor in a program
// and in a body of its operations, because each numbers its own. The error names the program, the operation and what is
// broken. Verify numbers the values.
func Verify(m *Module, rules Rules) error {
	c := verifier{rules: rules, variables: map[*Variable]bool{}, owned: map[*Value]bool{}}
	for _, v := range m.Variables {
		if c.variables[v] || m.names[v.Name] != v {
			return fmt.Errorf("variable %s is declared twice", v.Name)
		}
		c.variables[v] = true
		if err := v.Type.Check(); err != nil {
			return fmt.Errorf("variable %s: %w", v.Name, err)
		}
	}
	names := map[string]bool{}
	for _, p := range m.Programs {
		if names[p.Name] {
			return fmt.Errorf("program %s is there twice", p.Name)
		}
		names[p.Name] = true
		if err := c.program(p, c.variables); err != nil {
			return fmt.Errorf("program %s: %w", p.Name, err)
		}
	}
	return nil
}

// verifier goes over one module.
type verifier struct {
	rules     Rules
	variables map[*Variable]bool // those of the module
	owned     map[*Value]bool    // all values of the programs and bodies seen so far
}

// program checks a program or a body, whose operations may touch the given variables.
func (c *verifier) program(p *Program, variables map[*Variable]bool) error {
	defined := make(map[*Value]bool, len(p.Ops))
	define := func(v *Value) error {
		if v == nil || c.owned[v] {
			return fmt.Errorf("a value is defined twice or missing")
		}
		defined[v], c.owned[v] = true, true
		return v.Type.Check()
	}
	inputs := map[string]bool{}
	for i, v := range p.Inputs {
		if err := define(v); err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
		if v.Name != "" && inputs[v.Name] {
			return fmt.Errorf("input %q is there twice", v.Name)
		}
		inputs[v.Name] = true
	}
	for i, op := range p.Ops {
		if err := c.op(op, variables, defined); err != nil {
			return fmt.Errorf("operation %d, %s: %w", i, op.Position(), err)
		}
		for _, v := range op.Results {
			if err := define(v); err != nil {
				return fmt.Errorf("operation %d, %s: %w", i, op.Position(), err)
			}
		}
	}
	results := map[string]bool{}
	for _, r := range p.Results {
		if results[r.Name] {
			return fmt.Errorf("result %q is there twice", r.Name)
		}
		results[r.Name] = true
		if !defined[r.Value] {
			return fmt.Errorf("result %q is not defined in the program", r.Name)
		}
	}
	p.Number()
	return nil
}

func (c *verifier) op(op *Op, variables map[*Variable]bool, defined map[*Value]bool) error {
	for i, v := range op.Operands {
		if !defined[v] {
			return fmt.Errorf("operand %d is used before its definition", i)
		}
	}
	if op.Variable != nil && !variables[op.Variable] {
		return fmt.Errorf("variable %s does not belong here", op.Variable.Name)
	}
	if op.Kind == Assign && op.Variable != nil && op.Variable.Kind == Data {
		return fmt.Errorf("assigns variable %s, which is data", op.Variable.Name)
	}
	if err := op.Attrs.check(); err != nil {
		return err
	}
	if op.Body != nil {
		// A body is pure: it may not touch variables, so that a group can be placed by its operands alone.
		if err := c.program(op.Body, nil); err != nil {
			return fmt.Errorf("body: %w", err)
		}
	}
	types, err := infer(op, c.rules)
	if err != nil {
		return err
	}
	if len(types) != len(op.Results) {
		return fmt.Errorf("has %d results, its rule gives %d", len(op.Results), len(types))
	}
	for i, t := range types {
		if !op.Results[i].Type.Equal(t) {
			return fmt.Errorf("result %d is %s, its rule gives %s", i, op.Results[i].Type, t)
		}
	}
	return nil
}
