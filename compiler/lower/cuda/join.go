package cuda

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dartsc/dartsc/compiler/lower"
	"github.com/dartsc/dartsc/compiler/plan"
)

// A supernet is many small operations that do not wait for one another: the convolutions of all edges out of a state, all
// their statistics. Each of them is too small to fill a device, and starting a launch takes as long as many of them run.
// join makes one launch of those that are the same kernel with the same constants on other tensors, and of some kernels, as
// those of separable convolutions, also with other constants: all edges out of a state, whatever their primitives.

// The order is that of agenda-based batching (Neubig, Goldberg and Dyer 2017, "On-the-fly operation batching in dynamic
// computation graphs"): of the kernels that have launches ready to run, the one goes next whose launches to come are the
// least deep in the graph on average, with all that are ready. So the others wait until more of theirs are ready. Small ones
// that only small ones wait for, as the updates of running statistics, come last: all of a program's are a few launches.

const (
	// window is how many launches are looked at from the first that is left: it bounds how much longer tensors live.
	window = 1500
	// small is how many bytes a launch may keep alive until the end of its program.
	small = 1 << 16
	// Of a launch that is held back: how much deeper those around it are than it need be, and how far before its place it may run, so
	// that others like it are ready by then and join it.
	far  = 64
	lead = 32
	// The results that package plan allows a launch, which several have to share.
	mostResults = 256
	// What reading or writing a byte is worth in operations, when the work of launches is compared.
	flopsOfByte = 8
)

// signature is what launches that can be joined have in common. Phases stay apart: what one keeps alive is not to be kept
// for another.
type signature struct {
	function
	update string // what updates of variables have in common
	phase  string
	late   bool // no launch that is not late itself waits for it
}

// waiting are the launches of a signature within the window.
type waiting struct {
	signature
	first        int   // the number of its first launch, which decides between equals
	ready        []int // what they read is there
	count, depth int   // of all, ready or not
}

// agenda is the state of the search for an order.
type agenda struct {
	launches []lower.Launch
	of       []signature
	users    [][]int // launches that wait for one
	missing  []int   // how many a launch waits for
	depth    []int   // launches before one, on the longest chain
	height   []int   // and behind it
	waiting  map[signature]*waiting
	held     []bool // back; see holdBack
	done     []bool
	left     int // launches that are not done
	oldest   int // the first of them that is not late
	seen     int // launches that have come into the window
}

// join replaces the launches of a program by fewer. Every launch stays behind those that make what it reads.
func (l *lowering) join() {
	a := l.agenda()
	l.out.Launches = nil
	for a.look(); a.left > 0; a.look() {
		members := a.next()
		if _, ok := l.updates[members[0]]; ok {
			l.joinUpdates(members)
			continue
		}
		l.out.Launches = append(l.out.Launches, l.joined(members, a.launches))
	}
}

func (l *lowering) agenda() *agenda {
	n := len(l.out.Launches)
	a := &agenda{
		launches: l.out.Launches, of: make([]signature, n), users: make([][]int, n), missing: make([]int, n), depth: make([]int, n), height: make([]int, n),
		waiting: map[signature]*waiting{}, held: make([]bool, n), done: make([]bool, n), left: n,
	}
	maker := make([]int, len(l.out.Tensors)) // 1 + the launch that makes a tensor; 0: it is there before the first
	for i := range a.launches {
		launch := &a.launches[i]
		a.of[i] = signature{function: l.functions[i], phase: launch.Phase}
		if u, ok := l.updates[i]; ok {
			a.of[i].function, a.of[i].update = function{}, u.key(l)
		} else if mayStay := launch.Kernel == lower.Copy && len(launch.InPlace) > 0; mayStay || !l.functions[i].joins {
			a.of[i].phase = fmt.Sprint(launch.Phase, " ", i)
		}
		for k, t := range launch.Operands {
			m := maker[t] - 1
			if m < 0 || slices.Contains(launch.Operands[:k], t) {
				continue
			}
			a.users[m] = append(a.users[m], i)
			a.missing[i]++
			a.depth[i] = max(a.depth[i], a.depth[m]+1)
		}
		if l.resultBytes(launch) > small {
			a.holdBack(i)
		}
		for _, t := range launch.Results {
			maker[t] = i + 1
		}
	}
	for i := n - 1; i >= 0; i-- { // users come after what they use
		_, update := l.updates[i]
		waits := func(user int) bool { return !a.of[user].late }
		for _, user := range a.users[i] {
			a.height[i] = max(a.height[i], a.height[user]+1)
		}
		a.of[i].late = !update && a.launches[i].Bytes <= small && !slices.ContainsFunc(a.users[i], waits)
	}
	return a
}

