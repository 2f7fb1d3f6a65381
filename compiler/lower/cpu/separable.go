package cpu

import (
	"maps"

	"github.com/dartsc/dartsc/compiler/fuse"
	"github.com/dartsc/dartsc/compiler/lower"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// separable lowers separable convolutions and their way back, whose kernels are described in runtime/cpu.
func (l *lowering) separable(op *ir.Op, outer map[*ir.Value]*ir.Value) error {
	p, err := fuse.PartsOf(op.Body)
	if err != nil {
		return err
	}
	out := lower.Launch{Launch: plan.Launch{Kernel: op.Attrs.Text("group"), Phase: op.Phase, Scope: op.Scope, FLOPs: ops.FLOPs(op), Bytes: ops.Bytes(op)}}
	convolution := p.Depthwise
	if convolution == nil {
		convolution = p.DX
	}
	params := plan.Params{"groups": convolution.Attrs.Int("groups")}
	for _, name := range []string{"strides", "pads", "dilations"} {
		params[name] = convolution.Attrs.Ints(name)
	}
	add := func(v *ir.Value, order plan.Layout) {
		out.Operands = append(out.Operands, l.inOrder(outer[v], order))
	}
	x := p.Source()
	var prologue []*ir.Value // its operands, which come last
	switch params["prologue"] = ""; {
	case p.Norm != nil:
		prologue = p.Norm.Operands[1:]
		params["prologue"], params["eps"] = "batch_norm_relu", p.Norm.Attrs.Float("eps")
	case p.Rectified():
		params["prologue"] = "relu"
	}
	if op.Attrs.Text("group") == fuse.Separable {
		add(x, channelsLast)
		add(p.Depthwise.Operands[1], filters)
		add(p.Pointwise.Operands[1], filters)
		for _, bias := range p.Pointwise.Operands[2:] {
			add(bias, nil)
		}
	} else {
		maps.Copy(params, flags(&p))
		g, drop := l.beforeDrop(outer[p.Cotangent()], params)
		out.Operands = append(out.Operands, l.inOrder(g, channelsLast))
		out.Bytes += bytesOf(drop)
		for _, v := range drop {
			out.Operands = append(out.Operands, l.operand(v))
		}
		out.InPlace = append(out.InPlace, lower.Alias{Operand: 0})
		if x != nil {
			add(x, channelsLast)
		}
		add(p.DX.Operands[1], filters)
		add(p.DBetween.Operands[1], filters)
		if p.NormGrad != nil {
			out.InPlace = append(out.InPlace, lower.Alias{Operand: len(out.Operands)})
			add(p.NormGrad.Operands[1], channelsLast)
			for _, v := range p.NormGrad.Operands[2:] {
				add(v, nil)
			}
		}
		if p.Scale != nil {
			add(p.Scale.Operands[0], nil)
		}
		if p.Add != nil {
			out.InPlace = append(out.InPlace, lower.Alias{Operand: len(out.Operands)})
			add(p.Addend(), channelsLast)
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
			if inner := op.Body.Results[i].Value.Def; inner == p.DDepthwise || inner == p.DPointwise {
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

// flags are the parameters that say what belongs to a way back.
func flags(p *fuse.Parts) plan.Params {
	flags := plan.Params{"normalized": p.NormGrad != nil, "accumulate": p.Add != nil, "mask": p.Mask != nil, "weights": p.DDepthwise != nil, "sums": p.Sums != nil}
	if p.NormGrad != nil {
		flags["norm_eps"], flags["affine"] = p.NormGrad.Attrs.Float("eps"), len(p.NormGrad.Operands) == 7
	}
	if p.Scale != nil {
		flags["scale"] = p.Scale.Attrs.Ints("select")[0]
	}
	return flags
}
