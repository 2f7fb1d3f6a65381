package reader

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
)

// axis reads an axis; a negative one counts from the end.
func (n *node) axis(attr string, otherwise, rank int) (int, error) {
	axis, err := n.attrs.number(attr, otherwise)
	if err != nil {
		return 0, err
	}
	resolved, err := resolve([]int{axis}, rank)
	if err != nil {
		return 0, err
	}
	return resolved[0], nil
}

// resolve returns axes counted from the front, ascending.
func resolve(axes []int, rank int) ([]int, error) {
	out := make([]int, len(axes))
	for i, axis := range axes {
		if out[i] = axis; axis < 0 {
			out[i] += rank
		}
		if out[i] < 0 || out[i] >= rank {
			return nil, fmt.Errorf("axis %d is none of a value with %d dimensions", axis, rank)
		}
	}
	slices.Sort(out)
	if len(slices.Compact(slices.Clone(out))) != len(out) {
		return nil, fmt.Errorf("axes %v: one stands there twice", axes)
	}
	return out, nil
}

func identity(_ *translator, n *node) ([]*value, error) { return []*value{n.in[0]}, nil }

// dropout does nothing in inference.
func dropout(_ *translator, n *node) ([]*value, error) {
	if mode := n.input(2); mode != nil {
		if mode.constant == nil || mode.constant.elements() != 1 || mode.constant.at(0) != 0 {
			return nil, fmt.Errorf("is in training mode: export the network for inference (model.eval())")
		}
	}
	return []*value{n.in[0]}, nil
}

// cast changes nothing between floating-point types, which are all f32 here; constants may become integers and back.
func cast(_ *translator, n *node) ([]*value, error) {
	to, err := n.attrs.number("to", 0)
	if err != nil {
		return nil, err
	}
	dtype := onnxpb.TensorProto_DataType(to)
	if elementSizes[dtype] == 0 {
		return nil, fmt.Errorf("casts to %s, want floating-point numbers, integers or booleans", dtype)
	}
	c := n.in[0].constant
	if c == nil {
		if !isFloat(dtype) {
			return nil, fmt.Errorf("casts what depends on the inputs to %s: networks in floating-point numbers are read", dtype)
		}
		return []*value{n.in[0]}, nil
	}
	if isFloat(dtype) != c.whole { // it is of that kind already
		return []*value{n.in[0]}, nil
	}
	if c.elements() > largestComputed {
		return nil, fmt.Errorf("casts a constant of %d elements, want at most %d", c.elements(), largestComputed)
	}
	out := &constant{shape: c.shape, whole: !c.whole}
	for i := range c.elements() {
		if c.whole {
			out.floats = append(out.floats, float32(c.ints[i]))
		} else {
			out.ints = append(out.ints, int64(c.floats[i]))
		}
	}
	return known(out), nil
}

// reshaped gives a value another shape of as many elements.
func (t *translator) reshaped(v *value, shape []int) ([]*value, error) {
	if product(shape) != product(v.shape()) {
		return nil, fmt.Errorf("%v elements do not fit shape %v", v.shape(), shape)
	}
	if c := v.constant; c != nil {
		return []*value{{name: v.name, constant: &constant{shape: shape, floats: c.floats, ints: c.ints, whole: c.whole}}}, nil
	}
	return made(t.Reshape(v.computed, shape...)), nil
}

func reshape(t *translator, n *node) ([]*value, error) {
	wanted, err := n.numbers(1, "the shape")
	if err != nil {
		return nil, err
	}
	allowZero, err := n.attrs.number("allowzero", 0)
	if err != nil {
		return nil, err
	}
	from := n.in[0].shape()
	shape, open, rest := slices.Clone(wanted), -1, 1
	for i, d := range shape {
		switch {
		case d == -1 && open < 0:
			open = i
			continue
		case d == 0 && allowZero == 0 && i < len(from):
			shape[i] = from[i]
		case d < 1:
			return nil, fmt.Errorf("shape %v does not fit %v", wanted, from)
		}
		if rest *= shape[i]; rest > mostElements {
			return nil, fmt.Errorf("shape %v does not fit %v", wanted, from)
		}
	}
	if open >= 0 {
		shape[open] = product(from) / rest
	}
	return t.reshaped(n.in[0], shape)
}

