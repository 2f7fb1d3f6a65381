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
	launches []driver.Launch
	graph    driver.Executable
	mirrors  []mirror // small results, which the graph copies to the host
}

// mirror is a buffer of the device and its copy in page-locked memory.
type mirror struct {
	plan.Buffer
	copy []byte
}

// largestMirror is how large a result may be that is copied to the host at the end of each run, asked for or not: a
// few numbers. Others are copied when they are read.
const largestMirror = 4 << 10

// prepare binds the launches of all programs and makes a graph of each program.
func (i *instance) prepare() error {
	most, err := driver.MaxSharedBytes(i.device.device)
	if err != nil {
		return err
	}
	f := &functions{found: map[key]cu.Function{}, allowed: map[cu.Function]limits{}, most: most}
	i.programs = make([]program, len(i.plan.Programs))
	for at, p := range i.plan.Programs {
		for l := range p.Launches {
			bound, err := i.bind(p, &p.Launches[l], f)
			if err != nil {
				return fmt.Errorf("program %s: %s: %w", p.Name, position(l, &p.Launches[l]), err)
			}
			i.programs[at].launches = append(i.programs[at].launches, bound)
		}
		if err := i.mirrorResults(p, &i.programs[at]); err != nil {
			return fmt.Errorf("program %s: %w", p.Name, err)
		}
	}
	for at, p := range i.plan.Programs { // once all kernels are allowed what they need
		if err := i.makeGraph(p, &i.programs[at]); err != nil {
			return fmt.Errorf("program %s: %w", p.Name, err)
		}
	}
	return nil
}

// position names a launch.
func position(at int, l *plan.Launch) string {
	if l.Scope == "" {
		return fmt.Sprintf("launch %d (%s)", at, l.Kernel)
	}
	return fmt.Sprintf("launch %d (%s at %s)", at, l.Kernel, l.Scope)
}

func (i *instance) bind(p *plan.Program, l *plan.Launch, f *functions) (driver.Launch, error) {
	d := l.Device
	if l.Loop != nil {
		return driver.Launch{}, fmt.Errorf("is a loop, which no GPU runs yet: use --device cpu")
	}
	if d == nil {
		return driver.Launch{}, fmt.Errorf("has no kernel for the device")
	}
	function, err := f.get(i.modules, d)
	if err != nil {
		return driver.Launch{}, err
	}
	arguments := d.PackArguments(nil, func(kind plan.ArgumentKind, index int) uint64 {
		list := l.Operands
		if kind == plan.ResultArgument {
			list = l.Results
		}
		b := &p.Buffers[list[index]]
		return uint64(i.spaces[b.Space]) + uint64(b.Offset)
	})
	return driver.Launch{Function: function, Grid: d.Grid, Block: d.Block, SharedBytes: d.SharedBytes, Arguments: arguments}, nil
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

// makeGraph makes one graph of all launches of a program and the copies of its small results. Each waits for what plan.Order
// says, so that launches which have nothing to do with one another run side by side.
func (i *instance) makeGraph(p *plan.Program, bound *program) error {
	var work []plan.Access
	for l := range p.Launches {
		work = append(work, p.Access(&p.Launches[l], 0))
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
	for at := range bound.launches {
		if err := graph.Launch(after[at], &bound.launches[at]); err != nil {
			return fmt.Errorf("%s: %w", position(at, &p.Launches[at]), err)
		}
	}
	for at, m := range bound.mirrors {
		if err := graph.Copy(after[len(bound.launches)+at], m.copy, i.address(m.Space, m.Offset)); err != nil {
			return fmt.Errorf("copy a result of %d bytes: %w", len(m.copy), err)
		}
	}
	if bound.graph, err = graph.Instantiate(); err != nil {
		return fmt.Errorf("make a graph of its %d launches: %w", len(p.Launches), err)
	}
	i.after(bound.graph.Destroy)
	return nil
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
func (i *instance) runSingly(program int, observe func(launch int, d time.Duration)) error {
	p, bound := i.plan.Programs[program], &i.programs[program]
	if err := i.makeMarks(len(bound.launches) + 1); err != nil {
		return err
	}
	if err := i.marks[0].Record(i.stream); err != nil {
		return driver.Explain(err)
	}
	for at := range bound.launches {
		err := bound.launches[at].Start(i.stream)
		if err == nil {
			err = driver.Explain(i.marks[at+1].Record(i.stream))
		}
		if err == nil && oneByOne {
			err = i.wait()
		}
		if err != nil {
			return fmt.Errorf("program %s: %s: %w", p.Name, position(at, &p.Launches[at]), err)
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
	for at := range bound.launches {
		ms, err := i.marks[at].Elapsed(i.marks[at+1])
		if err != nil {
			return fmt.Errorf("program %s: %s: %w", p.Name, position(at, &p.Launches[at]), driver.Explain(err))
		}
		observe(at, time.Duration(ms*float64(time.Millisecond)))
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
