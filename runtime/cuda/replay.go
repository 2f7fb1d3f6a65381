//go:build cuda && linux && cgo && (amd64 || arm64)

package cuda

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/runtime/cuda/driver"
)

// oneByOne makes every launch a call of its own that is waited for, so that an error names the launch it happened in.
var oneByOne = os.Getenv(oneByOneVariable) != ""

const oneByOneVariable = "DARTSC_CUDA_ONE_BY_ONE"

// program is a program bound to memory.
type program struct {
	loops   []loop
	replays []*replay // by the numbers of steps of the loops; one, where there are none
	mirrors []mirror  // small results, which the graph copies to the host
}

// replay is all that a program does when its loops take so many steps, one launch after the other and as a graph.
type replay struct {
	lengths  []int64 // by loop
	launches []launch
	graph    driver.Executable
}

// launch is a step of a program with all that it takes: a kernel's launch, or memory that is cleared.
type launch struct {
	plan.Step
	driver.Launch
}

// mirror is a buffer of the device and its copy in page-locked memory.
type mirror struct {
	plan.Buffer
	copy []byte
}

// largestMirror is how large a result may be that is copied to the host at the end of each run, asked for or not: a
// few numbers. Others are copied when they are read.
const largestMirror = 4 << 10

// prepare finds the kernels of all programs and makes a graph of each program, its loops with all the steps that they have
// room for.
func (i *instance) prepare() error {
	most, err := driver.MaxSharedBytes(i.device.device)
	if err != nil {
		return err
	}
	i.functions = &functions{found: map[key]cu.Function{}, allowed: map[cu.Function]limits{}, most: most}
	i.programs = make([]program, len(i.plan.Programs))
	for at, p := range i.plan.Programs {
		if err := i.prepareProgram(p, &i.programs[at]); err != nil {
			return fmt.Errorf("program %s: %w", p.Name, err)
		}
	}
	for at, p := range i.plan.Programs { // once all kernels are allowed what they need
		bound := &i.programs[at]
		for _, l := range bound.loops {
			l.length.value = int64(l.Loop.Steps)
		}
		if _, err := i.replayFor(p, bound); err != nil {
			return fmt.Errorf("program %s: %w", p.Name, err)
		}
	}
	return nil
}

func (i *instance) prepareProgram(p *plan.Program, bound *program) (err error) {
	for number, l := range p.All() {
		if l.Loop != nil {
			continue
		}
		if _, err := i.bind(p, plan.Step{Launch: l.Launch, Number: number}); err != nil {
			return fmt.Errorf("%s: %w", position(plan.Step{Launch: l.Launch, Number: number}), err)
		}
	}
	if bound.loops, err = i.findLoops(p); err != nil {
		return err
	}
	return i.mirrorResults(p, bound)
}

// position names a launch.
func position(s plan.Step) string {
	if s.Scope == "" {
		return fmt.Sprintf("launch %d (%s)", s.Number, s.Kernel)
	}
	return fmt.Sprintf("launch %d (%s at %s)", s.Number, s.Kernel, s.Scope)
}

// bind gives a step the addresses of its operands and results.
func (i *instance) bind(p *plan.Program, s plan.Step) (launch, error) {
	if s.Clear != nil {
		return launch{Step: s}, nil
	}
	d := s.Device
	if d == nil {
		return launch{}, fmt.Errorf("has no kernel for the device")
	}
	function, err := i.functions.get(i.modules, d)
	if err != nil {
		return launch{}, err
	}
	arguments := d.PackArguments(nil, func(kind plan.ArgumentKind, index int) uint64 {
		list := s.Operands
		if kind == plan.ResultArgument {
			list = s.Results
		}
		b := p.Buffers[list[index]].At(s.T)
		return uint64(i.address(b.Space, b.Offset))
	})
	return launch{s, driver.Launch{Function: function, Grid: d.Grid, Block: d.Block, SharedBytes: d.SharedBytes, Arguments: arguments}}, nil
}

// start puts a step into the stream.
func (i *instance) start(l *launch) error {
	if c := l.Clear; c != nil {
		return driver.Explain(cu.MemsetD8Async(i.address(c.Space, c.Offset), 0, c.Bytes(), i.stream))
	}
	return l.Launch.Start(i.stream)
}

// add puts a step into a graph.
func (i *instance) add(graph *driver.Graph, after []int, l *launch, urgency float64) error {
	if c := l.Clear; c != nil {
		return graph.Clear(after, i.address(c.Space, c.Offset), c.Bytes())
	}
	return graph.Launch(after, &l.Launch, urgency)
}

// mirrorResults makes room on the host for a program's small results.
func (i *instance) mirrorResults(p *plan.Program, bound *program) error {
	for _, port := range p.Results {
		b := &p.Buffers[port.Buffer]
		if b.Bytes() > largestMirror {
			continue
		}
		memory, err := i.allocateHost(int(b.Bytes()))
		if err != nil {
			return err
		}
		bound.mirrors = append(bound.mirrors, mirror{*b, memory})
	}
	return nil
}

