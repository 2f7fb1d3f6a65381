package pass

import (
	"slices"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Commute uses that the gradient of BatchNorm is linear in its cotangent. The cotangent of a term of a mixed operation
// is the node's, g, times the term's weight; so
//
//	sums(w·g, x) = w·sums(g, x)   and   input_grad(w·g, x, …) = w·input_grad(g, x, …)
//
// move the scaling behind the BatchNorm, where it is one factor in a kernel, and no scaled copy of g is ever made.
// Then the gradient of that weight, ⟨g, BatchNorm(x)⟩, is Σ g·x̂ over all channels, which those sums are: it needs
// neither g nor the normalised term again. A term of several nodes, such as a pooling, has a cotangent of several parts,
//
//	sums(Σ wₖ·gₖ, x) = Σ wₖ·sums(gₖ, x)
//
// and where each weight has a gradient, those sums are made anyway.
var Commute = each(func(m *ir.Module, p *ir.Program) error {
	c := &commuting{b: ops.Continue(m), replaced: substitution{}, wanted: map[[2]*ir.Value]bool{}, sums: map[[2]*ir.Value]*ir.Value{}, scaled: map[*ir.Value]scaling{}}
	var kept []*ir.Op
	for _, op := range p.Ops {
		c.replaced.operands(op)
		c.b.Place(op)
		switch {
		case op.Kind == "batch_norm_sums" && c.scaledBy(op.Operands[0]) != nil:
			c.normSums(op)
		case op.Kind == "batch_norm_sums" && c.apart(op):
			c.normSumsApart(op)
		case op.Kind == "batch_norm_input_grad" && c.scaledBy(op.Operands[0]) != nil:
			if !c.inputGrad(op) {
				kept = append(kept, op)
			}
		default:
			if op.Kind == "weighted_sum_weight_grad" {
				c.want(op)
			}
			kept = append(kept, op)
		}
		kept = append(kept, c.b.Program.Ops...)
		c.b.Program.Ops = nil
	}
	kept = c.weightGrads(kept)
	c.replaced.results(p)
	for _, op := range kept {
		c.replaced.operands(op)
	}
	p.Ops = inDataOrder(kept)
	p.Number()
	return c.b.Err()
})

// commuting carries what the rules have found.
type commuting struct {
	b        *ops.Builder
	replaced substitution
	wanted   map[[2]*ir.Value]bool      // the same g and x that the gradient of a weight asks for
	sums     map[[2]*ir.Value]*ir.Value // Σ g·x̂ by g and x
	scaled   map[*ir.Value]scaling      // per-channel sums that are a weight times others
}

// scaling is a value that a weight was multiplied with.
type scaling struct {
	of, weights *ir.Value
	position    int
}

// scaledBy recognises a weighted sum of one term.
func (c *commuting) scaledBy(v *ir.Value) *scaling {
	op := v.Def
	if op == nil || op.Kind != "weighted_sum" || len(op.Operands) != 2 {
		return nil
	}
	return &scaling{of: op.Operands[1], weights: op.Operands[0], position: op.Attrs.Ints("select")[0]}
}

// apply multiplies a value by the weight.
func (s scaling) apply(b *ops.Builder, v *ir.Value) *ir.Value {
	return b.WeightedSum(s.weights, []*ir.Value{v}, []int{s.position})
}

// want notes the cotangent and the terms for which the gradient of a weight is Σ g·x̂. It is there before that of the terms.
func (c *commuting) want(op *ir.Op) {
	for _, term := range op.Operands[1:] {
		if x := normalized(term); x != nil {
			c.wanted[[2]*ir.Value{op.Operands[0], x}] = true
		}
	}
}

// normalized is what BatchNorm made a value of, nil if it is no normalised one: with scale and shift it is another.
func normalized(v *ir.Value) *ir.Value {
	if op := v.Def; op != nil && op.Kind == "batch_norm_train" && len(op.Operands) == 1 {
		return op.Operands[0]
	}
	return nil
}

// apart says whether the sums of each part of a cotangent are wanted.
func (c *commuting) apart(op *ir.Op) bool {
	sum := op.Operands[0].Def
	if sum == nil || sum.Kind != "weighted_sum" {
		return false
	}
	for _, g := range sum.Operands[1:] {
		if !c.wanted[[2]*ir.Value{g, op.Operands[1]}] {
			return false
		}
	}
	return true
}

// normSumsApart makes the sums of each part of a cotangent.
func (c *commuting) normSumsApart(op *ir.Op) {
	whole := op.Operands[0].Def
	var parts [2][]*ir.Value
	for _, g := range whole.Operands[1:] {
		sum, sumX := c.b.BatchNormSums(g, op.Operands[1], op.Operands[2], op.Operands[3], op.Attrs.Float("eps"))
		c.sums[[2]*ir.Value{g, op.Operands[1]}] = sumX
		parts[0], parts[1] = append(parts[0], sum), append(parts[1], sumX)
	}
	for i, of := range parts {
		c.replaced[op.Results[i]] = c.b.WeightedSum(whole.Operands[0], of, whole.Attrs.Ints("select"))
	}
}

func (c *commuting) normSums(op *ir.Op) {
	s := c.scaledBy(op.Operands[0])
	sum, sumX := c.b.BatchNormSums(s.of, op.Operands[1], op.Operands[2], op.Operands[3], op.Attrs.Float("eps"))
	c.sums[[2]*ir.Value{s.of, op.Operands[1]}] = sumX
	for i, v := range []*ir.Value{sum, sumX} {
		after := s.apply(c.b, v)
		c.scaled[after] = scaling{of: v, weights: s.weights, position: s.position}
		c.replaced[op.Results[i]] = after
	}
}

// inputGrad rewrites a gradient whose sums have been rewritten in the same way.
func (c *commuting) inputGrad(op *ir.Op) bool {
	s := c.scaledBy(op.Operands[0])
	operands := slices.Clone(op.Operands)
	operands[0] = s.of
	for i := 4; i < 6; i++ {
		sum, ok := c.scaled[op.Operands[i]]
		if !ok || sum.weights != s.weights || sum.position != s.position {
			return false
		}
		operands[i] = sum.of
	}
	dx := c.b.Op(op.Kind, 1, operands, op.Attrs...)[0]
	c.replaced[op.Result()] = s.apply(c.b, dx)
	return true
}

// weightGrads takes the terms that are normalised out of the gradients of weights.
func (c *commuting) weightGrads(list []*ir.Op) (kept []*ir.Op) {
	for _, op := range list {
		if op.Kind == "weighted_sum_weight_grad" {
			c.b.Place(op)
			c.weightGrad(op)
		}
		if len(c.b.Program.Ops) == 0 {
			kept = append(kept, op)
		}
		kept = append(kept, c.b.Program.Ops...)
		c.b.Program.Ops = nil
	}
	return kept
}

func (c *commuting) weightGrad(op *ir.Op) {
	g, shape := op.Operands[0], op.Attrs.Ints("shape")
	var plain, sums []*ir.Value
	var plainAt, sumsAt []int
	for i, term := range op.Operands[1:] {
		position := op.Attrs.Ints("select")[i]
		sumX := c.sums[[2]*ir.Value{g, normalized(term)}]
		if sumX == nil {
			plain, plainAt = append(plain, term), append(plainAt, position)
		} else {
			sums, sumsAt = append(sums, sumX), append(sumsAt, position)
		}
	}
	if len(sums) == 0 {
		return
	}
	found := c.b.WeightedSumWeightGrad(c.b.Constant(sums[0].Type, 1), sums, sumsAt, shape)
	if len(plain) > 0 {
		found = c.b.Add(found, c.b.WeightedSumWeightGrad(g, plain, plainAt, shape))
	}
	c.replaced[op.Result()] = found
}

// inDataOrder puts every operation behind what it needs, and else keeps the order.
func inDataOrder(list []*ir.Op) []*ir.Op {
	placed := make(map[*ir.Op]bool, len(list))
	sorted := make([]*ir.Op, 0, len(list))
	var place func(op *ir.Op)
	place = func(op *ir.Op) {
		if placed[op] {
			return
		}
		placed[op] = true
		for _, v := range op.Operands {
			if v.Def != nil {
				place(v.Def)
			}
		}
		sorted = append(sorted, op)
	}
	for _, op := range list {
		place(op)
	}
	return sorted
}
