// Package emulation runs plans for CUDA without a GPU: it compiles their source with g++ against emulation.h, where the
// threads of a block are fibers, every access to memory is checked, and shared memory starts as not-a-numbers. It is slow and
// meant for tests: what it proves is that the kernels compute what they should, in whichever order their threads and
// blocks run, and stay within their operands.
//
// Like any runtime it knows plans only. emulation.h says what is emulated and what is not.
package emulation

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cuda"
)

//go:embed emulation.h
var header []byte

// ErrNoCompiler is in the chain of Load's error on a machine without g++.
var ErrNoCompiler = errors.New("g++ is not installed, which emulation of CUDA compiles kernels with")

// Device runs plans of one target, cuda:sm_80 or cuda:sm_90: to the emulation they are the same.
type Device struct {
	Plans    string             // the target
	Reversed bool               // threads and blocks run from the last to the first, and of the launches that may come next the last
	Cache    string             // folder that keeps compiled modules by their content, or "" for a temporary one
	Traffic  map[string]Traffic // if not nil, launches add what they ask of shared memory to that of their kernel
}

// Traffic is accesses to shared memory, but for those of single elements: the wavefronts of 128 bytes that they take, and how many it would be if no two
// lanes met in a memory bank.
type Traffic struct{ Wavefronts, Least int64 }

// Target returns the target of the plans.
func (d Device) Target() string { return d.Plans }

// TestCache is a folder of the user's cache for compiled modules, or "" where there is none: what has not changed since
// the last run of the tests is not compiled again.
func TestCache() string {
	root, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	folder := filepath.Join(root, "dartsc", "emulation")
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return ""
	}
	return folder
}

// TestDevice is what tests run plans for CUDA on: the emulation, or with DARTSC_TEST_GPU=1, in a build with CUDA, this
// machine's first GPU.
func TestDevice(plans string, reversed bool) (runtime.Device, error) {
	if os.Getenv("DARTSC_TEST_GPU") != "" {
		return cuda.New(0, []string{plans})
	}
	if _, err := exec.LookPath("g++"); err != nil {
		return nil, ErrNoCompiler
	}
	return Device{Plans: plans, Reversed: reversed, Cache: TestCache()}, nil
}

// instance is a plan in memory.
type instance struct {
	plan      *plan.Plan
	reversed  bool
	traffic   map[string]Traffic
	orders    map[string][]plan.Step // in which the steps of a program are done, by program and lengths of loops
	spaces    [2][]byte              // by plan.Space
	libraries []uintptr
	functions map[string]uintptr
}