// holdBack makes a launch wait for one a little before it, if it could run long before that: where it stands, a value is made
// again rather than kept (see pass.Recompute), and to run it as soon as what it reads is there would keep it after all.
func (a *agenda) holdBack(i int) {
	front := -1 // the deepest of those that are not held back themselves
	for j := max(0, i-far-lead); j < i-lead; j++ {
		if !a.held[j] && (front < 0 || a.depth[j] > a.depth[front]) {
			front = j
		}
	}
	if front < 0 || a.depth[front] <= a.depth[i]+far {
		return
	}
	a.held[i] = true
	a.users[front] = append(a.users[front], i)
	a.missing[i]++
	a.depth[i] = a.depth[front] + 1
}

// look moves the window to the first launch that is left.
func (a *agenda) look() {
	for a.oldest < len(a.done) && (a.done[a.oldest] || a.of[a.oldest].late) {
		a.oldest++
	}
	for ; a.seen < min(a.oldest+window, len(a.launches)); a.seen++ {
		w := a.waiting[a.of[a.seen]]
		if w == nil {
			w = &waiting{signature: a.of[a.seen], first: a.seen}
			a.waiting[a.of[a.seen]] = w
		}
		w.count++
		w.depth += a.depth[a.seen]
		if a.missing[a.seen] == 0 {
			w.ready = append(w.ready, a.seen)
		}
	}
}

// next takes launches of one signature from the agenda, and of others of its family that are as urgent: to wait for launches
// that only later ones wait for would make the longest chain longer, and leave nothing to fill the device beside it.
func (a *agenda) next() []int {
	var best *waiting
	for _, w := range a.waiting {
		if len(w.ready) > 0 && (best == nil || w.before(best)) {
			best = w
		}
	}
	group, urgency := []*waiting{best}, a.urgency(best)
	for _, w := range a.waiting {
		if w != best && w.kin(best) && len(w.ready) > 0 && a.urgency(w) == urgency {
			group = append(group, w)
		}
	}
	slices.SortFunc(group[1:], func(v, w *waiting) int { return v.first - w.first })
	var members []int
	left := allRoom
	for _, w := range group {
		members = append(members, a.take(w, &left)...)
	}
	a.release(members)
	slices.Sort(members)
	return members
}

// kin says that launches of two signatures can be one.
func (w *waiting) kin(v *waiting) bool {
	return w.family != "" && w.family == v.family && w.resident == v.resident && w.phase == v.phase && w.late == v.late
}

// urgency is the length of the longest chain that waits for one of the ready launches.
func (a *agenda) urgency(w *waiting) (most int) {
	for _, i := range w.ready {
		most = max(most, a.height[i])
	}
	return most
}

// room is what a group has left for the arguments of further members, in bytes, and for their results.
type room struct{ bytes, results int }

var allRoom = room{8 * rooms[len(rooms)-1], mostResults}

// take takes launches that are ready from the agenda, as many as there is room for, and one at least into a group that has none.
func (a *agenda) take(w *waiting, left *room) []int {
	n := len(w.ready)
	switch like := a.launches[w.ready[0]]; {
	case w.update != "":
		n = min(n, mostUpdates)
	case like.Device == nil: // a loop
		n = 1
	default:
		bytes, results, least := max(1, like.Device.ArgumentBytes()), max(1, len(like.Results)), 0
		if *left == allRoom {
			least = 1
		}
		n = max(least, min(n, left.bytes/bytes, left.results/results))
		left.bytes, left.results = left.bytes-n*bytes, left.results-n*results
	}
	slices.Sort(w.ready)
	members := slices.Clone(w.ready[:n])
	w.ready = slices.Delete(w.ready, 0, n)
	for _, i := range members {
		a.done[i] = true
		a.left--
		w.count--
		w.depth -= a.depth[i]
	}
	if w.count == 0 {
		delete(a.waiting, w.signature)
	}
	return members
}

// release makes ready what has waited for these launches: once all of a group are taken, so that none waits for another.
func (a *agenda) release(members []int) {
	for _, i := range members {
		for _, user := range a.users[i] {
			if a.missing[user]--; a.missing[user] == 0 && user < a.seen {
				w := a.waiting[a.of[user]]
				w.ready = append(w.ready, user)
			}
		}
	}
}

// before compares the average depths of what waits.
func (w *waiting) before(v *waiting) bool {
	if w.late != v.late {
		return v.late
	}
	if x, y := w.depth*v.count, v.depth*w.count; x != y {
		return x < y
	}
	return w.first < v.first
}

// joinUpdates is one launch of so many updates, whose kernel knows the size of each.
func (l *lowering) joinUpdates(members []int) {
	var updates []update
	for _, i := range members {
		updates = append(updates, l.updates[i])
	}
	l.launchUpdates(updates)
	last := &l.out.Launches[len(l.out.Launches)-1]
	last.Device.Module, last.Device.Function = l.target.code.entry(0, part{l.functions[len(l.functions)-1], 1, last.Device.Grid[0]})
}

