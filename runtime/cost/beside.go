package cost

import (
	"cmp"
	"math"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
)

// Beside is what a program takes on a device that runs launches side by side, as graphs on GPUs do.
type Beside struct {
	Seconds  float64 `json:"seconds"`
	Chain    float64 `json:"chain_s"`        // of the longest chain of launches that wait for one another
	Launches int     `json:"chain_launches"` // of that chain
}

// SideBySide is what the launches of a program, as Predict returns them, take on a device that runs so many blocks at once. A launch can use the part of
// the device that its blocks are, for as long as it takes alone; where others leave it less it takes longer. Of the launches that have what
// they wait for, those have the device first that the longest chain waits for. A loop has all of it, and its launches go one after the
// other.
func SideBySide(p *plan.Program, launches []Launch, blocks int) Beside {
	s := simulation{}
	s.add(p, launches, blocks)
	out := Beside{Seconds: s.run()}
	all := make([]int, len(s.took))
	for i := range all {
		all[i] = i
	}
	for next := all; len(next) > 0; {
		at := slices.MaxFunc(next, func(a, b int) int { return cmp.Compare(s.chain[a], s.chain[b]) })
		out.Chain += s.took[at]
		out.Launches++
		next = s.users[at]
	}
	return out
}

// simulation is a program on its way through a device.
type simulation struct {
	took, share []float64 // of each launch: seconds, and the part of the device
	users       [][]int   // the launches that wait for one
	missing     []int     // how many a launch waits for
	chain       []float64 // see plan.Chains
}

func (s *simulation) add(p *plan.Program, launches []Launch, blocks int) {
	n := len(p.Launches)
	work := make([]plan.Access, n)
	s.took, s.share, s.users, s.missing = make([]float64, n), make([]float64, n), make([][]int, n), make([]int, n)
	at := 0
	for i := range p.Launches {
		l := &p.Launches[i]
		work[i], s.share[i] = p.Access(l, 0), 1
		if l.Device != nil {
			s.share[i] = min(1, float64(l.Device.Grid[0])/float64(blocks))
		}
		count := 1
		if l.Loop != nil {
			count += len(l.Loop.Launches)
		}
		for range count {
			s.took[i] += launches[at].Seconds()
			at++
		}
	}
	after := plan.Order(work)
	for i, list := range after {
		s.missing[i] = len(list)
		for _, a := range list {
			s.users[a] = append(s.users[a], i)
		}
	}
	s.chain = plan.Chains(after, s.took)
}

// run returns when the last launch ends.
func (s *simulation) run() (now float64) {
	var ready []int // those that have what they wait for and are not done, the one with the longest chain first
	begin := func(i int) {
		at, _ := slices.BinarySearchFunc(ready, i, func(a, b int) int {
			return cmp.Or(cmp.Compare(s.chain[b], s.chain[a]), cmp.Compare(a, b))
		})
		ready = slices.Insert(ready, at, i)
	}
	for i, n := range s.missing {
		if n == 0 {
			begin(i)
		}
	}
	left := slices.Clone(s.took) // seconds alone
	for len(ready) > 0 {
		// Until the first launch is done, each has what those before it leave.
		var speed []float64 // of each, as a part of its own
		next := math.Inf(1)
		for free := 1.0; free > 0 && len(speed) < len(ready); {
			i := ready[len(speed)]
			has := min(s.share[i], free)
			free -= has
			speed = append(speed, has/s.share[i])
			next = min(next, left[i]/(has/s.share[i]))
		}
		now += next
		var done []int
		for k, i := range ready[:len(speed)] {
			if left[i] -= next * speed[k]; left[i] <= 1e-9*s.took[i] {
				done = append(done, i)
			}
		}
		ready = slices.DeleteFunc(ready, func(i int) bool { return slices.Contains(done, i) })
		for _, i := range done {
			for _, u := range s.users[i] {
				if s.missing[u]--; s.missing[u] == 0 {
					begin(u)
				}
			}
		}
	}
	return now
}
