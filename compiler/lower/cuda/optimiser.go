package cuda

import (
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

var optimisers = map[string]func(l *lowering, op *ir.Op) error{
	"global_norm": globalNorm,
	"clip_scale": func(l *lowering, op *ir.Op) error {
		c := l.call(op.Kind, "ClipScale")
		c.in(l.operand(op.Operands[0]))
		c.out(l.result(op.Result(), nil))
		c.float("most", op.Attrs.Float("max"))
		c.emit()
		return nil
	},
}

const (
	span        = 4 * threads // elements of a block; see kernels/optimiser.cu
	mostUpdates = 60          // tensors of one launch: seven addresses and two numbers each must fit into 4096 bytes
	mostNorms   = 240
)

// tensorsOf divides so many tensors among blocks: the field of type Tensors, which follows all addresses.
func (c *call) tensorsOf(sizes []int) {
	first, blocks := []int{}, 0
	for _, n := range sizes {
		first = append(first, blocks)
		blocks += ceiling(n, span)
	}
	c.int("count", len(sizes))
	c.integers(sizes...)
	c.integers(first...)
	c.blocks = blocks
}

// update is an sgd or adam operation that waits for others of its kind. Its results have tensors already.
type update struct {
	op      *ir.Op
	tensors [][]int // by field of the kernel: operands
	results []int
	flops   float64
}

// update collects operations that follow one another (or with nothing but reads and assignments between them) into one
// launch: each updates tensors of its own.
func (l *lowering) update(op *ir.Op) error {
	if len(l.updates) == mostUpdates || len(l.updates) > 0 && !together(l.updates[0].op, op) {
		l.flush()
	}
	order := l.order(l.operand(op.Operands[0]))
	u := update{op: op, flops: ops.FLOPs(op)}
	for _, v := range op.Operands[:tensorCount(op)] {
		u.tensors = append(u.tensors, []int{l.in(v, order)})
	}
	if l.reads(u) { // the result of one that waits
		l.flush()
	}
	for _, v := range op.Results {
		u.results = append(u.results, l.result(v, order))
	}
	l.updates = append(l.updates, u)
	return nil
}

// tensorCount is how many operands of an update are tensors; the others are scalars.
func tensorCount(op *ir.Op) int { return len(op.Operands) - 2 }

func together(a, b *ir.Op) bool {
	n := tensorCount(a)
	return a.Kind == b.Kind && a.Phase == b.Phase && slices.EqualFunc(a.Attrs, b.Attrs, func(x, y ir.Attr) bool { return x == y }) &&
		slices.Equal(a.Operands[n:], b.Operands[n:])
}

func (l *lowering) reads(u update) bool {
	for _, waiting := range l.updates {
		for _, r := range waiting.results {
			for _, list := range u.tensors {
				if slices.Contains(list, r) {
					return true
				}
			}
		}
	}
	return false
}

// flush launches the updates that wait.
func (l *lowering) flush() {
	if len(l.updates) == 0 {
		return
	}
	updates, op := l.updates, l.updates[0].op
	l.updates = nil
	l.at = op
	c := l.call(op.Kind, map[string]string{"sgd": "SGD", "adam": "Adam"}[op.Kind])
	for _, v := range op.Operands[tensorCount(op):] {
		c.in(l.operand(v))
	}
	var sizes []int
	for _, u := range updates {
		sizes = append(sizes, u.op.Result().Type.Elements())
	}
	// Field by field, as the kernel has them: an array of all w, then of all g, …
	first := len(c.launch.Operands)
	for field := range tensorCount(op) {
		for _, u := range updates {
			c.in(u.tensors[field]...)
		}
	}
	for r := range op.Results {
		for _, u := range updates {
			c.out(u.results[r])
		}
	}
	// Results w', velocity' lie on w and velocity, p', m', v' on p, m and v; g is operand 1 and has no result.
	n := len(updates)
	for r := range op.Results {
		field := r
		if r > 0 {
			field = r + 1
		}
		for i := range updates {
			c.inPlace(r*n+i, first+field*n+i)
		}
	}
	if op.Kind == "sgd" {
		c.float("momentum", op.Attrs.Float("momentum"))
		c.float("decay", op.Attrs.Float("weight_decay"))
	} else {
		c.number("beta1", op.Attrs.Float("beta1"))
		c.number("beta2", op.Attrs.Float("beta2"))
		c.number("eps", op.Attrs.Float("eps"))
		c.number("decay", op.Attrs.Float("weight_decay"))
	}
	c.tensorsOf(sizes)
	l.flops = 0
	for _, u := range updates {
		l.flops += u.flops
	}
	c.emit()
}

// globalNorm adds squares up; what one launch cannot hold, the next one goes on with.
func globalNorm(l *lowering, op *ir.Op) error {
	operands := op.Operands
	before := -1
	for len(operands) > 0 {
		n := min(len(operands), mostNorms)
		c := l.call(op.Kind, "Squares")
		var sizes []int
		for _, v := range operands[:n] {
			c.in(l.operand(v))
			sizes = append(sizes, v.Type.Elements())
		}
		operands = operands[n:]
		if before >= 0 {
			c.in(before)
		} else {
			c.none(1)
		}
		c.bool("more", before >= 0)
		c.bool("root", len(operands) == 0)
		if len(operands) == 0 {
			c.out(l.result(op.Result(), nil))
		} else {
			before = l.scratch(plan.F64, 1)
			c.out(before)
		}
		c.arguments = append(c.arguments, c.arguments[len(c.arguments)-1]) // either norm or sum
		blocks := 0
		for _, n := range sizes {
			blocks += ceiling(n, span)
		}
		c.out(l.scratch(plan.F64, blocks))
		c.tensorsOf(sizes)
		c.integers(blocks)
		c.counters = 1
		c.shared = 8 * threads
		c.emit()
	}
	return nil
}
