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
		if op.Kind == "max_pool2d_grad" {
			c.bands(x, y, a)
		} else {
			c.loop(op.Result().Type.Elements() / pack(x[1]))
		}
		c.emit()
		return nil
	}
}

// bands divides a gradient of a pooling of x to y among blocks that each take some rows of an image and some channels: the
// fields of MaxPoolGrad.
func (c *call) bands(x, y []int, a ops.PoolAttrs) {
	const (
		mostLanes = 8   // packs of channels: 128 bytes side by side
		mostWork  = 512 // packs of a block, two a thread
	)
	packs := x[1] / pack(x[1])
	lane := min(packs, mostLanes)
	band := max(1, min(x[2], mostWork/(x[3]*lane)))
	// Windows that reach into so many rows begin within the rows and a kernel before them.
	windows := min(y[2], ceiling(band+a.Kernel[0]-1, a.Strides[0]))
	c.int("band", band)
	c.int("lanes", lane)
	c.int("most", windows)
	c.shared = 8 * windows * y[3] * lane
	c.blocks = x[0] * ceiling(x[2], band) * ceiling(packs, lane)
}
