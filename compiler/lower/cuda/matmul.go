package cuda

import "github.com/dartsc/dartsc/ir"

// The addends of MatMul.
const (
	addedNothing = iota
	addedMatrix
	addedRow
)

// matmul lowers a product of matrices, to which addend is added unless that is nil: a matrix, or a row for all of its rows.
func (l *lowering) matmul(op *ir.Op, addend, result *ir.Value) error {
	transposeA, transposeB := op.Attrs.Bool("transpose_a"), op.Attrs.Bool("transpose_b")
	m, n := result.Type.Shape[0], result.Type.Shape[1]
	k := op.Operands[0].Type.Elements() / m
	c := l.call("matmul", "MatMul")
	c.in(l.operand(op.Operands[0]), l.operand(op.Operands[1]))
	added := addedNothing
	switch {
	case addend == nil:
		c.none(1)
	case addend.Type.Equal(result.Type):
		added = addedMatrix
		c.inPlace(0, c.in(l.operand(addend)))
	default:
		added = addedRow
		c.in(l.operand(addend))
	}
	c.out(l.result(result, nil))
	c.int("added", added)
	c.bool("transpose_a", transposeA)
	c.bool("transpose_b", transposeB)
	va, vb := pack(k), pack(n)
	if transposeA {
		va = pack(m)
	}
	if transposeB {
		vb = pack(k)
	}
	c.product(m, n, k, !transposeA, transposeB, va, vb)
	c.emit()
	return nil
}