// makeGraph makes one graph of all that a program does and the copies of its small results. Each waits for what plan.Order
// says, so that launches which have nothing to do with one another run side by side.
func (i *instance) makeGraph(p *plan.Program, bound *program, r *replay) error {
	var work []plan.Access
	for _, l := range r.launches {
		work = append(work, l.Access(p))
	}
	for _, m := range bound.mirrors {
		work = append(work, plan.Access{Reads: []plan.Buffer{m.Buffer}})
	}
	after := plan.Order(work)
	graph, err := driver.NewGraph()
	if err != nil {
		return fmt.Errorf("begin a graph: %w", err)
	}
	defer graph.Destroy()
	urgency := urgencies(r.launches, after)
	for at := range r.launches {
		if err := i.add(graph, after[at], &r.launches[at], urgency[at]); err != nil {
			return fmt.Errorf("%s: %w", position(r.launches[at].Step), err)
		}
	}
	for at, m := range bound.mirrors {
		if err := graph.Copy(after[len(r.launches)+at], m.copy, i.address(m.Space, m.Offset)); err != nil {
			return fmt.Errorf("copy a result of %d bytes: %w", len(m.copy), err)
		}
	}
	if r.graph, err = graph.Instantiate(); err != nil {
		return fmt.Errorf("make a graph of its %d launches: %w", len(r.launches), err)
	}
	i.after(r.graph.Destroy)
	return nil
}

// urgencies say of every launch how soon it has to run: 1 on the longest chain of launches that wait for one another, 0 where there is half as much time
// to spare as that chain takes.
func urgencies(launches []launch, after [][]int) []float64 {
	n := len(launches)
	took, before := make([]float64, n), make([]float64, n)
	for at, l := range launches {
		took[at] = 3 // microseconds, and more for what it moves, at 1 TB/s: only how they compare matters
		if l.Launch.Grid[0] > 0 {
			took[at] += l.Bytes / 1e6
		}
		for _, a := range after[at] {
			before[at] = max(before[at], before[a]+took[a])
		}
	}
	chains, longest := plan.Chains(after[:n], took), 0.0 // copies of results come after them
	for _, chain := range chains {
		longest = max(longest, chain)
	}
	urgency := make([]float64, n)
	for at := range urgency {
		spare := longest - before[at] - chains[at]
		urgency[at] = max(0, 1-2*spare/longest)
	}
	return urgency
}

func (i *instance) copyMirrors(bound *program) error {
	for _, m := range bound.mirrors {
		if err := cu.MemcpyDtoHAsync(unsafe.Pointer(&m.copy[0]), i.address(m.Space, m.Offset), int64(len(m.copy)), i.stream); err != nil {
			return fmt.Errorf("copy a result of %d bytes: %w", len(m.copy), driver.Explain(err))
		}
	}
	return nil
}

// ran notes which program was put into the stream last: its mirrors will hold what the device's memory does.
func (i *instance) ran(program int) { i.last, i.fresh = program, true }

// runSingly puts every launch into the stream by itself, between events that measure it.
func (i *instance) runSingly(program int, r *replay, observe func(launch int, d time.Duration)) error {
	p, bound := i.plan.Programs[program], &i.programs[program]
	if err := i.makeMarks(len(r.launches) + 1); err != nil {
		return err
	}
	if err := i.marks[0].Record(i.stream); err != nil {
		return driver.Explain(err)
	}
	for at := range r.launches {
		err := i.start(&r.launches[at])
		if err == nil {
			err = driver.Explain(i.marks[at+1].Record(i.stream))
		}
		if err == nil && oneByOne {
			err = i.wait()
		}
		if err != nil {
			return fmt.Errorf("program %s: %s: %w", p.Name, position(r.launches[at].Step), err)
		}
	}
	if err := i.copyMirrors(bound); err != nil {
		return fmt.Errorf("program %s: %w", p.Name, err)
	}
	i.ran(program)
	if observe == nil {
		return nil
	}
	if err := i.wait(); err != nil {
		return err
	}
	for at := range r.launches {
		ms, err := i.marks[at].Elapsed(i.marks[at+1])
		if err != nil {
			return fmt.Errorf("program %s: %s: %w", p.Name, position(r.launches[at].Step), driver.Explain(err))
		}
		observe(r.launches[at].Number, time.Duration(ms*float64(time.Millisecond)))
	}
	return nil
}

// makeMarks makes events until there are n. They stay for the next profile.
func (i *instance) makeMarks(n int) error {
	for len(i.marks) < n {
		mark, err := cu.MakeEvent(cu.DefaultEvent)
		if err != nil {
			return fmt.Errorf("make an event: %w", driver.Explain(err))
		}
		i.marks = append(i.marks, mark)
		i.after(func() error { return cu.DestroyEvent(&mark) })
	}
	return nil
}
