package cuda

import (
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
)

var norms = map[string]func(l *lowering, op *ir.Op) error{
	"batch_stats": func(l *lowering, op *ir.Op) error {
		c := l.call("batch_stats", "BatchStats")
		x := l.image(op.Operands[0])
		c.in(x)
		c.image(x)
		c.out(l.result(op.Results[0], nil), l.result(op.Results[1], nil))
		rows, channels := pixels(op.Operands[0])
		c.columns(1, rows, channels, pack(channels), 2, fewestRows, plan.F64)
		c.emit()
		return nil
	},
	"batch_norm": func(l *lowering, op *ir.Op) error {
		l.batchNorm(op, op.Result(), false)
		return nil
	},
	"batch_norm_sums": func(l *lowering, op *ir.Op) error {
		if grad := l.inputGradOf(op); grad != nil {
			l.normGrad(op, grad)
			return nil
		}
		c := l.call("batch_norm_sums", "BatchNormSums")
		g := l.image(op.Operands[0])
		c.in(g, l.image(op.Operands[1]), l.operand(op.Operands[2]), l.operand(op.Operands[3]))
		c.image(g)
		c.out(l.result(op.Results[0], nil), l.result(op.Results[1], nil))
		c.number("eps", op.Attrs.Float("eps"))
		rows, channels := pixels(op.Operands[0])
		c.columns(1, rows, channels, pack(channels), 2, fewestRows, plan.F64)
		c.emit()
		return nil
	},
	"batch_norm_input_grad": func(l *lowering, op *ir.Op) error {
		l.batchNormInputGrad(op, op.Result(), nil, 0)
		return nil
	},
}

// pixels sees images, or a matrix, as rows by channels.
func pixels(v *ir.Value) (rows, channels int) {
	channels = v.Type.Shape[1]
	return v.Type.Elements() / channels, channels
}

// rows divides rows by channels among threads that each keep to a pack of channels: the fields of Rows.
func (c *call) rows(rows, channels, batch int) {
	c.packedRows(rows, channels, pack(channels), batch)
}

// packedRows is rows for packs of v channels.
func (c *call) packedRows(rows, channels, v, batch int) {
	lane := lanes(channels / v)
	tiles, rowLanes := ceiling(channels/v, lane), threads/lane
	c.int("rows", rows)
	c.int("channels", channels)
	c.int("V", v)
	c.int("lanes", lane)
	c.blocks = tiles * max(1, min(ceiling(rows, rowLanes*batch), mostBlocks/tiles))
	c.int("blocks", c.blocks)
}

func (l *lowering) batchNorm(op *ir.Op, result *ir.Value, relu bool) {
	c := l.call("batch_norm", "BatchNorm")
	c.inPlace(0, c.in(l.image(op.Operands[0])))
	c.in(l.operand(op.Operands[1]), l.operand(op.Operands[2]))
	var affine []int
	for _, v := range op.Operands[3:] {
		affine = append(affine, l.operand(v))
	}
	c.optional(2, affine...)
	y := l.result(result, channelsLast)
	c.out(y)
	c.image(y)
	c.number("eps", op.Attrs.Float("eps"))
	c.bool("affine", len(affine) > 0)
	c.bool("relu", relu)
	rows, channels := pixels(op.Operands[0])
	c.rows(rows, channels, 4)
	c.emit()
}

// normReluGroup lowers batch_norm → relu.
func normReluGroup(l *lowering, body *ir.Program) (bool, error) {
	if len(body.Ops) != 2 || body.Ops[0].Kind != "batch_norm" || body.Ops[1].Kind != "relu" || len(body.Results) != 1 {
		return false, nil
	}
	l.batchNorm(body.Ops[0], body.Ops[1].Result(), true)
	return true, nil
}

// batchNormInputGrad multiplies by element scale of weights unless those are nil.
func (l *lowering) batchNormInputGrad(op *ir.Op, result, weights *ir.Value, scale int) {
	c := l.call("batch_norm_input_grad", "BatchNormInputGrad")
	c.inPlace(0, c.in(l.image(op.Operands[0])), c.in(l.image(op.Operands[1])))
	for _, v := range op.Operands[2:6] {
		c.in(l.operand(v))
	}
	var gamma, weight []int
	if len(op.Operands) == 7 {
		gamma = append(gamma, l.operand(op.Operands[6]))
	}
	c.optional(1, gamma...)
	if weights != nil {
		weight = append(weight, l.operand(weights))
	}
	c.optional(1, weight...)
	dx := l.result(result, channelsLast)
	c.out(dx)
	c.image(dx)
	c.number("eps", op.Attrs.Float("eps"))
	c.bool("affine", len(gamma) > 0)
	c.bool("scaled", weights != nil)
	c.integers(scale)
	rows, channels := pixels(op.Operands[0])
	c.rows(rows, channels, 4)
	c.emit()
}

// scaledGroup lowers batch_norm_input_grad → weighted_sum of one term.
func scaledGroup(l *lowering, body *ir.Program) (bool, error) {
	if len(body.Ops) != 2 || body.Ops[0].Kind != "batch_norm_input_grad" || body.Ops[1].Kind != "weighted_sum" || len(body.Results) != 1 {
		return false, nil
	}
	gradient, sum := body.Ops[0], body.Ops[1]
	if len(sum.Operands) != 2 || sum.Operands[1] != gradient.Result() {
		return false, nil
	}
	l.batchNormInputGrad(gradient, sum.Result(), sum.Operands[0], sum.Attrs.Ints("select")[0])
	return true, nil
}
