// Package cpu replays plans on the processor: float32 in AVX-512, AVX2 or portable Go, one arena, a fixed pool of
// workers, no allocation in a step, and the same bits for any number of workers.
//
// A plan's launches are bound once, when it is loaded: kernel.go says what a kernel is, check.go how it checks a
// launch, pool.go how its parts run. The kernels stand in kernel_*.go, one family a file; their innermost loops are
// behind the table of vector.go, of which there is one in portable Go and one for each set of vector instructions, that
// package gen writes; the best is chosen when the program starts (DARTSC_CPU forces one). The package knows plans only:
// what an operation means is told by the tests, which hold every kernel against the reference of package ops.
package cpu

import (
	"cmp"
	"context"
	"fmt"
	"math"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/runtime"
)

// Device is the processor with a number of workers.
type Device struct {
	Workers int
}

// New returns a device with the given number of workers; 0 stands for as many as Go may use processors.
func New(workers int) Device { return Device{workers} }

// Target returns "cpu".
func (Device) Target() string { return "cpu" }

// instance is a plan in memory.
type instance struct {
	plan     *plan.Plan
	spaces   [2][]byte // by plan.Space
	free     []func() error
	programs [][]bound // the launches of every program
	pool     *pool
	version  uint64 // counts the times that variables were set
}

// Load implements runtime.Device.
func (d Device) Load(p *plan.Plan) (runtime.Instance, error) {
	if d.Workers < 0 {
		return nil, fmt.Errorf("%d workers: want 1 or more, or 0 for all processors", d.Workers)
	}
	if badChoice != nil {
		return nil, badChoice
	}
	if err := plan.Validate(p); err != nil {
		return nil, err
	}
	if p.ArenaBytes > manyBytes {
		// What compiling left behind goes, so that the tasks come to stand between what of it is kept and not behind it:
		// 30 of 530 MiB in a search of second order.
		goruntime.GC()
		defer collectRarely()()
	}
	i := &instance{plan: p, version: 1}
	for space, size := range [2]int64{plan.Arena: p.ArenaBytes, plan.Variables: p.VariableBytes} {
		memory, free, err := allocate(size)
		if err != nil {
			i.Close()
			return nil, fmt.Errorf("plan %s: %w", p.Name, err)
		}
		i.spaces[space], i.free = memory, append(i.free, free)
	}
	scratch, err := i.bind()
	if err != nil {
		i.Close()
		return nil, fmt.Errorf("plan %s: %w", p.Name, err)
	}
	i.pool = newPool(d.workers(), scratch)
	if p.ArenaBytes > manyBytes {
		debug.FreeOSMemory() // what binding left behind goes before the arena comes
	}
	return i, nil
}

// loads are those that go on, and the collector's percentage before the first of them.
var loads struct {
	sync.Mutex
	count, percent int
}

// rarePercent is how much garbage may come on top of what stays while a plan is loaded. Tasks stay, so to look for garbage
// among them each time they have doubled is in vain, and took a third of the time.
const rarePercent = 400

// collectRarely lets garbage be until the returned function is called, for all loads that go on at once.
func collectRarely() (end func()) {
	loads.Lock()
	defer loads.Unlock()
	if loads.count++; loads.count == 1 {
		if loads.percent = debug.SetGCPercent(rarePercent); loads.percent < 0 || loads.percent > rarePercent {
			debug.SetGCPercent(loads.percent)
		}
	}
	return func() {
		loads.Lock()
		defer loads.Unlock()
		if loads.count--; loads.count == 0 {
			debug.SetGCPercent(loads.percent)
		}
	}
}

// manyBytes is the size of an arena beside which some milliseconds do not count.
const manyBytes = 1 << 26

// workers is the number of workers, all processors counted.
func (d Device) workers() int {
	if d.Workers == 0 {
		return goruntime.GOMAXPROCS(0)
	}
	return d.Workers
}

// bind makes the tasks of all launches and returns the scratch that a worker needs.
func (i *instance) bind() (scratch int, err error) {
	w := &workspace{}
	w.findWritten(i.plan)
	for _, program := range i.plan.Programs {
		launches, err := bindProgram(i.spaces, program, w)
		if err != nil {
			return 0, err
		}
		for _, b := range launches {
			scratch = max(scratch, b.scratch)
		}
		i.programs = append(i.programs, launches)
	}
	free, err := w.allocate()
	if err != nil {
		return 0, fmt.Errorf("workspace: %w", err)
	}
	i.free = append(i.free, free)
	return scratch, nil
}