// joined is the launch of a group.
func (l *lowering) joined(members []int, launches []lower.Launch) lower.Launch {
	first := launches[members[0]]
	if first.Body != nil {
		return first
	}
	parts, words := l.parts(members, launches), roomFor(members, launches)
	d := *first.Device
	d.Module, d.Function = l.target.code.entry(words, parts...)
	d.Grid[0], d.Arguments = 0, nil
	out := lower.Launch{Launch: plan.Launch{Phase: first.Phase, Scope: first.Scope, Device: &d}}
	if len(members) > 1 {
		out.Scope = fmt.Sprintf("%s and %d more", first.Scope, len(members)-1)
		d.Arguments = together(parts)
		words += d.ArgumentBytes() / 8
	}
	var kernels []string
	for _, p := range parts {
		d.Grid[0] += p.blocks * p.members
		for _, i := range members {
			if l.functions[i] != p.function {
				continue
			}
			l.add(&out, &launches[i], p)
			if kernel := launches[i].Kernel; !slices.Contains(kernels, kernel) {
				kernels = append(kernels, kernel)
			}
		}
	}
	for n := d.ArgumentBytes(); n < 8*words; n += 8 {
		d.Arguments = append(d.Arguments, plan.Argument{Kind: plan.Int64Argument})
	}
	out.Kernel, out.Bytes = strings.Join(kernels, " and "), l.bytes(&out)
	return out
}

// rooms are those for the arguments of members, in words: few, so that kernels are few. With the largest and what stands before
// the members, arguments are at most as many bytes as a launch may have.
var rooms = []int{96, 480}

// roomFor is the room for the arguments of several members, 0 for one, which needs none.
func roomFor(members []int, launches []lower.Launch) int {
	if len(members) == 1 {
		return 0
	}
	bytes := 0
	for _, i := range members {
		bytes += launches[i].Device.ArgumentBytes()
	}
	return rooms[slices.IndexFunc(rooms, func(words int) bool { return bytes <= 8*words })]
}

// together are the arguments that Together of kernels/common.cuh has before those of the members.
func together(parts []part) (list []plan.Argument) {
	for _, p := range parts {
		list = append(list, plan.Argument{Kind: plan.Int32Argument, Integer: int64(p.members)})
	}
	for _, p := range parts {
		list = append(list, plan.Argument{Kind: plan.Int32Argument, Integer: int64(p.blocks)})
	}
	return list
}

// add adds a member to the launch of a group.
func (l *lowering) add(out, member *lower.Launch, p part) {
	d := out.Device
	d.SharedBytes = max(d.SharedBytes, member.Device.SharedBytes)
	for _, a := range member.Device.Arguments {
		switch a.Kind {
		case plan.OperandArgument:
			a.Index += len(out.Operands)
		case plan.ResultArgument:
			a.Index += len(out.Results)
		}
		d.Arguments = append(d.Arguments, a)
	}
	last := d.Arguments
	if p.tiles > 0 {
		last[len(last)-1].Integer = int64(p.blocks)
		last = last[:len(last)-1]
	}
	if p.counters > 0 {
		last[len(last)-1].Integer = int64(l.target.code.counters(d.Module, p.counters))
	}
	for _, alias := range member.InPlace {
		out.InPlace = append(out.InPlace, lower.Alias{Operand: len(out.Operands) + alias.Operand, Result: len(out.Results) + alias.Result})
	}
	out.Operands, out.Results = append(out.Operands, member.Operands...), append(out.Results, member.Results...)
	out.FLOPs += member.FLOPs
}

// parts divides members by their functions. Where launches may have any number of blocks, all together have as many as run at
// once, each as its work is of the work of all.
func (l *lowering) parts(members []int, launches []lower.Launch) (parts []part) {
	work := func(i int) float64 { return launches[i].FLOPs + flopsOfByte*launches[i].Bytes }
	all := 0.0
	for _, i := range members {
		all += work(i)
	}
	for _, i := range members {
		f := l.functions[i]
		at := slices.IndexFunc(parts, func(p part) bool { return p.function == f })
		if at < 0 {
			share := 1.0
			if all > 0 {
				share = work(i) / all
			}
			at = len(parts)
			parts = append(parts, part{f, 0, f.blocksOf(int(share*float64(multiprocessors*f.resident)), launches[i].Device.Grid[0])})
		}
		parts[at].members++
	}
	slices.SortFunc(parts, func(p, q part) int { return strings.Compare(p.template+p.number, q.template+q.number) })
	return parts
}

// resultBytes is the size of what a launch makes.
func (l *lowering) resultBytes(launch *lower.Launch) (sum int64) {
	for _, t := range launch.Results {
		sum += l.out.Tensors[t].Bytes()
	}
	return sum
}

// bytes is the size of the tensors of a launch, each counted once. Of a data set and of a table of words only the rows that
// become results are read.
func (l *lowering) bytes(launch *lower.Launch) (sum float64) {
	if launch.Kernel == "take_images" || launch.Kernel == "embedding" {
		return 2 * float64(l.resultBytes(launch))
	}
	seen := map[int]bool{}
	for _, list := range [][]int{launch.Operands, launch.Results} {
		for _, t := range list {
			if !seen[t] {
				sum += float64(l.out.Tensors[t].Bytes())
			}
			seen[t] = true
		}
	}
	return sum
}
