//go:build cuda && linux && cgo && (amd64 || arm64)

package cuda

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"time"

	"gorgonia.org/cu"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cuda/driver"
)

// Look opens the driver and describes its devices. It is an error if there is no driver, or no device.
func Look() (Machine, error) {
	if err := driver.Open(); err != nil {
		return Machine{}, err
	}
	version := cu.Version()
	m := Machine{Driver: fmt.Sprintf("%d.%d", version/1000, version%1000/10)}
	count, err := cu.NumDevices()
	if err != nil {
		return m, fmt.Errorf("count CUDA devices: %w", driver.Explain(err))
	}
	for index := range count {
		p, err := properties(index)
		if err != nil {
			return m, err
		}
		m.Devices = append(m.Devices, p)
	}
	if count == 0 {
		return m, errors.New("the CUDA driver finds no device")
	}
	return m, nil
}

func properties(index int) (p Properties, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("CUDA device %d: %w", index, driver.Explain(err))
		}
	}()
	d, err := cu.GetDevice(index)
	if err != nil {
		return p, err
	}
	p.Index = index
	if p.Name, err = d.Name(); err != nil {
		return p, err
	}
	if p.Bytes, err = d.TotalMem(); err != nil {
		return p, err
	}
	if p.Multiprocessors, err = d.Attribute(cu.MultiprocessorCount); err != nil {
		return p, err
	}
	major, err := d.Attribute(cu.ComputeCapabilityMajor)
	if err != nil {
		return p, err
	}
	minor, err := d.Attribute(cu.ComputeCapabilityMinor)
	p.Architecture = fmt.Sprintf("sm_%d%d", major, minor)
	return p, err
}

// Device is one GPU.
type Device struct {
	Properties
	plans  string // the target of the plans that it runs
	device cu.Device
}

// New returns the GPU of that index, for plans of the best of the targets that a compiler has, as cuda:sm_90.
func New(index int, targets []string) (runtime.Device, error) {
	m, err := Look()
	if err != nil {
		return nil, err
	}
	if index < 0 || index >= len(m.Devices) {
		return nil, fmt.Errorf("no CUDA device %d: there are %d, numbered from 0", index, len(m.Devices))
	}
	p := m.Devices[index]
	target, err := p.target(targets)
	if err != nil {
		return nil, err
	}
	d, err := cu.GetDevice(index)
	if err != nil {
		return nil, fmt.Errorf("CUDA device %d: %w", index, driver.Explain(err))
	}
	return Device{p, target, d}, nil
}

// Target implements runtime.Device.
func (d Device) Target() string { return d.plans }

// String names the device for people.
func (d Device) String() string { return fmt.Sprintf("CUDA device %d (%s)", d.Index, d.Name) }

// instance is a plan on a device. Work is put into one stream, in the order of the calls.
type instance struct {
	plan      *plan.Plan
	device    Device
	context   cu.CUContext
	stream    cu.Stream
	spaces    [2]cu.DevicePtr // by plan.Space
	sizes     [2]int64
	modules   []cu.Module
	functions *functions
	programs  []program
	lengths   []*length // of the loops of all programs
	uploads   ring
	download  []byte     // page-locked
	marks     []cu.Event // of a profile: before each launch and after the last
	last      int        // the program that was put into the stream last, or -1
	fresh     bool       // nothing has been written since then
	lost      error      // what ended the context: nothing works after it
	release   []func() error
}

// Load implements runtime.Device.
func (d Device) Load(p *plan.Plan) (runtime.Instance, error) {
	if err := plan.Validate(p); err != nil {
		return nil, err
	}
	i := &instance{plan: p, device: d, last: -1}
	goruntime.LockOSThread() // the context belongs to a thread
	defer goruntime.UnlockOSThread()
	if err := i.load(); err != nil {
		i.Close()
		return nil, fmt.Errorf("plan %s on %v: %w", p.Name, d, err)
	}
	return i, nil
}

// after remembers what Close has to undo, the last first.
func (i *instance) after(undo func() error) { i.release = append(i.release, undo) }

