package cpu

import (
	"math"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
)

// Kernels that move elements: of any type, from any layout to any other.

func init() {
	register("copy", bindCopy)
	register("reshape", bindReshape)
	register("transpose", bindTranspose)
	register("broadcast", bindBroadcast)
	register("slice", bindSlice)
	register("pad", bindPad)
	register("concat", bindConcat)
	register("fill", bindFill)
	register("cast", bindCast)
}

// copy(x): the same elements in another layout.
func bindCopy(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	x, y := c.moved(0)
	c.shape(y, x.Shape...)
	return c.move(y, x, x.Shape, strides(y.Tensor), strides(x.Tensor), 0, 0)
}

// transpose(x): axis i of the result is axis order[i] of x.
func bindTranspose(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	x, y := c.moved(0)
	order := c.intsParam("order")
	c.rank(y, len(x.Shape))
	if c.err == nil && !isPermutation(order, len(x.Shape)) {
		c.failf("order %v does not name each axis of shape %v once", order, x.Shape)
	}
	if c.err != nil {
		return task{}, c.err
	}
	shape, from, permuted := make([]int, len(order)), strides(x.Tensor), make([]int, len(order))
	for i, axis := range order {
		shape[i], permuted[i] = x.Shape[axis], from[axis]
	}
	c.shape(y, shape...)
	return c.move(y, x, shape, strides(y.Tensor), permuted, 0, 0)
}

// broadcast(x): repeats x along the given new axes of the result.
func bindBroadcast(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	x, y := c.moved(0)
	c.shape(y, c.intsParam("shape")...)
	axes := c.axes(y)
	if c.err != nil {
		return task{}, c.err
	}
	var kept []int
	from, spread := strides(x.Tensor), make([]int, len(y.Shape))
	for i, size := range y.Shape {
		if slices.Contains(axes, i) {
			continue
		}
		if len(kept) < len(from) {
			spread[i] = from[len(kept)]
		}
		kept = append(kept, size)
	}
	c.shape(x, kept...)
	return c.move(y, x, y.Shape, strides(y.Tensor), spread, 0, 0)
}

// slice(x): the box from starts to ends (exclusive).
func bindSlice(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	x, y := c.moved(0)
	starts, ends := c.intsOf("starts", len(x.Shape), 0, math.MaxInt32), c.intsOf("ends", len(x.Shape), 0, math.MaxInt32)
	if c.err != nil {
		return task{}, c.err
	}
	start, shape, from := 0, make([]int, len(starts)), strides(x.Tensor)
	for i := range starts {
		if ends[i] <= starts[i] || ends[i] > x.Shape[i] {
			c.failf("slice from %v to %v leaves shape %v", starts, ends, x.Shape)
		}
		shape[i] = ends[i] - starts[i]
		start += starts[i] * from[i]
	}
	c.shape(y, shape...)
	return c.move(y, x, shape, strides(y.Tensor), from, 0, start)
}

// pad(x): low zeros before and high zeros after, along each axis.
func bindPad(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	x, y := c.moved(0)
	low, high := c.intsOf("low", len(x.Shape), 0, math.MaxInt32), c.intsOf("high", len(x.Shape), 0, math.MaxInt32)
	if c.err != nil {
		return task{}, c.err
	}
	shape := slices.Clone(x.Shape)
	for i := range shape {
		shape[i] += low[i] + high[i]
	}
	c.shape(y, shape...)
	if c.err != nil {
		return task{}, c.err
	}
	start, to := 0, strides(y.Tensor)
	for i := range to {
		start += low[i] * to[i]
	}
	inside, err := c.move(y, x, x.Shape, to, strides(x.Tensor), start, 0)
	if err != nil {
		return task{}, err
	}
	return oneTask(append([]phase{fill(y, 0)}, inside.phases...)...), nil
}

