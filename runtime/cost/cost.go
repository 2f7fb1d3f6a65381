// Package cost says what every launch of a program must take at least, and what it does take: its operations and its
// bytes against a device's roofline, beside measured times. So the next slowest thing is always visible. It knows plans
// and sessions, no kernel and no device.
package cost

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/runtime/roofline"
)

// What bounds a launch.
const (
	ByCompute = "compute"
	ByMemory  = "memory"
	ByStart   = "start" // it takes longer to start than to do
)

// Times adds up launches. Seconds of a roofline are the longer of the time to compute and the time to move the bytes,
// launch by launch; Predicted is longer where the roofline says which part of it launches come to, and adds the start of
// each; Measured is 0 where nothing was measured.
type Times struct {
	Launches  int     `json:"launches"`
	FLOPs     float64 `json:"flops"`
	Bytes     float64 `json:"bytes"`
	Roofline  float64 `json:"roofline_s"`
	Predicted float64 `json:"predicted_s"`
	Measured  float64 `json:"measured_s,omitempty"`
}

// Fraction is how much of the roofline was reached; 0 where nothing was measured.
func (t Times) Fraction() float64 {
	if t.Measured <= 0 {
		return 0
	}
	return t.Roofline / t.Measured
}

// Seconds is the measured time, or the predicted one where nothing was measured.
func (t Times) Seconds() float64 {
	if t.Measured > 0 {
		return t.Measured
	}
	return t.Predicted
}

func (t *Times) add(other Times) {
	t.Launches += other.Launches
	t.FLOPs += other.FLOPs
	t.Bytes += other.Bytes
	t.Roofline += other.Roofline
	t.Predicted += other.Predicted
	t.Measured += other.Measured
}

// Launch is the cost of one launch.
type Launch struct {
	Index  int    `json:"index"`
	Kernel string `json:"kernel"`
	Shape  string `json:"shape"` // what tells it from others of its kernel: types and constants
	Phase  string `json:"phase,omitempty"`
	Scope  string `json:"scope,omitempty"`
	Bound  string `json:"bound"`
	Times
}

// Predict gives every launch its cost, in the order of plan.Program.All. A launch of a loop counts with all steps, and
// the loop itself as nothing.
func Predict(p *plan.Program, r roofline.Roofline) []Launch {
	launches := make([]Launch, p.Count())
	for i, l := range p.All() {
		if l.Loop != nil {
			launches[i] = Launch{Index: i, Kernel: l.Kernel, Phase: l.Phase, Scope: l.Scope, Bound: ByStart}
			continue
		}
		written := min(writes(p, l.Launch), l.Bytes)
		compute, memory := r.All.Seconds(l.FLOPs, l.Bytes-written, written)
		least, start := max(compute, memory), r.Launch*1e-6
		likely := least / cmp.Or(r.Reached, 1)
		bound := ByMemory
		switch {
		case start > likely:
			bound = ByStart
		case compute > memory:
			bound = ByCompute
		}
		times := float64(l.Times)
		launches[i] = Launch{
			Index: i, Kernel: l.Kernel, Shape: shape(p, l.Launch), Phase: l.Phase, Scope: l.Scope, Bound: bound,
			Times: Times{Launches: l.Times, FLOPs: times * l.FLOPs, Bytes: times * l.Bytes, Roofline: times * least, Predicted: times * (likely + start)},
		}
	}
	return launches
}

// writes returns the bytes of a launch's results.
func writes(p *plan.Program, l *plan.Launch) (bytes float64) {
	results := slices.Clone(l.Results)
	slices.Sort(results)
	for _, r := range slices.Compact(results) {
		bytes += float64(p.Buffers[r].Bytes())
	}
	return bytes
}

// Total adds up all launches.
func Total(launches []Launch) (t Times) {
	for _, l := range launches {
		t.add(l.Times)
	}
	return t
}

// Group is launches that have something in common.
type Group struct {
	Kernel string `json:"kernel"`
	Shape  string `json:"shape,omitempty"`
	Bound  string `json:"bound"` // what bounds most of its roofline
	Times
}

// ByKernel adds up the launches of each kernel, the longest first.
func ByKernel(launches []Launch) []Group {
	return group(launches, func(l Launch) Group { return Group{Kernel: l.Kernel} })
}

// ByShape adds up the launches of each kernel and shape, the longest first.
func ByShape(launches []Launch) []Group {
	return group(launches, func(l Launch) Group { return Group{Kernel: l.Kernel, Shape: l.Shape} })
}

// Slowest returns the launches, the longest first.
func Slowest(launches []Launch) []Launch {
	sorted := slices.Clone(launches)
	slices.SortStableFunc(sorted, func(a, b Launch) int { return cmp.Compare(b.Seconds(), a.Seconds()) })
	return sorted
}

func group(launches []Launch, key func(Launch) Group) []Group {
	index := map[Group]int{}
	var groups []Group
	bounds := map[Group]map[string]float64{}
	for _, l := range launches {
		k := key(l)
		at, ok := index[k]
		if !ok {
			at = len(groups)
			index[k], bounds[k] = at, map[string]float64{}
			groups = append(groups, k)
		}
		groups[at].add(l.Times)
		bounds[k][l.Bound] += l.Predicted
	}
	for i := range groups {
		g := &groups[i]
		b := bounds[Group{Kernel: g.Kernel, Shape: g.Shape}]
		g.Bound = slices.MaxFunc([]string{ByCompute, ByMemory, ByStart}, func(x, y string) int { return cmp.Compare(b[x], b[y]) })
	}
	slices.SortStableFunc(groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Seconds(), a.Seconds()), cmp.Compare(a.Kernel, b.Kernel), cmp.Compare(a.Shape, b.Shape))
	})
	return groups
}

// shape describes a launch by the types of its first operands, of its first result, and its short constants:
// "f32[64,16,32,32] f32[16,1,3,3] → f32[64,16,32,32] groups=16 strides=[1,1]".
func shape(p *plan.Program, l *plan.Launch) string {
	const shownOperands, longestList = 3, 4
	var b strings.Builder
	if l.Sets > 1 {
		fmt.Fprintf(&b, "%d × ", l.Sets)
		one := l.Set(0)
		l = &one
	}
	for i, o := range l.Operands {
		if i == shownOperands {
			fmt.Fprintf(&b, "+%d ", len(l.Operands)-i)
			break
		}
		b.WriteString(p.Buffers[o].String() + " ")
	}
	b.WriteString("→")
	if len(l.Results) > 0 {
		b.WriteString(" " + p.Buffers[l.Results[0]].String())
	}
	for i, c := range l.Code {
		if i == longestList {
			fmt.Fprintf(&b, " +%d", len(l.Code)-i)
			break
		}
		b.WriteString(" " + c.Op)
	}
	names := make([]string, 0, len(l.Params))
	for name := range l.Params {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch v := l.Params[name].(type) {
		case []int:
			if len(v) <= longestList && name != "shape" && name != "results" { // the types show these
				fmt.Fprintf(&b, " %s=%s", name, strings.ReplaceAll(fmt.Sprint(v), " ", ","))
			}
		case int, bool, string:
			fmt.Fprintf(&b, " %s=%v", name, v)
		}
	}
	return b.String()
}
