package pass

import (
	"slices"

	"github.com/dartsc/dartsc/ir"
)

// Level says how much is computed twice to save memory.
type Level int

// The levels. Each includes the ones before it.
const (
	KeepAll         Level = iota // nothing
	RecomputePasses              // what one pass over memory makes: normalisation, pooling, joined states
	RecomputeConvs               // depthwise convolutions as well
)

// String describes the level.
func (l Level) String() string {
	return [...]string{"nothing", "normalisation, pooling and joined states", "these and depthwise convolutions"}[l]
}

// recomputeGap is how many operations must lie between two uses of a value for it to be worth computing anew; forward
// and backward use of an activation are much further apart, uses within one cell nearer.
const recomputeGap = 64

// recomputeBytes is the size below which a value is not worth it.
const recomputeBytes = 4096

// Recompute makes values again that the backward pass needs, instead of keeping them from the forward pass, where all
// that they are computed from is still there at that time. It wants fused operations in their final order but for
// Schedule. Going from the end to the start, it sees what it has added as uses of what comes before, so chains
// (normalise, then convolve) are made again from their beginning.
func Recompute(level Level) Func {
	return outermost(func(m *ir.Module, p *ir.Program) error {
		if level == KeepAll {
			return nil
		}
		r := newRecomputation(p)
		for i := len(p.Ops) - 1; i >= 0; i-- {
			if level.covers(p.Ops[i]) {
				r.split(p.Ops[i])
			}
		}
		p.Ops = r.order()
		p.Number()
		return nil
	})
}

// covers says whether a level makes an operation again.
func (l Level) covers(op *ir.Op) bool {
	if op.Kind == ir.Scan || len(op.Results) != 1 || op.Result().Type.Bytes() < recomputeBytes {
		return false
	}
	kind := op.Kind
	if op.Body != nil {
		kind = op.Body.Ops[len(op.Body.Ops)-1].Kind // the last of a group is its root
	}
	switch kind {
	case "batch_norm", "max_pool2d", "avg_pool2d", "concat", "relu":
		return true
	case "conv2d":
		w := op.Operands[1]
		if op.Body != nil {
			w = convolutionWeight(op)
		}
		return l >= RecomputeConvs && w != nil && w.Type.Shape[1] == 1
	}
	return false
}

// convolutionWeight finds the weight of a convolution with a prologue.
func convolutionWeight(op *ir.Op) *ir.Value {
	root := op.Body.Ops[len(op.Body.Ops)-1]
	for i, in := range op.Body.Inputs {
		if in == root.Operands[1] {
			return op.Operands[i]
		}
	}
	return nil
}

// recomputation knows where every value is used, in positions of the given order; an added operation stands directly
// before the position it has.
type recomputation struct {
	p        *ir.Program
	uses     map[*ir.Value][]use
	returned map[*ir.Value]bool
	before   map[int][]*ir.Op // added operations by the position they stand before, last added first
}

type use struct {
	op *ir.Op
	at int
}

func newRecomputation(p *ir.Program) *recomputation {
	r := &recomputation{p: p, uses: make(map[*ir.Value][]use, len(p.Ops)), returned: map[*ir.Value]bool{}, before: map[int][]*ir.Op{}}
	for i, op := range p.Ops {
		for _, v := range op.Operands {
			r.uses[v] = append(r.uses[v], use{op, i})
		}
	}
	for _, result := range p.Results {
		r.returned[result.Value] = true
	}
	return r
}

// split makes the result of an operation again for the uses after the largest gap between two uses.
func (r *recomputation) split(op *ir.Op) {
	v := op.Result()
	uses := r.uses[v]
	if r.returned[v] || len(uses) < 2 {
		return
	}
	slices.SortStableFunc(uses, func(a, b use) int { return a.at - b.at })
	late, gap := 0, 0
	for k := 1; k < len(uses); k++ {
		if d := uses[k].at - uses[k-1].at; d > gap && uses[k].op.Phase == op.Phase {
			late, gap = k, d
		}
	}
	if gap < recomputeGap || !r.alive(op, uses[late].at) {
		return
	}
	at := uses[late].at
	again := &ir.Op{Kind: op.Kind, Operands: slices.Clone(op.Operands), Attrs: op.Attrs, Phase: op.Phase, Scope: op.Scope}
	if op.Body != nil {
		again.Body = op.Body.Clone()
	}
	w := &ir.Value{Type: v.Type, Def: again}
	again.Results = []*ir.Value{w}
	for _, u := range uses[late:] {
		for i, operand := range u.op.Operands {
			if operand == v {
				u.op.Operands[i] = w
			}
		}
	}
	r.uses[w] = slices.Clone(uses[late:])
	r.uses[v] = uses[:late:late]
	for _, operand := range again.Operands {
		r.uses[operand] = append(r.uses[operand], use{again, at})
	}
	r.before[at] = append(r.before[at], again)
}

// alive says whether everything that an operation needs is kept until a position anyway.
func (r *recomputation) alive(op *ir.Op, at int) bool {
	for _, v := range op.Operands {
		if v.Def == nil || v.Def.Kind == ir.Read || r.returned[v] || v.Type.Bytes() < recomputeBytes {
			continue
		}
		if !slices.ContainsFunc(r.uses[v], func(u use) bool { return u.at >= at }) {
			return false
		}
	}
	return true
}

// order puts the added operations in front of what needs them.
func (r *recomputation) order() []*ir.Op {
	var all []*ir.Op
	for i, op := range r.p.Ops {
		added := r.before[i]
		for k := len(added) - 1; k >= 0; k-- { // what was added later is needed by what was added before
			all = append(all, added[k])
		}
		all = append(all, op)
	}
	return all
}
