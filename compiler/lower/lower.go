// Package lower turns scheduled programs into launches: what is common to all targets. A [Target] decides kernels and
// layouts; [Finish] decides where every tensor lives, in place where it may, and makes the plan's program.
package lower

import (
	"slices"

	"github.com/dartsc/dartsc/compiler/memory"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
)

// Target is a kind of device that plans are made for.
type Target interface {
	Name() string
	// Layout is the order in which a variable lies in memory.
	Layout(v *ir.Variable) plan.Layout
	// Lower chooses kernels for the operations of a program, in their order.
	Lower(p *ir.Program) (*Program, error)
	// Rest is for how many launches memory should not be used again, where there is enough of it.
	Rest() int
	// Copy says how the device runs kernel Copy from one tensor to another, or nil where a runtime knows it by name.
	Copy(from, to plan.Tensor) *plan.DeviceLaunch
	// Modules returns the code of all that has been lowered or copied so far.
	Modules() []plan.Module
}

// Program is a program as launches over tensors that have no place yet.
type Program struct {
	Name     string
	Tensors  []Tensor
	Inputs   []Port
	Results  []Port
	Launches []Launch
	Writes   []Write
}

// Tensor is a value in the layout that the target chose. One that has a home lies there.
type Tensor struct {
	plan.Tensor
	Home Home
}

// Home is where a tensor lies that the program does not place: in a variable or, in the body of a loop, in a tensor of
// the program around it. The zero Home is none.
type Home struct {
	Variable *ir.Variable
	Around   int  // 1 + the index of the tensor
	Moving   bool // in each step the part of the tensor that belongs to it
}

// InVariable is the home of a variable's value.
func InVariable(v *ir.Variable) Home { return Home{Variable: v} }

// AroundLoop is the home of a tensor of the program around a loop: the whole of it or, moving, the part of a step.
func AroundLoop(tensor int, moving bool) Home { return Home{Around: 1 + tensor, Moving: moving} }

// Port is a named input or result.
type Port struct {
	Name   string
	Tensor int
}

// Launch is a kernel over tensors: Operands and Results of the embedded launch are indices into Program.Tensors.
//
// A launch with a loop has the body as a program without inputs and results, whose writes go to tensors of the program
// around it. What the loop carries is a tensor that is operand and result at once.
type Launch struct {
	plan.Launch
	InPlace []Alias  // results that may be written over operands
	Body    *Program // of a loop; the Launches of plan.Loop follow from it
	scratch []int    // tensors that exist only while the launch runs
}

// Alias allows a result of a launch to lie where an operand is, if the operand is not needed afterwards.
type Alias struct{ Operand, Result int }

// Write says that at the end of the program, or of a step of a loop, a tensor is at home.
type Write struct {
	Home   Home
	Tensor int
}

// Copy is the kernel that moves a tensor into another layout or place; every target has it.
const Copy = "copy"

// Add appends a tensor and returns its index.
func (p *Program) Add(t Tensor) int {
	p.Tensors = append(p.Tensors, t)
	return len(p.Tensors) - 1
}

// Finish places the tensors of a program. Offsets gives the place of every variable.
func Finish(p *Program, offsets map[*ir.Variable]int64, target Target) *plan.Program {
	f := finish(p, target)
	out := &plan.Program{Name: f.Name}
	out.LowerBound, out.PeakBytes = f.place()
	out.Launches = f.launches(out, func(s slot) (plan.Space, int64, int64) {
		if v := s.home.Variable; v != nil {
			return plan.Variables, offsets[v], 0
		}
		return plan.Arena, s.Offset, 0
	})
	ports := func(from []Port) (to []plan.Port) {
		for _, p := range from {
			to = append(to, plan.Port{Name: p.Name, Buffer: p.Tensor})
		}
		return to
	}
	out.Inputs, out.Results = ports(f.Inputs), ports(f.Results)
	return out
}

// finish decides what shares memory, in the bodies of loops first: what they need for themselves is a tensor of the
// program around them.
func finish(p *Program, target Target) *finisher {
	f := &finisher{Program: p, target: target, bodies: map[int]*finisher{}}
	for i := range p.Launches {
		l := &p.Launches[i]
		if l.Body == nil {
			continue
		}
		body := finish(l.Body, target)
		_, bytes := body.place()
		body.scratch = p.Add(Tensor{Tensor: plan.Tensor{DType: plan.U8, Shape: []int{int(max(bytes, 1))}}})
		l.scratch = []int{body.scratch}
		f.bodies[i] = body
	}
	f.slot = make([]int, len(p.Tensors))
	f.uses()
	f.storeHomes()
	f.shareSlots()
	return f
}

