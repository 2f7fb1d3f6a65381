package ops

import (
	"fmt"
	"math"

	"github.com/dartsc/dartsc/ir"
)

// Batch normalisation (Ioffe and Szegedy 2015) over the channels of x [N,C,…]. In training it normalises with the
// statistics of the batch and returns them (the variance biased: divided by the count), so that running statistics are
// plain arithmetic of the model; in evaluation the statistics are operands. gamma and beta may be left out.

var normDefs = []*Def{
	{
		// batch_norm_train(x[, gamma, beta]) → y, mean [C], var [C]
		Kind: "batch_norm_train", Operands: "x[, gamma, beta]", Attrs: []AttrDef{{"eps", 0.0}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			c, err := normChannels(op, 1, 0)
			return []ir.Type{operandType(op, 0), c, c}, err
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			mean, variance := channelMoments(in[0])
			return []*Tensor{normalize(in[0], mean, variance, in[1:], op.Attrs.Float("eps")), mean, variance}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			if g[1] != nil || g[2] != nil {
				b.Fail(fmt.Errorf("batch_norm_train: gradients through the returned statistics are not defined"))
				return make([]*ir.Value, len(op.Operands))
			}
			x, mean, variance, eps := op.Operands[0], op.Results[1], op.Results[2], op.Attrs.Float("eps")
			sum, sumX := b.BatchNormSums(g[0], x, mean, variance, eps)
			dx := b.BatchNormInputGrad(g[0], x, mean, variance, sum, sumX, op.Operands[1:min(2, len(op.Operands))], eps)
			return append(values(dx), values(sumX, sum)[:len(op.Operands)-1]...)
		},
		FLOPs:  perOperandElement(8),
		NoONNX: trainingOnly,
	},
	{
		// batch_stats(x) → mean [C], var [C] (biased)
		Kind: "batch_stats", Operands: "x",
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			c, err := normChannels(op, 1, 0)
			if err == nil {
				err = wantOperands(op, 1, 1)
			}
			return []ir.Type{c, c}, err
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			mean, variance := channelMoments(in[0])
			return []*Tensor{mean, variance}
		},
		NoGradient: "comes from batch_norm_train after differentiation",
		FLOPs:      perOperandElement(4),
		NoONNX:     trainingOnly,
	},
	{
		// batch_norm(x, mean, var[, gamma, beta]) → y = (x-mean)/sqrt(var+eps)·gamma + beta
		Kind: "batch_norm", Operands: "x, mean, var[, gamma, beta]", Attrs: []AttrDef{{"eps", 0.0}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			_, err := normChannels(op, 3, 0)
			return []ir.Type{operandType(op, 0)}, err
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			return []*Tensor{normalize(in[0], in[1], in[2], in[3:], op.Attrs.Float("eps"))}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			// The statistics are constants here: dx = g·gamma/sqrt(var+eps), which is batch_norm itself applied to g
			// with mean and beta zero.
			x, mean, variance, eps := op.Operands[0], op.Operands[1], op.Operands[2], op.Attrs.Float("eps")
			zero := b.Constant(mean.Type, 0)
			affine := []*ir.Value{}
			if len(op.Operands) == 5 {
				affine = values(op.Operands[3], zero)
			}
			grads := values(b.BatchNorm(g[0], zero, variance, affine, eps), nil, nil)
			if len(op.Operands) == 5 {
				sum, sumX := b.BatchNormSums(g[0], x, mean, variance, eps)
				grads = append(grads, sumX, sum)
			}
			return grads
		},
		FLOPs: perOperandElement(2),
		ONNX: func(e Exporter, op *ir.Op) error {
			name := func(i int, otherwise float64) string {
				if i < len(op.Operands) {
					return e.Name(op.Operands[i])
				}
				t := op.Operands[1].Type
				data := make([]float64, t.Elements())
				for j := range data {
					data[j] = otherwise
				}
				return e.Constant(t, data)
			}
			inputs := []string{e.Name(op.Operands[0]), name(3, 1), name(4, 0), name(1, 0), name(2, 0)}
			e.Node("BatchNormalization", inputs, op.Results, ir.A("epsilon", op.Attrs.Float("eps")))
			return nil
		},
	},
	{
		// batch_norm_sums(g, x, mean, var) → Σg [C] (the cotangent of beta), Σg·x̂ [C] (of gamma), x̂ the normalised x
		Kind: "batch_norm_sums", Operands: "g, x, mean, var", Attrs: []AttrDef{{"eps", 0.0}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantOperands(op, 4, 4); err != nil {
				return nil, err
			}
			c, err := normChannels(op, 4, 1)
			return []ir.Type{c, c}, err
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			g, x, mean, variance, eps := in[0], in[1], in[2], in[3], op.Attrs.Float("eps")
			sum, sumX := NewTensor(mean.Type), NewTensor(mean.Type)
			eachChannel(g.Type.Shape, func(i, c int) {
				sum.Data[c] += g.Data[i]
				sumX.Data[c] += g.Data[i] * (x.Data[i] - mean.Data[c]) / math.Sqrt(variance.Data[c]+eps)
			})
			return []*Tensor{sum, sumX}
		},
		NoGradient: "is itself part of a gradient; second derivatives of BatchNorm are not needed (the unrolled step uses finite differences)",
		FLOPs:      perOperandElement(5),
		NoONNX:     trainingOnly,
	},
	{
		// batch_norm_input_grad(g, x, mean, var, Σg, Σg·x̂[, gamma]) → dx = gamma/sqrt(var+eps)·(g - Σg/n - x̂·Σg·x̂/n)
		Kind: "batch_norm_input_grad", Operands: "g, x, mean, var, sum_g, sum_gx[, gamma]", Attrs: []AttrDef{{"eps", 0.0}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantOperands(op, 6, 7); err != nil {
				return nil, err
			}
			c, err := normChannels(&ir.Op{Kind: op.Kind, Operands: op.Operands[:4], Attrs: op.Attrs}, 4, 1)
			for i := 4; i < len(op.Operands) && err == nil; i++ {
				err = wantType(op, i, c)
			}
			return []ir.Type{op.Operands[0].Type}, err
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			g, x, mean, variance, sum, sumX, eps := in[0], in[1], in[2], in[3], in[4], in[5], op.Attrs.Float("eps")
			dx := NewTensor(g.Type)
			n := float64(len(g.Data) / len(mean.Data))
			eachChannel(g.Type.Shape, func(i, c int) {
				inverse := 1 / math.Sqrt(variance.Data[c]+eps)
				normal := (x.Data[i] - mean.Data[c]) * inverse
				scale := inverse
				if len(in) == 7 {
					scale *= in[6].Data[c]
				}
				dx.Data[i] = scale * (g.Data[i] - sum.Data[c]/n - normal*sumX.Data[c]/n)
			})
			return []*Tensor{dx}
		},
		NoGradient: "is itself part of a gradient; second derivatives of BatchNorm are not needed (the unrolled step uses finite differences)",
		FLOPs:      perOperandElement(6),
		NoONNX:     trainingOnly,
	},
}

