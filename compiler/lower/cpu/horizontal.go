package cpu

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/compiler/lower"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// horizontal lowers groups of groups to one launch, whose parameters hold those of its members, see runtime/cpu. On the way
// back every member adds to the cotangent that the one before gives: they share its memory, which is the first result.
func (l *lowering) horizontal(op *ir.Op) error {
	for i, in := range op.Body.Inputs {
		if drop := l.dropped[op.Operands[i]]; drop != nil {
			l.dropped[in] = drop
			continue
		}
		l.tensors[in] = l.operand(op.Operands[i])
	}
	out := lower.Launch{Launch: plan.Launch{Kernel: "horizontal", Phase: op.Phase, Scope: op.Scope, FLOPs: ops.FLOPs(op), Bytes: ops.Bytes(op), Params: plan.Params{}}}
	for i, v := range op.Results {
		order := plan.Layout(nil)
		if inner := op.Body.Results[i].Value; len(v.Type.Shape) == 4 {
			if order = channelsLast; isFilterGradient(inner) {
				order = filters
			}
		}
		t := l.define(v, order)
		l.tensors[op.Body.Results[i].Value] = t
		out.Results = append(out.Results, t)
	}
	members := op.Body.Ops
	for _, inner := range members {
		if v := inner.Results[0]; !slices.ContainsFunc(op.Body.Results, func(r ir.Result) bool { return r.Value == v }) {
			l.tensors[v] = out.Results[0] // what the next one adds to
		}
	}
	var launches []lower.Launch
	for _, inner := range members {
		if err := l.fusion(inner); err != nil {
			return err
		}
		last := len(l.out.Launches) - 1 // what comes before are copies that it needs
		launches = append(launches, l.out.Launches[last])
		l.out.Launches = l.out.Launches[:last]
	}
	for _, member := range launches {
		for _, t := range member.Operands {
			if !slices.Contains(out.Operands, t) && !slices.Contains(out.Results, t) {
				out.Operands = append(out.Operands, t)
			}
		}
	}
	places := append(slices.Clone(out.Operands), out.Results...)
	out.Params["kernel"], out.Params["members"] = launches[0].Kernel, len(launches)
	for i, member := range launches {
		for name, v := range member.Params {
			out.Params[fmt.Sprint(i, ".", name)] = v
		}
		for name, list := range map[string][]int{"operands": member.Operands, "results": member.Results} {
			at := make([]int, len(list))
			for k, t := range list {
				at[k] = slices.Index(places, t)
			}
			out.Params[fmt.Sprint(i, ".", name)] = at
		}
	}
	if first := launches[0]; first.Params.Bool("accumulate") {
		// Only the first member's sum is read before the result is written, image by image.
		sum := first.Operands[first.InPlace[len(first.InPlace)-1].Operand]
		out.InPlace = []lower.Alias{{Operand: slices.Index(out.Operands, sum)}}
	}
	l.out.Launches = append(l.out.Launches, out)
	return nil
}

// isFilterGradient says whether a result of a member is the gradient of a filter.
func isFilterGradient(v *ir.Value) bool {
	return v.Def.Body.Results[v.At].Value.Def.Kind == "conv2d_weight_grad"
}
