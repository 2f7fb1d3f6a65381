package cpu

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dartsc/dartsc/compiler/plan"
)

// loop is a launch with a loop, bound. Launches whose buffers move are bound once for every step, so that kernels know
// nothing of loops; the others once.
type loop struct {
	*plan.Loop
	length []int64
	steps  [][]task // by step, then launch
	tails  []phase  // clear the part of each stacked result that belongs to no step
}

func bindLoop(spaces [2][]byte, program *plan.Program, l *plan.Launch, w *workspace) (bound *loop, scratch int, err error) {
	in, err := bindTensors(spaces, program, l.Operands[:1], "operand")
	if err != nil {
		return nil, 0, err
	}
	b := &loop{Loop: l.Loop, length: in[0].i64, steps: make([][]task, l.Loop.Steps)}
	programs := make([]*plan.Program, len(b.steps))
	for t := range b.steps {
		b.steps[t], programs[t] = make([]task, len(l.Loop.Launches)), inStep(program, t)
	}
	err = inBlocks(len(l.Loop.Launches), func(at int) error {
		inner := &l.Loop.Launches[at]
		moving := false
		for _, buffer := range slices.Concat(inner.Operands, inner.Results) {
			moving = moving || program.Buffers[buffer].Stride != 0
		}
		for t := range b.steps {
			if t > 0 && !moving {
				b.steps[t][at] = b.steps[0][at]
				continue
			}
			var err error
			if b.steps[t][at], err = bindLaunch(spaces, programs[t], inner, w); err != nil {
				return fmt.Errorf("step %d: %s: %w", t, position(at, inner), err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	for at := range l.Loop.Launches {
		scratch = max(scratch, b.steps[0][at].scratch)
	}
	b.bindTails(spaces, program, l)
	return b, scratch, nil
}

// inStep is the program with its buffers where they are in step t.
func inStep(program *plan.Program, t int) *plan.Program {
	moved := &plan.Program{Buffers: slices.Clone(program.Buffers)}
	for i, b := range moved.Buffers {
		moved.Buffers[i] = b.At(t)
	}
	return moved
}

func (b *loop) bindTails(spaces [2][]byte, program *plan.Program, l *plan.Launch) {
	for _, r := range l.Results[b.Carried:] {
		buffer := program.Buffers[r]
		size := buffer.Bytes() / int64(b.Steps)
		memory := spaces[buffer.Space][buffer.Offset : buffer.Offset+buffer.Bytes()]
		b.tails = append(b.tails, phase{b.Steps, func(t int, _ []float32) {
			if int64(t) >= b.length[0] {
				clear(memory[int64(t)*size : int64(t+1)*size])
			}
		}})
	}
}

// runLoop runs the steps of a loop, and clears what is left of its stacked results.
func (i *instance) runLoop(ctx context.Context, b *bound, observe func(launch int, d time.Duration)) error {
	l := b.loop
	length := l.length[0]
	if length < 0 || length > int64(l.Steps) {
		return fmt.Errorf("is to take %d steps, has room for 0 to %d", length, l.Steps)
	}
	for n := range int(length) {
		t := n
		if l.Reverse {
			t = int(length) - 1 - n
		}
		for at := range l.steps[t] {
			if err := i.runTask(ctx, &l.steps[t][at], b.number+1+at, observe); err != nil {
				return fmt.Errorf("step %d: %s: %w", t, position(at, &l.Launches[at]), err)
			}
		}
	}
	if length == int64(l.Steps) {
		return nil
	}
	for _, tail := range l.tails {
		if err := i.pool.run(tail); err != nil {
			return err
		}
	}
	return nil
}
