package pass

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Differentiate replaces every "gradient" operation by the operations that compute it: reverse mode, from IR to IR,
// with the gradient rules of package ops. Cotangents of a value with several uses are added as soon as they are known,
// two at a time, so that never more than two of them are alive. Reads of variables are where derivatives end: it wants
// them as the model wrote them, before assignments in between are resolved, so that an update between two passes is no
// part of either's gradient.
var Differentiate = outermost(func(m *ir.Module, p *ir.Program) error {
	replaced := substitution{}
	var done []*ir.Op
	for _, op := range p.Ops {
		replaced.operands(op)
		if op.Kind != "gradient" {
			done = append(done, op)
			continue
		}
		added, gradients, err := backward(m, done, op)
		if err != nil {
			return fmt.Errorf("program %s: gradient: %w", p.Name, err)
		}
		done = append(done, added...)
		for i, v := range op.Results {
			replaced[v] = gradients[i]
		}
	}
	replaced.results(p)
	p.Ops = removeDetach(p, done)
	p.Number()
	return nil
})

// removeDetach drops the operations that were there for differentiation only, those in loops too.
func removeDetach(p *ir.Program, list []*ir.Op) (kept []*ir.Op) {
	replaced := substitution{}
	for _, op := range list {
		replaced.operands(op)
		if op.Kind == ir.Scan {
			op.Body.Ops = removeDetach(op.Body, op.Body.Ops)
		}
		if op.Kind == "detach" {
			replaced[op.Result()] = op.Operands[0]
			continue
		}
		kept = append(kept, op)
	}
	replaced.results(p)
	return kept
}

// backward appends nothing to forward: it returns the operations that compute the gradient that op asks for, and the
// values of that gradient.
func backward(m *ir.Module, forward []*ir.Op, op *ir.Op) (added []*ir.Op, gradients []*ir.Value, err error) {
	y, wanted := op.Operands[0], op.Operands[1:]
	depends := map[*ir.Value]bool{}
	for _, x := range wanted {
		depends[x] = true
	}
	for _, f := range forward {
		for _, v := range f.Operands {
			if depends[v] && f.Kind != ir.Assign {
				for _, r := range f.Results {
					depends[r] = true
				}
				break
			}
		}
	}
	b := ops.Continue(m)
	b.Place(op)
	cotangents := map[*ir.Value]*ir.Value{y: b.Constant(y.Type, 1)}
	for i := len(forward) - 1; i >= 0; i-- {
		if err := propagate(b, forward[i], op.Phase, depends, cotangents); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", forward[i].Position(), err)
		}
	}
	b.Place(op)
	for _, x := range wanted {
		g := cotangents[x]
		if g == nil {
			g = b.Constant(x.Type, 0)
		}
		gradients = append(gradients, g)
	}
	return b.Program.Ops, gradients, b.Err()
}

// propagate adds the cotangents of an operation's operands, where its results have any.
func propagate(b *ops.Builder, f *ir.Op, phase string, depends map[*ir.Value]bool, cotangents map[*ir.Value]*ir.Value) error {
	results, any := make([]*ir.Value, len(f.Results)), false
	for i, r := range f.Results {
		if depends[r] && cotangents[r] != nil {
			results[i], any = cotangents[r], true
		}
	}
	needed := false
	for _, v := range f.Operands {
		needed = needed || depends[v]
	}
	if !any || !needed || f.Kind == ir.Read {
		return nil
	}
	b.Place(&ir.Op{Phase: phase, Scope: f.Scope})
	var gradients []*ir.Value
	if def := ops.Lookup(f.Kind); f.Kind == ir.Scan {
		var err error
		if gradients, err = scanGradient(b, ir.LoopOf(f), phase, depends, results); err != nil {
			return err
		}
	} else if def != nil && def.Gradient != nil {
		gradients = def.Gradient(b, f, results)
	} else {
		reason := "it is unknown"
		if def != nil {
			reason = def.NoGradient
		}
		return fmt.Errorf("has no gradient: %s", reason)
	}
	for i, g := range gradients {
		v := f.Operands[i]
		if g == nil || !depends[v] {
			continue
		}
		if old := cotangents[v]; old != nil {
			g = b.Add(old, g)
		}
		cotangents[v] = g
	}
	return b.Err()
}
