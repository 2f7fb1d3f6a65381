package cpu

import (
	"github.com/dartsc/dartsc/compiler/fuse"
	"github.com/dartsc/dartsc/ir"
)

// linearLoss lowers a loss of a large vocabulary, with those of its gradients that are wanted, to a kernel with the
// operands x, w, bias and labels and the results loss[, dx][, dw][, dbias].
func (l *lowering) linearLoss(op *ir.Op, outer map[*ir.Value]*ir.Value) {
	parts := fuse.LossPartsOf(op.Body)
	p := params(parts.Loss.Attrs)
	p["dx"], p["dw"], p["dbias"], p["cotangent"] = parts.DX != nil, parts.DW != nil, parts.DBias != nil, 0.0
	if parts.Back != nil {
		p["cotangent"] = parts.Back.Operands[0].Def.Attrs.Float("value")
	}
	operands := []*ir.Value{parts.Product.Operands[0], parts.Product.Operands[1], parts.Bias.Operands[1], parts.Loss.Operands[1]}
	l.launch(fuse.LinearLoss, parts.Loss, outside(operands, outer), p, op)
}
