// Package pass holds the passes of the compiler that work on the IR alone: each is one file and one function over a
// module, which it changes in place. What a pass may rely on stands in its doc comment; their order, and the reasons
// for it, in the table of package compiler.
//
// The passes know the operations only through package ops, and no target.
package pass

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Func is a pass.
type Func func(m *ir.Module) error

// each applies a pass over programs to a module: to its programs, then to the bodies of their loops.
func each(f func(m *ir.Module, p *ir.Program) error) Func {
	return func(m *ir.Module) error {
		for _, p := range m.Programs {
			if err := withBodies(m, p, f); err != nil {
				return err
			}
		}
		return nil
	}
}

func withBodies(m *ir.Module, p *ir.Program, f func(m *ir.Module, p *ir.Program) error) error {
	if err := f(m, p); err != nil {
		return err
	}
	for _, op := range p.Ops {
		if op.Kind == ir.Scan {
			if err := withBodies(m, op.Body, f); err != nil {
				return fmt.Errorf("body: %w", err)
			}
		}
	}
	return nil
}

// outermost applies a pass to the programs of a module and not to the bodies of loops.
func outermost(f func(m *ir.Module, p *ir.Program) error) Func {
	return func(m *ir.Module) error {
		for _, p := range m.Programs {
			if err := f(m, p); err != nil {
				return err
			}
		}
		return nil
	}
}

// substitution replaces values by others.
type substitution map[*ir.Value]*ir.Value

// of returns what stands for a value now.
func (s substitution) of(v *ir.Value) *ir.Value {
	for {
		next, ok := s[v]
		if !ok {
			return v
		}
		v = next
	}
}

// operands replaces the operands of an operation.
func (s substitution) operands(op *ir.Op) {
	for i, v := range op.Operands {
		op.Operands[i] = s.of(v)
	}
}

// results replaces the results of a program.
func (s substitution) results(p *ir.Program) {
	for i := range p.Results {
		p.Results[i].Value = s.of(p.Results[i].Value)
	}
}

// constantOf returns the value of a splat constant.
func constantOf(v *ir.Value) (float64, bool) {
	if !ops.IsConstant(v) {
		return 0, false
	}
	return v.Def.Attrs.Float("value"), true
}