// finisher decides which slot of memory every tensor is in. Tensors that follow one another in place share a slot.
type finisher struct {
	*Program
	target      Target
	bodies      map[int]*finisher // of loops, by launch
	scratch     int               // of a body: the tensor of the program around it that holds its arena
	first, last []int             // launch that defines a tensor (-1: before all) and the last one that uses it
	slot        []int             // index into slots
	slots       []slot
}

type slot struct {
	home Home // or, if none, in the arena:
	memory.Buffer
}

// uses finds lifetimes. Results of the program live to its end.
func (f *finisher) uses() {
	f.first, f.last = make([]int, len(f.Tensors)), make([]int, len(f.Tensors))
	for i := range f.Tensors {
		f.first[i], f.last[i] = -1, -1
	}
	for i, l := range f.Launches {
		for _, t := range l.Operands {
			f.last[t] = i
		}
		for _, list := range [][]int{l.Results, l.scratch} {
			for _, t := range list {
				if f.first[t] < 0 { // a loop defines again what it carries
					f.first[t] = i
				}
				f.last[t] = i
			}
		}
	}
	for _, r := range f.Results {
		f.last[r.Tensor] = len(f.Launches)
	}
}

// storeHomes lets the new value of a variable be computed right where the variable lies, if its old value is not
// needed any more by then; otherwise a copy at the end moves it there. What a loop carries and stacks is stored so too.
func (f *finisher) storeHomes() {
	old := map[Home]int{} // the tensor that is there at the start
	for i, t := range f.Tensors {
		f.slot[i] = -1
		if t.Home != (Home{}) {
			old[t.Home] = i
			f.slot[i] = f.newSlot(slot{home: t.Home})
		}
	}
	var staged, copied []Launch
	for _, w := range f.Writes {
		if f.Tensors[w.Tensor].Home != (Home{}) { // one home's value goes to another: the old value must outlive its own write
			f.last[w.Tensor] = len(f.Launches)
		}
	}
	for _, w := range f.Writes {
		t := f.Tensors[w.Tensor]
		if t.Home == w.Home { // it is there, and nothing else is written to it
			continue
		}
		if f.inHome(w, old) {
			f.slot[w.Tensor] = f.newSlot(slot{home: w.Home})
			continue
		}
		from := w.Tensor
		to := f.add(Tensor{Tensor: t.Tensor, Home: w.Home}, slot{home: w.Home})
		f.Tensors[to].Order = f.orderAt(w.Home)
		if t.Home != (Home{}) { // through a temporary, for another write may go to where it is read
			held := f.add(Tensor{Tensor: t.Tensor}, slot{})
			f.slot[held] = -1
			staged = append(staged, f.copy(from, held))
			from = held
		}
		copied = append(copied, f.copy(from, to))
	}
	f.Launches = append(append(f.Launches, staged...), copied...)
	f.uses()
}

// orderAt is the layout of what a home holds; around loops everything is row-major.
func (f *finisher) orderAt(h Home) plan.Layout {
	if h.Variable != nil {
		return f.target.Layout(h.Variable)
	}
	return nil
}

// copy is the launch that copies a tensor at the end.
func (f *finisher) copy(from, to int) Launch {
	bytes := 2 * float64(f.Tensors[from].Bytes())
	return Launch{Launch: plan.Launch{
		Kernel: Copy, Operands: []int{from}, Results: []int{to}, Phase: "end", Bytes: bytes,
		Device: f.target.Copy(f.Tensors[from].Tensor, f.Tensors[to].Tensor),
	}}
}

// inHome says whether a write can be made by the launch that computes the value. Of several writes of one tensor the
// first may be; the others copy from there.
func (f *finisher) inHome(w Write, old map[Home]int) bool {
	t := f.Tensors[w.Tensor]
	defined := f.first[w.Tensor]
	if t.Home != (Home{}) || defined < 0 || f.slot[w.Tensor] >= 0 {
		return false
	}
	if !slices.Equal(f.orderAt(w.Home), t.Order) {
		return false
	}
	before, ok := old[w.Home]
	if !ok {
		return true
	}
	if f.last[before] != defined {
		return f.last[before] < defined
	}
	l := f.Launches[defined]
	return f.aliasAllowed(l, before, w.Tensor)
}

// aliasAllowed says whether a launch may write one tensor over another, which it reads.
func (f *finisher) aliasAllowed(l Launch, operand, result int) bool {
	reads := 0
	for _, t := range l.Operands {
		if t == operand {
			reads++
		}
	}
	for _, a := range l.InPlace {
		if l.Operands[a.Operand] == operand && l.Results[a.Result] == result {
			reads--
		}
	}
	return reads <= 0
}

