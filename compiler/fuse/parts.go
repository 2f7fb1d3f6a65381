package fuse

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
)

// Parts are the operations of a group separable or separable_grad by what they do in it; nil is one that it does not have.
type Parts struct {
	Norm, Relu             *ir.Op // the prologue
	Depthwise, Pointwise   *ir.Op
	Statistics             *ir.Op
	NormGrad, Scale        *ir.Op // how the cotangent of z comes about
	DBetween, DX           *ir.Op
	DDepthwise, DPointwise *ir.Op
	Add, Mask, Sums        *ir.Op
}

// PartsOf tells the operations of a body apart. Convolutions of one kind are told by what they read.
func PartsOf(body *ir.Program) (p Parts, err error) {
	for _, op := range body.Ops {
		to := map[string]**ir.Op{
			"batch_norm": &p.Norm, "relu": &p.Relu, "batch_stats": &p.Statistics, "batch_norm_input_grad": &p.NormGrad, "weighted_sum": &p.Scale,
			"add": &p.Add, "relu_grad": &p.Mask, "batch_norm_sums": &p.Sums, "conv2d": &p.Depthwise, "conv2d_input_grad": &p.DBetween, "conv2d_weight_grad": &p.DPointwise,
		}[op.Kind]
		switch {
		case op.Kind == "conv2d" && p.Depthwise != nil:
			to = &p.Pointwise
		case op.Kind == "conv2d_input_grad" && p.DBetween != nil:
			to = &p.DX
		case op.Kind == "conv2d_weight_grad" && p.DBetween != nil && op.Operands[1] == p.DBetween.Result():
			to = &p.DDepthwise
		}
		if to == nil || *to != nil {
			return p, fmt.Errorf("a group has a part too many: %s", op.Kind)
		}
		*to = op
	}
	return p, nil
}

// Source returns x, nil where a way back does not read it.
func (p *Parts) Source() *ir.Value {
	switch {
	case p.Norm != nil:
		return p.Norm.Operands[0]
	case p.Mask != nil:
		return p.Mask.Operands[1]
	case p.Relu != nil:
		return p.Relu.Operands[0]
	case p.Depthwise != nil:
		return p.Depthwise.Operands[0]
	}
	return nil
}

// Rectified says whether a ReLU comes before the depthwise convolution.
func (p *Parts) Rectified() bool { return p.Relu != nil || p.Mask != nil }

// Cotangent is what the way back begins with.
func (p *Parts) Cotangent() *ir.Value {
	if p.NormGrad != nil {
		return p.NormGrad.Operands[0]
	}
	return p.DBetween.Operands[0]
}

// Addend is what the cotangent of x is added to.
func (p *Parts) Addend() *ir.Value {
	return Addend(p.Add, p.DX.Result())
}

// Addend is the operand of an addition that is not the given one.
func Addend(add *ir.Op, v *ir.Value) *ir.Value {
	if add.Operands[0] == v {
		return add.Operands[1]
	}
	return add.Operands[0]
}
