package cuda

import (
	"slices"

	"github.com/dartsc/dartsc/ir"
)

// Steps of recurrent cells are many small operations that wait for one another, and starting a launch takes longer than most
// of them. What lies around a BatchNorm over few rows is therefore one launch: on the way there a node, its statistics and
// its normalisation; on the way back the pointwise operations that make a cotangent, and the gradient of the normalisation.
// Both kernels give a block all rows of some channels; see kernels/cell.cu.

// mostRows is how many rows a block holds, four a thread.
const mostRows = 4 * threads

// column describes states of which a block holds all rows of some channels.
func (c *call) column(state ir.Type, eps float64) {
	channels := state.Shape[1]
	v := pack(channels)
	c.int("rows", state.Shape[0])
	c.int("channels", channels)
	c.int("V", v)
	c.number("eps", eps)
	c.shared = 8 * warps * v
	c.blocks = channels / v
}

// only returns the one operation of a kind among others.
func only(list []*ir.Op, kind string) *ir.Op {
	var found *ir.Op
	for _, op := range list {
		if op.Kind == kind && found != nil {
			return nil
		}
		if op.Kind == kind {
			found = op
		}
	}
	return found
}

// normalisation is what follows a node: statistics, normalisation by them and, or nil, a product with a mask.
type normalisation struct{ statistics, norm, dropped *ir.Op }

// normalisationOf finds what follows a node of a cell and can be one launch with it.
func (l *lowering) normalisationOf(node *ir.Op) (n normalisation, found bool) {
	state := node.Result()
	users := l.users[state]
	n.statistics, n.norm = only(users, "batch_stats"), only(users, "batch_norm")
	if n.statistics == nil || n.norm == nil || n.norm.Phase != node.Phase || state.Type.Shape[0] > mostRows {
		return n, false
	}
	if !slices.Equal(n.norm.Operands, []*ir.Value{state, n.statistics.Results[0], n.statistics.Results[1]}) {
		return n, false
	}
	for _, op := range l.users[n.norm.Result()] {
		if op.Kind == "mul" && len(l.trees[op]) == 1 && l.maskOf(op, n.norm.Result()) != nil {
			n.dropped = op
			break
		}
	}
	return n, true
}

// maskOf is what a product multiplies a value by, if it is there already and as large; else nil.
func (l *lowering) maskOf(product *ir.Op, by *ir.Value) *ir.Value {
	mask := product.Operands[0]
	if mask == by {
		mask = product.Operands[1]
	}
	if _, made := l.tensors[mask]; !made || !mask.Type.Equal(by.Type) {
		return nil
	}
	return mask
}

// highwayNorm lowers a node with its normalisation.
func (l *lowering) highwayNorm(op *ir.Op, n normalisation) {
	c := l.call("highway_norm", "HighwayNorm")
	terms := len(op.Attrs.Ints("edges"))
	for _, v := range op.Operands {
		c.in(l.operand(v))
	}
	if n.dropped != nil {
		c.in(l.operand(l.maskOf(n.dropped, n.norm.Result())))
	} else {
		c.none(1)
	}
	for _, v := range []*ir.Value{op.Result(), n.statistics.Results[0], n.statistics.Results[1], n.norm.Result()} {
		c.out(l.result(v, nil))
	}
	if n.dropped != nil {
		c.out(l.result(n.dropped.Result(), nil))
	} else {
		c.none(1)
	}
	c.places(op, op.Operands[1:1+terms], op.Result().Type.Shape[1])
	c.column(op.Result().Type, n.norm.Attrs.Float("eps"))
	c.activations(op)
	c.int("terms", terms)
	c.bool("masked", n.dropped != nil)
	c.emit()
}

// inputGradOf is the batch_norm_input_grad that uses sums and can be one launch with them, or nil.
func (l *lowering) inputGradOf(sums *ir.Op) *ir.Op {
	users := slices.Concat(l.users[sums.Results[0]], l.users[sums.Results[1]])
	if len(users) != 2 || users[0] != users[1] || users[0].Kind != "batch_norm_input_grad" {
		return nil
	}
	grad, shape := users[0], sums.Operands[0].Type.Shape
	whole := slices.Equal(grad.Operands, append(slices.Clone(sums.Operands), sums.Results...))
	if !whole || grad.Phase != sums.Phase || len(shape) != 2 || shape[0] > mostRows {
		return nil
	}
	return grad
}

// inNormGrad says whether a tree of pointwise operations is for a launch of NormGrad alone, which computes it as it loads.
func (l *lowering) inNormGrad(op *ir.Op) bool {
	sums := only(l.users[op.Result()], "batch_norm_sums")
	if sums == nil || sums.Operands[0] != op.Result() || sums.Phase != op.Phase {
		return false
	}
	return l.inputGradOf(sums) != nil && len(l.users[op.Result()]) == 2 && !l.results[op.Result()]
}

// normGrad lowers batch_norm_sums → batch_norm_input_grad, with the tree that makes the cotangent if nothing has made it yet.
func (l *lowering) normGrad(sums, grad *ir.Op) {
	g := sums.Operands[0]
	tree := &ir.Program{Results: []ir.Result{{Value: g}}}
	if _, made := l.tensors[g]; !made {
		tree.Ops = l.trees[l.makers[g]]
	}
	c := l.call("norm_grad", "NormGrad")
	x := leavesOf(tree)
	for i, whole := range x.wholes {
		c.in(l.operand(whole.Value))
		c.inPlace(0, i)
	}
	for _, v := range x.ones {
		c.in(l.operand(v))
	}
	c.in(l.operand(sums.Operands[1]), l.operand(sums.Operands[2]), l.operand(sums.Operands[3]))
	c.out(l.result(grad.Result(), nil))
	c.typename("T", g.Type.DType)
	c.apply(tree, x)
	c.int("inputs", len(x.wholes)+len(x.ones))
	c.column(g.Type, sums.Attrs.Float("eps"))
	c.emit()
}
