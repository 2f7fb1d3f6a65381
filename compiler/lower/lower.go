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

// Tensor is a value in the layout that the target chose. One that is the value of a variable lies there.
type Tensor struct {
	plan.Tensor
	Variable *ir.Variable
}

// Port is a named input or result.
type Port struct {
	Name   string
	Tensor int
}

// Launch is a kernel over tensors: Operands and Results of the embedded launch are indices into Program.Tensors.
type Launch struct {
	plan.Launch
	InPlace []Alias // results that may be written over operands
}

// Alias allows a result of a launch to lie where an operand is, if the operand is not needed afterwards.
type Alias struct{ Operand, Result int }

// Write says that at the end of the program a variable holds a tensor.
type Write struct {
	Variable *ir.Variable
	Tensor   int
}

// Copy is the kernel that moves a tensor into another layout or place; every target has it.
const Copy = "copy"

// Add appends a tensor and returns its index.
func (p *Program) Add(t Tensor) int {
	p.Tensors = append(p.Tensors, t)
	return len(p.Tensors) - 1
}

// Finish places the tensors of a program. Offsets gives the place of every variable, layout its order.
func Finish(p *Program, offsets map[*ir.Variable]int64, layout func(*ir.Variable) plan.Layout) *plan.Program {
	f := &finisher{Program: p, layout: layout, slot: make([]int, len(p.Tensors))}
	f.uses()
	f.storeVariables()
	f.shareSlots()
	return f.emit(offsets)
}

// finisher decides which slot of memory every tensor is in. Tensors that follow one another in place share a slot.
type finisher struct {
	*Program
	layout      func(*ir.Variable) plan.Layout
	first, last []int // launch that defines a tensor (-1: before all) and the last one that uses it
	slot        []int // index into slots
	slots       []slot
}

type slot struct {
	variable *ir.Variable // or in the arena:
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
		for _, t := range l.Results {
			f.first[t], f.last[t] = i, i
		}
	}
	for _, r := range f.Results {
		f.last[r.Tensor] = len(f.Launches)
	}
}

// storeVariables lets the new value of a variable be computed right where the variable lies, if its old value is not
// needed any more by then; otherwise a copy at the end moves it there.
func (f *finisher) storeVariables() {
	old := map[*ir.Variable]int{} // the tensor that is a variable's value at the start
	for i, t := range f.Tensors {
		f.slot[i] = -1
		if t.Variable != nil {
			old[t.Variable] = i
			f.slot[i] = f.newSlot(slot{variable: t.Variable})
		}
	}
	var staged, copied []Launch
	writes := map[int]int{}
	for _, w := range f.Writes {
		writes[w.Tensor]++
		if f.Tensors[w.Tensor].Variable != nil { // one variable becomes another: the old value must outlive its own write
			f.last[w.Tensor] = len(f.Launches)
		}
	}
	for _, w := range f.Writes {
		if f.inVariable(w, old, writes[w.Tensor]) {
			f.slot[w.Tensor] = f.newSlot(slot{variable: w.Variable})
			continue
		}
		from, t := w.Tensor, f.Tensors[w.Tensor]
		to := f.add(Tensor{Tensor: t.Tensor, Variable: w.Variable}, slot{variable: w.Variable})
		f.Tensors[to].Order = f.layout(w.Variable)
		if t.Variable != nil { // through a temporary, for another write may go to where it is read
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

// copy is the launch that copies a tensor at the end.
func (f *finisher) copy(from, to int) Launch {
	bytes := 2 * float64(f.Tensors[from].Bytes())
	return Launch{Launch: plan.Launch{Kernel: Copy, Operands: []int{from}, Results: []int{to}, Phase: "end", Bytes: bytes}}
}

// inVariable says whether a write can be made by the launch that computes the value.
func (f *finisher) inVariable(w Write, old map[*ir.Variable]int, writes int) bool {
	t := f.Tensors[w.Tensor]
	defined := f.first[w.Tensor]
	if t.Variable != nil || defined < 0 || writes > 1 || f.slot[w.Tensor] >= 0 {
		return false
	}
	if !slices.Equal(f.layout(w.Variable), t.Order) {
		return false
	}
	before, ok := old[w.Variable]
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
		taken := map[int]bool{}
		for r, t := range l.Results {
			if f.slot[t] >= 0 {
				continue
			}
			for _, a := range l.InPlace {
				o := l.Operands[a.Operand]
				s := f.slot[o]
				free := a.Result == r && f.last[o] == i && f.slots[s].variable == nil && !taken[s] &&
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

// emit places the slots and writes the program of the plan.
func (f *finisher) emit(offsets map[*ir.Variable]int64) *plan.Program {
	var buffers []memory.Buffer
	var inArena []int
	for i, s := range f.slots {
		if s.variable == nil && s.Bytes > 0 {
			buffers = append(buffers, s.Buffer)
			inArena = append(inArena, i)
		}
	}
	out := &plan.Program{Name: f.Name, LowerBound: memory.LowerBound(buffers), PeakBytes: memory.Place(buffers)}
	for k, i := range inArena {
		f.slots[i].Offset = buffers[k].Offset
	}
	for i, t := range f.Tensors {
		b := plan.Buffer{Tensor: t.Tensor, Offset: f.slots[f.slot[i]].Offset}
		if v := f.slots[f.slot[i]].variable; v != nil {
			b.Space, b.Offset = plan.Variables, offsets[v]
		}
		out.Buffers = append(out.Buffers, b)
	}
	for _, l := range f.Launches {
		out.Launches = append(out.Launches, l.Launch)
	}
	ports := func(from []Port) (to []plan.Port) {
		for _, p := range from {
			to = append(to, plan.Port{Name: p.Name, Buffer: p.Tensor})
		}
		return to
	}
	out.Inputs, out.Results = ports(f.Inputs), ports(f.Results)
	return out
}
