//go:build cuda && linux && cgo && (amd64 || arm64)

package cuda

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/internal/nvrtc"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cuda/driver"
)

const n = 8

var targets = []string{"cpu", "cuda:sm_80", "cuda:sm_90"}

// source is what the kernels of testdata/driver/kernels.c are on a GPU.
const source = `
extern "C" __global__ void scale(float *out, const float *in, int n, float factor) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = factor * in[i];
}
extern "C" __global__ void accumulate(float *out, const float *in, int n, float factor) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] += factor * in[i];
}
extern "C" __global__ void count(long long *out, int gap, long long amount) { *out += amount; }
extern "C" __global__ void fault(float *out, const float *in, int n, float factor) { *(float *)8 = 1; }
extern "C" __global__ void __launch_bounds__(128) narrow() {}
`

const ptx = ".version 8.0\n.target sm_80\n.visible .entry scale(\n)\n.visible .entry accumulate(\n)\n.entry count(\n)\n.entry fault(\n)\n.entry narrow(\n)\n"

// example is a plan of two programs: "step" makes y = 3x, w += 2y and steps += 2^33, "large" makes a result of 64 KiB.
func example() *plan.Plan {
	vector, scalar, large := plan.Tensor{DType: plan.F32, Shape: []int{n}}, plan.Tensor{DType: plan.I64}, plan.Tensor{DType: plan.F32, Shape: []int{1 << 14}}
	constant := plan.Init{Distribution: "constant"}
	device := func(function string, threads int, arguments ...plan.Argument) *plan.DeviceLaunch {
		return &plan.DeviceLaunch{Function: function, Grid: [3]int{(threads + 127) / 128, 1, 1}, Block: [3]int{128, 1, 1}, Arguments: arguments}
	}
	result, operand := plan.Argument{Kind: plan.ResultArgument}, plan.Argument{Kind: plan.OperandArgument}
	integer := func(i int64) plan.Argument { return plan.Argument{Kind: plan.Int32Argument, Integer: i} }
	number := func(f float64) plan.Argument { return plan.Argument{Kind: plan.Float32Argument, Number: f} }
	p := &plan.Plan{
		Name: "example", Target: "cuda:sm_90", ArenaBytes: 1 << 18, VariableBytes: 512,
		Variables: []plan.Variable{
			{Name: "w", Kind: "weight", Tensor: vector, Offset: 256, Init: constant},
			{Name: "steps", Kind: "control", Tensor: scalar, Init: constant},
		},
		Modules: []plan.Module{{Name: "kernels", Source: source, Images: []plan.Image{{Architecture: "sm_80", Format: plan.PTX, Data: []byte(ptx)}}}},
		Programs: []*plan.Program{{
			Name: "step", Inputs: []plan.Port{{Name: "x", Buffer: 0}}, Results: []plan.Port{{Name: "y", Buffer: 1}, {Name: "steps", Buffer: 3}},
			Buffers: []plan.Buffer{{Tensor: vector}, {Tensor: vector, Offset: 256}, {Tensor: vector, Space: plan.Variables, Offset: 256}, {Tensor: scalar, Space: plan.Variables}},
			Launches: []plan.Launch{
				{Kernel: "scale", Operands: []int{0}, Results: []int{1}, Device: device("scale", n, result, operand, integer(n), number(3))},
				{Kernel: "axpy", Scope: "cell 0", Operands: []int{1}, Results: []int{2}, Device: device("accumulate", n, result, operand, integer(n), number(2))},
				{Kernel: "count", Operands: []int{3}, Results: []int{3}, Device: device("count", 1, result, integer(7), plan.Argument{Kind: plan.Int64Argument, Integer: 1 << 33})},
			},
		}, {
			Name: "large", Inputs: []plan.Port{{Name: "x", Buffer: 0}}, Results: []plan.Port{{Name: "y", Buffer: 1}},
			Buffers:  []plan.Buffer{{Tensor: large}, {Tensor: large, Offset: 1 << 17}},
			Launches: []plan.Launch{{Kernel: "scale", Operands: []int{0}, Results: []int{1}, Device: device("scale", 1<<14, result, operand, integer(1<<14), number(-1))}},
		}},
	}
	p.Programs[0].Launches[2].Device.Block = [3]int{1, 1, 1} // one thread adds
	if !onFake {
		p.Modules[0].Images = nil // NVRTC makes them
	}
	return p
}

