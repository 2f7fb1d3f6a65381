package pass

import (
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Decompose splits operations that differentiation wants whole into parts that fuse with their neighbours: BatchNorm in
// training becomes the statistics, which are an epilogue of what comes before, and the normalisation, a prologue of
// what comes after. Nothing may differentiate after it.
var Decompose = each(func(m *ir.Module, p *ir.Program) error {
	replaced := substitution{}
	b := ops.Continue(m)
	kept := make([]*ir.Op, 0, len(p.Ops))
	for _, op := range p.Ops {
		replaced.operands(op)
		if op.Kind != "batch_norm_train" {
			kept = append(kept, op)
			continue
		}
		b.Place(op)
		mean, variance := b.BatchStats(op.Operands[0])
		y := b.BatchNorm(op.Operands[0], mean, variance, op.Operands[1:], op.Attrs.Float("eps"))
		for i, v := range []*ir.Value{y, mean, variance} {
			replaced[op.Results[i]] = v
		}
		kept = append(kept, b.Program.Ops...)
		b.Program.Ops = nil
	}
	replaced.results(p)
	p.Ops = kept
	p.Number()
	return b.Err()
})
