package cpu

import (
	"fmt"
	"maps"

	"github.com/dartsc/dartsc/compiler/fuse"
	"github.com/dartsc/dartsc/compiler/lower"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// parts are the operations of a separable group by what they do in it; nil is one that it does not have.
type parts struct {
	norm, relu             *ir.Op // the prologue
	depthwise, pointwise   *ir.Op
	statistics             *ir.Op
	normGrad, scale        *ir.Op // how the cotangent of z comes about
	dBetween, dx           *ir.Op
	dDepthwise, dPointwise *ir.Op
	add, mask, sums        *ir.Op
}

// partsOf tells the operations of a body apart. Convolutions of one kind are told by what they read.
func partsOf(body *ir.Program) (p parts, err error) {
	for _, op := range body.Ops {
		to := map[string]**ir.Op{
			"batch_norm": &p.norm, "relu": &p.relu, "batch_stats": &p.statistics, "batch_norm_input_grad": &p.normGrad, "weighted_sum": &p.scale,
			"add": &p.add, "relu_grad": &p.mask, "batch_norm_sums": &p.sums, "conv2d": &p.depthwise, "conv2d_input_grad": &p.dBetween, "conv2d_weight_grad": &p.dPointwise,
		}[op.Kind]
		switch {
		case op.Kind == "conv2d" && p.depthwise != nil:
			to = &p.pointwise
		case op.Kind == "conv2d_input_grad" && p.dBetween != nil:
			to = &p.dx
		case op.Kind == "conv2d_weight_grad" && p.dBetween != nil && op.Operands[1] == p.dBetween.Result():
			to = &p.dDepthwise
		}
		if to == nil || *to != nil {
			return p, fmt.Errorf("a group has a part too many: %s", op.Kind)
		}
		*to = op
	}
	return p, nil
}

// separable lowers separable convolutions and their way back, whose kernels are described in runtime/cpu.
func (l *lowering) separable(op *ir.Op, outer map[*ir.Value]*ir.Value) error {
	p, err := partsOf(op.Body)
	if err != nil {
		return err
	}
	out := lower.Launch{Launch: plan.Launch{Kernel: op.Attrs.Text("group"), Phase: op.Phase, Scope: op.Scope, FLOPs: ops.FLOPs(op), Bytes: ops.Bytes(op)}}
	convolution := p.depthwise
	if convolution == nil {
		convolution = p.dx
	}
	params := plan.Params{"groups": convolution.Attrs.Int("groups")}
	for _, name := range []string{"strides", "pads", "dilations"} {
		params[name] = convolution.Attrs.Ints(name)
	}
	add := func(v *ir.Value, order plan.Layout) {
		out.Operands = append(out.Operands, l.inOrder(outer[v], order))
	}
	prologue := []*ir.Value{} // its operands, which come last
	x := p.source(params, &prologue)
	if op.Attrs.Text("group") == fuse.Separable {
		add(x, channelsLast)
		add(p.depthwise.Operands[1], filters)
		add(p.pointwise.Operands[1], filters)
		for _, bias := range p.pointwise.Operands[2:] {
			add(bias, nil)
		}
	} else {
		maps.Copy(params, p.flags())
		add(p.cotangent(), channelsLast)
		out.InPlace = append(out.InPlace, lower.Alias{Operand: 0})
		if x != nil {
			add(x, channelsLast)
		}
		add(p.dx.Operands[1], filters)
		add(p.dBetween.Operands[1], filters)
		if p.normGrad != nil {
			out.InPlace = append(out.InPlace, lower.Alias{Operand: len(out.Operands)})
			add(p.normGrad.Operands[1], channelsLast)
			for _, v := range p.normGrad.Operands[2:] {
				add(v, nil)
			}
		}
		if p.scale != nil {
			add(p.scale.Operands[0], nil)
		}
		if p.add != nil {
			out.InPlace = append(out.InPlace, lower.Alias{Operand: len(out.Operands)})
			add(p.sum(), channelsLast)
		}
	}
	for _, v := range prologue {
		add(v, nil)
	}
	out.Params = params
	for i, v := range op.Results {
		order := plan.Layout(nil)
		if len(v.Type.Shape) == 4 {
			order = channelsLast
			if inner := op.Body.Results[i].Value.Def; inner == p.dDepthwise || inner == p.dPointwise {
				order = filters
			}
		}
		t, shared := l.tensors[v] // of a member of a horizontal group
		if !shared {
			t = l.define(v, order)
		}
		out.Results = append(out.Results, t)
	}
	l.out.Launches = append(l.out.Launches, out)
	return nil
}

// source returns x, nil where a way back does not read it, and sets the parameters of the prologue.
func (p *parts) source(params plan.Params, operands *[]*ir.Value) (x *ir.Value) {
	relu := p.relu
	if relu == nil {
		relu = p.mask
	}
	switch {
	case p.mask != nil:
		x = p.mask.Operands[1]
	case p.relu != nil:
		x = p.relu.Operands[0]
	case p.depthwise != nil:
		x = p.depthwise.Operands[0]
	}
	name := ""
	if relu != nil {
		name = "relu"
	}
	if p.norm != nil {
		x, name = p.norm.Operands[0], "batch_norm_relu"
		*operands = p.norm.Operands[1:]
		params["eps"] = p.norm.Attrs.Float("eps")
	}
	params["prologue"] = name
	return x
}

// flags are the parameters that say what belongs to a way back.
func (p *parts) flags() plan.Params {
	flags := plan.Params{"normalized": p.normGrad != nil, "accumulate": p.add != nil, "mask": p.mask != nil, "weights": p.dDepthwise != nil, "sums": p.sums != nil}
	if p.normGrad != nil {
		flags["norm_eps"], flags["affine"] = p.normGrad.Attrs.Float("eps"), len(p.normGrad.Operands) == 7
	}
	if p.scale != nil {
		flags["scale"] = p.scale.Attrs.Ints("select")[0]
	}
	return flags
}

// cotangent is what the way back begins with.
func (p *parts) cotangent() *ir.Value {
	if p.normGrad != nil {
		return p.normGrad.Operands[0]
	}
	return p.dBetween.Operands[0]
}

// sum is what the cotangent of x is added to.
func (p *parts) sum() *ir.Value {
	if p.add.Operands[0] == p.dx.Result() {
		return p.add.Operands[1]
	}
	return p.add.Operands[0]
}
