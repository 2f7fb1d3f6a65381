package ops

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
)

var matmulDefs = []*Def{
	{
		// matmul(a, b): the product of two matrices, either of them transposed.
		Kind: "matmul", Operands: "a, b", Attrs: []AttrDef{{"transpose_a", false}, {"transpose_b", false}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 2, 2), wantRank(op, 0, 2), wantRank(op, 1, 2), wantFloat(op, 0, 1)); err != nil {
				return nil, err
			}
			m, k := matrix(op.Operands[0].Type.Shape, op.Attrs.Bool("transpose_a"))
			k2, n := matrix(op.Operands[1].Type.Shape, op.Attrs.Bool("transpose_b"))
			if k != k2 {
				return nil, fmt.Errorf("%s and %s: inner dimensions %d and %d differ", op.Operands[0].Type, op.Operands[1].Type, k, k2)
			}
			return []ir.Type{ir.T(op.Operands[0].Type.DType, m, n)}, nil
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			c := NewTensor(op.Results[0].Type)
			m, k := matrix(in[0].Type.Shape, op.Attrs.Bool("transpose_a"))
			_, n := matrix(in[1].Type.Shape, op.Attrs.Bool("transpose_b"))
			at := func(t *Tensor, transposed bool, i, j int) float64 {
				if transposed {
					i, j = j, i
				}
				return t.Data[i*t.Type.Shape[1]+j]
			}
			for i := range m {
				for j := range n {
					for l := range k {
						c.Data[i*n+j] += at(in[0], op.Attrs.Bool("transpose_a"), i, l) * at(in[1], op.Attrs.Bool("transpose_b"), l, j)
					}
				}
			}
			return []*Tensor{c}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			x, y := op.Operands[0], op.Operands[1]
			tx, ty := op.Attrs.Bool("transpose_a"), op.Attrs.Bool("transpose_b")
			// The cotangent of a transposed operand is the transpose of the product: (g yᵀ)ᵀ = y gᵀ.
			product := func(transposed bool, u, v *ir.Value, tu, tv bool) *ir.Value {
				if transposed {
					return b.MatMul(v, u, !tv, !tu)
				}
				return b.MatMul(u, v, tu, tv)
			}
			return values(product(tx, g[0], y, false, !ty), product(ty, x, g[0], !tx, false))
		},
		FLOPs: func(op *ir.Op) float64 {
			_, k := matrix(op.Operands[0].Type.Shape, op.Attrs.Bool("transpose_a"))
			return 2 * float64(k) * float64(op.Results[0].Type.Elements())
		},
		ONNX: func(e Exporter, op *ir.Op) error {
			flag := map[bool]int{true: 1}
			e.Node("Gemm", []string{e.Name(op.Operands[0]), e.Name(op.Operands[1])}, op.Results,
				ir.A("transA", flag[op.Attrs.Bool("transpose_a")]), ir.A("transB", flag[op.Attrs.Bool("transpose_b")]))
			return nil
		},
	},
	{
		// bias_add(x [N,C,…], bias [C]) → x + bias
		Kind: "bias_add", Operands: "x, bias",
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantOperands(op, 2, 2); err != nil {
				return nil, err
			}
			x := op.Operands[0].Type
			if len(x.Shape) < 2 {
				return nil, fmt.Errorf("operand 0 is %s, wants [N,C,…]", x)
			}
			return []ir.Type{x}, wantType(op, 1, ir.T(x.DType, x.Shape[1]))
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			y := NewTensor(op.Results[0].Type)
			eachChannel(y.Type.Shape, func(i, c int) { y.Data[i] = in[0].Data[i] + in[1].Data[c] })
			return []*Tensor{y}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			axes := []int{0}
			for i := 2; i < len(g[0].Type.Shape); i++ {
				axes = append(axes, i)
			}
			return values(g[0], b.ReduceSum(g[0], axes...))
		},
		FLOPs: perElement(1),
		ONNX: func(e Exporter, op *ir.Op) error {
			x, bias := op.Operands[0].Type, e.Name(op.Operands[1])
			if len(x.Shape) > 2 { // ONNX lines up the last axes
				shape := []int{x.Shape[1]}
				for range x.Shape[2:] {
					shape = append(shape, 1)
				}
				column := &ir.Value{Type: ir.T(x.DType, shape...)}
				e.Node("Reshape", []string{bias, onnxInts(e, shape)}, values(column))
				bias = e.Name(column)
			}
			e.Node("Add", []string{e.Name(op.Operands[0]), bias}, op.Results)
			return nil
		},
	},
}

// matrix gives rows and columns of a matrix as a product sees it.
func matrix(shape []int, transposed bool) (rows, columns int) {
	if transposed {
		return shape[1], shape[0]
	}
	return shape[0], shape[1]
}

// MatMul multiplies two matrices, either of them transposed.
func (b *Builder) MatMul(x, y *ir.Value, transposeX, transposeY bool) *ir.Value {
	return b.one("matmul", values(x, y), ir.A("transpose_a", transposeX), ir.A("transpose_b", transposeY))
}

// BiasAdd adds bias [C] to the channels of x [N,C,…].
func (b *Builder) BiasAdd(x, bias *ir.Value) *ir.Value { return b.one("bias_add", values(x, bias)) }

// Linear returns x [N,I] times the transpose of w [O,I], plus bias [O].
func (b *Builder) Linear(x, w, bias *ir.Value) *ir.Value {
	return b.BiasAdd(b.MatMul(x, w, false, true), bias)
}
