package cuda

import (
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
)

var losses = map[string]func(l *lowering, op *ir.Op) error{
	"softmax":            rowwise("Softmax"),
	"softmax_grad":       rowwise("SoftmaxGrad"),
	"cross_entropy":      loss("CrossEntropy"),
	"cross_entropy_grad": loss("CrossEntropyGrad"),
	"correct":            loss("Correct"),
	"bias_add": func(l *lowering, op *ir.Op) error {
		c := l.call(op.Kind, "BiasAdd")
		c.inPlace(0, c.in(l.image(op.Operands[0])))
		c.in(l.operand(op.Operands[1]))
		y := l.result(op.Result(), channelsLast)
		c.out(y)
		c.image(y)
		c.int("columns", op.Operands[1].Type.Elements())
		c.elements(op.Result().Type.Elements(), 1)
		c.emit()
		return nil
	},
}

const warps = threads / 32

// warpRows divides rows among warps that loop, of at most so many blocks.
func (c *call) warpRows(rows, classes, most int) {
	c.int("rows", rows)
	c.int("classes", classes)
	c.int("V", pack(classes))
	c.blocks = min(ceiling(rows, warps), most)
	c.int("blocks", c.blocks)
}

// rowwise lowers an operation over the last axis.
func rowwise(template string) func(l *lowering, op *ir.Op) error {
	return func(l *lowering, op *ir.Op) error {
		c := l.call(op.Kind, template)
		for _, v := range op.Operands {
			c.in(l.plain(v))
		}
		c.out(l.result(op.Result(), nil))
		shape := op.Result().Type.Shape
		classes := shape[len(shape)-1]
		c.warpRows(op.Result().Type.Elements()/classes, classes, mostBlocks)
		c.emit()
		return nil
	}
}

// loss lowers an operation on logits and labels, its last two operands.
func loss(template string) func(l *lowering, op *ir.Op) error {
	return func(l *lowering, op *ir.Op) error {
		c := l.call(op.Kind, template)
		for _, v := range op.Operands {
			c.in(l.plain(v))
		}
		c.out(l.result(op.Result(), nil))
		logits := op.Operands[len(op.Operands)-2].Type.Shape
		most := mostBlocks
		switch op.Kind {
		case "correct":
			most = 1
			c.int("k", op.Attrs.Int("k"))
		case "cross_entropy":
			most = threads
		}
		c.warpRows(logits[0], logits[1], most)
		if op.Kind != "correct" {
			c.float("smoothing", op.Attrs.Float("label_smoothing"))
			c.bool("mean", op.Attrs.Text("reduction") == "mean")
		}
		if op.Kind == "cross_entropy" {
			c.out(l.scratch(plan.F64, c.blocks))
			c.counters, c.shared = 1, 8*threads
		}
		c.emit()
		return nil
	}
}
