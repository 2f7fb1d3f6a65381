package cpu

import (
	"cmp"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
)

// strides are the distances in memory, in elements, of neighbours along each logical axis.
func strides(t plan.Tensor) []int {
	out := make([]int, len(t.Shape))
	distance := 1
	for i := len(t.Shape) - 1; i >= 0; i-- {
		axis := i
		if t.Order != nil {
			axis = t.Order[i]
		}
		out[axis] = distance
		distance *= t.Shape[axis]
	}
	return out
}

// axis is one loop of a walk: its size, and how far a step along it moves in each of the two memories.
type axis struct{ size, a, b int }

// walk goes through two memories at once, in runs: along the innermost axis both move by constant steps. Axes of size
// one are gone and axes that continue each other in both memories are one, so the runs are as long as the layouts allow.
type walk struct {
	axes         []axis // outermost first, in the order of memory a; at least one
	size         int    // elements
	startA       int
	startB       int
	stepA, stepB int // along a run
}

// maxRank is the largest number of dimensions that kernels walk through.
const maxRank = 16

// newWalk walks through a box of the given shape, whose axes have these strides in the two memories.
func (c *checker) newWalk(shape, a, b []int, startA, startB int) *walk {
	if c.err == nil && len(shape) > maxRank {
		c.failf("has %d dimensions, wants at most %d", len(shape), maxRank)
	}
	if c.err != nil {
		return nil
	}
	w := &walk{size: 1, startA: startA, startB: startB}
	for i, size := range shape {
		w.size *= size
		if size > 1 {
			w.axes = append(w.axes, axis{size, a[i], b[i]})
		}
	}
	slices.SortStableFunc(w.axes, func(x, y axis) int { return cmp.Compare(y.a, x.a) })
	merged := w.axes[:0]
	for _, next := range w.axes {
		if n := len(merged); n > 0 && merged[n-1].a == next.a*next.size && merged[n-1].b == next.b*next.size {
			merged[n-1] = axis{merged[n-1].size * next.size, next.a, next.b}
			continue
		}
		merged = append(merged, next)
	}
	if len(merged) == 0 {
		merged = append(merged, axis{1, 1, 1})
	}
	w.axes = merged
	inner := merged[len(merged)-1]
	w.stepA, w.stepB = inner.a, inner.b
	return w
}

// each calls run for the elements [from, to), counted in the order of the axes: n of them lie at a, a+stepA, … and at
// b, b+stepB, ….
func (w *walk) each(from, to int, run func(a, b, n int)) {
	outer, inner := w.axes[:len(w.axes)-1], w.axes[len(w.axes)-1].size
	var index [maxRank]int
	row, skip := from/inner, from%inner
	a, b := w.startA, w.startB
	for i := len(outer) - 1; i >= 0; i-- {
		index[i] = row % outer[i].size
		row /= outer[i].size
		a += index[i] * outer[i].a
		b += index[i] * outer[i].b
	}
	for from < to {
		n := min(inner-skip, to-from)
		run(a+skip*w.stepA, b+skip*w.stepB, n)
		from, skip = from+n, 0
		for i := len(outer) - 1; i >= 0; i-- {
			a, b = a+outer[i].a, b+outer[i].b
			if index[i]++; index[i] < outer[i].size {
				break
			}
			index[i] = 0
			a, b = a-outer[i].a*outer[i].size, b-outer[i].b*outer[i].size
		}
	}
}

// blockParts divides n elements into the parts of a phase.
func blockParts(n int, run func(from, to int)) phase {
	parts := partsOf(n)
	return phase{parts: parts, run: func(part int, _ []float32) { run(span(part, parts, n)) }}
}

// rowParts divides rows of so many elements each into the parts of a phase.
func rowParts(rows, elements int, run func(first, last int)) phase {
	parts := min(rows, partsOf(rows*elements))
	return phase{parts: parts, run: func(part int, _ []float32) { run(span(part, parts, rows)) }}
}

func oneTask(phases ...phase) task { return task{phases: phases} }
