package fuse

import (
	"slices"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// The loss of a language model, of x [M,K] multiplied by a vocabulary w [V,K], and its way back, where the cotangent of
// the loss is a constant:
//
//	logits = bias_add(matmul(x, wᵀ), bias) ─ cross_entropy ─ loss
//
//	g = cross_entropy_grad(constant, logits)
//	dx = matmul(g, w), dw = matmul(gᵀ, x), dbias = reduce_sum(g)    as far as they are wanted
//
// Such a constant lets a target go there and back for some rows before it begins with the next, so that neither logits
// nor their cotangent, which are larger than all else of the model, are ever whole. The group stands where the loss is made.

// manyLogits is from how many logits on that is worth it. A target keeps those of some rows in its cache.
const manyLogits = 1 << 20

// linearLosses groups every loss of that form.
func (g *grouping) linearLosses() {
	for _, op := range g.program.Ops {
		if op.Kind == "cross_entropy" && op.Operands[0].Type.Elements() >= manyLogits && op.Attrs.Float("label_smoothing") == 0 {
			g.linearLoss(op)
		}
	}
}

func (g *grouping) linearLoss(loss *ir.Op) {
	logits, labels := loss.Operands[0], loss.Operands[1]
	bias := logits.Def
	if bias == nil || bias.Kind != "bias_add" {
		return
	}
	product := bias.Operands[0].Def
	if product == nil || product.Kind != "matmul" || !transposed(product, false, true) || !g.private(product.Result(), is(bias)) {
		return
	}
	var back *ir.Op
	if !g.private(logits, func(user *ir.Op) bool {
		if user.Kind == "cross_entropy_grad" && back == nil && user.Operands[1] == logits && user.Operands[2] == labels && ops.IsConstant(user.Operands[0]) &&
			user.Attrs.Float("label_smoothing") == 0 && user.Attrs.Text("reduction") == loss.Attrs.Text("reduction") {
			back = user
		}
		return user == loss || user == back
	}) {
		return
	}
	members, outputs := []*ir.Op{product, bias}, slices.Clone(loss.Results)
	if back != nil {
		ends := g.cotangents(back.Result(), product)
		if ends == nil {
			return
		}
		members = append(append(members, back.Operands[0].Def, back), ends...)
		for _, op := range ends {
			outputs = append(outputs, op.Result())
		}
	}
	g.pattern[loss], g.members[loss], g.outputs[loss] = LinearLoss, members, outputs
	for _, op := range members {
		g.gone[op] = op.Kind != "constant" // which others may read too
	}
}

// cotangents returns what is made of the cotangent of the logits of a product, in the order dx, dw, dbias, or nil where
// something else reads it.
func (g *grouping) cotangents(d *ir.Value, product *ir.Op) (ends []*ir.Op) {
	found := [3]*ir.Op{}
	ours := func(user *ir.Op) bool {
		at := -1
		switch {
		case user.Kind == "matmul" && transposed(user, false, false) && slices.Equal(user.Operands, []*ir.Value{d, product.Operands[1]}):
			at = 0
		case user.Kind == "matmul" && transposed(user, true, false) && slices.Equal(user.Operands, []*ir.Value{d, product.Operands[0]}):
			at = 1
		case user.Kind == "reduce_sum" && slices.Equal(user.Attrs.Ints("axes"), []int{0}):
			at = 2
		}
		if at < 0 || found[at] != nil {
			return false
		}
		found[at] = user
		return true
	}
	if !g.private(d, ours) {
		return nil
	}
	for _, op := range found {
		if op != nil {
			ends = append(ends, op)
		}
	}
	return ends
}

// LossParts are the operations of a group linear_loss by what they do in it; nil is one that it does not have.
type LossParts struct {
	Product, Bias, Loss *ir.Op
	Back                *ir.Op // the cotangent of the logits
	DX, DW, DBias       *ir.Op
}

// LossPartsOf tells the operations of a body apart.
func LossPartsOf(body *ir.Program) (p LossParts) {
	for _, op := range body.Ops {
		switch op.Kind {
		case "bias_add":
			p.Bias, p.Product = op, op.Operands[0].Def
		case "cross_entropy":
			p.Loss = op
		case "cross_entropy_grad":
			p.Back = op
		case "reduce_sum":
			p.DBias = op
		case "matmul":
			if p.Back != nil && transposed(op, true, false) {
				p.DW = op
			} else if p.Back != nil {
				p.DX = op
			}
		}
	}
	return p
}

func transposed(op *ir.Op, a, b bool) bool {
	return op.Attrs.Bool("transpose_a") == a && op.Attrs.Bool("transpose_b") == b
}
