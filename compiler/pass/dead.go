package pass

import "github.com/dartsc/dartsc/ir"

// Dead removes operations that nothing uses. An alpha step of first order loses its weight gradients here: the
// gradient rules write the cotangents of all operands, and only those that lead to an alpha are asked for.
var Dead = each(func(m *ir.Module, p *ir.Program) error {
	live := make([]bool, p.Number())
	for _, r := range p.Results {
		live[r.Value.ID] = true
	}
	kept := make([]*ir.Op, 0, len(p.Ops))
	for i := len(p.Ops) - 1; i >= 0; i-- {
		op := p.Ops[i]
		needed := op.Kind == ir.Assign
		for _, v := range op.Results {
			needed = needed || live[v.ID]
		}
		if !needed {
			continue
		}
		for _, v := range op.Operands {
			live[v.ID] = true
		}
		kept = append(kept, op)
	}
	for i, j := 0, len(kept)-1; i < j; i, j = i+1, j-1 {
		kept[i], kept[j] = kept[j], kept[i]
	}
	p.Ops = kept
	p.Number()
	return nil
})
