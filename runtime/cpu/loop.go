package cpu

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dartsc/dartsc/compiler/plan"
)

// loop is a launch with a loop, bound. Launches whose buffers move are bound once for every step, so that kernels know
// nothing of loops; the others once.
type loop struct {
	*plan.Loop
	length []int64
	steps  [][]task // by step, then launch
	once   []phase  // of what no step changes: they run before the first
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
	written := writtenIn(program, l.Loop)
	var kept atomic.Int64
	err = inBlocks(len(l.Loop.Launches), func(at int) error {
		inner, keeper := &l.Loop.Launches[at], &keeper{workspace: w, written: written, kept: &kept}
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
			keeper.next = 0
			if b.steps[t][at], err = bindLaunch(spaces, programs[t], inner, w, keeper); err != nil {
				return fmt.Errorf("step %d: %s: %w", t, position(at, inner), err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	w.mutex.Lock()
	w.loopSize = max(w.loopSize, kept.Load())
	w.mutex.Unlock()
	for at := range l.Loop.Launches {
		scratch = max(scratch, b.steps[0][at].scratch)
		b.once = append(b.once, b.steps[0][at].once...)
		for t := range b.steps {
			b.steps[t][at].once = nil
		}
	}
	b.bindTails(spaces, program, l)
	return b, scratch, nil
}

// keeper is what keeps memory for a launch of a loop while the loop runs: the same memory in every step. The loops of a
// plan take turns with theirs.
type keeper struct {
	workspace *workspace
	written   []placedRegion // by the loop
	kept      *atomic.Int64  // by the launches of the loop together
	from      []int64        // where the memory of this launch is, in the order in which it asks for it
	next      int
}

// placedRegion is memory of a space.
type placedRegion struct {
	space plan.Space
	region
}

// writtenIn lists what the launches of a loop write in all steps together.
func writtenIn(program *plan.Program, l *plan.Loop) (written []placedRegion) {
	for i := range l.Launches {
		for _, r := range l.Launches[i].Results {
			b := program.Buffers[r]
			written = append(written, placedRegion{b.Space, region{b.Offset, b.At(l.Steps-1).Offset + b.Bytes()}})
		}
	}
	return written
}

// fixed says whether the steps of the loop leave a buffer as it is.
func (k *keeper) fixed(b plan.Buffer) bool {
	return b.Stride == 0 && !slices.ContainsFunc(k.written, func(w placedRegion) bool {
		return w.space == b.Space && w.from < b.Offset+b.Bytes() && b.Offset < w.to
	})
}

func (k *keeper) keep(n int) func() []float32 {
	if k.next == len(k.from) {
		size := int64(n+15) &^ 15
		k.from = append(k.from, k.kept.Add(size)-size)
	}
	w, from := k.workspace, k.from[k.next]
	k.next++
	return func() []float32 { return w.loopData[from : from+int64(n) : from+int64(n)] }
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
	if err := l.CheckLength(length); err != nil {
		return err
	}
	for _, ph := range l.once {
		if err := i.pool.run(ph); err != nil {
			return err
		}
	}
	for t := range l.InOrder(int(length)) {
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
