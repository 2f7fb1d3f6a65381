package cuda

import (
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

var poolings = map[string]func(l *lowering, op *ir.Op) error{
	"max_pool2d":      pooling("MaxPool", false),
	"avg_pool2d":      pooling("AveragePool", false),
	"max_pool2d_grad": pooling("MaxPoolGrad", true),
	"avg_pool2d_grad": pooling("AveragePoolGrad", true),
}

// pooling lowers a pooling, or its gradient, whose result has the shape of the pooling's input.
func pooling(template string, gradient bool) func(l *lowering, op *ir.Op) error {
	return func(l *lowering, op *ir.Op) error {
		x, y := op.Operands[0].Type.Shape, op.Result().Type.Shape
		if gradient {
			x, y = y, x
		}
		a := ops.PoolAttrsOf(op)
		c := l.call(op.Kind, template)
		c.family = "pools"
		for _, v := range op.Operands {
			c.in(l.image(v))
		}
		result := l.result(op.Result(), channelsLast)
		c.out(result)
		c.image(result)
		c.int("n", x[0])
		c.int("h", x[2])
		c.int("w", x[3])
		c.int("c", x[1])
		c.int("oh", y[2])
		c.int("ow", y[3])
		c.int("kh", a.Kernel[0])
		c.int("kw", a.Kernel[1])
		c.int("sh", a.Strides[0])
		c.int("sw", a.Strides[1])
		c.int("ph", a.Pads[0])
		c.int("pw", a.Pads[1])
		c.bool("include", a.CountIncludePad)
		c.int("V", pack(x[1]))
		c.resident = 3
		switch {
		case op.Kind == "max_pool2d_grad":
			c.bands(x, y, a)
		case gradient:
			c.strips(op.Result().Type.Shape, a.Strides)
		default:
			c.strips(op.Result().Type.Shape, [2]int{1, 1})
		}
		c.emit()
		return nil
	}
}

// strips divides results among threads that each make several below one another, in whole steps, and all of a step side by side: as many as leave work for
// all multiprocessors.
func (c *call) strips(shape []int, step [2]int) {
	const most = 4
	items := func(down int) int {
		return shape[0] * ceiling(shape[2], down) * ceiling(shape[3], step[1]) * shape[1] / pack(shape[1])
	}
	down := step[0]
	for n := down; n <= min(most, shape[2]); n += step[0] {
		if items(n) >= multiprocessors*threads {
			down = n
		}
	}
	c.int("down", down)
	c.loop(items(down))
}

// bands divides a gradient of a pooling of x to y among blocks that each take some bands of rows, of some channels: the fields of MaxPoolGrad.
func (c *call) bands(x, y []int, a ops.PoolAttrs) {
	const (
		mostLanes = 8 // packs of channels: 128 bytes side by side
		mostRows  = 4 // of a band
		mostBytes = 48 << 10
	)
	v, stride := pack(x[1]), a.Strides[0]
	lane := min(x[1]/v, mostLanes, max(1, threads/y[3]))
	band := stride * max(1, min(mostRows/stride, ceiling(x[2], stride)))
	count := max(1, threads/(y[3]*lane))
	bytes := func() int { return 4 * count * band * a.Kernel[1] * y[3] * lane * v }
	for bytes() > mostBytes && (count > 1 || band > stride || lane > 1) {
		switch {
		case count > 1:
			count--
		case band > stride:
			band -= stride
		default:
			lane /= 2
		}
	}
	c.int("band", band)
	c.int("bands", count)
	c.int("lanes", lane)
	c.shared = bytes()
	c.blocks = ceiling(x[0]*ceiling(x[2], band), count) * ceiling(x[1]/v, lane)
}
