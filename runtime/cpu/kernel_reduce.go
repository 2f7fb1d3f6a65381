package cpu

import (
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
)

func init() {
	register("reduce_sum", func(l *launch) (task, error) { return bindReduce(l, false) })
	register("reduce_mean", func(l *launch) (task, error) { return bindReduce(l, true) })
}

// reduce_sum(x), reduce_mean(x): drop the axes that they sum over. Sums are in float64.
//
// The operand is read once, front to back. Seen that way it is a box whose axes are by turns kept and summed. Where the
// outermost axis is kept, parts own ranges of results; where it is summed, every part has partial sums of all results,
// which the second phase adds.
func bindReduce(l *launch, mean bool) (task, error) {
	c := check(l, 1, 1, 1)
	x, y := c.operand(0, plan.F32), c.result(0, plan.F32)
	axes := c.axes(x)
	if c.err != nil {
		return task{}, c.err
	}
	var kept []int
	for i, size := range x.Shape {
		if !slices.Contains(axes, i) {
			kept = append(kept, size)
		}
	}
	c.shape(y, kept...)
	if c.err != nil {
		return task{}, c.err
	}
	r := &reduction{x: x.f32, y: y.f32, outputs: y.Elements(), factor: 1}
	if mean {
		r.factor = float64(r.outputs) / float64(x.Elements())
	}
	from := strides(x.Tensor)
	sums := sumStrides(x, axes)
	r.read = c.newWalk(x.Shape, from, sums, 0, 0)
	r.write = c.newWalk(y.Shape, strides(y.Tensor), without(sums, axes), 0, 0)
	if c.err != nil {
		return task{}, c.err
	}
	return r.task(), nil
}

// sumStrides gives every kept axis of x its stride among the sums, which lie in the order of x's memory; summed axes
// have stride 0.
func sumStrides(x tensor, axes []int) []int {
	out := make([]int, len(x.Shape))
	distance := 1
	for i := len(x.Shape) - 1; i >= 0; i-- {
		axis := i
		if x.Order != nil {
			axis = x.Order[i]
		}
		if !slices.Contains(axes, axis) {
			out[axis] = distance
			distance *= x.Shape[axis]
		}
	}
	return out
}

func without(list, positions []int) []int {
	var out []int
	for i, v := range list {
		if !slices.Contains(positions, i) {
			out = append(out, v)
		}
	}
	return out
}

type reduction struct {
	x, y    []float32
	outputs int
	factor  float64
	read    *walk // a: x, b: sums
	write   *walk // a: y, b: sums
}

func (r *reduction) task() task {
	outer := r.read.axes[0]
	parts, copies := partsOf(len(r.x)), 1
	if outer.b != 0 {
		parts = min(parts, outer.size)
	} else {
		copies = parts
	}
	sums := make([]float64, copies*r.outputs)
	accumulate := func(part int, _ []float32) {
		if outer.b != 0 {
			first, last := span(part, parts, outer.size)
			clear(sums[first*outer.b : last*outer.b])
			r.accumulate(sums, first*outer.a, last*outer.a)
			return
		}
		own := sums[part*r.outputs : (part+1)*r.outputs]
		clear(own)
		from, to := span(part, parts, len(r.x))
		r.accumulate(own, from, to)
	}
	finish := blockParts(r.outputs, func(from, to int) {
		r.write.each(from, to, func(y, at, n int) {
			for i := range n {
				sum := 0.0
				for j := at + i*r.write.stepB; j < len(sums); j += r.outputs {
					sum += sums[j]
				}
				r.y[y+i*r.write.stepA] = float32(sum * r.factor)
			}
		})
	})
	return oneTask(phase{parts: parts, run: accumulate}, finish)
}

// accumulate adds the elements [from, to) of x to their sums.
func (r *reduction) accumulate(sums []float64, from, to int) {
	r.read.each(from, to, func(x, at, n int) {
		row := r.x[x : x+n]
		if r.read.stepB == 0 {
			sums[at] += sumRow(row)
			return
		}
		into := sums[at : at+n]
		for i, v := range row {
			into[i] += float64(v)
		}
	})
}

// sumRow adds in float64, four sums at a time.
func sumRow(x []float32) float64 {
	var a, b, c, d float64
	for ; len(x) >= 4; x = x[4:] {
		a += float64(x[0])
		b += float64(x[1])
		c += float64(x[2])
		d += float64(x[3])
	}
	for _, v := range x {
		a += float64(v)
	}
	return (a + b) + (c + d)
}

// sumSquares is sumRow of the squares.
func sumSquares(x []float32) float64 {
	var a, b, c, d float64
	for ; len(x) >= 4; x = x[4:] {
		a += float64(x[0]) * float64(x[0])
		b += float64(x[1]) * float64(x[1])
		c += float64(x[2]) * float64(x[2])
		d += float64(x[3]) * float64(x[3])
	}
	for _, v := range x {
		a += float64(v) * float64(v)
	}
	return (a + b) + (c + d)
}
