package pass

import (
	"slices"

	"github.com/dartsc/dartsc/ir"
)

// Dead removes operations that nothing uses. An alpha step of first order loses its weight gradients here: the
// gradient rules write the cotangents of all operands, and only those that lead to an alpha are asked for. A loop loses
// what it carries and stacks for nobody.
var Dead = outermost(func(m *ir.Module, p *ir.Program) error {
	removeDead(p, func(v *ir.Value) bool { return false })
	p.Number()
	return nil
})

// removeDead keeps the operations of a program or body that its results, assignments or values for which also is true
// need.
func removeDead(p *ir.Program, also func(v *ir.Value) bool) {
	live := make(map[*ir.Value]bool, len(p.Ops))
	for _, r := range p.Results {
		live[r.Value] = true
	}
	kept := make([]*ir.Op, 0, len(p.Ops))
	for _, op := range slices.Backward(p.Ops) {
		needed := op.Kind == ir.Assign
		for _, v := range op.Results {
			needed = needed || live[v] || also(v)
		}
		if !needed {
			continue
		}
		if op.Kind == ir.Scan {
			prune(ir.LoopOf(op), live)
		}
		for _, v := range op.Operands {
			live[v] = true
		}
		kept = append(kept, op)
	}
	slices.Reverse(kept)
	p.Ops = kept
}
