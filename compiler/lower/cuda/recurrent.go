package cuda

import "github.com/dartsc/dartsc/ir"

var texts = map[string]func(l *lowering, op *ir.Op) error{
	"embedding": func(l *lowering, op *ir.Op) error {
		c := l.call(op.Kind, "Embedding")
		c.in(l.plain(op.Operands[0]), l.operand(op.Operands[1]))
		c.out(l.result(op.Result(), nil))
		v := c.table(op.Operands[0], op.Operands[1].Type)
		c.int("V", v)
		c.loop(op.Result().Type.Elements() / v)
		c.emit()
		return nil
	},
	"embedding_grad": embeddingGrad,
	"dropout_mask": func(l *lowering, op *ir.Op) error {
		c := l.call(op.Kind, "DropoutMask")
		c.in(l.operand(op.Operands[0]), l.operand(op.Operands[1]))
		c.out(l.result(op.Result(), nil))
		c.int("stream", op.Attrs.Int("stream"))
		c.float("keep", 1-op.Attrs.Float("p"))
		c.elements(op.Result().Type.Elements(), 1)
		c.emit()
		return nil
	},
	"mask_steps": func(l *lowering, op *ir.Op) error {
		c := l.call(op.Kind, "MaskSteps")
		c.inPlace(0, c.in(l.plain(op.Operands[0])))
		c.in(l.operand(op.Operands[1]))
		c.out(l.result(op.Result(), nil))
		n := op.Result().Type.Elements()
		c.int("step", n/op.Result().Type.Shape[0])
		c.elements(n, 1)
		c.emit()
		return nil
	},
}

// table describes words and their table; it returns how many columns are taken at once.
func (c *call) table(words *ir.Value, table ir.Type) int {
	c.int("words", words.Type.Elements())
	c.int("rows", table.Shape[0])
	c.int("columns", table.Shape[1])
	return pack(table.Shape[1])
}

// mostTableShare is how many bytes of the table a block of EmbeddingGrad holds.
const mostTableShare = 40 << 10

func embeddingGrad(l *lowering, op *ir.Op) error {
	table := op.Result().Type
	rows, rowBytes := table.Shape[0], 4*table.Shape[1]
	share := max(1, min(ceiling(rows, mostBlocks), mostTableShare/rowBytes))
	c := l.call(op.Kind, "EmbeddingGrad")
	c.in(l.plain(op.Operands[0]), l.plain(op.Operands[1]))
	c.out(l.result(op.Result(), nil))
	c.table(op.Operands[1], table)
	c.int("share", share)
	c.shared = ceiling(share*rowBytes, 16)*16 + 4*threads
	c.blocks = ceiling(rows, share)
	c.emit()
	return nil
}