func open(t testing.TB, p *plan.Plan) (*runtime.Session, error) {
	t.Helper()
	needDriver(t)
	d, err := New(0, targets)
	if err != nil {
		t.Fatal(err)
	}
	p.Target = d.Target()
	return runtime.Open(p, d)
}

func openExample(t *testing.T) *runtime.Session {
	t.Helper()
	s, err := open(t, example())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func ramp(from float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = from + float32(i)
	}
	return x
}

func TestSteps(t *testing.T) {
	s := openExample(t)
	w, y, steps := ramp(100), make([]float32, n), make([]int64, 1)
	if err := s.Set("w", w); err != nil {
		t.Fatal(err)
	}
	for step := range 3 {
		x := ramp(float32(step))
		if err := s.Run(t.Context(), "step", map[string]any{"x": x}, map[string]any{"y": y, "steps": steps}); err != nil {
			t.Fatal(err)
		}
		for i := range x {
			w[i] += 6 * x[i]
			if y[i] != 3*x[i] {
				t.Fatalf("step %d: y is %v for x %v", step, y, x)
			}
		}
		if want := int64(step+1) << 33; steps[0] != want {
			t.Fatalf("%d steps, want %d", steps[0], want)
		}
	}
	got := make([]float32, n)
	if err := s.Get("w", got); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, w) {
		t.Errorf("w is %v, want %v", got, w)
	}
	x, large := make([]float32, 1<<14), make([]float32, 1<<14)
	for i := range x {
		x[i] = float32(i)
	}
	if err := s.Run(t.Context(), "large", map[string]any{"x": x}, map[string]any{"y": large}); err != nil {
		t.Fatal(err)
	}
	for i := range x {
		if large[i] != -x[i] {
			t.Fatalf("element %d of the large result is %v", i, large[i])
		}
	}
}

// A graph runs launches side by side, and the driver for tests the last one first where it may. Memory that is used twice
// must hold what it would after one launch after another.
func TestGraphKeepsOrder(t *testing.T) {
	log := calls{}
	if onFake {
		log = logCalls(t)
	}
	p := example()
	step := p.Programs[0]
	vector := step.Buffers[0].Tensor
	step.Buffers = []plan.Buffer{{Tensor: vector}, {Tensor: vector, Offset: 256}, {Tensor: vector, Offset: 512}, {Tensor: vector, Offset: 256}, {Tensor: vector, Offset: 768}}
	step.Results = []plan.Port{{Name: "y", Buffer: 4}}
	scale, accumulate := step.Launches[0], step.Launches[1]
	launch := func(like plan.Launch, to, from int, factor float64) plan.Launch {
		d := *like.Device
		d.Arguments = slices.Clone(d.Arguments)
		d.Arguments[3].Number = factor
		like.Operands, like.Results, like.Device = []int{from}, []int{to}, &d
		return like
	}
	step.Launches = []plan.Launch{
		launch(scale, 1, 0, 3),
		launch(scale, 2, 1, 2),
		launch(scale, 3, 0, 7), // where the first one's result was
		launch(scale, 4, 2, 1),
		launch(accumulate, 4, 3, 1),
	}
	s, err := open(t, p)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if onFake {
		var edges []string
		for _, line := range log.take() {
			if node, ok := strings.CutPrefix(line, "cuGraphAdd"); ok {
				edges = append(edges, node)
			}
		}
		want := []string{
			"KernelNode scale after 0", "KernelNode scale after 1", "KernelNode scale after 1", "KernelNode scale after 1", "KernelNode accumulate after 2",
			"MemcpyNode 32 after 1", "KernelNode scale after 0", // of program large
		}
		if !slices.Equal(edges, want) {
			t.Errorf("nodes %q, want %q", edges, want)
		}
	}
	y := make([]float32, n)
	for range 2 {
		if err := s.Run(t.Context(), "step", map[string]any{"x": ramp(1)}, map[string]any{"y": y}); err != nil {
			t.Fatal(err)
		}
		if y[1] != 13*2 {
			t.Errorf("y is %v, want 13 times %v", y, ramp(1))
		}
	}
}

