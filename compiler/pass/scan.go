package pass

import (
	"slices"

	"github.com/dartsc/dartsc/ir"
)

// prune takes out of a loop the results that are not live, what is carried for them alone, and the operands that the
// body then has no use for.
func prune(l ir.Loop, live map[*ir.Value]bool) {
	body := l.Body
	keep := make([]bool, len(l.Results))
	for i, v := range l.Results {
		keep[i] = live[v]
	}
	all := body.Results
	used := map[*ir.Value]bool{}
	for again := true; again; { // a carried value is needed if the next step uses it
		again = false
		body.Results = keptResults(all, keep)
		used = needs(body)
		for i := range l.Carried {
			if !keep[i] && used[body.Inputs[i]] {
				keep[i], again = true, true
			}
		}
	}
	removeDead(body, func(*ir.Value) bool { return false })
	var results, operands, inputs []*ir.Value
	for i, v := range l.Results {
		if keep[i] {
			results = append(results, v)
		}
	}
	operands = append(operands, l.Length())
	carried, stacked := 0, 0
	for i, in := range body.Inputs {
		if i < l.Carried && !keep[i] || i >= l.Carried && !used[in] {
			continue
		}
		if i < l.Carried {
			carried++
		} else if i < l.Carried+l.Stacked {
			stacked++
		}
		inputs, operands = append(inputs, in), append(operands, l.Outer(i))
	}
	body.Inputs, l.Op.Operands, l.Op.Results = inputs, operands, results
	l.SetParts(carried, stacked)
	for i, v := range results {
		v.At = i
	}
	body.Number()
}

func keptResults(all []ir.Result, keep []bool) (kept []ir.Result) {
	for i, r := range all {
		if keep[i] {
			kept = append(kept, r)
		}
	}
	return kept
}

// needs are the values that the results of a body depend on.
func needs(body *ir.Program) map[*ir.Value]bool {
	live := map[*ir.Value]bool{}
	for _, r := range body.Results {
		live[r.Value] = true
	}
	for _, op := range slices.Backward(body.Ops) {
		if slices.ContainsFunc(op.Results, func(v *ir.Value) bool { return live[v] }) {
			for _, v := range op.Operands {
				live[v] = true
			}
		}
	}
	return live
}

// captureConstants lets the body of a loop make the constants that it captures, where the rules about constants see
// them.
func captureConstants(l ir.Loop) {
	first := l.Carried + l.Stacked
	inside := substitution{}
	var constants []*ir.Op
	inputs, operands := slices.Clone(l.Body.Inputs[:first]), slices.Clone(l.Operands[:1+first])
	for i := first; i < l.Inputs; i++ {
		in, outer := l.Body.Inputs[i], l.Outer(i)
		if _, ok := constantOf(outer); !ok {
			inputs, operands = append(inputs, in), append(operands, outer)
			continue
		}
		made := &ir.Op{Kind: outer.Def.Kind, Attrs: outer.Def.Attrs, Phase: l.Phase, Scope: l.Scope}
		v := &ir.Value{Type: in.Type, Def: made}
		made.Results = []*ir.Value{v}
		constants = append(constants, made)
		inside[in] = v
	}
	if len(constants) == 0 {
		return
	}
	for _, op := range l.Body.Ops {
		inside.operands(op)
	}
	inside.results(l.Body)
	l.Body.Ops = append(constants, l.Body.Ops...)
	l.Body.Inputs, l.Op.Operands = inputs, operands
	l.Body.Number()
}
