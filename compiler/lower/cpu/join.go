package cpu

import (
	"fmt"
	"maps"
	"slices"

	"github.com/dartsc/dartsc/compiler/lower"
)

// mostSets bounds the sets of a joined launch: more save nothing, and the check of a plan compares all results of a
// launch with all its operands.
const mostSets = 32

// join makes one launch of many that do the same to different variables: the updates of all weights and running
// statistics, and what the second-order step adds to the weights and takes away. One by one they are small, and take
// longer to start than to do. Such a launch first moves down to where its result is needed, then up to the first of its
// kind, if everything that it reads is there by then.
//
// BatchNorm's sums for one cotangent, those of all terms of a node, also become one launch, which reads the cotangent
// once. Weighted sums of the same terms, the cotangents of what several nodes read, become one launch with several results.
func join(p *lower.Program) {
	j := joining{Program: p, defined: make([]int, len(p.Tensors)), open: map[string]*group{}}
	for i, l := range j.sunk() {
		place := i + 1
		if g := j.group(l, place); g != nil {
			place = g.place
		}
		for _, t := range l.Results {
			j.defined[t] = place
		}
	}
	p.Launches = j.kept
	for _, g := range j.groups {
		j.write(g)
	}
}

// joining goes over the launches of a program. Places count launches from 1.
type joining struct {
	*lower.Program
	small   map[int]bool // the launches that may be joined and moved down, by their first result
	writes  []int        // how often a tensor is written; more than once by loops
	defined []int        // the place where a tensor was last written; 0: before all
	kept    []lower.Launch
	groups  []*group
	open    map[string]*group // that others may join, by what is done
}

// findSmall finds the launches that update a variable, or compute with what comes of one element by element. One that
// reads or writes what a loop changes stays where it is.
func (j *joining) findSmall() {
	state := make([]bool, len(j.Tensors)) // the value of a variable, more than one element, or what was made of one
	j.writes = make([]int, len(j.Tensors))
	for t := range j.Tensors {
		state[t] = j.Tensors[t].Home.Variable != nil && j.Tensors[t].Elements() > 1
	}
	for _, l := range j.Launches {
		for _, t := range l.Results {
			j.writes[t]++
		}
	}
	j.small = map[int]bool{}
	for _, l := range j.Launches {
		update := l.Kernel == "sgd" || l.Kernel == "adam"
		pointwise := l.Kernel == "elementwise" && slices.ContainsFunc(l.Operands, func(t int) bool {
			return state[t] && slices.Equal(j.Tensors[t].Shape, j.Tensors[l.Results[0]].Shape) // not scale and shift of an image
		})
		if !update && !pointwise || j.changes(l) {
			continue
		}
		j.small[l.Results[0]] = true
		for _, t := range l.Results {
			state[t] = true
		}
	}
}

// changes says whether a launch reads or writes what a loop changes.
func (j *joining) changes(l lower.Launch) bool {
	return slices.ContainsFunc(slices.Concat(l.Operands, l.Results), func(t int) bool { return j.writes[t] > 1 })
}

// isSmall says whether a launch may be joined.
func (j *joining) isSmall(l lower.Launch) bool { return len(l.Results) > 0 && j.small[l.Results[0]] }

// sunk returns the launches with each small one just before the first that reads a result of it.
func (j *joining) sunk() []lower.Launch {
	j.findSmall()
	end := len(j.Launches)
	need := make([]int, len(j.Tensors)) // the first launch that reads a tensor
	for t := range need {
		need[t] = end
	}
	before := make([][]lower.Launch, end+1) // what moves in front of a launch, the last first
	for i := end - 1; i >= 0; i-- {
		l, at := j.Launches[i], i
		if j.isSmall(l) {
			at = end
			for _, t := range l.Results {
				at = min(at, need[t])
			}
			before[at] = append(before[at], l)
		}
		for _, t := range l.Operands {
			need[t] = min(need[t], at)
		}
	}
	order := make([]lower.Launch, 0, end)
	for i := range before {
		slices.Reverse(before[i])
		order = append(order, before[i]...)
		if i < end && !j.isSmall(j.Launches[i]) {
			order = append(order, j.Launches[i])
		}
	}
	return order
}