// Load compiles the modules and opens them.
func (d Device) Load(p *plan.Plan) (runtime.Instance, error) {
	if err := plan.Validate(p); err != nil {
		return nil, err
	}
	i := &instance{plan: p, reversed: d.Reversed, traffic: d.Traffic, functions: map[string]uintptr{}, orders: map[string][]plan.Step{}}
	i.spaces = [2][]byte{plan.Arena: aligned(p.ArenaBytes), plan.Variables: aligned(p.VariableBytes)}
	folder := d.Cache
	if folder == "" {
		var err error
		if folder, err = os.MkdirTemp("", "dartsc-emulation"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(folder) // a library that is open needs its file no more
	}
	if err := i.open(folder); err != nil {
		i.Close()
		return nil, fmt.Errorf("plan %s: %w", p.Name, err)
	}
	return i, nil
}

// order is that of a program's steps, or the one that leaves it as far as plan.Order allows: what a graph on a GPU may do.
func order(p *plan.Program, steps []plan.Step, reversed bool) (list []plan.Step) {
	if !reversed {
		return steps
	}
	var work []plan.Access
	for _, s := range steps {
		work = append(work, s.Access(p))
	}
	after := plan.Order(work)
	done := make([]bool, len(after))
	waits := func(at int) bool {
		return done[at] || slices.ContainsFunc(after[at], func(other int) bool { return !done[other] })
	}
	for range steps {
		at := len(after) - 1
		for waits(at) {
			at--
		}
		list, done[at] = append(list, steps[at]), true
	}
	return list
}

// open compiles all modules, as many at a time as there are processors, and finds the functions of all launches.
func (i *instance) open(folder string) error {
	paths, errs := make([]string, len(i.plan.Modules)), make([]error, len(i.plan.Modules))
	var group sync.WaitGroup
	free := make(chan bool, goruntime.GOMAXPROCS(0))
	for m := range i.plan.Modules {
		group.Go(func() {
			free <- true
			defer func() { <-free }()
			paths[m], errs[m] = compile(&i.plan.Modules[m], folder)
		})
	}
	group.Wait()
	for m, path := range paths {
		if errs[m] != nil {
			return fmt.Errorf("module %s: %w", i.plan.Modules[m].Name, errs[m])
		}
		library, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err != nil {
			return fmt.Errorf("module %s: %w", i.plan.Modules[m].Name, err)
		}
		i.libraries = append(i.libraries, library)
	}
	for _, program := range i.plan.Programs {
		for at, l := range program.All() {
			if l.Loop != nil {
				continue
			}
			if l.Device == nil {
				return fmt.Errorf("program %s: launch %d (%s) has no code for a device", program.Name, at, l.Kernel)
			}
			if err := i.find(l.Device); err != nil {
				return fmt.Errorf("program %s: launch %d (%s): %w", program.Name, at, l.Kernel, err)
			}
		}
	}
	return nil
}

// find looks a function up unless that was done before. Names are unique in a plan.
func (i *instance) find(d *plan.DeviceLaunch) error {
	if d.Block != [3]int{256, 1, 1} || d.Grid[1] != 1 || d.Grid[2] != 1 {
		return fmt.Errorf("has a grid of %v blocks of %v threads: blocks of 256 threads in one row are emulated", d.Grid, d.Block)
	}
	if i.functions[d.Function] != 0 {
		return nil
	}
	address, err := purego.Dlsym(i.libraries[d.Module], d.Function)
	if err != nil {
		return fmt.Errorf("module %d has no kernel %s: %w", d.Module, d.Function, err)
	}
	i.functions[d.Function] = address
	return nil
}

// compile makes a library of a module and returns its path.
func compile(m *plan.Module, folder string) (string, error) {
	compiler, err := exec.LookPath("g++")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoCompiler, err)
	}
	flags := []string{"-std=c++17", "-O1", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-fPIC", "-shared", "-U_FORTIFY_SOURCE", "-w"}
	sum := sha256.New()
	for _, text := range append([]string{string(header), m.Source}, flags...) {
		fmt.Fprintf(sum, "%d:%s", len(text), text)
	}
	path := filepath.Join(folder, fmt.Sprintf("%x.so", sum.Sum(nil)[:16]))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	work, err := os.MkdirTemp(folder, "compile")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	source := append(append([]byte("#line 1 \"emulation.h\"\n"), header...), "\n#line 1 \"kernels.cu\"\n"+m.Source...)
	if err := os.WriteFile(filepath.Join(work, "module.cpp"), source, 0o666); err != nil {
		return "", err
	}
	library := filepath.Join(work, "module.so")
	output, err := exec.Command(compiler, append(flags, "-o", library, filepath.Join(work, "module.cpp"), "-lm")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("g++: %w\n%s", err, firstLines(string(output), 20))
	}
	return path, os.Rename(library, path)
}

func firstLines(text string, n int) string {
	lines := strings.SplitN(text, "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], "\n")
}

// aligned returns n bytes that begin at a multiple of 64, as the compiler's offsets assume.
func aligned(n int64) []byte {
	data := make([]byte, n+64)
	skip := -int(uintptr(unsafe.Pointer(&data[0]))) & 63
	return data[skip : int64(skip)+n : int64(skip)+n]
}

// shape is what emulation.h calls Launch.
type shape struct {
	blocks, sharedBytes, argumentBytes, reversed, counting int32
	traffic                                                Traffic
}

// Run implements runtime.Instance.
func (i *instance) Run(ctx context.Context, program int, observe func(launch int, d time.Duration)) error {
	if program < 0 || program >= len(i.plan.Programs) {
		return fmt.Errorf("plan %s has no program %d", i.plan.Name, program)
	}
	p := i.plan.Programs[program]
	steps, err := i.steps(p)
	if err != nil {
		return fmt.Errorf("program %s: %w", p.Name, err)
	}
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("program %s: stopped before launch %d (%s): %w", p.Name, s.Number, s.Kernel, err)
		}
		start := time.Now()
		if s.Clear != nil {
			clear(i.bytes(*s.Clear))
		} else if err := i.launch(p, s); err != nil {
			return fmt.Errorf("program %s: launch %d (%s %s at %s) in step %d: %w", p.Name, s.Number, s.Kernel, s.Device.Function, s.Scope, s.T, err)
		}
		if observe != nil {
			observe(s.Number, time.Since(start))
		}
	}
	return nil
}

