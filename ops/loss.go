package ops

import (
	"fmt"
	"math"
	"slices"

	"github.com/dartsc/dartsc/ir"
)

// Labels are class numbers; a negative label marks a row that does not count (the padding of the last batch of an
// evaluation).

var lossAttrs = []AttrDef{{"label_smoothing", 0.0}, {"reduction", ""}}

var lossDefs = []*Def{
	{
		// softmax(x) over the last axis
		Kind: "softmax", Operands: "x",
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 1, 1), wantFloat(op, 0)); err != nil {
				return nil, err
			}
			if isScalar(op.Operands[0].Type) {
				return nil, fmt.Errorf("operand is a scalar, wants at least rank 1")
			}
			return []ir.Type{op.Operands[0].Type}, nil
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			y := NewTensor(op.Results[0].Type)
			eachRow(y, func(from, to int) {
				copy(y.Data[from:to], in[0].Data[from:to])
				softmax(y.Data[from:to])
			})
			return []*Tensor{y}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			return values(b.SoftmaxGrad(g[0], op.Result()))
		},
		FLOPs: perElement(5),
		ONNX:  onnxNode("Softmax", ir.A("axis", -1)),
	},
	{
		// softmax_grad(g, y) → y·(g - Σ g·y), y the result of softmax
		Kind: "softmax_grad", Operands: "g, y",
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 2, 2), wantFloat(op, 0)); err != nil {
				return nil, err
			}
			if isScalar(op.Operands[0].Type) {
				return nil, fmt.Errorf("operand is a scalar, wants at least rank 1")
			}
			return []ir.Type{op.Operands[0].Type}, wantType(op, 1, op.Operands[0].Type)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			dx := NewTensor(op.Results[0].Type)
			eachRow(dx, func(from, to int) {
				sum := 0.0
				for i := from; i < to; i++ {
					sum += in[0].Data[i] * in[1].Data[i]
				}
				for i := from; i < to; i++ {
					dx.Data[i] = in[1].Data[i] * (in[0].Data[i] - sum)
				}
			})
			return []*Tensor{dx}
		},
		NoGradient: "is itself a gradient; second derivatives are not needed (the unrolled step uses finite differences)",
		FLOPs:      perElement(4),
		NoONNX:     trainingOnly,
	},
	{
		// cross_entropy(logits [N,K], labels i32 [N]) → the sum over rows, or the mean over the rows that count.
		// With smoothing ε the target is (1-ε)·onehot + ε/K.
		Kind: "cross_entropy", Operands: "logits, labels", Attrs: lossAttrs,
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantOperands(op, 2, 2); err != nil {
				return nil, err
			}
			return []ir.Type{ir.T(op.Operands[0].Type.DType)}, wantLogits(op, 0)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			loss := NewTensor(op.Results[0].Type)
			scale := rowScale(op, in[1])
			eachTarget(op, in[0], in[1], func(i int, target, logProbability float64) {
				if target != 0 {
					loss.Data[0] -= scale * target * logProbability
				}
			})
			return []*Tensor{loss}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			dx := b.CrossEntropyGrad(g[0], op.Operands[0], op.Operands[1], op.Attrs.Float("label_smoothing"), op.Attrs.Text("reduction"))
			return values(dx, nil)
		},
		FLOPs:  perOperandElement(6),
		NoONNX: trainingOnly,
	},
	{
		// cross_entropy_grad(g, logits, labels): the cotangent of logits.
		Kind: "cross_entropy_grad", Operands: "g, logits, labels", Attrs: lossAttrs,
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantOperands(op, 3, 3); err != nil {
				return nil, err
			}
			return []ir.Type{op.Operands[1].Type}, first(wantLogits(op, 1), wantType(op, 0, ir.T(op.Operands[1].Type.DType)))
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			dx := NewTensor(op.Results[0].Type)
			scale := rowScale(op, in[2])
			eachTarget(op, in[1], in[2], func(i int, target, logProbability float64) {
				dx.Data[i] = in[0].Data[0] * scale * (math.Exp(logProbability) - target)
			})
			return []*Tensor{dx}
		},
		NoGradient: "is itself a gradient; second derivatives are not needed (the unrolled step uses finite differences)",
		FLOPs:      perElement(6),
		NoONNX:     trainingOnly,
	},
	{
		// correct(logits [N,K], labels i32 [N]) → how many rows have their label among the k largest logits (a tie
		// counts against the label unless it comes first), as a number of the logits' type.
		Kind: "correct", Operands: "logits, labels", Attrs: []AttrDef{{"k", 0}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantOperands(op, 2, 2); err != nil {
				return nil, err
			}
			return []ir.Type{ir.T(op.Operands[0].Type.DType)}, first(wantLogits(op, 0), wantInt(op, "k", 1))
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out := NewTensor(op.Results[0].Type)
			classes := in[0].Type.Shape[1]
			for n, label := range in[1].Data {
				if label < 0 || int(label) >= classes {
					continue // a row that does not count, or a class that the logits do not have
				}
				row, better := in[0].Data[n*classes:(n+1)*classes], 0
				for j, v := range row {
					if v > row[int(label)] || v == row[int(label)] && j < int(label) {
						better++
					}
				}
				if better < op.Attrs.Int("k") {
					out.Data[0]++
				}
			}
			return []*Tensor{out}
		},
		NoGradient: "is a count",
		FLOPs:      perOperandElement(1),
		NoONNX:     trainingOnly,
	},
}

