package reader

import (
	"fmt"
	"math"
	"slices"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

func unary(kind string) func(t *translator, n *node) ([]*value, error) {
	return func(t *translator, n *node) ([]*value, error) {
		return made(t.Op(kind, 1, []*ir.Value{t.tensor(n.in[0])})[0]), nil
	}
}

// arithmetic is one of Add, Sub, Mul and Div, with numpy's broadcasting.
func arithmetic(kind string) func(t *translator, n *node) ([]*value, error) {
	return func(t *translator, n *node) ([]*value, error) { return t.arithmetic(kind, n.in[0], n.in[1]) }
}

func (t *translator) arithmetic(kind string, x, y *value) ([]*value, error) {
	if x.constant != nil && y.constant != nil && x.constant.whole && y.constant.whole {
		return computeInts(kind, x.constant, y.constant)
	}
	shape, err := broadcastShape(x.shape(), y.shape())
	if err != nil {
		return nil, err
	}
	if channels := t.byChannel(kind, x, y, shape); channels != nil {
		return made(channels), nil
	}
	return made(t.Op(kind, 1, []*ir.Value{t.spread(x, shape), t.spread(y, shape)})[0]), nil
}

// broadcastShape is the shape that two values have together.
func broadcastShape(x, y []int) ([]int, error) {
	shape := make([]int, max(len(x), len(y)))
	for i := range shape {
		a, b := dimensionFromEnd(x, len(shape)-i), dimensionFromEnd(y, len(shape)-i)
		switch {
		case a == b || b == 1:
			shape[i] = a
		case a == 1:
			shape[i] = b
		default:
			return nil, fmt.Errorf("shapes %v and %v do not broadcast", x, y)
		}
	}
	return shape, nil
}

func dimensionFromEnd(shape []int, i int) int {
	if i > len(shape) {
		return 1
	}
	return shape[len(shape)-i]
}

// byChannel computes x with a constant for each channel as a bias or as a normalisation, which later steps merge with
// what is before them; nil where that is not the case.
func (t *translator) byChannel(kind string, x, y *value, shape []int) *ir.Value {
	if y.constant == nil && (kind == "add" || kind == "mul") {
		x, y = y, x
	}
	if x.constant != nil || y.constant == nil || len(shape) < 2 || !slices.Equal(x.shape(), shape) || y.constant.elements() != shape[1] || shape[1] == 1 {
		return nil
	}
	if dimensionFromEnd(y.constant.shape, len(shape)-1) != shape[1] { // the elements lie along another axis
		return nil
	}
	c := &constant{shape: []int{shape[1]}, floats: make([]float32, shape[1])}
	for i := range c.floats {
		v := y.constant.at(i)
		switch kind {
		case "sub":
			v = -v
		case "div":
			v = 1 / v
		}
		c.floats[i] = float32(v)
	}
	named := t.tensor(&value{name: y.name, constant: c})
	if kind == "add" || kind == "sub" {
		return t.BiasAdd(x.computed, named)
	}
	zero, one := t.Constant(named.Type, 0), t.Constant(named.Type, 1)
	return t.BatchNorm(x.computed, zero, one, []*ir.Value{named, zero}, 0)
}

// spread brings a value to a shape: a scalar stays one, for arithmetic takes scalars as they are.
func (t *translator) spread(v *value, shape []int) *ir.Value {
	if v.constant != nil {
		if all, ok := v.constant.splat(); ok {
			if product(shape) == v.constant.elements() {
				return t.Constant(ir.T(ir.F32, shape...), all)
			}
			return t.Constant(ir.T(ir.F32), all)
		}
	}
	x := t.tensor(v)
	if slices.Equal(x.Type.Shape, shape) {
		return x
	}
	if x.Type.Elements() == 1 && product(shape) > 1 {
		return t.Reshape(x)
	}
	return t.broadcast(x, shape)
}

// broadcast repeats x along the axes in which the shape is larger.
func (t *translator) broadcast(x *ir.Value, shape []int) *ir.Value {
	var axes, kept []int
	for i, d := range shape {
		if dimensionFromEnd(x.Type.Shape, len(shape)-i) == d {
			kept = append(kept, d)
		} else {
			axes = append(axes, i)
		}
	}
	if !slices.Equal(x.Type.Shape, kept) {
		x = t.Reshape(x, kept...)
	}
	if len(axes) == 0 {
		return x
	}
	return t.Broadcast(x, shape, axes...)
}

func sum(t *translator, n *node) ([]*value, error) {
	total := n.in[0]
	for _, x := range n.in[1:] {
		if x == nil {
			return nil, fmt.Errorf("an input is left out")
		}
		next, err := t.arithmetic("add", total, x)
		if err != nil {
			return nil, err
		}
		total = next[0]
	}
	return []*value{total}, nil
}

func (t *translator) number(v float64) *ir.Value { return t.Constant(ir.T(ir.F32), v) }

// leakyRelu is max(x, 0) + alpha·min(x, 0).
func leakyRelu(t *translator, n *node) ([]*value, error) {
	alpha, err := n.attrs.float("alpha", 0.01)
	if err != nil {
		return nil, err
	}
	x := t.tensor(n.in[0])
	return made(t.Sub(t.Relu(x), t.Mul(t.Relu(t.Neg(x)), t.number(alpha)))), nil
}

// clip is min(max(x, low), high), written with Relu: low + relu(x - low) - relu(x - high), of which a bound that is not
// there leaves its part out.
func clip(t *translator, n *node) ([]*value, error) {
	low, err := n.bound(1, "min", math.Inf(-1))
	if err != nil {
		return nil, err
	}
	high, err := n.bound(2, "max", math.Inf(1))
	if err != nil {
		return nil, err
	}
	if low > high {
		return nil, fmt.Errorf("clips from %v to %v", low, high)
	}
	x := t.tensor(n.in[0])
	if low > -math.MaxFloat32 {
		if x = t.Relu(t.offset(x, -low)); low != 0 {
			x = t.offset(x, low)
		}
	}
	if high < math.MaxFloat32 { // min(x, high) = high - relu(high - x)
		x = t.Sub(t.number(high), t.Relu(t.Sub(t.number(high), x)))
	}
	return made(x), nil
}

// offset is x + v.
func (t *translator) offset(x *ir.Value, v float64) *ir.Value {
	if v == 0 {
		return x
	}
	return t.Add(x, t.number(v))
}

// bound is a limit of Clip: an attribute in older opsets, a constant input in newer ones.
func (n *node) bound(input int, attr string, otherwise float64) (float64, error) {
	in := n.input(input)
	switch {
	case in == nil:
		return n.attrs.float(attr, otherwise)
	case in.constant == nil || in.constant.elements() != 1:
		return 0, fmt.Errorf("%s is not one constant number", attr)
	}
	return in.constant.at(0), nil
}

// lastAxis applies f to rows along an axis: the last one of what f gets, which has rank 2.
func (t *translator) lastAxis(n *node, f func(rows *ir.Value) *ir.Value) ([]*value, error) {
	x := t.tensor(n.in[0])
	shape := x.Type.Shape
	if t.opset < 13 { // all axes from this one on are one row
		axis, err := n.axis("axis", 1, len(shape)+1)
		if err != nil {
			return nil, err
		}
		rows := t.Reshape(x, product(shape[:axis]), product(shape[axis:]))
		return made(t.Reshape(f(rows), shape...)), nil
	}
	axis, err := n.axis("axis", -1, len(shape))
	if err != nil {
		return nil, err
	}
	order, back := make([]int, 0, len(shape)), make([]int, len(shape))
	for i := range shape {
		if i != axis {
			order = append(order, i)
		}
	}
	order = append(order, axis)
	for i, a := range order {
		back[a] = i
	}
	moved := t.Transpose(x, order...)
	rows := f(t.Reshape(moved, x.Type.Elements()/shape[axis], shape[axis]))
	return made(t.Transpose(t.Reshape(rows, moved.Type.Shape...), back...)), nil
}

func softmax(t *translator, n *node) ([]*value, error) { return t.lastAxis(n, t.Softmax) }

// logSoftmax subtracts the largest element first, so that no exponential is out of range.
func logSoftmax(t *translator, n *node) ([]*value, error) {
	return t.lastAxis(n, func(rows *ir.Value) *ir.Value {
		m, k := rows.Type.Shape[0], rows.Type.Shape[1]
		most := t.MaxPool2D(t.Reshape(rows, m, 1, 1, k), ops.PoolAttrs{Kernel: [2]int{1, k}, Strides: [2]int{1, 1}})
		shifted := t.Sub(rows, t.Broadcast(t.Reshape(most, m), []int{m, k}, 1))
		return t.Sub(shifted, t.Broadcast(t.Log(t.ReduceSum(t.Exp(shifted), 1)), []int{m, k}, 1))
	})
}