// steps lists what a program does now, as long as its loops are now.
func (i *instance) steps(p *plan.Program) ([]plan.Step, error) {
	lengths := map[*plan.Launch]int{}
	key := p.Name
	for at := range p.Launches {
		l := &p.Launches[at]
		if l.Loop == nil {
			continue
		}
		length := int64(binary.LittleEndian.Uint64(i.bytes(p.Buffers[l.Operands[0]])))
		if err := l.Loop.CheckLength(length); err != nil {
			return nil, fmt.Errorf("%s at %s %w", l.Kernel, l.Scope, err)
		}
		lengths[l] = int(length)
		key += fmt.Sprint(" ", length)
	}
	if i.orders[key] == nil {
		i.orders[key] = order(p, p.Unrolled(func(loop *plan.Launch) int { return lengths[loop] }), i.reversed)
	}
	return i.orders[key], nil
}

func (i *instance) bytes(b plan.Buffer) []byte { return i.spaces[b.Space][b.Offset:][:b.Bytes()] }

// one at a time: a module keeps the state of its threads in global variables.
var one sync.Mutex

func (i *instance) launch(p *plan.Program, l plan.Step) error {
	d := l.Device
	arguments := i.arguments(p, l)
	s := shape{blocks: int32(d.Grid[0]), sharedBytes: int32(d.SharedBytes), argumentBytes: int32(len(arguments))}
	if i.reversed {
		s.reversed = 1
	}
	if i.traffic != nil {
		s.counting = 1
	}
	var message [256]byte
	one.Lock()
	defer one.Unlock()
	failed, _, _ := purego.SyscallN(i.functions[d.Function], uintptr(unsafe.Pointer(&arguments[0])), uintptr(unsafe.Pointer(&s)), uintptr(unsafe.Pointer(&message[0])))
	goruntime.KeepAlive(i.spaces)
	if int32(failed) != 0 {
		text, _, _ := strings.Cut(string(message[:]), "\x00")
		return errors.New(text)
	}
	if i.traffic != nil {
		t := i.traffic[d.Function]
		i.traffic[d.Function] = Traffic{t.Wavefronts + s.traffic.Wavefronts, t.Least + s.traffic.Least}
	}
	return nil
}

// arguments packs the struct that a kernel takes, as Checked of emulation.h has addresses: with the size behind each.
func (i *instance) arguments(p *plan.Program, l plan.Step) []byte {
	var out []byte
	pad := func(to int) {
		for len(out)%to != 0 {
			out = append(out, 0)
		}
	}
	for _, a := range l.Device.Arguments {
		switch a.Kind {
		case plan.OperandArgument, plan.ResultArgument:
			list := l.Operands
			if a.Kind == plan.ResultArgument {
				list = l.Results
			}
			b := p.Buffers[list[a.Index]].At(l.T)
			pad(8)
			out = binary.LittleEndian.AppendUint64(out, uint64(uintptr(unsafe.Pointer(&i.spaces[b.Space][b.Offset]))))
			out = binary.LittleEndian.AppendUint64(out, uint64(b.Bytes()))
		case plan.Int64Argument:
			pad(8)
			out = binary.LittleEndian.AppendUint64(out, uint64(a.Integer))
		case plan.Int32Argument:
			out = binary.LittleEndian.AppendUint32(out, uint32(a.Integer))
		case plan.Float32Argument:
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(a.Number)))
		}
	}
	pad(8)
	return out
}

// Write implements runtime.Instance.
func (i *instance) Write(space plan.Space, offset int64, data []byte) error {
	memory, err := i.memory(space, offset, len(data))
	copy(memory, data)
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
	var first error
	for _, library := range i.libraries {
		if err := purego.Dlclose(library); err != nil && first == nil {
			first = err
		}
	}
	i.libraries = nil
	return first
}
