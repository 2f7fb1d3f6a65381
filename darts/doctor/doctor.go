// Package doctor examines the machine and this build of dartsc: what processor and memory there are, whether a plan
// computes what the reference says, and how fast a matrix product is. It prints nothing; the command line does.
package doctor

import (
	"context"
	"fmt"
	"math"
	goruntime "runtime"
	"slices"
	"time"

	"golang.org/x/sys/cpu"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/runtime"
	device "github.com/dartsc/dartsc/runtime/cpu"
)

// Machine is what dartsc runs on.
type Machine struct {
	OS          string   `json:"os"`
	Arch        string   `json:"arch"`
	Processors  int      `json:"processors"` // that Go uses
	Vectors     []string `json:"vectors"`    // vector extensions that the processor has
	MemoryBytes int64    `json:"memory_bytes,omitempty"`
}

// Look describes the machine.
func Look() Machine {
	m := Machine{OS: goruntime.GOOS, Arch: goruntime.GOARCH, Processors: goruntime.GOMAXPROCS(0), Vectors: []string{}, MemoryBytes: memory()}
	for _, v := range []struct {
		name string
		has  bool
	}{
		{"AVX", cpu.X86.HasAVX}, {"AVX2", cpu.X86.HasAVX2}, {"FMA", cpu.X86.HasFMA}, {"AVX-512F", cpu.X86.HasAVX512F},
		{"AVX-512 BF16", cpu.X86.HasAVX512BF16}, {"NEON", cpu.ARM64.HasASIMD}, {"SVE", cpu.ARM64.HasSVE},
	} {
		if v.has {
			m.Vectors = append(m.Vectors, v.name)
		}
	}
	return m
}

// tolerance of float32 against the float64 reference, relative to 1 + |value|, over one small step.
const tolerance = 1e-4

// CheckStep compiles one step of a tiny second-order search, runs it on a device and compares its results with the
// reference interpreter's. It returns the largest error; one that is too large is an error too.
func CheckStep(ctx context.Context, d runtime.Device) (worst float64, err error) {
	m := ir.NewModule("doctor")
	config := bilevel.Defaults()
	config.Unrolled = true
	config.Batch = bilevel.Batch{Size: 2, Height: 8, Width: 8, Channels: 3, Mean: []float64{0.5, 0.5, 0.5}, Std: []float64{0.25, 0.25, 0.25},
		Augment: bilevel.Augment{Padding: 1, Flip: true}}
	if err := bilevel.BuildSearchStep(m, cnn.Supernet{Channels: 2, Layers: 1, Classes: 3}, config); err != nil {
		return 0, err
	}
	s, err := open(ctx, m, d)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if err := s.Initialize(1); err != nil {
		return 0, err
	}
	for name, rate := range map[string]float64{bilevel.LearningRate: 0.025, bilevel.AlphaLearningRate: 3e-4, bilevel.Seed: 1} {
		if err := s.SetScalar(name, rate); err != nil {
			return 0, err
		}
	}
	want, err := reference(ctx, m, s)
	if err != nil {
		return 0, err
	}
	inputs := map[string]any{}
	for name, values := range exampleInputs(m) {
		inputs[name] = values
	}
	got := map[string][]float32{}
	results := map[string]any{}
	for name := range want {
		got[name] = make([]float32, 1)
		results[name] = got[name]
	}
	if err := s.Run(ctx, bilevel.SearchStep, inputs, results); err != nil {
		return 0, err
	}
	for name, value := range want {
		e := math.Abs(float64(got[name][0])-value) / (1 + math.Abs(value))
		if !(e <= tolerance) {
			return e, fmt.Errorf("%s is %v, the reference says %v", name, got[name][0], value)
		}
		worst = max(worst, e)
	}
	return worst, nil
}

// exampleInputs are images of a pattern, and labels.
func exampleInputs(m *ir.Module) map[string]any {
	inputs := map[string]any{}
	for at, v := range m.Program(bilevel.SearchStep).Inputs {
		n := v.Type.Elements()
		if v.Type.DType == ir.U8 {
			images := make([]uint8, n)
			for i := range images {
				images[i] = uint8((i*i*7 + i*31 + at*101) % 256)
			}
			inputs[v.Name] = images
			continue
		}
		labels := make([]int32, n)
		for i := range labels {
			labels[i] = int32(i % 3)
		}
		inputs[v.Name] = labels
	}
	return inputs
}

// reference runs the step in float64 from the session's variables and returns its scalar results.
func reference(ctx context.Context, m *ir.Module, s *runtime.Session) (map[string]float64, error) {
	transformed, err := compiler.Transform(ctx, m, compiler.Options{Verify: true})
	if err != nil {
		return nil, err
	}
	variables := ops.Variables(transformed)
	for _, v := range transformed.Variables {
		if v.Type.DType == ir.I64 {
			value, err := s.Scalar(v.Name)
			if err != nil {
				return nil, err
			}
			variables[v.Name].Data[0] = value
			continue
		}
		values := make([]float32, v.Type.Elements())
		if err := s.Get(v.Name, values); err != nil {
			return nil, err
		}
		copy(variables[v.Name].Data, widen(values))
	}
	inputs := map[string]*ops.Tensor{}
	example := exampleInputs(m)
	p := transformed.Program(bilevel.SearchStep)
	for _, v := range p.Inputs {
		t := ops.NewTensor(v.Type)
		switch values := example[v.Name].(type) {
		case []uint8:
			copy(t.Data, widen(values))
		case []int32:
			copy(t.Data, widen(values))
		}
		inputs[v.Name] = t
	}
	out, err := ops.Run(p, variables, inputs)
	if err != nil {
		return nil, err
	}
	scalars := map[string]float64{}
	for name, t := range out {
		if len(t.Data) == 1 {
			scalars[name] = t.Data[0]
		}
	}
	return scalars, nil
}

func widen[T uint8 | int32 | float32](values []T) []float64 {
	wide := make([]float64, len(values))
	for i, v := range values {
		wide[i] = float64(v)
	}
	return wide
}

// open compiles a module for a device and loads it.
func open(ctx context.Context, m *ir.Module, d runtime.Device) (*runtime.Session, error) {
	p, err := compiler.Compile(ctx, m, compiler.Options{Target: d.Target()})
	if err != nil {
		return nil, err
	}
	return runtime.Open(p, d)
}

// Speed measures the product of two matrices of the given side on all processors, in GFLOP/s: the best of a few runs.
func Speed(ctx context.Context, side int) (float64, error) {
	m := ir.NewModule("speed")
	b := ops.NewBuilder(m, "product")
	shape := ir.T(ir.F32, side, side)
	b.Result("y", b.MatMul(b.Input("x", shape), b.Input("w", shape), false, false))
	if _, err := b.Build(); err != nil {
		return 0, err
	}
	s, err := open(ctx, m, device.New(0))
	if err != nil {
		return 0, err
	}
	defer s.Close()
	var total time.Duration // of the launches of one run
	s.SetProfile(func(_ string, _ int, d time.Duration) { total += d })
	inputs := map[string]any{"x": make([]float32, side*side), "w": make([]float32, side*side)}
	var times []time.Duration
	for range 5 {
		total = 0
		if err := s.Run(ctx, "product", inputs, nil); err != nil {
			return 0, err
		}
		times = append(times, total)
	}
	return 2 * math.Pow(float64(side), 3) / slices.Min(times).Seconds() / 1e9, nil
}
