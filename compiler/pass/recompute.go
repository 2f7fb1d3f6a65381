package pass

import (
	"cmp"
	"slices"

	"github.com/dartsc/dartsc/compiler/fuse"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Recomputation says what is computed twice to save memory; the zero value is nothing.
type Recomputation struct {
	Passes       bool    // what one pass over memory makes: normalisation, pooling, sums, joined states
	Convolutions float64 // the share, up to 1, of the bytes that depthwise and separable convolutions make and the way back needs; those first that take the least to compute for a byte
	Least        int     // of bytes: smaller values are kept
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
func Recompute(what Recomputation) Func {
	return outermost(func(m *ir.Module, p *ir.Program) error {
		r := newRecomputation(p, max(what.Least, recomputeBytes))
		convolutions := r.cheapest(what.Convolutions)
		for i := len(p.Ops) - 1; i >= 0; i-- {
			op := p.Ops[i]
			for at, v := range op.Results {
				if convolutions[v] || what.Passes && r.isPass(op) {
					r.split(op, at)
				}
			}
		}
		p.Ops = r.order()
		p.Number()
		return nil
	})
}

// isPass says whether an operation is one pass over memory, over enough of it.
func (r *recomputation) isPass(op *ir.Op) bool {
	if op.Kind == ir.Scan || len(op.Results) != 1 || op.Result().Type.Bytes() < r.least {
		return false
	}
	switch maker(op, 0).Kind {
	case "batch_norm", "max_pool2d", "avg_pool2d", "concat", "relu", "add":
		return true
	}
	return false
}

// isConvolution says whether a result is that of a depthwise or separable convolution.
func isConvolution(op *ir.Op, at int) bool {
	group := op.Attrs.Text("group")
	if op.Kind == ir.Fusion && (group == fuse.Horizontal || group == fuse.Separable) {
		return maker(op, at).Kind == "conv2d"
	}
	root := maker(op, at)
	return len(op.Results) == 1 && root.Kind == "conv2d" && root.Operands[1].Type.Shape[1] == 1
}

// maker is the operation that makes a result, inside of groups.
func maker(op *ir.Op, at int) *ir.Op {
	if op.Kind != ir.Fusion {
		return op
	}
	v := op.Body.Results[at].Value
	if v.Def == nil {
		return op
	}
	return maker(v.Def, v.At)
}

// cheapest chooses results of convolutions, about that share of their bytes, that take the least to compute again.
func (r *recomputation) cheapest(share float64) map[*ir.Value]bool {
	chosen, total := map[*ir.Value]bool{}, 0.0
	if share <= 0 {
		return chosen
	}
	type candidate struct {
		v    *ir.Value
		cost float64 // operations a byte
	}
	var all []candidate
	for _, op := range r.p.Ops {
		for at, v := range op.Results {
			if !isConvolution(op, at) || r.late(v) == 0 {
				continue
			}
			total += float64(v.Type.Bytes())
			if v.Type.Bytes() >= r.least {
				all = append(all, candidate{v, ops.FLOPs(part(op, at)) / float64(v.Type.Bytes())})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.cost, b.cost) })
	rest := share * total
	for _, c := range all {
		if rest <= 0 {
			break
		}
		rest -= float64(c.v.Type.Bytes())
		chosen[c.v] = true
	}
	return chosen
}

// part is an operation that makes one result of another and nothing else. What remains of several groups in one is the
// group that makes the result.
func part(op *ir.Op, at int) *ir.Op {
	again := &ir.Op{Kind: op.Kind, Operands: slices.Clone(op.Operands), Attrs: op.Attrs, Phase: op.Phase, Scope: op.Scope}
	again.Results = []*ir.Value{{Type: op.Results[at].Type, Def: again}}
	if op.Body == nil {
		return again
	}
	body := &ir.Program{Name: op.Body.Name, Results: op.Body.Results[at : at+1]}
	needed := map[*ir.Value]bool{body.Results[0].Value: true}
	for _, inner := range slices.Backward(op.Body.Ops) {
		if slices.ContainsFunc(inner.Results, func(v *ir.Value) bool { return needed[v] }) {
			body.Ops = append(body.Ops, inner)
			for _, v := range inner.Operands {
				needed[v] = true
			}
		}
	}
	slices.Reverse(body.Ops)
	outer := substitution{}
	again.Operands = nil
	for i, in := range op.Body.Inputs {
		if needed[in] {
			body.Inputs, again.Operands = append(body.Inputs, in), append(again.Operands, op.Operands[i])
			outer[in] = op.Operands[i]
		}
	}
	if len(body.Ops) == 1 && body.Ops[0].Kind == ir.Fusion {
		only := *body.Ops[0]
		only.Operands = slices.Clone(only.Operands)
		only.Phase, only.Scope = op.Phase, op.Scope
		outer.operands(&only)
		return part(&only, body.Results[0].Value.At)
	}
	again.Body = body.Clone()
	return again
}

// recomputation knows where every value is used, in positions of the given order; an added operation stands directly
// before the position it has.
type recomputation struct {
	p        *ir.Program
	least    int // bytes of what is made again
	uses     map[*ir.Value][]use
	returned map[*ir.Value]bool
	before   map[int][]*ir.Op // added operations by the position they stand before, last added first
}

type use struct {
	op *ir.Op
	at int
}

func newRecomputation(p *ir.Program, least int) *recomputation {
	r := &recomputation{p: p, least: least, uses: make(map[*ir.Value][]use, len(p.Ops)), returned: map[*ir.Value]bool{}, before: map[int][]*ir.Op{}}
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

// late sorts the uses of a value, and returns the place of the first after the largest gap between two, or 0 where that is
// small.
func (r *recomputation) late(v *ir.Value) int {
	uses := r.uses[v]
	if r.returned[v] || len(uses) < 2 {
		return 0
	}
	slices.SortStableFunc(uses, func(a, b use) int { return a.at - b.at })
	late, gap := 0, recomputeGap-1
	for k := 1; k < len(uses); k++ {
		if d := uses[k].at - uses[k-1].at; d > gap && uses[k].op.Phase == v.Def.Phase {
			late, gap = k, d
		}
	}
	return late
}

// split makes a result of an operation again for the uses after the largest gap between two uses.
func (r *recomputation) split(op *ir.Op, result int) {
	v := op.Results[result]
	late := r.late(v)
	if late == 0 {
		return
	}
	uses, again := r.uses[v], part(op, result)
	at := uses[late].at
	if !r.alive(again, at) {
		return
	}
	w := again.Result()
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
