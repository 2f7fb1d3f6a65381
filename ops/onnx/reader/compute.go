package reader

import (
	"fmt"
	"slices"
)

// What files compute of shapes is computed when they are read.

// shape is the shape of a value, or a part of it, as a constant.
func shape(_ *translator, n *node) ([]*value, error) {
	dimensions := n.in[0].shape()
	start, err := n.attrs.number("start", 0)
	if err != nil {
		return nil, err
	}
	end, err := n.attrs.number("end", len(dimensions))
	if err != nil {
		return nil, err
	}
	from, to := clamp(start, len(dimensions)), clamp(end, len(dimensions))
	return known(integers(dimensions[from:max(from, to)]...)), nil
}

// gather takes elements of a constant along its first axis, or one position of a value.
func gather(t *translator, n *node) ([]*value, error) {
	from, indices := n.in[0].shape(), n.in[1].constant
	axis, err := n.axis("axis", 0, len(from))
	if err != nil {
		return nil, err
	}
	if indices == nil || !indices.whole {
		return nil, fmt.Errorf("indices are not constant integers")
	}
	positions := make([]int, len(indices.ints))
	for i, v := range indices.ints {
		if v < int64(-from[axis]) || v >= int64(from[axis]) {
			return nil, fmt.Errorf("index %d is none of axis %d of %v", v, axis, from)
		}
		if positions[i] = int(v); v < 0 {
			positions[i] += from[axis]
		}
	}
	if c := n.in[0].constant; c != nil && axis == 0 {
		row := product(from[1:])
		if len(positions)*row > largestComputed || len(indices.shape)+len(from)-1 > largestRank {
			return nil, fmt.Errorf("gathers %d elements, want at most %d", len(positions)*row, largestComputed)
		}
		out := &constant{shape: slices.Concat(indices.shape, from[1:]), whole: c.whole}
		for _, p := range positions {
			out.append(c.elementsOf(p*row, (p+1)*row))
		}
		return known(out), nil
	}
	if len(positions) != 1 {
		return nil, fmt.Errorf("gathers %d positions of what depends on the inputs, want one", len(positions))
	}
	starts, ends := make([]int, len(from)), slices.Clone(from)
	starts[axis], ends[axis] = positions[0], positions[0]+1
	kept := slices.Concat(from[:axis], indices.shape, from[axis+1:])
	return made(t.Reshape(t.Slice(t.tensor(n.in[0]), starts, ends), kept...)), nil
}

func constantOfShape(_ *translator, n *node) ([]*value, error) {
	dimensions, err := n.numbers(0, "the shape")
	if err != nil {
		return nil, err
	}
	fill := n.fill
	if fill == nil {
		fill = &constant{shape: []int{1}, floats: []float32{0}}
	}
	if fill.elements() != 1 {
		return nil, fmt.Errorf("attribute value has shape %v, want one element", fill.shape)
	}
	count := 1
	for _, d := range dimensions {
		if d < 0 || d > largestComputed || count > 0 && d > largestComputed/count || len(dimensions) > largestRank {
			return nil, fmt.Errorf("shape %v: want at most %d elements", dimensions, largestComputed)
		}
		count *= d
	}
	return known(&constant{
		shape: dimensions, whole: fill.whole, floats: slices.Repeat(fill.floats, count), ints: slices.Repeat(fill.ints, count),
	}), nil
}

// append adds the elements of another constant of the same kind.
func (c *constant) append(more *constant) {
	c.floats, c.ints = append(c.floats, more.floats...), append(c.ints, more.ints...)
}

// part is elements [from, to) as a list, without a copy; elementsOf the same without a shape.
func (c *constant) part(from, to int) *constant {
	out := c.elementsOf(from, to)
	out.shape = []int{to - from}
	return out
}

func (c *constant) elementsOf(from, to int) *constant {
	if c.whole {
		return &constant{ints: c.ints[from:to], whole: true}
	}
	return &constant{floats: c.floats[from:to]}
}

// concatConstants joins lists of constants of one kind, or returns nil where the values are something else.
func concatConstants(list []*value) *constant {
	out := &constant{}
	for i, v := range list {
		c := v.constant
		if c == nil || len(c.shape) != 1 || i > 0 && c.whole != out.whole || c.elements() > mostNumbers {
			return nil
		}
		out.whole = c.whole
		out.append(c)
	}
	out.shape = []int{len(out.ints) + len(out.floats)}
	return out
}

// transpose moves axis order[i] to place i.
func (c *constant) transpose(order []int) *constant {
	out := &constant{shape: make([]int, len(order)), floats: make([]float32, len(c.floats))}
	steps, distance := make([]int, len(order)), 1
	strides := make([]int, len(order))
	for i := len(order) - 1; i >= 0; i-- {
		strides[i] = distance
		distance *= c.shape[i]
	}
	for i, axis := range order {
		out.shape[i], steps[i] = c.shape[axis], strides[axis]
	}
	index, at := make([]int, len(order)), 0
	for p := range out.floats {
		out.floats[p] = c.floats[at]
		for i := len(order) - 1; i >= 0; i-- {
			index[i]++
			at += steps[i]
			if index[i] < out.shape[i] {
				break
			}
			at -= steps[i] * out.shape[i]
			index[i] = 0
		}
	}
	return out
}

// computeInts is arithmetic on integers of one shape, or with single ones.
func computeInts(kind string, x, y *constant) ([]*value, error) {
	shape, err := broadcastShape(x.shape, y.shape)
	if err != nil {
		return nil, err
	}
	n := product(shape)
	if n > mostNumbers || x.elements() != n && x.elements() != 1 || y.elements() != n && y.elements() != 1 {
		return nil, fmt.Errorf("computes integers of shapes %v and %v, want equal ones of at most %d elements", x.shape, y.shape, mostNumbers)
	}
	out := &constant{shape: shape, ints: make([]int64, n), whole: true}
	for i := range out.ints {
		a, b := x.ints[i%x.elements()], y.ints[i%y.elements()]
		switch kind {
		case "add":
			out.ints[i] = a + b
		case "sub":
			out.ints[i] = a - b
		case "mul":
			out.ints[i] = a * b
		case "div":
			if b == 0 {
				return nil, fmt.Errorf("divides %d by 0", a)
			}
			out.ints[i] = a / b
		}
	}
	return known(out), nil
}
