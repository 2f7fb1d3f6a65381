package cuda

import (
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
)

var images = map[string]func(l *lowering, op *ir.Op) error{
	"take_images": func(l *lowering, op *ir.Op) error {
		c := l.call(op.Kind, "TakeImages")
		c.in(l.in(op.Operands[0], nil), l.plain(op.Operands[1]))
		c.out(l.result(op.Result(), nil))
		size := op.Result().Type.Elements() / op.Result().Type.Shape[0]
		c.int("images", op.Operands[0].Type.Shape[0])
		c.int("size", size)
		c.int("rows", op.Result().Type.Shape[0])
		c.loop(op.Result().Type.Elements())
		c.emit()
		return nil
	},
	"random_crop": func(l *lowering, op *ir.Op) error {
		c := l.imageCall(op, "RandomCrop", nil, op.Result().Type.Shape)
		c.int("padding", op.Attrs.Int("padding"))
		c.emit()
		return nil
	},
	"random_flip": func(l *lowering, op *ir.Op) error {
		l.imageCall(op, "RandomFlip", nil, op.Result().Type.Shape).emit()
		return nil
	},
	"normalize_image": func(l *lowering, op *ir.Op) error {
		c := l.imageCall(op, "NormalizeImage", nil, op.Operands[0].Type.Shape)
		c.floats("mean", op.Attrs.Floats("mean"))
		c.floats("deviation", op.Attrs.Floats("std"))
		c.emit()
		return nil
	},
	"cutout": func(l *lowering, op *ir.Op) error {
		s := op.Result().Type.Shape
		c := l.imageCall(op, "Cutout", channelsLast, []int{s[0], s[2], s[3], s[1]})
		c.inPlace(0, 0)
		c.int("half", op.Attrs.Int("length")/2)
		c.emit()
		return nil
	},
	"drop_path": func(l *lowering, op *ir.Op) error {
		c := l.call(op.Kind, "DropPath")
		x := l.operand(op.Operands[0])
		if len(op.Operands[0].Type.Shape) == 4 && l.order(x) != nil && l.order(x)[0] != 0 {
			x = l.image(op.Operands[0]) // rows must be apart
		}
		c.inPlace(0, c.in(x))
		for _, v := range op.Operands[1:] {
			c.in(l.operand(v))
		}
		y := l.result(op.Result(), l.order(x))
		c.out(y)
		c.image(y)
		n := op.Result().Type.Elements()
		c.int("row", n/op.Result().Type.Shape[0])
		c.integers(op.Attrs.Int("stream"))
		c.elements(n, 1)
		c.emit()
		return nil
	},
}

// imageCall begins a launch over images of shape [N,H,W,C], which lie in that order.
func (l *lowering) imageCall(op *ir.Op, template string, order plan.Layout, shape []int) *call {
	c := l.call(op.Kind, template)
	c.in(l.in(op.Operands[0], order))
	for _, v := range op.Operands[1:] {
		c.in(l.operand(v))
	}
	if op.Result().Type.DType.Float() {
		order = channelsLast
	}
	y := l.result(op.Result(), order)
	c.out(y)
	c.image(y)
	c.int("n", shape[0])
	c.int("h", shape[1])
	c.int("w", shape[2])
	c.int("c", shape[3])
	c.int("stream", op.Attrs.Int("stream"))
	c.loop(op.Result().Type.Elements())
	return c
}
