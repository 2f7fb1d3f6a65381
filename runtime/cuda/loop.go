//go:build cuda && linux && cgo && (amd64 || arm64)

package cuda

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
)

// A graph has no loops: it holds the launches of every step, each with the addresses of its own. So a program has one graph
// for each number of steps that its loops have taken, made when that number first occurs. The host has to know the number:
// it is an input of the program, and noted as it is written.

// length is where the number of steps of a loop lies.
type length struct {
	space  plan.Space
	offset int64
	value  int64 // what the host wrote there last
}

// lengthOf returns the length of a loop, the same for all loops that have it from one place.
func (i *instance) lengthOf(p *plan.Program, l *plan.Launch) (*length, error) {
	at := l.Operands[0]
	if !slices.ContainsFunc(p.Inputs, func(port plan.Port) bool { return port.Buffer == at }) {
		return nil, fmt.Errorf("the number of steps must be an input of the program, so that it is known when the program is put into the stream")
	}
	b := p.Buffers[at]
	for _, known := range i.lengths {
		if known.space == b.Space && known.offset == b.Offset {
			return known, nil
		}
	}
	made := &length{space: b.Space, offset: b.Offset}
	i.lengths = append(i.lengths, made)
	return made, nil
}

// noteLengths remembers a number of steps that is being written.
func (i *instance) noteLengths(space plan.Space, offset int64, data []byte) {
	for _, l := range i.lengths {
		if l.space == space && l.offset == offset && len(data) == 8 {
			l.value = int64(binary.LittleEndian.Uint64(data))
		}
	}
}

// loop is a launch with a loop and its length.
type loop struct {
	*plan.Launch
	length *length
}

// findLoops lists the loops of a program.
func (i *instance) findLoops(p *plan.Program) (loops []loop, err error) {
	for at := range p.Launches {
		l := &p.Launches[at]
		if l.Loop == nil {
			continue
		}
		n, err := i.lengthOf(p, l)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", position(plan.Step{Launch: l, Number: at}), err)
		}
		loops = append(loops, loop{l, n})
	}
	return loops, nil
}

// steps is how many steps a loop takes as things are.
func (b *program) steps(l *plan.Launch) int {
	at := slices.IndexFunc(b.loops, func(candidate loop) bool { return candidate.Launch == l })
	return int(b.loops[at].length.value)
}

// takes says whether a replay takes the numbers of steps that were written last.
func (r *replay) takes(loops []loop) bool {
	for at, l := range loops {
		if r.lengths[at] != l.length.value {
			return false
		}
	}
	return true
}

// replayFor returns what a program does for the numbers of steps that were written last.
func (i *instance) replayFor(p *plan.Program, b *program) (*replay, error) {
	for _, r := range b.replays {
		if r.takes(b.loops) {
			return r, nil
		}
	}
	r := &replay{}
	for _, l := range b.loops {
		if err := l.Loop.CheckLength(l.length.value); err != nil {
			return nil, fmt.Errorf("%s at %s %w", l.Kernel, l.Scope, err)
		}
		r.lengths = append(r.lengths, l.length.value)
	}
	for _, step := range p.Unrolled(b.steps) {
		bound, err := i.bind(p, step)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", position(step), err)
		}
		r.launches = append(r.launches, bound)
	}
	if err := i.makeGraph(p, b, r); err != nil {
		return nil, err
	}
	b.replays = append(b.replays, r)
	return r, nil
}
