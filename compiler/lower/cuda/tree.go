package cuda

import (
	"maps"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// mostLeaves is how many tensors a tree of pointwise operations reads.
const mostLeaves = 12

// flatten replaces the groups of a program that have no kernel of their own by what is in them.
func flatten(list []*ir.Op) (flat []*ir.Op) {
	for _, op := range list {
		if group := op.Attrs.Text("group"); op.Kind != ir.Fusion || groups[group] != nil {
			flat = append(flat, op)
			continue
		}
		outer := map[*ir.Value]*ir.Value{}
		for i, in := range op.Body.Inputs {
			outer[in] = op.Operands[i]
		}
		passed := false // an input that is a result
		for i, r := range op.Body.Results {
			passed = passed || outer[r.Value] != nil
			outer[r.Value] = op.Results[i]
		}
		if passed {
			flat = append(flat, op)
			continue
		}
		for _, inner := range op.Body.Ops {
			copied := *inner
			copied.Operands, copied.Results = replaced(inner.Operands, outer), replaced(inner.Results, outer)
			copied.Phase, copied.Scope = op.Phase, op.Scope
			flat = append(flat, &copied)
		}
	}
	return flat
}

// treesOf grows the trees of pointwise operations: each joins its only user, even where both read whole tensors. Package
// fuse leaves those apart, for joining them keeps what they read alive longer; here a launch costs more than the memory,
// and the sum of a state's cotangents is one instead of one for every term. An operation that is inside another's tree has an
// empty one.
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
		if !pointwise(op) {
			continue
		}
		tree := []*ir.Op{op}
		for _, v := range op.Operands {
			maker := made[v]
			member := trees[maker]
			if len(member) == 0 || uses[v] != 1 || maker.Phase != op.Phase || !v.Type.Equal(op.Result().Type) {
				continue
			}
			if joined := append(append([]*ir.Op{}, member...), tree...); leaves(joined) <= mostLeaves {
				tree = joined
				trees[maker] = []*ir.Op{}
			}
		}
		trees[op] = tree
	}
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

// leaves counts the values that a tree reads.
func leaves(tree []*ir.Op) int {
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