// concat(x…): operands one after the other along an axis.
func bindConcat(l *launch) (task, error) {
	c := check(l, 1, anyNumber, 1)
	x, y := c.moved(0)
	along := c.intParam("axis")
	if c.err == nil && (along < 0 || along >= len(y.Shape) || len(x.Shape) != len(y.Shape)) {
		c.failf("axis %d does not fit shapes %v and %v", along, x.Shape, y.Shape)
	}
	if c.err != nil {
		return task{}, c.err
	}
	to, at := strides(y.Tensor), 0
	var all []phase
	for i := range l.in {
		x, _ := c.moved(i)
		c.rank(x, len(y.Shape))
		if c.err != nil {
			return task{}, c.err
		}
		want := slices.Clone(y.Shape)
		want[along] = x.Shape[along]
		c.shape(x, want...)
		if c.err == nil && x.Shape[along] > y.Shape[along]-at {
			c.failf("operands have more than the %d elements of the result along axis %d", y.Shape[along], along)
		}
		one, err := c.move(y, x, x.Shape, to, strides(x.Tensor), at*to[along], 0)
		if err != nil {
			return task{}, err
		}
		at += x.Shape[along]
		all = append(all, one.phases...)
	}
	if at != y.Shape[along] {
		c.failf("operands have %d elements along axis %d, the result has %d", at, along, y.Shape[along])
	}
	if c.err != nil {
		return task{}, c.err
	}
	few := 1
	if !slices.ContainsFunc(all, func(p phase) bool { return p.parts > 1 }) {
		few = len(all) // a fork costs more than they do
	}
	one, err := sideBySide(all, few)
	return oneTask(one), err
}

// reshape(x): the same elements in logical order, whatever the layouts.
func bindReshape(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	x, y := c.moved(0)
	c.shape(y, c.intsParam("shape")...)
	if c.err == nil && x.Elements() != y.Elements() {
		c.failf("shapes %v and %v have different numbers of elements", x.Shape, y.Shape)
	}
	from, to := c.logical(x), c.logical(y)
	if c.err != nil {
		return task{}, c.err
	}
	switch y.DType {
	case plan.F32:
		return reshape(to, from, y.f32, x.f32), nil
	case plan.I32:
		return reshape(to, from, y.i32, x.i32), nil
	case plan.I64:
		return reshape(to, from, y.i64, x.i64), nil
	}
	return reshape(to, from, y.u8, x.u8), nil
}

// logical walks in logical order; memory a is the logical position itself.
func (c *checker) logical(t tensor) *walk {
	return c.newWalk(t.Shape, strides(plan.Tensor{Shape: t.Shape}), strides(t.Tensor), 0, 0)
}

func reshape[T any](to, from *walk, y, x []T) task {
	return oneTask(blockParts(from.size, func(first, last int) {
		from.each(first, last, func(position, at, n int) {
			to.each(position, position+n, func(inner, into, n int) {
				moveRun(y[into:], x[at+(inner-position)*from.stepB:], to.stepB, from.stepB, n)
			})
		})
	}))
}

// moved returns operand i and the only result, both of one type that can be moved.
func (c *checker) moved(i int) (x, y tensor) {
	if c.err == nil {
		x, y = c.operand(i, c.in[i].DType), c.result(0, c.in[i].DType)
	}
	if c.err == nil {
		c.movable(x)
	}
	return x, y
}

func (c *checker) movable(t tensor) {
	switch t.DType {
	case plan.F32, plan.I32, plan.I64, plan.U8:
	default:
		c.failf("%s is %s, wants f32, i32, i64 or u8", t.name, t.DType)
	}
}

// move binds the copy of a box: its axes have strides to in y and from in x.
func (c *checker) move(y, x tensor, shape, to, from []int, startTo, startFrom int) (task, error) {
	w := c.newWalk(shape, to, from, startTo, startFrom)
	if c.err != nil {
		return task{}, c.err
	}
	switch y.DType {
	case plan.F32:
		if len(w.axes) == 2 && w.stepA == 1 && w.stepB == 1 {
			return moveRows(w, y.f32, x.f32), nil
		}
		return moveAll(w, y.f32, x.f32), nil
	case plan.I32:
		return moveAll(w, y.i32, x.i32), nil
	case plan.I64:
		return moveAll(w, y.i64, x.i64), nil
	}
	return moveAll(w, y.u8, x.u8), nil
}