// bound is a launch ready to run; one with a loop has its tasks there.
type bound struct {
	task
	number int // as plan.Program.All counts
	loop   *loop
}

func bindProgram(spaces [2][]byte, program *plan.Program, w *workspace) ([]bound, error) {
	launches := make([]bound, len(program.Launches))
	number := 0
	for at := range launches {
		launches[at].number = number
		if number++; program.Launches[at].Loop != nil {
			number += len(program.Launches[at].Loop.Launches)
		}
	}
	return launches, inBlocks(len(launches), func(at int) (err error) {
		l, b := &program.Launches[at], &launches[at]
		if l.Loop != nil {
			b.loop, b.scratch, err = bindLoop(spaces, program, l, w)
		} else {
			b.task, err = bindLaunch(spaces, program, l, w, nil)
		}
		if err != nil {
			return fmt.Errorf("program %s: %s: %w", program.Name, position(at, l), err)
		}
		return nil
	})
}

// position names a launch.
func position(at int, l *plan.Launch) string {
	if l.Scope == "" {
		return fmt.Sprintf("launch %d (%s)", at, l.Kernel)
	}
	return fmt.Sprintf("launch %d (%s at %s)", at, l.Kernel, l.Scope)
}

// mayAlias are the kernels whose results may be the very memory of operands of the same size.
var mayAlias = []string{
	"elementwise", "sgd", "adam", "batch_norm", "batch_norm_input_grad", "drop_path", "cutout", "bias_add",
	"conv2d_input_grad", "separable_grad", "horizontal", "mask_steps", "cross_entropy_grad",
}

// bindLaunch makes the task of a launch; a launch in a loop has a keeper.
func bindLaunch(spaces [2][]byte, program *plan.Program, l *plan.Launch, w *workspace, in *keeper) (t task, err error) {
	defer func() { // a plan comes from a file: what a binder did not foresee is an error too
		if value := recover(); value != nil {
			err = fmt.Errorf("cannot be bound: %v", value)
		}
	}()
	k := kernels[l.Kernel]
	if k == nil {
		return task{}, fmt.Errorf("the CPU has no kernel %q", l.Kernel)
	}
	if err := checkOverlap(program, l); err != nil {
		return task{}, err
	}
	if l.Sets <= 1 {
		t, _, err = bindSet(spaces, program, l, w, in, k, 0)
		return t, err
	}
	sets, taken := make([]task, l.Sets), 0
	for i := range sets {
		one := l.Set(i)
		if sets[i], taken, err = bindSet(spaces, program, &one, w, in, k, taken); err != nil {
			return task{}, fmt.Errorf("set %d: %w", i, err)
		}
	}
	return joined(sets)
}

// bindSet binds a kernel to one set of operands. It may use the workspace from the element that others have taken, and
// returns what is taken then.
func bindSet(spaces [2][]byte, program *plan.Program, l *plan.Launch, w *workspace, in *keeper, k kernel, taken int) (t task, now int, err error) {
	bound := &launch{Launch: l, workspace: w, keeper: in, taken: taken}
	if bound.in, err = bindTensors(spaces, program, l.Operands, "operand"); err != nil {
		return task{}, 0, err
	}
	if bound.out, err = bindTensors(spaces, program, l.Results, "result"); err != nil {
		return task{}, 0, err
	}
	for at, index := range l.Operands {
		if in != nil {
			bound.in[at].fixed = in.fixed(program.Buffers[index])
		} else {
			bound.in[at].fixed = w.fixed(program.Buffers[index])
		}
	}
	if t, err = k(bound); err != nil {
		return task{}, 0, err
	}
	if t.scratch < 0 || t.scratch > mostScratch || bound.taken < 0 || bound.taken > mostScratch {
		return task{}, 0, fmt.Errorf("needs %d and %d elements of memory beside the plan's: at most %d", t.scratch, bound.taken, mostScratch)
	}
	for _, ph := range slices.Concat(t.once, t.phases) {
		if ph.parts < 0 || ph.parts > math.MaxInt32 {
			return task{}, 0, fmt.Errorf("has %d parts", ph.parts)
		}
	}
	w.grow(bound.taken, in != nil)
	return t, bound.taken, nil
}

// mostScratch bounds the elements of scratch and of workspace: what an absurd plan would take beside its own memory.
const mostScratch = 1 << 28

