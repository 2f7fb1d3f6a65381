package cuda

import (
	"fmt"
	"maps"
	"slices"

	"github.com/dartsc/dartsc/compiler/fuse"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// mostLeaves is how many tensors a tree of pointwise operations reads.
const mostLeaves = 24

// flatten replaces the groups of a program that have no kernel of their own by what is in them, and takes the sums out of the ways
// back of separable convolutions.
func flatten(list []*ir.Op) []*ir.Op {
	f := flattening{norms: map[string]*ir.Value{}, concats: map[string]*ir.Value{}}
	f.add(list)
	return f.list
}

type flattening struct {
	list    []*ir.Op
	norms   map[string]*ir.Value // the results of BatchNorms so far, by what they normalise
	concats map[string]*ir.Value // the results of concats, by who reads them
}

func (f *flattening) add(list []*ir.Op) {
	for _, op := range list {
		group := op.Attrs.Text("group")
		if op.Kind == ir.Fusion && group == fuse.SeparableGrad {
			if parts := withoutSum(op, func(norm *ir.Op) *ir.Value { return f.norms[keyOf(norm)] }); parts != nil {
				f.list = append(f.list, parts...)
				continue
			}
		}
		inside := []*ir.Op(nil)
		if op.Kind == ir.Fusion && (groups[group] == nil || group == fuse.Accumulate && op.Body.Ops[0].Kind != "matmul") {
			inside = opened(op)
		}
		if inside != nil {
			f.add(inside)
			continue
		}
		if op.Kind == "batch_norm" {
			f.norms[keyOf(op)] = op.Result()
		}
		if op.Kind == ir.Fusion && group == fuse.Prologue && op.Body.Ops[0].Kind == "concat" {
			op = f.withoutConcat(op)
		}
		f.list = append(f.list, op)
	}
}

// keyOf tells operations of a kind apart by their operands.
func keyOf(op *ir.Op) string { return fmt.Sprint(op.Operands, op.Attrs, op.Phase) }

// withoutConcat takes the concat out of a group that begins with one: no kernel reads an image in parts. It is made once
// for all convolutions, and again for the gradients of filters, for to keep it until then would be to keep its parts twice.
func (f *flattening) withoutConcat(op *ir.Op) *ir.Op {
	inside := opened(op)
	concat, root := inside[0], inside[len(inside)-1]
	key := root.Kind + keyOf(concat)
	whole := f.concats[key]
	if whole == nil {
		whole = concat.Result()
		f.concats[key] = whole
		f.list = append(f.list, concat)
	}
	rest, body, image := *op, *op.Body, &ir.Value{Type: whole.Type, Name: "x"}
	first := body.Ops[0]
	body.Ops, body.Inputs = nil, []*ir.Value{image}
	rest.Body, rest.Operands = &body, []*ir.Value{whole}
	for _, inner := range op.Body.Ops[1:] {
		c := *inner
		c.Operands = replaced(inner.Operands, map[*ir.Value]*ir.Value{first.Result(): image})
		body.Ops = append(body.Ops, &c)
	}
	for i, in := range op.Body.Inputs {
		if !slices.Contains(first.Operands, in) {
			body.Inputs, rest.Operands = append(body.Inputs, in), append(rest.Operands, op.Operands[i])
		}
	}
	return &rest
}

// opened returns the operations of a group on the values outside, or nil if one of its results is what it is given.
func opened(op *ir.Op) (inside []*ir.Op) {
	outer := map[*ir.Value]*ir.Value{}
	for i, in := range op.Body.Inputs {
		outer[in] = op.Operands[i]
	}
	for i, r := range op.Body.Results {
		if outer[r.Value] != nil {
			return nil
		}
		outer[r.Value] = op.Results[i]
	}
	for _, inner := range op.Body.Ops {
		inside = append(inside, copied(inner, op, outer))
	}
	return inside
}

// copied is an operation of a group's body in the place of the group, on the values outside.
func copied(inner, group *ir.Op, outer map[*ir.Value]*ir.Value) *ir.Op {
	c := *inner
	c.Operands, c.Results = replaced(inner.Operands, outer), replaced(inner.Results, outer)
	c.Phase, c.Scope = group.Phase, group.Scope
	return &c
}

// treesOf grows the trees of pointwise operations: each joins its only user, even where both read whole tensors. Package
// fuse leaves those apart, for joining them keeps what they read alive longer; here a launch costs more than the memory,
// and the sum of a state's cotangents is one instead of one for every term. An operation that is inside another's tree has an
// empty one; those on images that are in none have kernels of their own.
func treesOf(list []*ir.Op, results []ir.Result) map[*ir.Op][]*ir.Op {
	uses, made := map[*ir.Value]int{}, map[*ir.Value]*ir.Op{}
	for _, op := range list {
		for _, v := range op.Operands {
			uses[v]++
		}
		for _, v := range op.Results {
			made[v] = op
		}
	}
	for _, r := range results {
		uses[r.Value]++
	}
	trees := map[*ir.Op][]*ir.Op{}
	for _, op := range list {
		if !pointwise(op) && !fuse.OnImages(op) {
			continue
		}
		tree := []*ir.Op{op}
		for _, v := range op.Operands {
			maker := made[v]
			member := trees[maker]
			if len(member) == 0 || op.Kind == "slice" || uses[v] != 1 || maker.Phase != op.Phase || !v.Type.Equal(op.Result().Type) {
				continue
			}
			if joined := append(append([]*ir.Op{}, member...), tree...); countLeaves(joined) <= mostLeaves {
				tree = joined
				trees[maker] = []*ir.Op{}
			}
		}
		trees[op] = tree
	}
	maps.DeleteFunc(trees, func(op *ir.Op, tree []*ir.Op) bool { return len(tree) == 1 && !pointwise(op) })
	return trees
}

func replaced(values []*ir.Value, by map[*ir.Value]*ir.Value) []*ir.Value {
	out := make([]*ir.Value, len(values))
	for i, v := range values {
		if out[i] = v; by[v] != nil {
			out[i] = by[v]
		}
	}
	return out
}

// countLeaves counts the values that a tree reads.
func countLeaves(tree []*ir.Op) int {
	read, made := map[*ir.Value]bool{}, map[*ir.Value]bool{}
	for _, op := range tree {
		for _, v := range op.Operands {
			read[v] = true
		}
		for _, v := range op.Results {
			made[v] = true
		}
	}
	maps.DeleteFunc(read, func(v *ir.Value, _ bool) bool { return made[v] })
	return len(read)
}

func (l *lowering) tree(op *ir.Op, tree []*ir.Op) error {
	if len(tree) == 0 || l.inNormGrad(op) {
		return nil
	}
	l.flops = 0
	for _, inner := range tree {
		l.flops += ops.FLOPs(inner)
	}
	return l.elementwise(&ir.Program{Ops: tree, Results: []ir.Result{{Value: op.Result()}}})
}