// normChannels checks that the tensors of an operation (the first `tensors` of them have the shape of x) and its
// per-channel operands fit, and returns the type of one per-channel operand. Operand x stands at position at.
func normChannels(op *ir.Op, leading, at int) (ir.Type, error) {
	if n := len(op.Operands); n < leading || n > leading+2 || n == leading+1 {
		return ir.Type{}, fmt.Errorf("has %d operands, wants %s", n, table[op.Kind].Operands)
	}
	if err := wantFloatAttr(op, "eps", 0, math.MaxFloat64); err != nil {
		return ir.Type{}, err
	}
	x := op.Operands[at].Type
	if len(x.Shape) < 2 || !x.DType.Float() {
		return ir.Type{}, fmt.Errorf("operand %d is %s, wants a floating-point [N,C,…]", at, x)
	}
	c := ir.T(x.DType, x.Shape[1])
	for i := range op.Operands {
		want := c
		if i <= at {
			want = x
		}
		if err := wantType(op, i, want); err != nil {
			return ir.Type{}, err
		}
	}
	return c, nil
}

// eachChannel calls f with the position and the channel of every element of [N,C,…].
func eachChannel(shape []int, f func(i, c int)) {
	inner := 1
	for _, d := range shape[2:] {
		inner *= d
	}
	i := 0
	for range shape[0] {
		for c := range shape[1] {
			for range inner {
				f(i, c)
				i++
			}
		}
	}
}

func channelMoments(x *Tensor) (mean, variance *Tensor) {
	c := ir.T(x.Type.DType, x.Type.Shape[1])
	mean, variance = NewTensor(c), NewTensor(c)
	n := float64(len(x.Data) / len(mean.Data))
	eachChannel(x.Type.Shape, func(i, c int) { mean.Data[c] += x.Data[i] / n })
	eachChannel(x.Type.Shape, func(i, c int) {
		d := x.Data[i] - mean.Data[c]
		variance.Data[c] += d * d / n
	})
	return mean, variance
}

func normalize(x, mean, variance *Tensor, affine []*Tensor, eps float64) *Tensor {
	y := NewTensor(x.Type)
	eachChannel(x.Type.Shape, func(i, c int) {
		y.Data[i] = (x.Data[i] - mean.Data[c]) / math.Sqrt(variance.Data[c]+eps)
		if len(affine) == 2 {
			y.Data[i] = y.Data[i]*affine[0].Data[c] + affine[1].Data[c]
		}
	})
	return y
}

// BatchNormTrain normalises with the statistics of the batch; affine is empty or gamma and beta [C]. It returns the
// normalised x, the mean and the biased variance.
func (b *Builder) BatchNormTrain(x *ir.Value, affine []*ir.Value, eps float64) (y, mean, variance *ir.Value) {
	r := b.Op("batch_norm_train", 3, append(values(x), affine...), ir.A("eps", eps))
	return r[0], r[1], r[2]
}

// BatchStats returns the mean and the biased variance of every channel.
func (b *Builder) BatchStats(x *ir.Value) (mean, variance *ir.Value) {
	r := b.Op("batch_stats", 2, values(x))
	return r[0], r[1]
}

// BatchNorm normalises with given statistics; affine is empty or gamma and beta [C].
func (b *Builder) BatchNorm(x, mean, variance *ir.Value, affine []*ir.Value, eps float64) *ir.Value {
	return b.one("batch_norm", append(values(x, mean, variance), affine...), ir.A("eps", eps))
}

// BatchNormSums returns the sums over each channel of g and of g times the normalised x.
func (b *Builder) BatchNormSums(g, x, mean, variance *ir.Value, eps float64) (sum, sumX *ir.Value) {
	r := b.Op("batch_norm_sums", 2, values(g, x, mean, variance), ir.A("eps", eps))
	return r[0], r[1]
}

// BatchNormInputGrad is the cotangent of x in training mode; gamma is empty or one value.
func (b *Builder) BatchNormInputGrad(g, x, mean, variance, sum, sumX *ir.Value, gamma []*ir.Value, eps float64) *ir.Value {
	return b.one("batch_norm_input_grad", append(values(g, x, mean, variance, sum, sumX), gamma...), ir.A("eps", eps))
}