// group is launches that become one, which stands where the first of them stood.
type group struct {
	members []lower.Launch
	place   int
	at      int // in joining.kept
}

// group finds the group that a launch belongs to, or begins one; nil for a launch that stays alone.
func (j *joining) group(l lower.Launch, place int) *group {
	key := j.key(l)
	if key != "" {
		g := j.open[key]
		if g != nil && len(g.members) < mostSets && !slices.ContainsFunc(l.Operands, func(t int) bool { return j.defined[t] >= g.place }) {
			g.members = append(g.members, l)
			return g
		}
	}
	j.kept = append(j.kept, l)
	if key == "" {
		return nil
	}
	g := &group{members: []lower.Launch{l}, place: place, at: len(j.kept) - 1}
	j.groups, j.open[key] = append(j.groups, g), g
	return g
}

// key tells launches that may be joined by what they do; it is empty for others.
func (j *joining) key(l lower.Launch) string {
	switch {
	case j.isSmall(l):
		return fmt.Sprint(l.Kernel, l.Phase, len(l.Operands), len(l.Results), l.Params, l.Code)
	case l.Kernel == "batch_norm_sums" && !j.changes(l):
		return fmt.Sprint(l.Kernel, l.Phase, l.Params, "of", l.Operands[0])
	case l.Kernel == "weighted_sum" && l.Params["normalized"] == nil && !j.changes(l):
		return fmt.Sprint(l.Kernel, l.Phase, "of", l.Operands)
	}
	return ""
}

// write makes one launch of a group.
func (j *joining) write(g *group) {
	if len(g.members) == 1 {
		return
	}
	first := g.members[0]
	if first.Kernel == "weighted_sum" {
		j.kept[g.at] = j.sums(g.members)
		return
	}
	all := lower.Launch{Launch: first.Launch}
	all.Sets, all.Operands, all.Results, all.FLOPs, all.Bytes = len(g.members), nil, nil, 0, 0
	seen := map[int]bool{}
	for set, l := range g.members {
		for _, a := range l.InPlace {
			all.InPlace = append(all.InPlace, lower.Alias{Operand: set*len(l.Operands) + a.Operand, Result: set*len(l.Results) + a.Result})
		}
		for _, t := range l.Operands {
			if !seen[t] {
				all.Bytes += float64(j.Tensors[t].Bytes())
			}
			seen[t] = true
		}
		for _, t := range l.Results {
			all.Bytes += float64(j.Tensors[t].Bytes())
		}
		all.Operands, all.Results = append(all.Operands, l.Operands...), append(all.Results, l.Results...)
		all.FLOPs += l.FLOPs
		if l.Scope != first.Scope {
			all.Scope = ""
		}
	}
	j.kept[g.at] = all
}

// sums makes one launch of weighted sums of the same terms: its parameter select lists those of each in turn. No result is
// in the place of a term, which the others still read.
func (j *joining) sums(members []lower.Launch) lower.Launch {
	all := members[0]
	all.Params, all.InPlace, all.Results = maps.Clone(all.Params), nil, slices.Clone(all.Results)
	selected := slices.Clone(all.Params["select"].([]int))
	for _, l := range members[1:] {
		selected = append(selected, l.Params["select"].([]int)...)
		all.Results = append(all.Results, l.Results...)
		all.FLOPs += l.FLOPs
		for _, t := range l.Results {
			all.Bytes += float64(j.Tensors[t].Bytes())
		}
		if l.Scope != all.Scope {
			all.Scope = ""
		}
	}
	all.Params["select"] = selected
	return all
}
