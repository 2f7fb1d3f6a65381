package cost

import (
	"cmp"
	"container/heap"

	"github.com/dartsc/dartsc/compiler/plan"
)

// Beside is what a program takes on a device that runs launches side by side, as graphs on GPUs do.
type Beside struct {
	Seconds  float64 `json:"seconds"`
	Chain    float64 `json:"chain_s"`        // of the longest chain of launches that wait for one another
	Launches int     `json:"chain_launches"` // of that chain
}

// SideBySide is what the launches of a program, as Predict returns them, take on a device that runs so many blocks at once. A launch has the part of
// the device that its blocks are, for as long as it takes alone; where less is free it has that, for longer. Of the launches that have what
// they wait for, those go first that the longest chain waits for. A loop has the device to itself, and its launches go one after the
// other.
func SideBySide(p *plan.Program, launches []Launch, blocks int) Beside {
	s := simulation{free: 1}
	s.add(p, launches, blocks)
	out := Beside{}
	for at := s.chains(); at >= 0; at = s.then[at] {
		out.Chain += s.took[at]
		out.Launches++
	}
	out.Seconds = s.run()
	return out
}

// leastShare is the part of what a launch could use of a device for which it starts, and does not wait for more.
const leastShare = 0.3

// simulation is a program on its way through a device.
type simulation struct {
	took, share []float64 // of each launch: seconds, and the part of the device
	users       [][]int   // the launches that wait for one
	missing     []int     // how many a launch waits for
	chain       []float64 // seconds from its start to the end of the longest chain that begins with it
	then        []int     // the next of that chain, or -1

	ready   urgent
	running running
	free    float64 // part of the device
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
	for i, after := range plan.Order(work) {
		s.missing[i] = len(after)
		for _, a := range after {
			s.users[a] = append(s.users[a], i)
		}
	}
}

// chains fills chain and then; it returns where the longest begins, or -1.
func (s *simulation) chains() (longest int) {
	s.chain, s.then, longest = make([]float64, len(s.took)), make([]int, len(s.took)), -1
	for i := len(s.took) - 1; i >= 0; i-- {
		s.then[i] = -1
		for _, u := range s.users[i] {
			if s.then[i] < 0 || s.chain[u] > s.chain[s.then[i]] {
				s.then[i] = u
			}
		}
		s.chain[i] = s.took[i]
		if s.then[i] >= 0 {
			s.chain[i] += s.chain[s.then[i]]
		}
		if longest < 0 || s.chain[i] >= s.chain[longest] {
			longest = i
		}
	}
	return longest
}

// run returns when the last launch ends.
func (s *simulation) run() (now float64) {
	s.ready.chain = s.chain
	for i, n := range s.missing {
		if n == 0 {
			heap.Push(&s.ready, i)
		}
	}
	for len(s.ready.list) > 0 || len(s.running) > 0 {
		for len(s.ready.list) > 0 && s.free >= leastShare*s.share[s.ready.list[0]] {
			i := heap.Pop(&s.ready).(int)
			has := min(s.share[i], s.free)
			s.free -= has
			heap.Push(&s.running, run{now + s.took[i]*s.share[i]/has, i, has})
		}
		done := heap.Pop(&s.running).(run)
		now = done.end
		s.free += done.has
		for _, u := range s.users[done.launch] {
			if s.missing[u]--; s.missing[u] == 0 {
				heap.Push(&s.ready, u)
			}
		}
	}
	return now
}

// urgent is a heap of launches, the one with the longest chain first.
type urgent struct {
	list  []int
	chain []float64
}

func (u *urgent) Len() int { return len(u.list) }
func (u *urgent) Less(a, b int) bool {
	x, y := u.list[a], u.list[b]
	return cmp.Or(cmp.Compare(u.chain[y], u.chain[x]), cmp.Compare(x, y)) < 0
}
func (u *urgent) Swap(a, b int) { u.list[a], u.list[b] = u.list[b], u.list[a] }
func (u *urgent) Push(x any)    { u.list = append(u.list, x.(int)) }
func (u *urgent) Pop() any {
	last := len(u.list) - 1
	x := u.list[last]
	u.list = u.list[:last]
	return x
}

// run is a launch that has a part of the device until it ends.
type run struct {
	end    float64
	launch int
	has    float64
}

// running is a heap of launches, the first to end first.
type running []run

func (r running) Len() int { return len(r) }
func (r running) Less(a, b int) bool {
	return cmp.Or(cmp.Compare(r[a].end, r[b].end), cmp.Compare(r[a].launch, r[b].launch)) < 0
}
func (r running) Swap(a, b int) { r[a], r[b] = r[b], r[a] }
func (r *running) Push(x any)   { *r = append(*r, x.(run)) }
func (r *running) Pop() any {
	last := len(*r) - 1
	x := (*r)[last]
	*r = (*r)[:last]
	return x
}
