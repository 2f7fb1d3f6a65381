package reader

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
)

// gemm is alpha·A·B + beta·C, A and B transposed on request.
func gemm(t *translator, n *node) ([]*value, error) {
	if len(n.in[0].shape()) != 2 || len(n.in[1].shape()) != 2 {
		return nil, fmt.Errorf("multiplies %v and %v, want matrices", n.in[0].shape(), n.in[1].shape())
	}
	alpha, err := n.attrs.float("alpha", 1)
	if err != nil {
		return nil, err
	}
	beta, err := n.attrs.float("beta", 1)
	if err != nil {
		return nil, err
	}
	transposeA, err := n.attrs.number("transA", 0)
	if err != nil {
		return nil, err
	}
	transposeB, err := n.attrs.number("transB", 0)
	if err != nil {
		return nil, err
	}
	y := t.scaled(t.MatMul(t.tensor(n.in[0]), t.tensor(n.in[1]), transposeA != 0, transposeB != 0), alpha)
	c := n.input(2)
	if c == nil || t.Err() != nil {
		return made(y), nil
	}
	if beta != 1 {
		if c.constant != nil && !c.constant.whole {
			scaled := &constant{shape: c.constant.shape, floats: make([]float32, len(c.constant.floats))}
			for i, v := range c.constant.floats {
				scaled.floats[i] = float32(beta * float64(v))
			}
			if err := t.spend(scaled); err != nil {
				return nil, err
			}
			c = &value{name: c.name, constant: scaled}
		} else {
			c = &value{computed: t.scaled(t.tensor(c), beta)}
		}
	}
	shape, err := broadcastShape(y.Type.Shape, c.shape())
	if err != nil || product(shape) != y.Type.Elements() {
		return nil, fmt.Errorf("adds %v to a product of shape %v", c.shape(), y.Type.Shape)
	}
	return t.arithmetic("add", &value{computed: y}, c)
}

func (t *translator) scaled(x *ir.Value, factor float64) *ir.Value {
	if factor == 1 {
		return x
	}
	return t.Mul(x, t.number(factor))
}

// matMul multiplies matrices; the first factor may be a stack of them.
func matMul(t *translator, n *node) ([]*value, error) {
	a, b := n.in[0].shape(), n.in[1].shape()
	if len(a) < 2 || len(b) != 2 {
		return nil, fmt.Errorf("multiplies %v and %v: want [...,M,K] and [K,N]", a, b)
	}
	x, k := t.tensor(n.in[0]), a[len(a)-1]
	if len(a) == 2 {
		return made(t.MatMul(x, t.tensor(n.in[1]), false, false)), nil
	}
	y := t.MatMul(t.Reshape(x, x.Type.Elements()/k, k), t.tensor(n.in[1]), false, false)
	return made(t.Reshape(y, append(append([]int{}, a[:len(a)-1]...), b[1])...)), nil
}

// reduction is ReduceMean or ReduceSum. The axes are an attribute in older opsets and an input in newer ones.
func reduction(kind string) func(t *translator, n *node) ([]*value, error) {
	return func(t *translator, n *node) ([]*value, error) {
		x := t.tensor(n.in[0])
		rank := len(x.Type.Shape)
		axes, err := n.listed("axes", 1)
		if err != nil {
			return nil, err
		}
		if len(axes) == 0 {
			if nothing, err := n.attrs.number("noop_with_empty_axes", 0); err != nil || nothing != 0 {
				return made(x), err
			}
			for i := range rank {
				axes = append(axes, i)
			}
		}
		if axes, err = resolve(axes, rank); err != nil {
			return nil, err
		}
		keep, err := n.attrs.number("keepdims", 1)
		if err != nil {
			return nil, err
		}
		y := t.Op(kind, 1, []*ir.Value{x}, ir.A("axes", axes))[0]
		if keep == 0 {
			return made(y), nil
		}
		shape := append([]int{}, x.Type.Shape...)
		for _, axis := range axes {
			shape[axis] = 1
		}
		return made(t.Reshape(y, shape...)), nil
	}
}
