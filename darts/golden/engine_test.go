package golden

import (
	"context"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/pass"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// engine runs the programs of a module: the reference interpreter, or a compiled plan.
type engine interface {
	set(name string, values []float64)
	get(name string) []float64
	run(program string, inputs map[string][]float64) map[string][]float64
}

// engines calls check with the reference, and with plans that keep what the way back needs, or make it again, and the tolerance
// that each is held to.
func engines(t *testing.T, m *ir.Module, check func(t *testing.T, e engine, tolerance float64)) {
	t.Helper()
	t.Run("reference", func(t *testing.T) { check(t, newReference(t, m), referenceTolerance) })
	t.Run("cpu plan", func(t *testing.T) { check(t, newPlanned(t, m, compiler.Options{}), planTolerance) })
	const target = "cuda:sm_90"
	again := pass.Recomputation{Passes: true, Convolutions: 1}
	t.Run("cuda plan", func(t *testing.T) {
		check(t, newPlannedOn(t, m, compiler.Options{Target: target}, gpu(t, target)), planTolerance)
	})
	t.Run("cpu plan in little memory", func(t *testing.T) {
		check(t, newPlanned(t, m, compiler.Options{Recompute: again}), planTolerance)
	})
	t.Run("cuda plan in little memory", func(t *testing.T) {
		if !strings.Contains(t.Name(), "/cnn_cifar") {
			t.Skip("one case, for the emulation takes minutes to compile the kernels of another plan")
		}
		check(t, newPlannedOn(t, m, compiler.Options{Target: target, Recompute: again}, gpu(t, target)), planTolerance)
	})
}

// reference interprets the module as the passes leave it, in float64.
type reference struct {
	*testing.T
	module    *ir.Module
	variables map[string]*ops.Tensor
}

func newReference(t *testing.T, m *ir.Module) engine {
	t.Helper()
	transformed, err := compiler.Transform(context.Background(), m, compiler.Options{Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	return &reference{t, transformed, ops.Variables(transformed)}
}

func (r *reference) set(name string, values []float64) {
	r.Helper()
	v := r.variables[name]
	if v == nil || len(v.Data) != len(values) {
		r.Fatalf("no variable %q of %d elements", name, len(values))
	}
	copy(v.Data, values)
}

func (r *reference) get(name string) []float64 {
	r.Helper()
	v := r.variables[name]
	if v == nil {
		r.Fatalf("no variable %q", name)
	}
	return v.Data
}

func (r *reference) run(program string, inputs map[string][]float64) map[string][]float64 {
	r.Helper()
	p := r.module.Program(program)
	in := map[string]*ops.Tensor{}
	for _, v := range p.Inputs {
		tensor, err := ops.FromSlice(v.Type, inputs[v.Name])
		if err != nil {
			r.Fatalf("input %s: %v", v.Name, err)
		}
		in[v.Name] = tensor
	}
	out, err := ops.Run(p, r.variables, in)
	if err != nil {
		r.Fatal(err)
	}
	results := map[string][]float64{}
	for name, tensor := range out {
		results[name] = tensor.Data
	}
	return results
}