func flatten(t *translator, n *node) ([]*value, error) {
	shape := n.in[0].shape()
	axis, err := n.attrs.number("axis", 1)
	if err != nil {
		return nil, err
	}
	if axis < 0 {
		axis += len(shape)
	}
	if axis < 0 || axis > len(shape) {
		return nil, fmt.Errorf("axis %d is none of %v", axis, shape)
	}
	return t.reshaped(n.in[0], []int{product(shape[:axis]), product(shape[axis:])})
}

func transpose(t *translator, n *node) ([]*value, error) {
	shape := n.in[0].shape()
	order, err := n.attrs.numbers("perm")
	if err != nil {
		return nil, err
	}
	if order == nil {
		for i := range shape {
			order = append(order, len(shape)-1-i)
		}
	}
	if sorted, err := resolve(order, len(shape)); err != nil || len(sorted) != len(shape) || slices.Min(append(order, 0)) < 0 {
		return nil, fmt.Errorf("perm %v does not name each axis of %v once", order, shape)
	}
	if c := n.in[0].constant; c != nil && !c.whole {
		return []*value{{name: n.in[0].name, constant: c.transpose(order)}}, nil
	}
	return made(t.Transpose(t.tensor(n.in[0]), order...)), nil
}

func squeeze(t *translator, n *node) ([]*value, error) {
	shape := n.in[0].shape()
	axes, err := n.listed("axes", 1)
	if err != nil {
		return nil, err
	}
	if axes, err = resolve(axes, len(shape)); err != nil {
		return nil, err
	}
	kept := []int{}
	for i, d := range shape {
		if len(axes) == 0 && d == 1 {
			continue
		}
		if slices.Contains(axes, i) {
			if d != 1 {
				return nil, fmt.Errorf("axis %d of %v is not 1", i, shape)
			}
			continue
		}
		kept = append(kept, d)
	}
	return t.reshaped(n.in[0], kept)
}

func unsqueeze(t *translator, n *node) ([]*value, error) {
	axes, err := n.listed("axes", 1)
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(n.in[0].shape())
	if len(shape)+len(axes) > largestRank {
		return nil, fmt.Errorf("has %d dimensions, want at most %d", len(shape)+len(axes), largestRank)
	}
	if axes, err = resolve(axes, len(shape)+len(axes)); err != nil {
		return nil, err
	}
	for _, axis := range axes {
		shape = slices.Insert(shape, axis, 1)
	}
	return t.reshaped(n.in[0], shape)
}

func concat(t *translator, n *node) ([]*value, error) {
	if slices.Contains(n.in, nil) {
		return nil, fmt.Errorf("an input is left out")
	}
	axis, err := n.axis("axis", 1, len(n.in[0].shape()))
	if err != nil {
		return nil, err
	}
	if c := concatConstants(n.in); c != nil {
		return known(c), nil
	}
	operands := make([]*ir.Value, len(n.in))
	for i, v := range n.in {
		operands[i] = t.tensor(v)
	}
	return made(t.Concat(axis, operands...)), nil
}

func split(t *translator, n *node) ([]*value, error) {
	x := t.tensor(n.in[0])
	shape, parts := x.Type.Shape, len(n.outputs)
	axis, err := n.axis("axis", 0, len(shape))
	if err != nil {
		return nil, err
	}
	sizes, err := n.listed("split", 1)
	if err != nil {
		return nil, err
	}
	if sizes == nil {
		each := (shape[axis] + parts - 1) / parts
		for at := 0; at < shape[axis]; at += each {
			sizes = append(sizes, min(each, shape[axis]-at))
		}
	}
	total := 0
	for _, size := range sizes {
		total += size
	}
	if len(sizes) != parts || total != shape[axis] || slices.Min(sizes) < 1 {
		return nil, fmt.Errorf("splits %v along axis %d into %d parts of sizes %v", shape, axis, parts, sizes)
	}
	var out []*value
	starts, ends := make([]int, len(shape)), slices.Clone(shape)
	for _, size := range sizes {
		ends[axis] = starts[axis] + size
		out = append(out, made(t.Slice(x, slices.Clone(starts), slices.Clone(ends)))...)
		starts[axis] = ends[axis]
	}
	return out, nil
}

