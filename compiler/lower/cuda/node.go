package cuda

import (
	"github.com/dartsc/dartsc/ir"
)

// node lowers a tree with operations on images: a node of a derived network, which is the sum of normalised images of which
// paths drop some, or what is left of some channels of a cotangent.
func (l *lowering) node(body *ir.Program, x *leaves) {
	result := body.Results[0].Value
	rows, channels := pixels(result)
	c := l.call("elementwise", "Node")
	c.typename("T", ir.F32)
	var widths, starts []int
	v := pack(channels)
	for _, whole := range x.wholes {
		at, width := c.in(l.image(whole.Value)), whole.Type.Shape[1]
		if width == channels {
			c.inPlace(0, at)
		}
		widths, starts = append(widths, width), append(starts, whole.start)
		v = min(v, pack(width), pack(whole.start))
	}
	c.ones(x)
	c.norms(x.norms)
	c.drops(x.drops)
	y := l.result(result, channelsLast)
	c.out(y)
	c.image(y)
	c.ints("width", widths)
	c.integers(starts...)
	c.int("pixels", rows/result.Type.Shape[0])
	c.apply(body, x)
	for _, op := range x.drops {
		c.integers(op.Attrs.Int("stream"))
	}
	if len(x.drops) == 0 {
		c.integers(0)
	}
	c.packedRows(rows, channels, v, 4)
	c.emit()
}

// norms adds what BatchNorms normalise by: mean, variance, scale and shift of each.
func (c *call) norms(list []*ir.Op) {
	var eps []float64
	var affine []int
	for _, op := range list {
		c.optional(4, c.l.all(op.Operands[1:])...)
		eps, affine = append(eps, op.Attrs.Float("eps")), append(affine, len(op.Operands)-3)
	}
	if len(list) == 0 {
		c.none(4)
	}
	c.int("norms", len(list))
	c.floats("eps", eps)
	c.ints("affine", affine)
}

// drops adds what decides which images paths drop: probabilities, seeds and steps.
func (c *call) drops(list []*ir.Op) {
	for operand := 1; operand <= 3; operand++ {
		for _, op := range list {
			c.in(c.l.operand(op.Operands[operand]))
		}
		if len(list) == 0 {
			c.none(1)
		}
	}
	c.int("drops", len(list))
}
