package cpu

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// joined makes one task of those of several sets of operands: their phases side by side, each as many parts as all
// sets have, a few to a part, for they are small.
func joined(sets []task) (task, error) {
	all := task{phases: make([]phase, len(sets[0].phases))}
	for _, t := range sets {
		if len(t.phases) != len(all.phases) {
			return task{}, errors.New("its sets differ in their phases")
		}
		all.scratch = max(all.scratch, t.scratch)
		all.once = append(all.once, t.once...)
	}
	for i := range all.phases {
		phases := make([]phase, len(sets))
		for k, t := range sets {
			phases[k] = t.phases[i]
		}
		var err error
		if all.phases[i], err = sideBySide(phases, 4); err != nil {
			return task{}, err
		}
	}
	return all, nil
}

// sideBySide is one phase of several that have nothing to do with each other: their parts, so many to a part.
func sideBySide(phases []phase, few int) (phase, error) {
	starts, parts := make([]int, len(phases)), 0
	for k, p := range phases {
		starts[k] = parts
		if parts += p.parts; parts > math.MaxInt32 {
			return phase{}, fmt.Errorf("has %d parts", parts)
		}
	}
	return phase{parts: (parts + few - 1) / few, run: func(part int, scratch []float32) {
		for at := part * few; at < min(parts, (part+1)*few); at++ {
			// The last phase that starts at or before this part: one without parts starts where the next does.
			after, _ := slices.BinarySearch(starts, at+1)
			phases[after-1].run(at-starts[after-1], scratch)
		}
	}}, nil
}
