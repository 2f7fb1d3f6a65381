package cpu

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dartsc/dartsc/compiler/plan"
)

// A kernel turns one launch of a plan, bound to memory, into a task. Kernels are looked up by name when a plan is
// loaded, check there everything that could go wrong (types, layouts, shapes, parameters), and then only run.
//
// The rules that make results independent of the number of workers:
//   - a task is a list of phases that run one after the other;
//   - a phase has a fixed number of parts, chosen from the shapes alone, which may run in any order on any worker;
//   - parts write disjoint memory; a reduction writes partial sums by part into memory of its own (taken when bound),
//     and a later phase adds them in order.
//
// Nothing allocates once a task is bound. Results never overlap operands, but for the kernels in mayAlias.
type kernel func(l *launch) (task, error)

// kernels is the table of all kernels by the name that the compiler uses.
var kernels = map[string]kernel{}

// register adds kernels to the table; each file calls it from init.
func register(name string, k kernel) { kernels[name] = k }

// launch is a plan.Launch with its operands and results as slices of the arena or of the variables.
type launch struct {
	*plan.Launch
	in, out   []tensor
	workspace *workspace
	taken     int     // elements of the workspace that this launch uses
	keeper    *keeper // in a loop
}

// workspace is memory that the launches of a plan take turns to use: what one part leaves for another, such as partial
// sums and packed weights. It is made when all launches are bound.
type workspace struct {
	size, inLoops atomic.Int64 // elements that launches use, outside of loops and in them
	data          []float32

	written []region     // what the programs change among the variables
	kept    atomic.Int64 // elements of memory that launches keep

	loopSize int64 // elements that the launches of a loop keep while it runs, behind those that they take turns to use
	loopData []float32
	mutex    sync.Mutex

	tables sync.Map // what several launches read and none changes, by what decides it
}

// table returns the numbers that a comparable key stands for, which are made once.
func (w *workspace) table(key any, numbers func() []float32) []float32 {
	table, found := w.tables.Load(key)
	if !found {
		table, _ = w.tables.LoadOrStore(key, numbers())
	}
	return table.([]float32)
}

// repeated is a row of so many times one number.
func (l *launch) repeated(v float32, n int) []float32 {
	type row struct {
		value  float32
		length int
	}
	return l.workspace.table(row{v, n}, func() []float32 { return slices.Repeat([]float32{v}, n) })
}

// mostKept bounds the elements that the launches of a plan keep: beyond it they make them anew each time.
const mostKept = 1 << 28

// fixed says whether a buffer holds a variable that no program changes.
func (w *workspace) fixed(b plan.Buffer) bool {
	if b.Space != plan.Variables || b.Stride != 0 {
		return false
	}
	next, _ := slices.BinarySearchFunc(w.written, b.Offset, func(r region, offset int64) int { return cmp.Compare(r.to, offset+1) })
	return next == len(w.written) || w.written[next].from >= b.Offset+b.Bytes()
}

// region is memory from an offset to another.
type region struct{ from, to int64 }

// findWritten lists what launches write among the variables, in order, neighbours joined.
func (w *workspace) findWritten(p *plan.Plan) {
	var all []region
	for _, program := range p.Programs {
		for _, l := range program.All() {
			for _, r := range l.Results {
				if b := program.Buffers[r]; b.Space == plan.Variables {
					all = append(all, region{b.Offset, b.Offset + int64(l.Times-1)*b.Stride + b.Bytes()})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b region) int { return cmp.Compare(a.from, b.from) })
	for _, r := range all {
		if n := len(w.written); n > 0 && r.from <= w.written[n-1].to {
			w.written[n-1].to = max(w.written[n-1].to, r.to)
		} else {
			w.written = append(w.written, r)
		}
	}
}

// grow makes room for n elements of a launch.
func (w *workspace) grow(n int, inLoop bool) {
	size := &w.size
	if inLoop {
		size = &w.inLoops
	}
	for old := size.Load(); int64(n) > old && !size.CompareAndSwap(old, int64(n)); old = size.Load() {
	}
}

// allocate takes the memory, when all launches are bound.
func (w *workspace) allocate() (free func() error, err error) {
	inLoops := w.inLoops.Load()
	memory, free, err := allocate(4 * max(w.size.Load(), inLoops+w.loopSize))
	if err != nil {
		return nil, err
	}
	w.data = view32(memory)
	w.loopData = w.data[inLoops:]
	return free, nil
}

// shared takes n elements of the workspace, which hold anything when the task starts. The returned function gives them
// at run time.
func (l *launch) shared(n int) func() []float32 {
	w, from := l.workspace, l.taken
	l.taken += (n + 15) &^ 15 // a cache line apart
	return func() []float32 { return w.data[from : from+n : from+n] }
}

// keep is shared for what depends on fixed operands alone: the launch has the memory for itself, and what fills it is
// to be a phase of task.once. Without room for it, or if not fixed, it is shared memory and false.
func (l *launch) keep(n int, fixed bool) (memory func() []float32, once bool) {
	if fixed && l.keeper != nil {
		return l.keeper.keep(n), true
	}
	if !fixed || l.workspace.kept.Add(int64(n)) > mostKept {
		return l.shared(n), false
	}
	own := view32(aligned(4 * n))
	return func() []float32 { return own }, true
}

// shared64 is the same for float64.
func (l *launch) shared64(n int) func() []float64 {
	all := l.shared(2 * n)
	return func() []float64 { return wide64(all()) }
}

// tensor is a bound buffer: exactly one of the slices is set, by its type, in memory order (see plan.Layout).
type tensor struct {
	plan.Tensor
	name  name
	fixed bool // of an operand: nothing changes it while programs run
	f32   []float32
	i64   []int64
	i32   []int32
	u8    []uint8
}

// name is "operand 0" or "result 1", for messages. Hundreds of thousands are bound, so the text waits until it is needed.
type name struct {
	what string
	at   int
}

func (n name) String() string { return fmt.Sprintf("%s %d", n.what, n.at) }

// task is a launch ready to run.
type task struct {
	scratch int     // float32 elements of scratch that every worker needs
	once    []phase // of fixed operands alone: they run before the first phases, and again when variables were set
	phases  []phase

	prepared uint64 // the instance's version when once ran
}

// phase is work in parts; scratch belongs to the worker and holds anything.
type phase struct {
	parts int
	run   func(part int, scratch []float32)
}