// moveRows is for two axes of which the inner one is of neighbours: images to or from some channels of others.
func moveRows(w *walk, y, x []float32) task {
	rows, n := w.axes[0], w.axes[1].size
	return oneTask(rowParts(rows.size, n, func(first, last int) {
		vec.copyRows(y[w.startA+first*rows.a:], rows.a, x[w.startB+first*rows.b:], rows.b, n, last-first)
	}))
}

func moveAll[T any](w *walk, y, x []T) task {
	return oneTask(blockParts(w.size, func(first, last int) {
		w.each(first, last, func(to, from, n int) { moveRun(y[to:], x[from:], w.stepA, w.stepB, n) })
	}))
}

// moveRun copies n elements that lie stepY and stepX apart.
func moveRun[T any](y, x []T, stepY, stepX, n int) {
	switch {
	case stepY == 1 && stepX == 1:
		copy(y[:n], x[:n])
	case stepY == 1 && stepX == 0:
		y = y[:n]
		for i, v := 0, x[0]; i < len(y); i++ {
			y[i] = v
		}
	default:
		for i := range n {
			y[i*stepY] = x[i*stepX]
		}
	}
}

// fill: every element is one value.
func bindFill(l *launch) (task, error) {
	c := check(l, 0, 0, 1)
	value := c.floatParam("value")
	if c.err == nil {
		c.movable(l.out[0])
	}
	if c.err != nil {
		return task{}, c.err
	}
	return oneTask(fill(l.out[0], value)), nil
}

func fill(y tensor, value float64) phase {
	return blockParts(y.Elements(), func(from, to int) {
		switch y.DType {
		case plan.F32:
			fillRow(y.f32[from:to], float32(value))
		case plan.I32:
			fillRow(y.i32[from:to], int32(value))
		case plan.I64:
			fillRow(y.i64[from:to], int64(value))
		case plan.U8:
			fillRow(y.u8[from:to], uint8(value))
		}
	})
}

// fillRow fills a row by copies of what is filled already, which Go's compiler makes no vector instructions of otherwise.
func fillRow[T any](y []T, value T) {
	if len(y) > 0 {
		y[0] = value
	}
	for n := 1; n < len(y); n *= 2 {
		copy(y[n:], y[:n])
	}
}

// cast(x): another element type; floats are cut towards zero.
func bindCast(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	if c.err != nil {
		return task{}, c.err
	}
	x, y := l.in[0], l.out[0]
	c.movable(x)
	c.movable(y)
	c.shape(y, x.Shape...)
	c.layout(y, x.Order)
	if to := param[string](c, "to", "an element type"); c.err == nil && to != y.DType.String() {
		c.failf("%s is %s, wants %s", y.name, y.DType, to)
	}
	if c.err != nil {
		return task{}, c.err
	}
	return oneTask(blockParts(x.Elements(), func(from, to int) {
		switch x.DType {
		case plan.F32:
			castInto(y, x.f32, from, to)
		case plan.I32:
			castInto(y, x.i32, from, to)
		case plan.I64:
			castInto(y, x.i64, from, to)
		case plan.U8:
			castInto(y, x.u8, from, to)
		}
	})), nil
}

type number interface {
	float32 | int32 | int64 | uint8
}

func castInto[X number](y tensor, x []X, from, to int) {
	switch y.DType {
	case plan.F32:
		castRow(y.f32[from:to], x[from:to])
	case plan.I32:
		castRow(y.i32[from:to], x[from:to])
	case plan.I64:
		castRow(y.i64[from:to], x[from:to])
	case plan.U8:
		castRow(y.u8[from:to], x[from:to])
	}
}

func castRow[Y, X number](y []Y, x []X) {
	for i, v := range x {
		y[i] = Y(v)
	}
}

// axes returns the parameter axes, which must be in ascending order and fit the tensor.
func (c *checker) axes(t tensor) []int {
	axes := c.intsParam("axes")
	for i, v := range axes {
		if c.err == nil && (v < 0 || v >= len(t.Shape) || i > 0 && v <= axes[i-1]) {
			c.failf("axes %v do not fit shape %v, each once in ascending order", axes, t.Shape)
		}
	}
	return axes
}

func isPermutation(order []int, n int) bool {
	seen := make([]bool, n)
	for _, v := range order {
		if v < 0 || v >= n || seen[v] {
			return false
		}
		seen[v] = true
	}
	return len(order) == n
}
