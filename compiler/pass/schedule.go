package pass

import (
	"github.com/dartsc/dartsc/ir"
)

// Schedule orders the operations for a low peak of memory. Programs come in an order that already follows the data
// (forward, then backward in reverse); what remains is that a gradient rule writes all cotangents of an operation at
// once, each needed much later. So an operation moves down to just before the first operation that needs it, unless its
// operands would take more memory while it waits than its results do. Walking from the end, all users of an operation have their place when its own is
// sought.
var Schedule = each(func(m *ir.Module, p *ir.Program) error {
	n := p.Number()
	last := make([]int, n) // position of the last use in the given order
	for i, op := range p.Ops {
		for _, v := range op.Operands {
			last[v.ID] = i
		}
	}
	for _, r := range p.Results {
		last[r.Value.ID] = len(p.Ops)
	}

	list := newOrder(len(p.Ops))
	earliest := make([]int, n) // the first user of a value in the new order, by its index in p.Ops; -1 for none
	for i := range earliest {
		earliest[i] = -1
	}
	for i := len(p.Ops) - 1; i >= 0; i-- {
		op := p.Ops[i]
		before := list.head
		if user := list.first(op, earliest); user >= 0 && op.Kind != ir.Read && worthwhile(op, user, last) {
			before = user
		}
		list.insert(i, before)
		for _, v := range op.Operands {
			if e := earliest[v.ID]; e < 0 || list.less(i, e) {
				earliest[v.ID] = i
			}
		}
	}
	ordered := make([]*ir.Op, 0, len(p.Ops))
	for i := list.head; i >= 0; i = list.next[i] {
		ordered = append(ordered, p.Ops[i])
	}
	p.Ops = ordered
	p.Number()
	return nil
})

// worthwhile says whether moving an operation down to a later place saves memory: its results come to life later, but
// operands that would have died before that place live on. Siblings share such an operand (the cotangents of a weighted
// sum all read one), so as much as the results take, and a little for scalars, is no loss.
func worthwhile(op *ir.Op, to int, last []int) bool {
	saved, held := 0, 0
	for _, v := range op.Results {
		saved += v.Type.Bytes()
	}
	for i, v := range op.Operands {
		if last[v.ID] < to && (v.Def == nil || v.Def.Kind != ir.Read) && !repeated(op.Operands[:i], v) {
			held += v.Type.Bytes()
		}
	}
	return held <= saved+saved/8
}

func repeated(before []*ir.Value, v *ir.Value) bool {
	for _, u := range before {
		if u == v {
			return true
		}
	}
	return false
}

// order is a linked list of operations with labels that compare positions. Operations are only ever put in front of
// others, so a label halfway to the one before is enough; where the gaps run out, all labels are spread anew.
type order struct {
	head       int
	next, prev []int
	label      []int64
}

const labelGap = 1 << 40

func newOrder(n int) *order {
	o := &order{head: -1, next: make([]int, n), prev: make([]int, n), label: make([]int64, n)}
	return o
}

// insert puts i in front of before (-1: at the end of an empty list).
func (o *order) insert(i, before int) {
	o.next[i], o.prev[i] = before, -1
	if before < 0 {
		o.head = i
		return
	}
	previous := o.prev[before]
	o.prev[i], o.prev[before] = previous, i
	if previous < 0 {
		o.head = i
		o.label[i] = o.label[before] - labelGap
		return
	}
	o.next[previous] = i
	o.label[i] = o.label[previous] + (o.label[before]-o.label[previous])/2
	if o.label[i] == o.label[previous] {
		at := int64(0)
		for k := o.head; k >= 0; k = o.next[k] {
			o.label[k], at = at, at+labelGap
		}
	}
}

func (o *order) less(i, j int) bool { return o.label[i] < o.label[j] }

// first returns the earliest placed user of any result, or -1.
func (o *order) first(op *ir.Op, earliest []int) int {
	user := -1
	for _, v := range op.Results {
		if e := earliest[v.ID]; e >= 0 && (user < 0 || o.less(e, user)) {
			user = e
		}
	}
	return user
}