func wantLogits(op *ir.Op, at int) error {
	if err := first(wantRank(op, at, 2), wantFloat(op, at)); err != nil {
		return err
	}
	if r := op.Attrs.Text("reduction"); op.Attrs.Has("reduction") && r != "mean" && r != "sum" {
		return fmt.Errorf("reduction %q: want mean or sum", r)
	}
	if err := wantFloatAttr(op, "label_smoothing", 0, 1); err != nil {
		return err
	}
	return wantType(op, at+1, ir.T(ir.I32, op.Operands[at].Type.Shape[0]))
}

func eachRow(t *Tensor, f func(from, to int)) {
	k := t.Type.Shape[len(t.Type.Shape)-1]
	for from := 0; from < len(t.Data); from += k {
		f(from, from+k)
	}
}

// softmax changes a row to its softmax.
func softmax(row []float64) {
	logSoftmax(row)
	for i, v := range row {
		row[i] = math.Exp(v)
	}
}

// logSoftmax changes a row to the logarithms of its softmax, which are finite where a probability underflows to zero.
func logSoftmax(row []float64) {
	largest, sum := slices.Max(row), 0.0
	for _, v := range row {
		sum += math.Exp(v - largest)
	}
	for i := range row {
		row[i] -= largest + math.Log(sum)
	}
}

// rowScale is what each row contributes by: 1 for a sum, 1/(rows that count) for a mean.
func rowScale(op *ir.Op, labels *Tensor) float64 {
	if op.Attrs.Text("reduction") == "sum" {
		return 1
	}
	n := 0.0
	for _, label := range labels.Data {
		if label >= 0 {
			n++
		}
	}
	return 1 / math.Max(n, 1)
}

// eachTarget calls f with the position, the smoothed target and the logarithm of the probability of every class of
// every row that counts.
func eachTarget(op *ir.Op, logits, labels *Tensor, f func(i int, target, logProbability float64)) {
	classes, smoothing := logits.Type.Shape[1], op.Attrs.Float("label_smoothing")
	row := make([]float64, classes)
	for n, label := range labels.Data {
		if label < 0 {
			continue
		}
		copy(row, logits.Data[n*classes:])
		logSoftmax(row)
		for j, p := range row {
			target := smoothing / float64(classes)
			if j == int(label) {
				target += 1 - smoothing
			}
			f(n*classes+j, target, p)
		}
	}
}

// Softmax over the last axis.
func (b *Builder) Softmax(x *ir.Value) *ir.Value { return b.one("softmax", values(x)) }

// SoftmaxGrad is the cotangent of x under softmax, y the result of softmax.
func (b *Builder) SoftmaxGrad(g, y *ir.Value) *ir.Value { return b.one("softmax_grad", values(g, y)) }

// CrossEntropy is the loss of logits [N,K] for labels i32 [N]; reduction is "mean" or "sum".
func (b *Builder) CrossEntropy(logits, labels *ir.Value, smoothing float64, reduction string) *ir.Value {
	return b.one("cross_entropy", values(logits, labels), ir.A("label_smoothing", smoothing), ir.A("reduction", reduction))
}

// CrossEntropyGrad is the cotangent of the logits, g that of the loss.
func (b *Builder) CrossEntropyGrad(g, logits, labels *ir.Value, smoothing float64, reduction string) *ir.Value {
	return b.one("cross_entropy_grad", values(g, logits, labels), ir.A("label_smoothing", smoothing), ir.A("reduction", reduction))
}

// Correct counts the rows whose label is among the k largest logits.
func (b *Builder) Correct(logits, labels *ir.Value, k int) *ir.Value {
	return b.one("correct", values(logits, labels), ir.A("k", k))
}
