package golden

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
	"github.com/dartsc/dartsc/runtime/emulation"
)

// planned runs a compiled plan on the CPU.
type planned struct {
	*testing.T
	module  *ir.Module
	session *runtime.Session
}

func newPlanned(t *testing.T, m *ir.Module, o compiler.Options) engine {
	t.Helper()
	return newPlannedOn(t, m, o, cpu.New(2))
}

// emulated is a CUDA device on the processor, on which launches run in another order where they may. Each module costs a compilation, so the forty modules of single primitives,
// which supernets hold as well, are left to the run with DARTSC_GOLDEN.
func emulated(t *testing.T, target string) runtime.Device {
	t.Helper()
	if strings.Contains(t.Name(), "/cnn_ops.") && os.Getenv("DARTSC_GOLDEN") == "" {
		t.Skip("DARTSC_GOLDEN is not set")
	}
	if _, err := exec.LookPath("g++"); err != nil {
		t.Skip(emulation.ErrNoCompiler)
	}
	return emulation.Device{Plans: target, Reversed: true, Cache: emulation.TestCache()}
}

func newPlannedOn(t *testing.T, m *ir.Module, o compiler.Options, d runtime.Device) engine {
	t.Helper()
	p, err := compiler.Compile(context.Background(), m, o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := runtime.Open(p, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Initialize(1); err != nil {
		t.Fatal(err)
	}
	return &planned{t, m, s}
}

// buffer converts to the Go slice of an element type; for results, of n zeros.
func buffer(dtype ir.DType, values []float64) (any, error) {
	switch dtype {
	case ir.F32:
		return convert[float32](values), nil
	case ir.I32:
		return convert[int32](values), nil
	case ir.I64:
		return convert[int64](values), nil
	case ir.U8:
		return convert[uint8](values), nil
	}
	return nil, fmt.Errorf("no slice for %s", dtype)
}

func convert[T float32 | int32 | int64 | uint8](values []float64) []T {
	out := make([]T, len(values))
	for i, v := range values {
		out[i] = T(v)
	}
	return out
}

func widen(data any) []float64 {
	switch v := data.(type) {
	case []float32:
		return widenSlice(v)
	case []int32:
		return widenSlice(v)
	case []int64:
		return widenSlice(v)
	}
	return nil
}

func widenSlice[T float32 | int32 | int64](v []T) []float64 {
	out := make([]float64, len(v))
	for i := range v {
		out[i] = float64(v[i])
	}
	return out
}

func (p *planned) must(data any, err error) any {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
	return data
}

func (p *planned) set(name string, values []float64) {
	p.Helper()
	v := p.module.Variable(name)
	if v == nil {
		p.Fatalf("no variable %q", name)
	}
	data := p.must(buffer(v.Type.DType, values))
	if err := p.session.Set(name, data); err != nil {
		p.Fatal(err)
	}
}

func (p *planned) get(name string) []float64 {
	p.Helper()
	v := p.module.Variable(name)
	if v == nil {
		p.Fatalf("no variable %q", name)
	}
	data := p.must(buffer(v.Type.DType, make([]float64, v.Type.Elements())))
	if err := p.session.Get(name, data); err != nil {
		p.Fatal(err)
	}
	return widen(data)
}

func (p *planned) run(program string, inputs map[string][]float64) map[string][]float64 {
	p.Helper()
	source := p.module.Program(program)
	in, out := map[string]any{}, map[string]any{}
	for _, v := range source.Inputs {
		in[v.Name] = p.must(buffer(v.Type.DType, inputs[v.Name]))
	}
	for _, r := range source.Results {
		out[r.Name] = p.must(buffer(r.Value.Type.DType, make([]float64, r.Value.Type.Elements())))
	}
	if err := p.session.Run(context.Background(), program, in, out); err != nil {
		p.Fatal(err)
	}
	results := map[string][]float64{}
	for name, data := range out {
		results[name] = widen(data)
	}
	return results
}
