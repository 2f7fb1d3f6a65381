package cuda

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/compiler/lower"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// scan lowers a loop over time: its body is lowered once, into a program of its own whose tensors are at home in those of
// the program around it, each row-major. What is carried begins as a copy of its first value, in place where that is not
// needed any more.
func (l *lowering) scan(op *ir.Op) error {
	if l.around != nil {
		return fmt.Errorf("target %s has no loops in loops", l.target.Name())
	}
	loop := ir.LoopOf(op)
	body := newLowering(l.target, op.Body)
	body.around, body.at = l, op
	launch := lower.Launch{Body: body.out, Launch: plan.Launch{
		Kernel: plan.Scan, Phase: op.Phase, Scope: op.Scope, FLOPs: ops.FLOPs(op), Bytes: ops.Bytes(op),
		Operands: []int{l.operand(loop.Length())}, Loop: &plan.Loop{Steps: loop.Steps, Reverse: loop.Reverse, Carried: loop.Carried},
	}}
	homes := make([]lower.Home, len(op.Results))
	for i, in := range op.Body.Inputs {
		stacked := loop.Carried <= i && i < loop.Carried+loop.Stacked
		t := l.plain(loop.Outer(i))
		if i < loop.Carried {
			t = l.carry(t)
			l.tensors[op.Results[i]] = t
			launch.Results = append(launch.Results, t)
			homes[i] = lower.AroundLoop(t, false)
		}
		launch.Operands = append(launch.Operands, t)
		body.out.Tensors[body.result(in, nil)].Home = lower.AroundLoop(t, stacked)
	}
	for i := loop.Carried; i < len(op.Results); i++ {
		t := l.result(op.Results[i], nil)
		launch.Results = append(launch.Results, t)
		homes[i] = lower.AroundLoop(t, true)
	}
	if err := body.ops(op.Body); err != nil {
		return err
	}
	// Outputs first: they have no old value that keeps them from being made in place.
	body.at = op
	for i, r := range slices.Backward(op.Body.Results) {
		body.out.Writes = append(body.out.Writes, lower.Write{Home: homes[i], Tensor: body.plain(r.Value)})
	}
	body.join()
	launch.Operands = append(launch.Operands, body.captured...)
	l.append(launch, function{})
	return body.err
}

// carry returns a tensor that begins as a copy of another and that a loop changes.
func (l *lowering) carry(t int) int {
	c := l.copyOf(t, l.out.Tensors[t].DType, nil)
	l.mayStay()
	return c
}

// mayStay lets the last launch, a copy, be left out where both tensors come to lie in one place. Such a copy is not joined
// with others.
func (l *lowering) mayStay() {
	l.out.Launches[len(l.out.Launches)-1].InPlace = []lower.Alias{{Operand: 0, Result: 0}}
}

// capture returns the tensor of a constant that the program around the loop fills.
func (l *lowering) capture(constant *ir.Value) int {
	outer := l.around.operand(constant)
	l.captured = append(l.captured, outer)
	t := l.result(constant, l.around.order(outer))
	l.out.Tensors[t].Home = lower.AroundLoop(outer, false)
	return t
}
