package cuda

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/compiler/lower"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
)

var moves = map[string]func(l *lowering, op *ir.Op) error{
	"detach": func(l *lowering, op *ir.Op) error {
		l.tensors[op.Result()] = l.operand(op.Operands[0])
		return nil
	},
	"cast": func(l *lowering, op *ir.Op) error {
		x := l.operand(op.Operands[0])
		c := l.call("cast", "Cast")
		c.in(x)
		y := l.result(op.Result(), l.order(x))
		c.out(y)
		c.typename("From", l.dtype(x))
		c.typename("T", l.dtype(y))
		c.elements(op.Result().Type.Elements(), 1)
		c.emit()
		return nil
	},
	"slice": func(l *lowering, op *ir.Op) error {
		x := l.operand(op.Operands[0])
		y := l.result(op.Result(), l.order(x))
		from := memory(l.out.Tensors[x])
		b := boxOf(l.out.Tensors[y])
		for i := range b {
			b[i].stepX = from.step[b[i].axis]
		}
		l.box("slice", x, y, b, dot(op.Attrs.Ints("starts"), from.step), 0)
		return nil
	},
	"transpose": func(l *lowering, op *ir.Op) error {
		x := l.operand(op.Operands[0])
		y := l.result(op.Result(), usualOrder(op.Result().Type))
		from, order := memory(l.out.Tensors[x]), op.Attrs.Ints("order")
		b := boxOf(l.out.Tensors[y])
		for i := range b {
			b[i].stepX = from.step[order[b[i].axis]]
		}
		l.box("transpose", x, y, b, 0, 0)
		return nil
	},
	"broadcast": func(l *lowering, op *ir.Op) error {
		x := l.operand(op.Operands[0])
		y := l.result(op.Result(), usualOrder(op.Result().Type))
		from, axes := memory(l.out.Tensors[x]), op.Attrs.Ints("axes")
		b := boxOf(l.out.Tensors[y])
		for i := range b {
			if slices.Contains(axes, b[i].axis) {
				continue
			}
			kept := b[i].axis // less the new axes before it
			for _, a := range axes {
				if a < b[i].axis {
					kept--
				}
			}
			b[i].stepX = from.step[kept]
		}
		l.box("broadcast", x, y, b, 0, 0)
		return nil
	},
	"reshape": reshape,
	"concat":  concat,
	"pad": func(l *lowering, op *ir.Op) error {
		x := l.operand(op.Operands[0])
		y := l.result(op.Result(), l.order(x))
		from := memory(l.out.Tensors[x])
		var extents, lows, lengths, steps []int
		for _, a := range boxOf(l.out.Tensors[y]) {
			extents, lows = append(extents, a.extent), append(lows, op.Attrs.Ints("low")[a.axis])
			lengths, steps = append(lengths, op.Operands[0].Type.Shape[a.axis]), append(steps, from.step[a.axis])
		}
		c := l.call("pad", "Pad")
		c.in(x)
		c.out(y)
		c.typename("T", l.dtype(y))
		c.int("rank", len(extents))
		c.ints("extent", extents)
		c.ints("low", lows)
		c.ints("length", lengths)
		c.ints("step_x", steps)
		c.elements(op.Result().Type.Elements(), 1)
		c.emit()
		return nil
	},
}

// place is where the elements of a tensor are: the distance of neighbours along each logical axis, and the axes in the
// order of memory.
type place struct{ step, order []int }

func memory(t lower.Tensor) place {
	rank := len(t.Shape)
	p := place{step: make([]int, rank), order: make([]int, rank)}
	distance := 1
	for i := rank - 1; i >= 0; i-- {
		p.order[i] = i
		if t.Order != nil {
			p.order[i] = t.Order[i]
		}
		p.step[p.order[i]] = distance
		distance *= t.Shape[p.order[i]]
	}
	return p
}

// boxAxis is one axis of what a move goes over.
type boxAxis struct{ axis, extent, stepX, stepY int }

// boxOf is the whole of a tensor, axes in the order of memory.
func boxOf(y lower.Tensor) []boxAxis {
	p := memory(y)
	b := make([]boxAxis, len(p.order))
	for i, axis := range p.order {
		b[i] = boxAxis{axis: axis, extent: y.Shape[axis], stepY: p.step[axis]}
	}
	return b
}