func (i *instance) load() error {
	var err error
	if i.context, err = i.device.device.RetainPrimaryCtx(); err != nil {
		return driver.Explain(err)
	}
	i.after(i.device.device.ReleasePrimaryCtx)
	if err := i.enter(); err != nil {
		return err
	}
	if i.stream, err = cu.MakeStream(cu.NonBlocking); err != nil {
		return driver.Explain(err)
	}
	i.after(i.stream.Destroy)
	if err := i.allocate(); err != nil {
		return err
	}
	if err := i.loadModules(); err != nil {
		return err
	}
	if err := i.prepare(); err != nil {
		return err
	}
	if err := i.lockHostMemory(); err != nil {
		return err
	}
	return i.wait()
}

// enter makes the context current on the calling thread, which the caller has locked.
func (i *instance) enter() error {
	if i.lost != nil {
		return fmt.Errorf("the GPU's context ended: %w", i.lost)
	}
	return driver.Explain(cu.SetCurrentContext(i.context))
}

// wait ends when all work is done.
func (i *instance) wait() error { return i.failed(i.stream.Synchronize()) }

// failed explains the error of a wait: a kernel or a copy failed some time before, and the context with it.
func (i *instance) failed(err error) error {
	if err == nil {
		return nil
	}
	i.lost = driver.Explain(err)
	if i.last < 0 || oneByOne {
		return i.lost
	}
	p := i.plan.Programs[i.last]
	return fmt.Errorf("program %s: one of its %d launches failed: %w; with %s=1 the error says which", p.Name, len(p.Launches), i.lost, oneByOneVariable)
}

// allocate makes the two regions of memory, cleared.
func (i *instance) allocate() error {
	i.sizes = [2]int64{plan.Arena: i.plan.ArenaBytes, plan.Variables: i.plan.VariableBytes}
	for space, size := range i.sizes {
		size = max(size, 1) // the driver refuses nothing at all
		memory, err := cu.MemAlloc(size)
		if err != nil {
			free, total, _ := cu.MemInfo()
			return fmt.Errorf("allocate %.1f MiB of the plan's %.1f (%.1f of %.1f are free): %w", mebibytes(size),
				mebibytes(i.plan.ArenaBytes+i.plan.VariableBytes), mebibytes(free), mebibytes(total), driver.Explain(err))
		}
		i.spaces[space] = memory
		i.after(func() error { return cu.MemFree(memory) })
		if err := cu.MemsetD8Async(memory, 0, size, i.stream); err != nil {
			return driver.Explain(err)
		}
	}
	return nil
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// Run implements runtime.Instance. Without observe it returns when the work is in the stream; the next Read waits for
// it.
func (i *instance) Run(ctx context.Context, program int, observe func(launch int, d time.Duration)) error {
	if program < 0 || program >= len(i.programs) {
		return fmt.Errorf("plan %s has no program %d", i.plan.Name, program)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("program %s: stopped before launch 0: %w", i.plan.Programs[program].Name, ctx.Err())
	}
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	if err := i.enter(); err != nil {
		return err
	}
	r, err := i.replayFor(i.plan.Programs[program], &i.programs[program])
	if err != nil {
		return fmt.Errorf("program %s: %w", i.plan.Programs[program].Name, err)
	}
	if observe != nil || oneByOne {
		return i.runSingly(program, r, observe)
	}
	if err := r.graph.Launch(i.stream); err != nil {
		return fmt.Errorf("program %s: launch its graph: %w", i.plan.Programs[program].Name, err)
	}
	i.ran(program)
	return nil
}

// Close implements runtime.Instance.
func (i *instance) Close() error {
	if i.release == nil {
		return nil
	}
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	var first error
	if i.context != (cu.CUContext{}) {
		first = driver.Explain(cu.SetCurrentContext(i.context))
	}
	if i.lost == nil && i.stream != (cu.Stream{}) {
		first = i.wait() // before what it works with is freed
	}
	for at := len(i.release) - 1; at >= 0; at-- {
		if err := driver.Explain(i.release[at]()); err != nil && first == nil {
			first = err
		}
	}
	i.release, i.programs = nil, nil
	if i.lost != nil { // who ran the plan has heard of it, and nothing else could be freed any more
		return nil
	}
	i.lost = errors.New("the plan was closed")
	return first
}
