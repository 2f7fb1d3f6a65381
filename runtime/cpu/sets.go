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

// sideBySide is one phase of several that have nothing to do with each other: their parts, so many to a part. Where all
// have the same number, a part of each comes before the next parts: they may read one tensor, of which these stay in a
// cache, while each goes on long enough through its own for the processor to fetch ahead.
func sideBySide(phases []phase, few int) (phase, error) {
	starts, parts := make([]int, len(phases)), 0
	alike := true
	for k, p := range phases {
		starts[k] = parts
		if parts += p.parts; parts > math.MaxInt32 {
			return phase{}, fmt.Errorf("has %d parts", parts)
		}
		alike = alike && p.parts == phases[0].parts
	}
	// The last phase that starts at or before a part: one without parts starts where the next does.
	find := func(at int) (phase, part int) {
		after, _ := slices.BinarySearch(starts, at+1)
		return after - 1, at - starts[after-1]
	}
	if alike {
		find = func(at int) (phase, part int) {
			block := at / (few * len(phases)) // the last may have fewer
			own := min(few, phases[0].parts-block*few)
			at -= block * few * len(phases)
			return at / own, block*few + at%own
		}
	}
	return phase{parts: (parts + few - 1) / few, run: func(part int, scratch []float32) {
		for at := part * few; at < min(parts, (part+1)*few); at++ {
			which, own := find(at)
			phases[which].run(own, scratch)
		}
	}}, nil
}