// merge joins neighbouring axes that are one in both tensors, and drops those of one element: less to divide by.
func merge(b []boxAxis) []boxAxis {
	var out []boxAxis
	for _, a := range b {
		if a.extent == 1 {
			continue
		}
		if n := len(out); n > 0 && out[n-1].stepX == a.stepX*a.extent && out[n-1].stepY == a.stepY*a.extent {
			out[n-1] = boxAxis{extent: out[n-1].extent * a.extent, stepX: a.stepX, stepY: a.stepY}
			continue
		}
		out = append(out, a)
	}
	if len(out) == 0 {
		out = []boxAxis{{extent: 1, stepX: 1, stepY: 1}}
	}
	return out
}

// move copies a tensor into another of the same shape.
func (l *lowering) move(x, y int) {
	from := memory(l.out.Tensors[x])
	b := boxOf(l.out.Tensors[y])
	for i := range b {
		b[i].stepX = from.step[b[i].axis]
	}
	l.box(lower.Copy, x, y, b, 0, 0)
}

// box moves a box from x to y.
func (l *lowering) box(kernel string, x, y int, b []boxAxis, fromX, fromY int) {
	b = merge(b)
	n := 1
	var extents, stepsX, stepsY []int
	for _, a := range b {
		n *= a.extent
		extents, stepsX, stepsY = append(extents, a.extent), append(stepsX, a.stepX), append(stepsY, a.stepY)
	}
	c := l.call(kernel, "Move")
	c.in(x)
	c.out(y)
	c.typename("From", l.dtype(x))
	c.typename("T", l.dtype(y))
	c.int("rank", len(b))
	c.ints("extent", extents)
	c.ints("step_x", stepsX)
	c.ints("step_y", stepsY)
	c.integers(fromX, fromY)
	c.elements(n, 1)
	c.emit()
}

func reshape(l *lowering, op *ir.Op) error {
	x := l.operand(op.Operands[0])
	y := l.result(op.Result(), usualOrder(op.Result().Type))
	if l.order(x) == nil && l.order(y) == nil {
		l.box(lower.Copy, x, y, []boxAxis{{extent: op.Result().Type.Elements(), stepX: 1, stepY: 1}}, 0, 0)
		l.mayStay()
		return nil
	}
	from := memory(l.out.Tensors[x])
	logical := memory(lower.Tensor{Tensor: plan.Tensor{Shape: op.Result().Type.Shape}})
	var extents, steps []int
	for _, a := range boxOf(l.out.Tensors[y]) {
		extents, steps = append(extents, a.extent), append(steps, logical.step[a.axis])
	}
	c := l.call("reshape", "Reshape")
	c.in(x)
	c.out(y)
	c.typename("From", l.dtype(x))
	c.typename("T", l.dtype(y))
	c.int("rank_y", len(extents))
	c.ints("extent_y", extents)
	c.ints("logical_y", steps)
	c.int("rank_x", len(from.step))
	c.ints("extent_x", op.Operands[0].Type.Shape)
	c.ints("step_x", from.step)
	c.elements(op.Result().Type.Elements(), 1)
	c.emit()
	return nil
}

// mostTerms is how many tensors one launch reads through a list of pointers that it goes through in full.
const mostTerms = 40

func concat(l *lowering, op *ir.Op) error {
	order := l.order(l.operand(op.Operands[0]))
	result := op.Result().Type
	if len(op.Operands) > 4*mostTerms {
		return fmt.Errorf("concat of %d tensors: kernels take at most %d", len(op.Operands), 4*mostTerms)
	}
	c := l.call("concat", "Concat")
	axis := op.Attrs.Int("axis")
	inner, rows := 1, 1
	before := true
	for _, a := range memory(lower.Tensor{Tensor: plan.Tensor{Shape: result.Shape, Order: order}}).order {
		switch {
		case a == axis:
			before = false
		case before:
			rows *= result.Shape[a]
		default:
			inner *= result.Shape[a]
		}
	}
	starts, at, v := []int{}, 0, 4
	if result.DType != ir.F32 {
		v = 1
	}
	for _, x := range op.Operands {
		c.in(l.in(x, order))
		starts = append(starts, at)
		width := x.Type.Shape[axis] * inner
		v = min(v, pack(width))
		at += width
	}
	y := l.result(op.Result(), order)
	c.out(y)
	c.typename("T", l.dtype(y))
	c.int("terms", len(op.Operands))
	c.int("rows", rows)
	c.int("width", at)
	c.ints("start", append(starts, at))
	c.elements(result.Elements(), v)
	c.emit()
	return nil
}

func dot(a, b []int) int {
	sum := 0
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}
