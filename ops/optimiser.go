package ops

import (
	"fmt"
	"math"

	"github.com/dartsc/dartsc/ir"
)

const updateOnly = "is an update of the optimiser, which is not differentiated (the unrolled step uses finite differences)"

var optimiserDefs = []*Def{
	{
		// sgd(w, g, velocity, rate, scale) → w', velocity': with d = scale·g + weight_decay·w,
		// velocity' = momentum·velocity + d and w' = w - rate·velocity' (torch.optim.SGD without dampening).
		Kind: "sgd", Operands: "w, g, velocity, rate, scale", Attrs: []AttrDef{{"momentum", 0.0}, {"weight_decay", 0.0}}, Pointwise: true,
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			return inferUpdate(op, 3, 2, 2)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			w, velocity := in[0].Clone(), in[2].Clone()
			rate, scale := in[3].Data[0], in[4].Data[0]
			for i := range w.Data {
				d := scale*in[1].Data[i] + op.Attrs.Float("weight_decay")*w.Data[i]
				velocity.Data[i] = op.Attrs.Float("momentum")*velocity.Data[i] + d
				w.Data[i] -= rate * velocity.Data[i]
			}
			return []*Tensor{w, velocity}
		},
		NoGradient: updateOnly, FLOPs: perElement(7), NoONNX: trainingOnly,
	},
	{
		// adam(p, g, m, v, rate, t) → p', m', v' at the t-th update, counted from 1 (Kingma and Ba 2015; weight decay
		// is added to the gradient, as torch.optim.Adam).
		Kind: "adam", Operands: "p, g, m, v, rate, t",
		Attrs:     []AttrDef{{"beta1", 0.0}, {"beta2", 0.0}, {"eps", 0.0}, {"weight_decay", 0.0}},
		Pointwise: true,
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			return inferUpdate(op, 4, 2, 3)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			p, m, v := in[0].Clone(), in[2].Clone(), in[3].Clone()
			rate, t := in[4].Data[0], in[5].Data[0]
			beta1, beta2 := op.Attrs.Float("beta1"), op.Attrs.Float("beta2")
			for i := range p.Data {
				g := in[1].Data[i] + op.Attrs.Float("weight_decay")*p.Data[i]
				m.Data[i] = beta1*m.Data[i] + (1-beta1)*g
				v.Data[i] = beta2*v.Data[i] + (1-beta2)*g*g
				denominator := math.Sqrt(v.Data[i]/(1-math.Pow(beta2, t))) + op.Attrs.Float("eps")
				p.Data[i] -= rate / (1 - math.Pow(beta1, t)) * m.Data[i] / denominator
			}
			return []*Tensor{p, m, v}
		},
		NoGradient: updateOnly, FLOPs: perElement(14), NoONNX: trainingOnly,
	},
	{
		// global_norm(x…) → the Euclidean norm of all elements of all operands
		Kind: "global_norm", Operands: "x…",
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if len(op.Operands) == 0 {
				return nil, fmt.Errorf("has no operands, wants at least one")
			}
			dtype := op.Operands[0].Type.DType
			for i, v := range op.Operands {
				if v.Type.DType != dtype || !dtype.Float() {
					return nil, fmt.Errorf("operand %d is %s, wants floating point and one type for all", i, v.Type)
				}
			}
			return []ir.Type{ir.T(dtype)}, nil
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			sum := 0.0
			for _, x := range in {
				for _, v := range x.Data {
					sum += v * v
				}
			}
			return []*Tensor{Scalar(op.Results[0].Type.DType, math.Sqrt(sum))}
		},
		NoGradient: updateOnly,
		FLOPs: func(op *ir.Op) float64 {
			n := 0
			for _, v := range op.Operands {
				n += v.Type.Elements()
			}
			return 2 * float64(n)
		},
		NoONNX: trainingOnly,
	},
	{
		// clip_scale(norm) → min(1, max/(norm + 1e-6)), by which torch's clip_grad_norm_ multiplies gradients
		Kind: "clip_scale", Operands: "norm", Attrs: []AttrDef{{"max", 0.0}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 1, 1), wantFloat(op, 0)); err != nil {
				return nil, err
			}
			return []ir.Type{op.Operands[0].Type}, wantRank(op, 0, 0)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			return []*Tensor{Scalar(op.Results[0].Type.DType, math.Min(1, op.Attrs.Float("max")/(in[0].Data[0]+1e-6)))}
		},
		NoGradient: updateOnly, FLOPs: perElement(2), NoONNX: trainingOnly,
	},
}

// inferUpdate is the shape rule of the optimisers: tensors of one type, then scalars; the results are the first few of
// the tensors.
func inferUpdate(op *ir.Op, tensors, scalars, results int) ([]ir.Type, error) {
	if err := first(wantOperands(op, tensors+scalars, tensors+scalars), wantFloat(op, 0)); err != nil {
		return nil, err
	}
	t := op.Operands[0].Type
	for i := range op.Operands {
		want := t
		if i >= tensors {
			want = ir.T(t.DType)
		}
		if err := wantType(op, i, want); err != nil {
			return nil, err
		}
	}
	types := make([]ir.Type, results)
	for i := range types {
		types[i] = t
	}
	return types, nil
}

// SGD returns the weights and the velocity after one update; rate and scale are scalars.
func (b *Builder) SGD(w, g, velocity, rate, scale *ir.Value, momentum, weightDecay float64) (w2, velocity2 *ir.Value) {
	r := b.Op("sgd", 2, values(w, g, velocity, rate, scale), ir.A("momentum", momentum), ir.A("weight_decay", weightDecay))
	return r[0], r[1]
}

// AdamAttrs are the constants of Adam.
type AdamAttrs struct{ Beta1, Beta2, Eps, WeightDecay float64 }

// Adam returns parameters and both moments after update number t (a scalar, from 1).
func (b *Builder) Adam(p, g, m, v, rate, t *ir.Value, a AdamAttrs) (p2, m2, v2 *ir.Value) {
	r := b.Op("adam", 3, values(p, g, m, v, rate, t),
		ir.A("beta1", a.Beta1), ir.A("beta2", a.Beta2), ir.A("eps", a.Eps), ir.A("weight_decay", a.WeightDecay))
	return r[0], r[1], r[2]
}

// GlobalNorm is the Euclidean norm of all elements of all operands.
func (b *Builder) GlobalNorm(x ...*ir.Value) *ir.Value { return b.one("global_norm", x) }

// ClipScale is the factor that brings a gradient of the given norm down to at most max.
func (b *Builder) ClipScale(norm *ir.Value, max float64) *ir.Value {
	return b.one("clip_scale", values(norm), ir.A("max", max))
}
