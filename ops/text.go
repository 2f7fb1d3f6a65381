package ops

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
)

// Operations on sequences of words: their vectors, and masks over words, rows of text and steps of time.

var textDefs = []*Def{
	{
		// embedding(words i32 […], table [V,N]) → table[words] […,N]. A word outside of the table has the vector zero.
		Kind: "embedding", Operands: "words, table",
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 2, 2), wantWords(op, 0), wantRank(op, 1, 2), wantFloat(op, 1)); err != nil {
				return nil, err
			}
			words, table := op.Operands[0].Type, op.Operands[1].Type
			return []ir.Type{ir.T(table.DType, append(append([]int{}, words.Shape...), table.Shape[1])...)}, nil
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			return []*Tensor{takeRows(op.Results[0].Type, in[1], in[0])}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			return values(nil, b.EmbeddingGrad(g[0], op.Operands[0], op.Operands[1].Type.Shape[0]))
		},
		FLOPs: noFLOPs,
		ONNX: func(e Exporter, op *ir.Op) error {
			e.Node("Gather", []string{e.Name(op.Operands[1]), e.Name(op.Operands[0])}, op.Results, ir.A("axis", 0))
			return nil
		},
	},
	{
		// embedding_grad(g […,N], words i32 […]) → [rows,N]: the sum of g over the places of each word.
		Kind: "embedding_grad", Operands: "g, words", Attrs: []AttrDef{{"rows", 0}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 2, 2), wantFloat(op, 0), wantWords(op, 1), wantInt(op, "rows", 1)); err != nil {
				return nil, err
			}
			g, words := op.Operands[0].Type, op.Operands[1].Type
			if len(g.Shape) != len(words.Shape)+1 {
				return nil, fmt.Errorf("operands are %s and %s, want a vector for each word", g, words)
			}
			n := g.Shape[len(words.Shape)]
			want := ir.T(g.DType, append(append([]int{}, words.Shape...), n)...)
			return []ir.Type{ir.T(g.DType, op.Attrs.Int("rows"), n)}, wantType(op, 0, want)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			table := NewTensor(op.Results[0].Type)
			n := table.Type.Shape[1]
			for i, word := range in[1].Data {
				if word < 0 || int(word) >= table.Type.Shape[0] {
					continue
				}
				for j, v := range in[0].Data[i*n : (i+1)*n] {
					table.Data[int(word)*n+j] += v
				}
			}
			return []*Tensor{table}
		},
		NoGradient: "is itself a gradient; second derivatives are not needed (the unrolled step uses finite differences)",
		FLOPs:      perOperandElement(1),
		NoONNX:     trainingOnly,
	},
	{
		// dropout_mask(seed, step): each element is 0 with probability p, else 1/(1-p). What it multiplies keeps its mean;
		// a mask of one step of time for all of them is variational dropout (Gal and Ghahramani 2016).
		Kind: "dropout_mask", Operands: "seed, step", Attrs: []AttrDef{{"dtype", ""}, {"p", 0.0}, {"shape", []int{}}, {"stream", 0}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			dtype, err := ir.ParseDType(op.Attrs.Text("dtype"))
			if err != nil || !dtype.Float() {
				return nil, fmt.Errorf("element type %q: want a floating-point type", op.Attrs.Text("dtype"))
			}
			return []ir.Type{ir.T(dtype, op.Attrs.Ints("shape")...)},
				first(wantOperands(op, 2, 2), wantSeed(op, 0), wantFloatAttr(op, "p", 0, 0.999999))
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			mask, keep := NewTensor(op.Results[0].Type), float32(1-op.Attrs.Float("p"))
			stream := streamOf(op, in[0], in[1])
			for i := range mask.Data {
				if stream.Float32(uint64(i)) < keep {
					mask.Data[i] = 1 / float64(keep)
				}
			}
			return []*Tensor{mask}
		},
		NoGradient: "is random and depends on nothing continuous",
		FLOPs:      noFLOPs,
		NoONNX:     trainingOnly,
	},
	{
		// mask_steps(x [T,…], length i64) → x with zeros in the steps from length on.
		Kind: "mask_steps", Operands: "x, length",
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 2, 2), wantFloat(op, 0), wantType(op, 1, ir.T(ir.I64))); err != nil {
				return nil, err
			}
			if isScalar(op.Operands[0].Type) {
				return nil, fmt.Errorf("operand is a scalar, wants steps along its first axis")
			}
			return []ir.Type{op.Operands[0].Type}, nil
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			y := in[0].Clone()
			step := len(y.Data) / y.Type.Shape[0]
			for i := range y.Data {
				if float64(i/step) >= in[1].Data[0] {
					y.Data[i] = 0
				}
			}
			return []*Tensor{y}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			return values(b.MaskSteps(g[0], op.Operands[1]), nil)
		},
		FLOPs:  noFLOPs,
		NoONNX: trainingOnly,
	},
}

// takeRows gives the rows of a table that numbers name, zeros where the table has none of that number.
func takeRows(result ir.Type, table, numbers *Tensor) *Tensor {
	y, rows := NewTensor(result), table.Type.Shape[0]
	size := len(table.Data) / rows
	for i, number := range numbers.Data {
		if number >= 0 && int(number) < rows {
			copy(y.Data[i*size:(i+1)*size], table.Data[int(number)*size:])
		}
	}
	return y
}

func wantWords(op *ir.Op, at int) error {
	if t := operandType(op, at); t.DType != ir.I32 || len(t.Shape) == 0 {
		return fmt.Errorf("operand %d is %s, wants words, i32 of at least rank 1", at, t)
	}
	return nil
}

// Embedding gives every word its row of the table [V,N].
func (b *Builder) Embedding(words, table *ir.Value) *ir.Value {
	return b.one("embedding", values(words, table))
}

// EmbeddingGrad is the cotangent of a table of so many rows.
func (b *Builder) EmbeddingGrad(g, words *ir.Value, rows int) *ir.Value {
	return b.one("embedding_grad", values(g, words), ir.A("rows", rows))
}

// DropoutMask is what a value of the type is multiplied by so that elements are dropped with probability p.
func (b *Builder) DropoutMask(t ir.Type, p float64, seed, step *ir.Value, stream int) *ir.Value {
	return b.one("dropout_mask", values(seed, step), ir.A("dtype", t.DType.String()), ir.A("p", p), ir.A("shape", append([]int{}, t.Shape...)), ir.A("stream", stream))
}

// MaskSteps sets the steps of x [T,…] from length on to zero.
func (b *Builder) MaskSteps(x, length *ir.Value) *ir.Value {
	return b.one("mask_steps", values(x, length))
}