func slice(t *translator, n *node) ([]*value, error) {
	var lists [4][]int // starts, ends, axes, steps
	for i, name := range []string{"starts", "ends", "axes", "steps"} {
		var err error
		if lists[i], err = n.listed(name, 1+i); err != nil {
			return nil, err
		}
	}
	shape := n.in[0].shape()
	starts, ends, axes := lists[0], lists[1], lists[2]
	if slices.ContainsFunc(lists[3], func(step int) bool { return step != 1 }) {
		return nil, fmt.Errorf("has steps %v: only steps of 1 are read", lists[3])
	}
	if axes == nil {
		for i := range starts {
			axes = append(axes, i)
		}
	}
	if len(starts) != len(axes) || len(ends) != len(axes) {
		return nil, fmt.Errorf("has starts %v, ends %v and axes %v, want as many of each", starts, ends, axes)
	}
	if _, err := resolve(axes, len(shape)); err != nil {
		return nil, err
	}
	from, to := make([]int, len(shape)), slices.Clone(shape)
	for i, axis := range axes {
		if axis < 0 {
			axis += len(shape)
		}
		from[axis], to[axis] = clamp(starts[i], shape[axis]), clamp(ends[i], shape[axis])
	}
	if c := n.in[0].constant; c != nil && len(shape) == 1 && from[0] <= to[0] {
		return known(c.part(from[0], to[0])), nil
	}
	return made(t.Slice(t.tensor(n.in[0]), from, to)), nil
}

// clamp is a position along an axis as Slice means it.
func clamp(position, size int) int {
	if position < 0 {
		position += size
	}
	return min(max(position, 0), size)
}

func pad(t *translator, n *node) ([]*value, error) {
	mode, err := n.attrs.text("mode", "constant")
	if err != nil || mode != "constant" {
		return nil, fmt.Errorf("mode is %q, only constant is read", mode)
	}
	with, err := n.bound(2, "value", 0)
	if err != nil || with != 0 {
		return nil, fmt.Errorf("pads with %v, want 0", with)
	}
	pads, err := n.listed("pads", 1)
	if err != nil {
		return nil, err
	}
	x := t.tensor(n.in[0])
	shape := x.Type.Shape
	axes, err := n.numbers(3, "the axes")
	if err != nil {
		return nil, err
	}
	if axes == nil {
		for i := range shape {
			axes = append(axes, i)
		}
	}
	if _, err := resolve(axes, len(shape)); err != nil || len(pads) != 2*len(axes) {
		return nil, fmt.Errorf("has pads %v for axes %v of %v", pads, axes, shape)
	}
	low, high := make([]int, len(shape)), make([]int, len(shape))
	starts, ends := make([]int, len(shape)), slices.Clone(shape)
	for i, axis := range axes {
		if axis < 0 {
			axis += len(shape)
		}
		before, after := pads[i], pads[len(axes)+i]
		low[axis], high[axis] = max(before, 0), max(after, 0)
		starts[axis], ends[axis] = max(-before, 0), shape[axis]-max(-after, 0)
	}
	if !slices.Equal(ends, shape) || slices.Max(append(starts, 0)) > 0 {
		x = t.Slice(x, starts, ends)
	}
	return made(t.Pad(x, low, high)), nil
}

func expand(t *translator, n *node) ([]*value, error) {
	to, err := n.numbers(1, "the shape")
	if err != nil {
		return nil, err
	}
	shape, err := broadcastShape(n.in[0].shape(), to)
	if err != nil {
		return nil, err
	}
	return made(t.broadcast(t.tensor(n.in[0]), shape)), nil
}
