package emulation_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/emulation"
)

// TestFaults plants mistakes in the source of kernels: each is found.
func TestFaults(t *testing.T) {
	relu := kernelCase{in: []ir.Type{f32(7, 37)}, build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Relu(in[0]) })}
	stats := kernelCase{in: []ir.Type{f32(4, 8, 16, 16)}, build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
		m, v := b.BatchStats(in[0])
		return []*ir.Value{m, v}
	}}
	product := kernelCase{in: []ir.Type{f32(40, 50), f32(50, 30)}, build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
		return b.MatMul(in[0], in[1], false, false)
	})}
	softmax := kernelCase{in: []ir.Type{f32(20, 40)}, build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Softmax(in[0]) })}
	separable := separableCases()
	tiles := separable[slices.IndexFunc(separable, func(c kernelCase) bool { return strings.Contains(c.name, "{530 8 4 4 8 3 1 1 1}") })] // several a block
	for _, c := range []struct {
		name     string
		of       kernelCase
		old, new string
		want     string // of the error; "" where the results differ from order to order
	}{
		{"reads too far", relu, "i < S::size; i += S::blocks * Threads * V", "i <= S::size; i += S::blocks * Threads * V", "element 259 of 259"},
		{"reads before the first", relu, "a[0][k] = x[k][i]", "a[0][k] = x[k][i - 1]", "element -1 of 259"},
		{"not aligned", stats, "load<S::V>(x, row * S::channels + channel)", "load<S::V>(x, row * S::channels + channel + 1)", "not aligned"},
		{"too little shared memory", stats, "shared<Sum>(0, RowLanes * Items)", "shared<Sum>(0, 2 * RowLanes * Items)", "shared memory from 0 to"},
		{"beyond a shared array", product, "tile[(k(i) + v) * Stride + x(i)]", "tile[(k(i) + v + 1) * Stride + x(i)]", "element"},
		{"no barrier before the sums of a block", stats, "    __syncthreads();\n    share(RowLanes", "    share(RowLanes", ""},
		{"no barrier after loading a tile", product, "      __syncthreads();\n      fetch(", "      fetch(", ""},
		{"no barrier before the next tile", product, "group * Depth, local);\n      }\n      __syncthreads();", "group * Depth, local);\n      }", ""},
		{"no wait for a copy", tiles, "      arrived();\n      __syncthreads();\n      Inputs inputs;", "      __syncthreads();\n      Inputs inputs;", ""},
		{"a copy to what is still read", tiles, "      __syncthreads();\n      X::template next<X::Read>(x, i + blocks);\n      Results", "      X::template next<X::Read>(x, i + blocks);\n      __syncthreads();\n      Results", ""},
		{"a copy from beyond memory", tiles, "(unsigned)(top + row) < (unsigned)H);", "true);", "element"},
		{"a barrier for some", stats, "    __syncthreads();\n    share(RowLanes", "    if (thread() < 100) __syncthreads();\n    share(RowLanes", "wait at different barriers"},
		{"a shuffle for some", softmax, "float all = warp_largest(largest);", "float all = largest;\n  if (thread() % 32 < 9) all = warp_largest(largest);", "warp"},
		{"a block does another's work", relu, "int i = (block * Threads + thread()) * V; i < S::size", "int i = thread() * V; i < S::size && (y[i] = T(block)) >= T(0)", ""},
		{"one field too many", relu, "In<T> one[larger(1, S::ones)];", "In<T> one[larger(1, S::ones) + 1];", "bytes of arguments"},
		{"does not compile", relu, "struct Elementwise", "struct Elementwise_", "kernels.cu:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err, same := c.of.spoiled(t, c.old, c.new)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got error %v, want results that differ", err)
			case c.want == "" && same:
				t.Error("nobody notices")
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

// spoiled runs a case with a piece of source replaced, forwards and backwards, and says whether the results are right
// and the same.
func (c *kernelCase) spoiled(t *testing.T, old, new string) (_ error, same bool) {
	t.Helper()
	m := ir.NewModule("fault")
	c.add(t, m, "main")
	p, err := compiler.Compile(t.Context(), m, compiler.Options{Target: target})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for i := range p.Modules {
		found += strings.Count(p.Modules[i].Source, old)
		p.Modules[i].Source = strings.ReplaceAll(p.Modules[i].Source, old, new)
	}
	if found == 0 {
		t.Fatalf("the kernels have no %q: change this test with them", old)
	}
	inputs, want := c.reference(t, m.Program("main"))
	var outputs [2]map[string][]float64
	for i := range outputs {
		s, err := runtime.Open(p, emulation.Device{Plans: target, Reversed: i == 1, Cache: emulation.TestCache()})
		if errors.Is(err, emulation.ErrNoCompiler) {
			t.Skip(err)
		}
		if err != nil {
			return err, false
		}
		defer s.Close()
		results := map[string]any{}
		for name, tensor := range want {
			results[name] = narrow(tensor.Type.DType, make([]float64, len(tensor.Data)))
		}
		if err := s.Run(t.Context(), "main", inputs, results); err != nil {
			return err, false
		}
		outputs[i] = map[string][]float64{}
		for name, data := range results {
			outputs[i][name] = widen(data)
		}
	}
	same = true
	for name, v := range outputs[0] {
		same = same && slices.Equal(v, outputs[1][name])
	}
	return nil, same
}