// Inputs of steps that are far ahead of the device must not overwrite those that it has yet to read.
func TestStepsAhead(t *testing.T) {
	s := openExample(t)
	const steps = 5 * ringParts
	var sum float32
	for step := range steps {
		if err := s.Run(t.Context(), "step", map[string]any{"x": ramp(float32(step))}, nil); err != nil {
			t.Fatal(err)
		}
		sum += 6 * float32(step)
	}
	w := make([]float32, n)
	if err := s.Get("w", w); err != nil {
		t.Fatal(err)
	}
	if w[0] != sum {
		t.Errorf("w[0] is %v after %d steps, want %v", w[0], steps, sum)
	}
	if total, err := s.Scalar("steps"); err != nil || total != steps*(1<<33) {
		t.Errorf("%v steps, error %v", total/(1<<33), err)
	}
}

// A result is that of the last run, unless something else was written there.
func TestResultsAreFresh(t *testing.T) {
	s := openExample(t)
	if err := s.Run(t.Context(), "step", map[string]any{"x": ramp(0)}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.SetScalar("steps", 5); err != nil {
		t.Fatal(err)
	}
	if steps, err := s.Scalar("steps"); err != nil || steps != 5 {
		t.Errorf("steps are %v after they were set to 5, error %v", steps, err)
	}
}

func TestWhatTheDriverIsAsked(t *testing.T) {
	log := logCalls(t)
	s := openExample(t)
	loaded := log.take()
	for call, want := range map[string]int{"cuMemAlloc": 2, "cuModuleLoadDataEx": 1, "cuGraphInstantiate": 2, "cuGraphAddKernelNode": 4, "cuGraphAddMemcpyNode": 2, "cuGraphLaunch": 0} {
		if got := count(loaded, call); got != want {
			t.Errorf("loading: %d calls of %s, want %d", got, call, want)
		}
	}
	inputs, results := map[string]any{"x": ramp(0)}, map[string]any{"y": make([]float32, n), "steps": make([]int64, 1)}
	if err := s.Run(t.Context(), "step", inputs, nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"cuMemcpyHtoDAsync 32", "cuEventRecord", "cuGraphLaunch"}
	if got := log.take(); !slices.Equal(got, want) {
		t.Errorf("a step without results: %v, want %v", got, want)
	}
	if err := s.Run(t.Context(), "step", inputs, results); err != nil {
		t.Fatal(err)
	}
	want = append(want, "cuStreamSynchronize", "cuStreamSynchronize") // the second finds nothing to wait for
	if got := log.take(); !slices.Equal(got, want) {
		t.Errorf("a step with results: %v, want %v", got, want)
	}
	t.Setenv("FAKE_CUDA_LOG", "")
	run := func() {
		if err := s.Run(t.Context(), "step", inputs, results); err != nil {
			t.Error(err)
		}
	}
	if allocations := testing.AllocsPerRun(100, run); allocations != 0 {
		t.Errorf("a step allocates %v times", allocations)
	}
}

func TestCloseFreesAll(t *testing.T) {
	log := logCalls(t)
	for _, fails := range []string{"", "cuGraphInstantiateWithFlags:2:1", "cuMemAllocHost_v2:3:2"} {
		t.Setenv("FAKE_CUDA_FAIL", fails)
		s, err := open(t, example())
		if (err != nil) != (fails != "") {
			t.Fatalf("with %q: %v", fails, err)
		}
		if s != nil {
			if err := s.Run(t.Context(), "step", map[string]any{"x": ramp(0)}, nil); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := s.Run(t.Context(), "step", map[string]any{"x": ramp(0)}, nil); err == nil {
				t.Error("ran a closed session")
			}
		}
		lines := log.take()
		refused := 0 // the call that was made to fail is logged too
		for _, pair := range [][2]string{
			{"cuMemAlloc", "cuMemFree"}, {"cuMemAllocHost", "cuMemFreeHost"}, {"cuModuleLoadDataEx", "cuModuleUnload"}, {"cuStreamCreate", "cuStreamDestroy"},
			{"cuEventCreate", "cuEventDestroy"}, {"cuGraphCreate", "cuGraphDestroy"}, {"cuGraphInstantiate", "cuGraphExecDestroy"}, {"cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease"},
		} {
			refused += count(lines, pair[0]) - count(lines, pair[1])
			if count(lines, pair[0]) < count(lines, pair[1]) || count(lines, pair[0]) == 0 && fails == "" {
				t.Errorf("with %q: %d calls of %s and %d of %s", fails, count(lines, pair[0]), pair[0], count(lines, pair[1]), pair[1])
			}
		}
		if want := min(1, len(fails)); refused != want {
			t.Errorf("with %q: %d things are not freed, want %d", fails, refused, want)
		}
	}
}

func TestProfile(t *testing.T) {
	s := openExample(t)
	var heard []int
	s.SetProfile(func(program string, launch int, d time.Duration) {
		if program != "step" || d <= 0 || onFake && d != 500*time.Microsecond {
			t.Errorf("launch %d of %s took %v", launch, program, d)
		}
		heard = append(heard, launch)
	})
	y := make([]float32, n)
	for range 2 {
		if err := s.Run(t.Context(), "step", map[string]any{"x": ramp(1)}, map[string]any{"y": y}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []int{0, 1, 2, 0, 1, 2}; !slices.Equal(heard, want) {
		t.Errorf("heard of launches %v, want %v", heard, want)
	}
	if y[0] != 3 {
		t.Errorf("y is %v", y)
	}
}

// The context belongs to a thread, goroutines do not.
func TestManyGoroutines(t *testing.T) {
	s := openExample(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 10 {
				if err := s.Run(t.Context(), "step", map[string]any{"x": ramp(0)}, map[string]any{"steps": make([]int64, 1)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if steps, err := s.Scalar("steps"); err != nil || steps != 80*(1<<33) {
		t.Errorf("%v steps, error %v", steps/(1<<33), err)
	}
}

func TestStopped(t *testing.T) {
	s := openExample(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx, "step", map[string]any{"x": ramp(0)}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was cancelled", err)
	}
}

func TestSharedMemory(t *testing.T) {
	log := logCalls(t)
	p := example()
	p.Programs[0].Launches[0].Device.SharedBytes = 100 << 10
	p.Programs[1].Launches[0].Device.SharedBytes = 120 << 10 // of the same kernel, whose graph is made after the first program
	s, err := open(t, p)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := count(log.take(), "cuFuncSetAttribute scale 8"); got != 2 {
		t.Errorf("shared memory was asked for %d times, want twice", got)
	}
}

func TestLoadRefuses(t *testing.T) {
	needFake(t)
	launch := func(p *plan.Plan, at int) *plan.DeviceLaunch { return p.Programs[0].Launches[at].Device }
	for _, c := range []struct {
		name, variable, value string
		damage                func(p *plan.Plan)
		want                  string
	}{
		{"a launch fails", "FAKE_CUDA_FAIL", "cuGraphAddKernelNode:2:701", nil, "program step: launch 1 (axpy at cell 0): result 701"},
		{"no graph", "FAKE_CUDA_FAIL", "cuGraphInstantiateWithFlags:1:1", nil, "program step: make a graph of its 3 launches: result 1"},
		{"no memory", "FAKE_CUDA_MEMORY", "1000", nil, "CUDA_ERROR_OUT_OF_MEMORY"},
		{"no page-locked memory", "FAKE_CUDA_FAIL", "cuMemAllocHost_v2:1:2", nil, "of the host's memory: "},
		{"no context", "FAKE_CUDA_FAIL", "cuDevicePrimaryCtxRetain:1:802", nil, "CUDA device 0 (Fake GPU 0): result 802"},
		{"bad PTX", "", "", func(p *plan.Plan) { p.Modules[0].Images[0].Data = []byte("no PTX") }, "module kernels: result 218 of the driver in tests (CUDA_ERROR_INVALID_PTX): ptxas application ptx input, line 1"},
		{"an unknown kernel", "", "", func(p *plan.Plan) { launch(p, 1).Function = "other" }, "launch 1 (axpy at cell 0): find kernel other: result 500"},
		{"no kernel", "", "", func(p *plan.Plan) { p.Programs[0].Launches[2].Device = nil }, "launch 2 (count): has no kernel for the device"},
		{"a loop", "", "", func(p *plan.Plan) {
			steps := plan.Buffer{Tensor: plan.Tensor{DType: plan.I64}, Offset: 1 << 10}
			p.Programs[0].Buffers = append(p.Programs[0].Buffers, steps)
			p.Programs[0].Launches[2] = plan.Launch{Kernel: "scan", Operands: []int{4}, Loop: &plan.Loop{Steps: 2}}
		}, "launch 2 (scan): the number of steps must be an input of the program"},
		{"too many threads", "", "", func(p *plan.Plan) {
			launch(p, 0).Function, launch(p, 0).Block, launch(p, 0).Arguments = "narrow", [3]int{16, 16, 1}, nil
		}, "kernel narrow: blocks of 256 threads, its registers allow 128"},
		{"an argument too few", "", "", func(p *plan.Plan) { launch(p, 0).Arguments = launch(p, 0).Arguments[:3] }, "launch 0 (scale): kernel scale: takes 4 parameters, the arguments of the launch end before parameter 3"},
		{"an argument too many", "", "", func(p *plan.Plan) { launch(p, 2).Arguments = append(launch(p, 2).Arguments, launch(p, 2).Arguments[0]) }, "kernel count: takes 3 parameters, the launch has 1 arguments more"},
		{"too few for a struct", "", "", func(p *plan.Plan) { launch(p, 1).Arguments = launch(p, 1).Arguments[:2] }, "launch 1 (axpy at cell 0): kernel accumulate: takes parameter 0 at byte 0 with 24 bytes, the launch has it at byte 0 with 16"},
		{"an argument of another size", "", "", func(p *plan.Plan) { launch(p, 2).Arguments[1].Kind = plan.Int64Argument }, "kernel count: takes parameter 1 at byte 8 with 4 bytes, the launch has it at byte 8 with 8"},
		{"a plan that is not valid", "", "", func(p *plan.Plan) { p.VariableBytes = 0 }, "variable"},
		{"no code", nvrtc.Variable, "/nonexistent", func(p *plan.Plan) { p.Modules[0].Images = nil }, "module kernels: the plan holds no code for sm_90, and its source cannot be compiled here: NVRTC was not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.variable != "" {
				t.Setenv(c.variable, c.value)
			}
			p := example()
			if c.damage != nil {
				c.damage(p)
			}
			s, err := open(t, p)
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
		})
	}
	t.Run("another device's plan", func(t *testing.T) {
		d, err := New(0, targets)
		if err != nil {
			t.Fatal(err)
		}
		p := example()
		p.Target = "cuda:sm_80"
		if _, err := runtime.Open(p, d); err == nil || !strings.Contains(err.Error(), `the device is "cuda:sm_90"`) {
			t.Errorf("error %v", err)
		}
	})
}

func TestImages(t *testing.T) {
	image := func(architecture, format string) plan.Image {
		return plan.Image{Architecture: architecture, Format: format, Data: []byte(architecture + " " + format)}
	}
	all := []plan.Image{
		image("sm_80", plan.PTX), image("sm_90", plan.PTX), image("sm_90a", plan.PTX), image("sm_80", plan.Cubin), image("sm_90", plan.Cubin), image("sm_120", plan.PTX),
	}
	t.Setenv(nvrtc.Variable, "/nonexistent")
	for _, c := range []struct {
		device string
		images []plan.Image
		want   string // "" is an error
	}{
		{"sm_90", all, "sm_90 cubin"},
		{"sm_80", all, "sm_80 cubin"},
		{"sm_86", all, "sm_80 ptx"},
		{"sm_100", all, "sm_90 ptx"},
		{"sm_86", all[3:], "sm_80 cubin"},
		{"sm_75", all, ""},
		{"sm_100", all[4:], ""},
	} {
		got, err := imageFor(&plan.Module{Name: "m", Source: "s", Images: c.images}, c.device)
		if string(got) != c.want || (err == nil) != (c.want != "") {
			t.Errorf("for %s: %q, error %v, want %q", c.device, got, err, c.want)
		}
	}
}

// A plan without code for the device is compiled when it is loaded.
func TestCompileAtLoad(t *testing.T) {
	needDriver(t)
	if _, err := nvrtc.Open(); err != nil {
		t.Skip(err)
	}
	p := example()
	p.Modules[0].Images = nil
	s, err := open(t, p)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	y := make([]float32, n)
	if err := s.Run(t.Context(), "step", map[string]any{"x": ramp(1)}, map[string]any{"y": y}); err != nil || y[1] != 6 {
		t.Errorf("y is %v, error %v", y, err)
	}
}

// A fault of a kernel is heard of later, and ends the context.
func TestFault(t *testing.T) {
	needFake(t) // a GPU would take the other tests' context with it
	for _, single := range []bool{false, true} {
		oneByOne = single
		defer func() { oneByOne = false }()
		p := example()
		p.Programs[0].Launches[1].Device.Function = "fault"
		s, err := open(t, p)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Run(t.Context(), "step", map[string]any{"x": ramp(0)}, map[string]any{"y": make([]float32, n)})
		want := "program step: one of its 3 launches failed: result 700 of the driver in tests (CUDA_ERROR_ILLEGAL_ADDRESS); with DARTSC_CUDA_ONE_BY_ONE=1"
		if single {
			want = "program step: launch 1 (axpy at cell 0): result 700"
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
		if err := s.Run(t.Context(), "large", map[string]any{"x": make([]float32, 1<<14)}, nil); err == nil || !strings.Contains(err.Error(), "context ended") {
			t.Errorf("error %v, want that the context ended", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLook(t *testing.T) {
	needFake(t)
	t.Setenv("FAKE_CUDA_DEVICES", "2")
	m, err := Look()
	if err != nil {
		t.Fatal(err)
	}
	want := Properties{Index: 1, Name: "Fake GPU 1", Architecture: "sm_90", Bytes: 1 << 30, Multiprocessors: 4}
	if m.Driver != "13.0" || len(m.Devices) != 2 || m.Devices[1] != want {
		t.Errorf("found %+v", m)
	}
	if _, err := New(2, targets); err == nil || !strings.Contains(err.Error(), "no CUDA device 2: there are 2") {
		t.Errorf("error %v", err)
	}
}

func TestTargets(t *testing.T) {
	needFake(t)
	for _, c := range []struct{ capability, want string }{{"90", "cuda:sm_90"}, {"80", "cuda:sm_80"}, {"89", "cuda:sm_80"}, {"120", "cuda:sm_90"}, {"75", ""}} {
		t.Setenv("FAKE_CUDA_ARCH", c.capability)
		d, err := New(0, targets)
		if c.want == "" {
			if err == nil || !strings.Contains(err.Error(), "is sm_75, and plans are made for cpu, cuda:sm_80, cuda:sm_90") {
				t.Errorf("error %v", err)
			}
			continue
		}
		if err != nil || d.Target() != c.want {
			t.Errorf("sm_%s runs %v, error %v", c.capability, d, err)
		}
	}
}

// The driver is opened once in a process, so these look in others.
func TestLookFails(t *testing.T) {
	needFake(t)
	const child = "DARTSC_LOOK_IN_CHILD"
	if os.Getenv(child) != "" {
		_, err := Look()
		t.Skipf("looked: %v", err)
	}
	for _, c := range []struct{ name, set, want string }{
		{"no driver", driver.Variable + "=/nonexistent/libcuda.so.1", "no CUDA driver: /nonexistent/libcuda.so.1: cannot open"},
		{"no device", "FAKE_CUDA_DEVICES=0", "CUDA_ERROR_NO_DEVICE"},
		{"no driver in the library", driver.Variable + "=libm.so.6", "no CUDA driver: libm.so.6 has no cuInit"},
	} {
		command := exec.Command(os.Args[0], "-test.run", "^TestLookFails$", "-test.v")
		command.Env = append(os.Environ(), child+"=1", c.set)
		out, err := command.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "looked: ") || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v\n%s\nwant %q", c.name, err, out, c.want)
		}
	}
}

// BenchmarkHostStep is what the host does in a step but for the driver's own work: two results are read.
func BenchmarkHostStep(b *testing.B) {
	needFake(b)
	s, err := open(b, example())
	if err != nil {
		b.Fatal(err)
	}
	inputs, results := map[string]any{"x": ramp(0)}, map[string]any{"y": make([]float32, n), "steps": make([]int64, 1)}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Run(b.Context(), "step", inputs, results); err != nil {
			b.Fatal(err)
		}
	}
}
