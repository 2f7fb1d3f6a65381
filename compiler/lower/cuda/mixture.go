package cuda

import (
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
)

var mixtures = map[string]func(l *lowering, op *ir.Op) error{
	"weighted_sum": func(l *lowering, op *ir.Op) error {
		l.weightedSum(op, nil)
		return nil
	},
	"weighted_sum_weight_grad": func(l *lowering, op *ir.Op) error {
		l.weightedSumWeightGrad(op)
		return nil
	},
}

// mixtureGroup lowers batch_norm of some terms → weighted_sum.
func mixtureGroup(l *lowering, body *ir.Program) (bool, error) {
	last := len(body.Ops) - 1
	sum, norms := body.Ops[last], map[*ir.Value]*ir.Op{}
	for _, op := range body.Ops[:last] {
		if op.Kind != "batch_norm" || len(op.Operands) != 3 {
			return false, nil
		}
		norms[op.Result()] = op
	}
	if sum.Kind != "weighted_sum" || norms[sum.Operands[0]] != nil || len(sum.Operands) > mostTerms || len(body.Results) != 1 {
		return false, nil
	}
	l.weightedSum(sum, norms)
	return true, nil
}

// weightedSum lowers a weighted sum of which the terms in norms are normalised first. More terms than one launch takes
// are added by further launches, each with what the one before it left as a term of weight one; see mostTerms.
func (l *lowering) weightedSum(op *ir.Op, norms map[*ir.Value]*ir.Op) {
	result, weights := op.Result(), l.operand(op.Operands[0])
	order := usualOrder(result.Type)
	terms, selected := op.Operands[1:], op.Attrs.Ints("select")
	before := -1
	for len(terms) > 0 {
		n := min(len(terms), mostTerms)
		before = l.weightedTerms(op, weights, terms[:n], selected[:n], norms, before, order)
		terms, selected = terms[n:], selected[n:]
	}
	l.tensors[result] = before
}

// weightedTerms lowers one launch of a weighted sum; it returns the tensor.
func (l *lowering) weightedTerms(op *ir.Op, weights int, terms []*ir.Value, selected []int, norms map[*ir.Value]*ir.Op, before int, order plan.Layout) int {
	var x, means, variances, norm []int
	var eps []float64
	for _, term := range terms {
		if n := norms[term]; n != nil {
			norm, eps = append(norm, len(means)), append(eps, n.Attrs.Float("eps"))
			means, variances = append(means, l.operand(n.Operands[1])), append(variances, l.operand(n.Operands[2]))
			term = n.Operands[0]
		} else {
			norm, eps = append(norm, -1), append(eps, 0)
		}
		x = append(x, l.in(term, order))
	}
	selected = slices.Clone(selected)
	if before >= 0 {
		x, selected, norm, eps = append(x, before), append(selected, -1), append(norm, -1), append(eps, 0)
	}
	c := l.call("weighted_sum", "WeightedSum")
	c.in(weights)
	for _, t := range x {
		c.inPlace(0, c.in(t))
	}
	c.optional(max(1, len(means)), means...)
	c.optional(max(1, len(means)), variances...)
	y := l.result(op.Result(), order)
	c.out(y)
	c.image(y)
	c.int("terms", len(x))
	c.int("norms", len(means))
	c.integers(selected...)
	c.ints("norm", norm)
	c.floats("eps", eps)
	rows, channels := op.Result().Type.Elements(), 1
	if len(op.Result().Type.Shape) == 4 {
		rows, channels = pixels(op.Result())
	} else if rows%4 == 0 {
		rows, channels = rows/4, 4
	}
	batch := 4
	c.int("batch", batch)
	c.rows(rows, channels, batch)
	c.emit()
	return y
}

func (l *lowering) weightedSumWeightGrad(op *ir.Op) {
	g := op.Operands[0]
	terms, selected := op.Operands[1:], op.Attrs.Ints("select")
	order := l.order(l.operand(g))
	n := g.Type.Elements()
	before := -1
	for len(terms) > 0 {
		count := min(len(terms), mostTerms)
		c := l.call(op.Kind, "WeightedSumWeightGrad")
		c.in(l.operand(g))
		c.image(l.operand(g))
		for _, term := range terms[:count] {
			c.in(l.in(term, order))
		}
		if before >= 0 {
			c.in(before)
		} else {
			c.none(1)
		}
		c.bool("more", before >= 0)
		before = l.result(op.Result(), nil)
		c.out(before)
		c.int("terms", count)
		c.int("weights", op.Result().Type.Elements())
		c.int("pack", pack(n))
		c.columns(1, n/pack(n), 1, 1, count, fewestWideRows, plan.F32)
		c.integers(selected[:count]...)
		c.emit()
		terms, selected = terms[count:], selected[count:]
	}
}
