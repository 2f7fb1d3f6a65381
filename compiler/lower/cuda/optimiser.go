package cuda

import (
	"fmt"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

var optimisers = map[string]func(l *lowering, op *ir.Op) error{
	"sgd":         lowerUpdate,
	"adam":        lowerUpdate,
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
	c.alone = true
}

// update is an sgd or adam operation on its tensors.
type update struct {
	op      *ir.Op
	tensors []int // operands, by field of the kernel
	results []int
	flops   float64
}

func lowerUpdate(l *lowering, op *ir.Op) error {
	order := l.target.Layout(&ir.Variable{Type: op.Result().Type}) // of the variable that it updates
	u := update{op: op, flops: ops.FLOPs(op)}
	for _, v := range op.Operands[:tensorCount(op)] {
		u.tensors = append(u.tensors, l.in(v, order))
	}
	for _, v := range op.Results {
		u.results = append(u.results, l.result(v, order))
	}
	l.launchUpdates([]update{u})
	l.updates[len(l.out.Launches)-1] = u
	return nil
}

// tensorCount is how many operands of an update are tensors; the others are scalars.
func tensorCount(op *ir.Op) int { return len(op.Operands) - 2 }

// key is what updates of one launch have in common.
func (u update) key(l *lowering) string {
	key := u.op.Kind + fmt.Sprint(u.op.Attrs)
	for _, v := range u.op.Operands[tensorCount(u.op):] {
		key += fmt.Sprint(" ", l.operand(v))
	}
	return key
}

// launchUpdates appends one launch for updates of one key.
func (l *lowering) launchUpdates(updates []update) {
	op := updates[0].op
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
			c.in(u.tensors[field])
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
			c.in(l.exact(l.operand(v)))
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
