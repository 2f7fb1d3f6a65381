package ops

import (
	"fmt"

	"github.com/dartsc/dartsc/internal/philox"
	"github.com/dartsc/dartsc/ir"
)

// Random operations take the seed and the step as i64 scalars and have a stream number of their own: the same three
// give the same numbers everywhere. A gradient that must see the same mask is the same operation with the same three.

var randomDefs = []*Def{
	{
		// drop_path(x [N,…], p, seed, step): each row is dropped with probability p, the others are divided by 1-p
		// (Larsson et al. 2017, as the original's utils.drop_path).
		Kind: "drop_path", Operands: "x, p, seed, step", Attrs: []AttrDef{{"stream", 0}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 4, 4), wantFloat(op, 0)); err != nil {
				return nil, err
			}
			x := op.Operands[0].Type
			if isScalar(x) {
				return nil, fmt.Errorf("operand is a scalar, wants at least rank 1")
			}
			return []ir.Type{x}, first(wantType(op, 1, ir.T(x.DType)), wantSeed(op, 2))
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			y, keep := NewTensor(op.Results[0].Type), 1-float32(in[1].Data[0])
			stream := streamOf(op, in[2], in[3])
			rows := y.Type.Shape[0]
			for i := range y.Data {
				if row := i / (len(y.Data) / rows); stream.Float32(uint64(row)) < keep {
					y.Data[i] = in[0].Data[i] / float64(keep)
				}
			}
			return []*Tensor{y}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			return values(b.DropPath(g[0], op.Operands[1], op.Operands[2], op.Operands[3], op.Attrs.Int("stream")), nil, nil, nil)
		},
		FLOPs:  perElement(1),
		NoONNX: trainingOnly,
	},
}

func wantSeed(op *ir.Op, at int) error {
	return first(wantType(op, at, ir.T(ir.I64)), wantType(op, at+1, ir.T(ir.I64)))
}

func streamOf(op *ir.Op, seed, step *Tensor) philox.Stream {
	return philox.New(uint64(int64(seed.Data[0])), uint64(int64(step.Data[0])), uint64(op.Attrs.Int("stream")))
}

// DropPath drops rows of x with probability p (a scalar) and scales the others to keep the mean.
func (b *Builder) DropPath(x, p, seed, step *ir.Value, stream int) *ir.Value {
	return b.one("drop_path", values(x, p, seed, step), ir.A("stream", stream))
}
