package cpu

import (
	"fmt"

	"github.com/dartsc/dartsc/compiler/lower"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// scan lowers a loop: its body is lowered once, into a program of its own whose tensors are at home in those of the
// program around it. What is carried begins as a copy of its first value, in place where that is not needed any more.
func (l *lowering) scan(op *ir.Op) error {
	if l.inLoop {
		return fmt.Errorf("a loop in a loop has no kernel")
	}
	loop := ir.LoopOf(op)
	body := &lowering{target: l.target, out: &lower.Program{Name: op.Body.Name}, tensors: map[*ir.Value]int{}, copies: map[copyKey]int{}, inLoop: true}
	launch := lower.Launch{Body: body.out, Launch: plan.Launch{
		Kernel: plan.Scan, Phase: op.Phase, Scope: op.Scope, FLOPs: ops.FLOPs(op), Bytes: ops.Bytes(op),
		Operands: []int{l.operand(loop.Length())}, Loop: &plan.Loop{Steps: loop.Steps, Reverse: loop.Reverse, Carried: loop.Carried},
	}}
	homes := make([]lower.Home, len(op.Results))
	for i, in := range op.Body.Inputs {
		var t int
		order := plan.Layout(nil)
		switch {
		case i < loop.Carried:
			t = l.carry(loop.Outer(i))
			l.tensors[op.Results[i]] = t
			launch.Results = append(launch.Results, t)
			homes[i] = lower.AroundLoop(t, false)
		case i < loop.Carried+loop.Stacked:
			t = l.inOrder(loop.Outer(i), nil)
		default:
			t = l.operand(loop.Outer(i))
			order = l.out.Tensors[t].Order
		}
		launch.Operands = append(launch.Operands, t)
		inner := body.define(in, order)
		body.out.Tensors[inner].Home = lower.AroundLoop(t, loop.Carried <= i && i < loop.Carried+loop.Stacked)
	}
	for i := loop.Carried; i < len(op.Results); i++ {
		t := l.define(op.Results[i], nil)
		launch.Results = append(launch.Results, t)
		homes[i] = lower.AroundLoop(t, true)
	}
	if err := body.ops(op.Body); err != nil {
		return err
	}
	// Outputs first: they have no old value that keeps them from being made in place.
	for i := len(op.Results) - 1; i >= 0; i-- {
		body.op0 = op
		body.out.Writes = append(body.out.Writes, lower.Write{Home: homes[i], Tensor: body.inOrder(op.Body.Results[i].Value, nil)})
	}
	l.out.Launches = append(l.out.Launches, launch)
	return nil
}

// carry returns a tensor that begins as a value and that a loop changes.
func (l *lowering) carry(v *ir.Value) int {
	t := l.copy(l.inOrder(v, nil), nil)
	l.out.Launches[len(l.out.Launches)-1].InPlace = []lower.Alias{{Operand: 0, Result: 0}}
	return t
}
