package plan

import (
	"fmt"
	"iter"
	"slices"
)

// Scan is the kernel of a launch with a Loop.
const Scan = "scan"

// Loop is a loop over time: launches that run once a step, over buffers of the same program. In step t a buffer with a
// Stride lies at Offset + t·Stride, so that each step sees its own part of a sequence; all others stay where they are,
// and keep from step to step what is carried.
//
// The launch that has the loop lists as operands the number of steps, an i64, and what the steps read from outside, and
// as results what they leave: first the Carried values that were updated in place, each an operand as well, then the
// stacked ones, of which the runtime clears what lies beyond the last step.
type Loop struct {
	Steps    int  // there are 0 to Steps steps
	Reverse  bool // from the last to the first
	Carried  int
	Launches []Launch
}

// Limits of loops, far above what is useful: they bound the work of checking and binding a plan.
const (
	largestSteps = 1 << 12
	largestWork  = 1 << 20 // launches times steps
)

// All yields every launch with its number, those of loops behind the launch that has the loop; a runtime reports times
// by that number. Times is how often the launch runs at most.
func (p *Program) All() iter.Seq2[int, Run] {
	return func(yield func(int, Run) bool) {
		n := 0
		for i := range p.Launches {
			l := &p.Launches[i]
			if !yield(n, Run{l, 1}) {
				return
			}
			n++
			if l.Loop == nil {
				continue
			}
			for j := range l.Loop.Launches {
				if !yield(n, Run{&l.Loop.Launches[j], l.Loop.Steps}) {
					return
				}
				n++
			}
		}
	}
}

// Run is a launch and how often it runs.
type Run struct {
	*Launch
	Times int
}

// Count is the number of launches that All yields.
func (p *Program) Count() int {
	n := len(p.Launches)
	for i := range p.Launches {
		if l := p.Launches[i].Loop; l != nil {
			n += len(l.Launches)
		}
	}
	return n
}

// Step is what a program does at a time: a launch, in step T of its loop (outside of loops T is 0), or Clear, the part of a
// stacked result of a launch with a loop that belongs to no step. Number is that of All.
type Step struct {
	*Launch
	Number, T int
	Clear     *Buffer
}

// Unrolled lists all steps of a program in the order in which they are done, those of a loop once for each that it takes;
// length says how many these are.
func (p *Program) Unrolled(length func(loop *Launch) int) (steps []Step) {
	n := 0
	for i := range p.Launches {
		l := &p.Launches[i]
		number := n
		n++
		if l.Loop == nil {
			steps = append(steps, Step{Launch: l, Number: number})
			continue
		}
		taken := length(l)
		for _, tail := range p.tails(l, taken) {
			steps = append(steps, Step{Launch: l, Number: number, Clear: &tail})
		}
		for t := range l.Loop.InOrder(taken) {
			for j := range l.Loop.Launches {
				steps = append(steps, Step{Launch: &l.Loop.Launches[j], Number: n + j, T: t})
			}
		}
		n += len(l.Loop.Launches)
	}
	return steps
}

// tails are the parts of the stacked results of a loop that belong to no step when it takes so many.
func (p *Program) tails(l *Launch, taken int) (tails []Buffer) {
	if taken == l.Loop.Steps {
		return nil
	}
	for _, r := range l.Results[l.Loop.Carried:] {
		b := p.Buffers[r]
		b.Offset += b.Bytes() / int64(l.Loop.Steps) * int64(taken)
		b.Shape = append([]int{l.Loop.Steps - taken}, b.Shape[1:]...)
		tails = append(tails, b)
	}
	return tails
}

// Access is what a step of the program reads and writes.
func (s Step) Access(p *Program) Access {
	if s.Clear != nil {
		return Access{Writes: []Buffer{*s.Clear}}
	}
	return p.Access(s.Launch, s.T)
}

// InOrder yields so many steps in the order in which they run.
func (l *Loop) InOrder(length int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for n := range length {
			t := n
			if l.Reverse {
				t = length - 1 - n
			}
			if !yield(t) {
				return
			}
		}
	}
}

// CheckLength says whether a loop can take so many steps.
func (l *Loop) CheckLength(length int64) error {
	if length < 0 || length > int64(l.Steps) {
		return fmt.Errorf("is to take %d steps, has room for 0 to %d", length, l.Steps)
	}
	return nil
}

// At is the buffer in step t of a loop.
func (b Buffer) At(t int) Buffer {
	b.Offset += int64(t) * b.Stride
	return b
}

// validateLoop checks a launch with a loop; outer are the spans of the buffers where they do not move.
func (v *validator) validateLoop(l *Launch) error {
	loop := l.Loop
	if l.Kernel != Scan {
		return fmt.Errorf("has a loop, which is for kernel %s", Scan)
	}
	if loop.Steps < 1 || loop.Steps > largestSteps || len(loop.Launches)*loop.Steps > largestWork {
		return fmt.Errorf("loops %d times over %d launches, want 1 to %d steps and at most %d launches together",
			loop.Steps, len(loop.Launches), largestSteps, largestWork)
	}
	if len(l.Operands) == 0 || loop.Carried < 0 || loop.Carried > len(l.Results) {
		return fmt.Errorf("has %d operands and %d results, wants a number of steps and %d carried values", len(l.Operands), len(l.Results), loop.Carried)
	}
	if n := v.buffers[l.Operands[0]]; n.DType != I64 || n.Elements() != 1 {
		return fmt.Errorf("operand 0 is %s%v, want one i64, the number of steps", n.DType, n.Shape)
	}
	for i, r := range l.Results[:loop.Carried] {
		if !slices.Contains(l.Operands, r) {
			return fmt.Errorf("carried result %d is no operand", i)
		}
	}
	for i, r := range l.Results[loop.Carried:] {
		if shape := v.buffers[r].Shape; len(shape) == 0 || shape[0] != loop.Steps {
			return fmt.Errorf("stacked result %d has shape %v, want %d steps", i, shape, loop.Steps)
		}
	}
	spans := slices.Clone(v.spans)
	for t := range loop.Steps {
		for i, b := range v.buffers {
			if b.Stride == 0 {
				continue
			}
			var err error
			if b.Stride < 0 || b.Stride > largestRegion/largestSteps {
				err = fmt.Errorf("moves by %d bytes a step", b.Stride)
			} else {
				spans[i], err = place(b.Tensor, b.Space, b.Offset+int64(t)*b.Stride, v.region(b.Space))
			}
			if err != nil && loop.uses(i) {
				return fmt.Errorf("step %d: buffer %d: %w", t, i, err)
			}
		}
		for i := range loop.Launches {
			inner := &loop.Launches[i]
			if inner.Loop != nil {
				return fmt.Errorf("step launch %d has a loop of its own", i)
			}
			if err := validateLaunch(inner, spans, v.modules); err != nil {
				return fmt.Errorf("step %d: launch %d (%s %s): %w", t, i, inner.Kernel, inner.Scope, err)
			}
		}
	}
	return nil
}

func (l *Loop) uses(buffer int) bool {
	return slices.ContainsFunc(l.Launches, func(inner Launch) bool {
		return slices.Contains(inner.Operands, buffer) || slices.Contains(inner.Results, buffer)
	})
}
