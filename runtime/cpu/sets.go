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
		phases, starts, parts := make([]phase, len(sets)), make([]int, len(sets)), 0
		for k, t := range sets {
			phases[k], starts[k] = t.phases[i], parts
			if parts += t.phases[i].parts; parts > math.MaxInt32 {
				return task{}, fmt.Errorf("has %d parts", parts)
			}
		}
		const few = 4
		all.phases[i] = phase{parts: (parts + few - 1) / few, run: func(part int, scratch []float32) {
			for at := part * few; at < min(parts, (part+1)*few); at++ {
				// The last set that starts at or before this part: one without parts starts where the next does.
				after, _ := slices.BinarySearch(starts, at+1)
				phases[after-1].run(at-starts[after-1], scratch)
			}
		}}
	}
	return all, nil
}