// checkOverlap requires that results lie apart from each other and from operands, but for what mayAlias allows. That
// sets of operands lie apart, a valid plan says already.
func checkOverlap(program *plan.Program, l *plan.Launch) error {
	inPlace := slices.Contains(mayAlias, l.Kernel) || l.Kernel == "matmul" && len(l.Operands) == 3 ||
		l.Kernel == "weighted_sum" && len(l.Results) == max(l.Sets, 1)
	for set := range max(l.Sets, 1) {
		one := l.Set(set)
		for i, r := range one.Results {
			result := program.Buffers[r]
			for j, other := range one.Results[:i] {
				if overlap(result, program.Buffers[other]) {
					return fmt.Errorf("results %d and %d share memory", j, i)
				}
			}
			for j, o := range one.Operands {
				operand := program.Buffers[o]
				same := operand.Offset == result.Offset && operand.Bytes() == result.Bytes()
				if overlap(result, operand) && !(inPlace && same) {
					return fmt.Errorf("result %d and operand %d share memory", i, j)
				}
			}
		}
	}
	return nil
}

func overlap(a, b plan.Buffer) bool {
	return a.Space == b.Space && a.Offset < b.Offset+b.Bytes() && b.Offset < a.Offset+a.Bytes()
}

func bindTensors(spaces [2][]byte, program *plan.Program, buffers []int, what string) ([]tensor, error) {
	tensors := make([]tensor, len(buffers))
	for i, index := range buffers {
		b := program.Buffers[index]
		t := tensor{Tensor: b.Tensor, name: name{what, i}}
		space := spaces[b.Space]
		switch b.DType {
		case plan.F32:
			t.f32 = view[float32](space, b.Tensor, b.Offset)
		case plan.I64:
			t.i64 = view[int64](space, b.Tensor, b.Offset)
		case plan.I32:
			t.i32 = view[int32](space, b.Tensor, b.Offset)
		case plan.U8:
			t.u8 = view[uint8](space, b.Tensor, b.Offset)
		default:
			return nil, fmt.Errorf("%s is %s: the CPU computes with f32, i64, i32 and u8", t.name, b.DType)
		}
		tensors[i] = t
	}
	return tensors, nil
}

// Run implements runtime.Instance.
func (i *instance) Run(ctx context.Context, program int, observe func(launch int, d time.Duration)) error {
	if program < 0 || program >= len(i.programs) {
		return fmt.Errorf("plan %s has no program %d", i.plan.Name, program)
	}
	p := i.plan.Programs[program]
	for at := range i.programs[program] {
		b := &i.programs[program][at]
		var err error
		if b.loop != nil {
			err = i.runLoop(ctx, b, observe)
		} else {
			err = i.runTask(ctx, &b.task, b.number, observe)
		}
		if err != nil {
			return fmt.Errorf("program %s: %s: %w", p.Name, position(at, &p.Launches[at]), err)
		}
	}
	return nil
}

// runTask runs the phases of one launch.
func (i *instance) runTask(ctx context.Context, t *task, number int, observe func(launch int, d time.Duration)) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("stopped before it: %w", ctx.Err())
	default:
	}
	var start time.Time
	if observe != nil {
		start = time.Now()
	}
	if len(t.once) > 0 && t.prepared != i.version {
		if err := i.pool.runAll(t.once); err != nil {
			return err
		}
		t.prepared = i.version
	}
	if err := i.pool.runAll(t.phases); err != nil {
		return err
	}
	if observe != nil {
		observe(number, time.Since(start))
	}
	return nil
}

// Write implements runtime.Instance.
func (i *instance) Write(space plan.Space, offset int64, data []byte) error {
	memory, err := i.memory(space, offset, len(data))
	copy(memory, data)
	if space == plan.Variables {
		i.version++
	}
	return err
}

// Read implements runtime.Instance.
func (i *instance) Read(space plan.Space, offset int64, into []byte) error {
	memory, err := i.memory(space, offset, len(into))
	copy(into, memory)
	return err
}

func (i *instance) memory(space plan.Space, offset int64, n int) ([]byte, error) {
	if int(space) >= len(i.spaces) || offset < 0 || int64(n) > int64(len(i.spaces[space]))-offset {
		return nil, fmt.Errorf("%d bytes at offset %d of space %d lie outside of the plan's memory", n, offset, space)
	}
	return i.spaces[space][offset : offset+int64(n)], nil
}

// Close implements runtime.Instance.
func (i *instance) Close() error {
	if i.pool != nil {
		i.pool.close()
		i.pool = nil
	}
	i.programs, i.spaces = nil, [2][]byte{}
	var first error
	for _, free := range i.free {
		first = cmp.Or(first, free())
	}
	i.free = nil
	return first
}
