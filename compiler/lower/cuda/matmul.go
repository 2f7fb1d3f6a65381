package cuda

import (
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
)

// The addends of MatMul.
const (
	addedNothing = iota
	addedMatrix
	addedRow
)

// accumulateGroup lowers matmul → add. Cotangents of images are added by the trees of tree.go.
func accumulateGroup(l *lowering, body *ir.Program) (bool, error) {
	if len(body.Ops) != 2 || body.Ops[0].Kind != "matmul" || body.Ops[1].Kind != "add" || len(body.Results) != 1 {
		return false, nil
	}
	product, sum := body.Ops[0], body.Ops[1]
	addend := sum.Operands[0]
	if addend == product.Result() {
		addend = sum.Operands[1]
	}
	if addend == product.Result() || !addend.Type.Equal(sum.Result().Type) {
		return false, nil
	}
	return true, l.matmul(product, addend, sum.Result())
}

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
	if m < largeTile || n < largeTile {
		c.product(m, n, k, !transposeA, transposeB, va, vb)
	} else {
		c.template = "LargeMatMul"
		c.large(m, n, k, va, vb)
	}
	c.emit()
	return nil
}

// biased is the bias_add of a product that nothing else reads, if the bias is there; else nil.
func (l *lowering) biased(product *ir.Value) *ir.Op {
	users := l.users[product]
	if len(users) != 1 || users[0].Kind != "bias_add" || l.results[product] {
		return nil
	}
	if _, made := l.tensors[users[0].Operands[1]]; !made {
		return nil
	}
	return users[0]
}

// The sides of the tiles of LargeMatMul: the larger one where there are enough of them for a device.
const (
	largeTile   = 64
	largestTile = 128
)

// large divides an m by n product of depth k into tiles and, where there are few of them, into splits: the fields of
// LargeMatMul, scratch and counters.
func (c *call) large(m, n, k, va, vb int) {
	side := largeTile
	if ceiling(m, largestTile)*ceiling(n, largestTile) >= multiprocessors {
		side = largestTile
	}
	bk := 8 * max(2, threads/(side*side/64)) // 8 for each group of threads
	tiles, steps := ceiling(m, side)*ceiling(n, side), ceiling(k, bk)
	splits := max(1, min(2*multiprocessors/tiles, steps/4))
	c.extents(m, n, k)
	c.int("side", side)
	c.int("bk", bk)
	c.int("splits", splits)
	c.int("va", va)
	c.int("vb", vb)
	c.int("vz", pack(n))
	c.bool("tf32", c.l.target.precision == TF32)
	if splits > 1 {
		c.out(c.l.scratch(plan.F32, splits*m*n))
	} else {
		c.arguments = append(c.arguments, plan.Argument{Kind: plan.ResultArgument}) // partial, which is not used
	}
	c.shared = 4 * 2 * bk * (side + side)
	c.blocks = tiles * splits
	c.counters = tiles
	c.resident = 2 // one block computes while the other waits
}