// shareSlots gives every other tensor a slot: that of an operand which dies as the tensor is made, where the kernel
// allows it, or a new one.
func (f *finisher) shareSlots() {
	for _, in := range f.Inputs {
		f.slot[in.Tensor] = f.newSlot(f.arenaSlot(in.Tensor))
	}
	for i, l := range f.Launches {
		for _, t := range l.scratch {
			f.slot[t] = f.newSlot(f.arenaSlot(t))
		}
		taken := map[int]bool{}
		for r, t := range l.Results {
			if f.slot[t] >= 0 {
				continue
			}
			for _, a := range l.InPlace {
				o := l.Operands[a.Operand]
				s := f.slot[o]
				free := a.Result == r && f.last[o] == i && f.slots[s].home == (Home{}) && !taken[s] &&
					f.Tensors[o].Bytes() == f.Tensors[t].Bytes() && f.aliasAllowed(l, o, t)
				if free {
					taken[s] = true
					f.slot[t] = s
					f.slots[s].Last = f.last[t]
					break
				}
			}
			if f.slot[t] < 0 {
				f.slot[t] = f.newSlot(f.arenaSlot(t))
			}
		}
	}
}

func (f *finisher) arenaSlot(t int) slot {
	return slot{Buffer: memory.Buffer{Bytes: f.Tensors[t].Bytes(), First: max(f.first[t], 0), Last: max(f.last[t], 0)}}
}

func (f *finisher) newSlot(s slot) int {
	f.slots = append(f.slots, s)
	return len(f.slots) - 1
}

// add appends a tensor that only a copy at the end uses.
func (f *finisher) add(t Tensor, s slot) int {
	i := f.Add(t)
	f.slot = append(f.slot, f.newSlot(s))
	return i
}

// place gives every slot of the arena its offset; it returns the least and the actual size of the arena.
func (f *finisher) place() (bound, peak int64) {
	var buffers []memory.Buffer
	var inArena []int
	for i, s := range f.slots {
		if s.home == (Home{}) && s.Bytes > 0 {
			buffers = append(buffers, s.Buffer)
			inArena = append(inArena, i)
		}
	}
	bound, peak = memory.LowerBound(buffers), memory.Place(buffers, f.target.Rest())
	for k, i := range inArena {
		f.slots[i].Offset = buffers[k].Offset
	}
	return bound, peak
}

// launches appends the buffers to the program of the plan and returns the launches; at says where a slot is: space,
// offset, and how far it moves in each step.
func (f *finisher) launches(out *plan.Program, at func(slot) (plan.Space, int64, int64)) (list []plan.Launch) {
	base := len(out.Buffers)
	for i, t := range f.Tensors {
		b := plan.Buffer{Tensor: t.Tensor}
		b.Space, b.Offset, b.Stride = at(f.slots[f.slot[i]])
		out.Buffers = append(out.Buffers, b)
	}
	buffers := func(tensors []int) []int {
		moved := make([]int, len(tensors))
		for i, t := range tensors {
			moved[i] = base + t
		}
		return moved
	}
	for i, l := range f.Launches {
		if l.Kernel == Copy && f.samePlace(l.Operands[0], l.Results[0]) {
			continue // to where it is
		}
		l.Operands, l.Results = buffers(l.Operands), buffers(l.Results)
		if l.Body != nil {
			l.Loop.Launches = f.bodies[i].launches(out, f.inLoop(f.bodies[i], l.Loop.Steps, at))
		}
		list = append(list, l.Launch)
	}
	return list
}

// samePlace says whether two tensors have one slot or one home, and one layout.
func (f *finisher) samePlace(a, b int) bool {
	x, y := f.slots[f.slot[a]].home, f.slots[f.slot[b]].home
	return slices.Equal(f.Tensors[a].Order, f.Tensors[b].Order) && (f.slot[a] == f.slot[b] || x == y && x != (Home{}))
}

// inLoop says where the slots of a loop's body are.
func (f *finisher) inLoop(body *finisher, steps int, at func(slot) (plan.Space, int64, int64)) func(slot) (plan.Space, int64, int64) {
	return func(s slot) (space plan.Space, offset, stride int64) {
		if s.home == (Home{}) {
			space, offset, _ = at(f.slots[f.slot[body.scratch]])
			return space, offset + s.Offset, 0
		}
		outer := s.home.Around - 1
		space, offset, _ = at(f.slots[f.slot[outer]])
		if s.home.Moving {
			stride = f.Tensors[outer].Bytes() / int64(steps)
		}
		return space, offset, stride
	}
}

// IsFilter says that a variable holds the filter of a convolution, or a moment of one, which targets have in an order of their
// own. Images that stay on a device have four dimensions, too.
func IsFilter(v *ir.Variable) bool { return len(v.Type.Shape) == 4 && v.Kind != ir.Data }
