package cpu

import (
	"slices"

	"github.com/dartsc/dartsc/compiler/fuse"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
)

// Cotangents that drop path is applied to: the kernels that go back through the BatchNorm before it leave out the images that
// it dropped, so that no such cotangent is ever made.

// findDropped lists the results of drop_path that only such kernels read.
func (l *lowering) findDropped(p *ir.Program) {
	l.dropped = map[*ir.Value]*ir.Op{}
	for _, op := range p.Ops {
		if op.Kind == "drop_path" && len(op.Result().Type.Shape) == 4 {
			l.dropped[op.Result()] = op
		}
	}
	for _, op := range p.Ops {
		for _, v := range op.Operands {
			if l.dropped[v] != nil && !dropsCotangent(op, v) {
				delete(l.dropped, v)
			}
		}
	}
	for _, r := range p.Results {
		delete(l.dropped, r.Value)
	}
}

// dropsCotangent says whether an operation reads a value as the cotangent of a BatchNorm's result, in a kernel that can drop
// images of it, and in no other way.
func dropsCotangent(op *ir.Op, v *ir.Value) bool {
	switch {
	case op.Kind == "batch_norm_sums":
		return op.Operands[0] == v && !slices.Contains(op.Operands[1:], v)
	case op.Kind != ir.Fusion:
		return false
	}
	inner := op.Body.Inputs[slices.Index(op.Operands, v)]
	switch op.Attrs.Text("group") {
	case fuse.Horizontal:
		return !slices.ContainsFunc(op.Body.Ops, func(member *ir.Op) bool {
			return slices.Contains(member.Operands, inner) && !dropsCotangent(member, inner)
		})
	case fuse.SeparableGrad:
		uses := 0
		for _, part := range op.Body.Ops {
			for _, operand := range part.Operands {
				if operand == inner {
					uses++
				}
			}
		}
		parts, err := fuse.PartsOf(op.Body)
		return err == nil && uses == 1 && parts.NormGrad != nil && parts.NormGrad.Operands[0] == inner
	}
	return false
}

// beforeDrop returns what drop path is applied to, and its other operands, where a value is left to its readers: they also
// get a parameter. Other values are returned as they are.
func (l *lowering) beforeDrop(v *ir.Value, p plan.Params) (*ir.Value, []*ir.Value) {
	op := l.dropped[v]
	if op == nil {
		return v, nil
	}
	p["drop"] = op.Attrs.Int("stream")
	return op.Operands[0], op.Operands[1:]
}

func bytesOf(values []*ir.Value) (n float64) {
	for _, v := range values {
		n += float64(v.Type.Bytes())
	}
	return n
}
