package emulation_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// TestUpdates: optimisers on many variables at once, which change in place, against the reference over three steps.
func TestUpdates(t *testing.T) {
	m := ir.NewModule("updates")
	b := ops.NewBuilder(m, "step")
	rate, scale := b.Input("rate", f32()), b.Input("scale", f32())
	updates := b.Declare(ir.Variable{Name: "updates", Kind: ir.Moment, Type: f32()})
	n := b.Add(b.Read(updates), b.Constant(f32(), 1))
	b.Assign(updates, n)
	for i := range 150 { // more than one launch takes
		typ := f32(1 + i*13)
		if i%5 == 0 {
			typ = f32(2, 1+i, 3, 3)
		}
		declare := func(name string, kind ir.Kind) *ir.Variable {
			return b.Declare(ir.Variable{Name: fmt.Sprint(name, i), Kind: kind, Type: typ})
		}
		w, g := declare("w", ir.Weight), declare("g", ir.Weight)
		first, second := declare("m", ir.Moment), declare("v", ir.Moment)
		if i%2 == 0 {
			next, velocity := b.SGD(b.Read(w), b.Read(g), b.Read(first), rate, scale, 0.9, 3e-4)
			b.Assign(w, next)
			b.Assign(first, velocity)
			continue
		}
		next, m2, v2 := b.Adam(b.Read(w), b.Read(g), b.Read(first), b.Read(second), rate, n, ops.AdamAttrs{Beta1: 0.5, Beta2: 0.999, Eps: 1e-8, WeightDecay: 1e-3})
		b.Assign(w, next)
		b.Assign(first, m2)
		b.Assign(second, v2)
	}
	program, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	s, _ := sessions(t, m)
	variables := ops.Variables(m)
	r := rand.New(rand.NewPCG(1, 2))
	for _, v := range m.Variables {
		tensor := variables[v.Name]
		for i := range tensor.Data {
			if tensor.Data[i] = float64(float32(r.NormFloat64())); v.Kind == ir.Moment {
				tensor.Data[i] = 0
			}
		}
		if err := s.Set(v.Name, narrow(ir.F32, tensor.Data)); err != nil {
			t.Fatal(err)
		}
	}
	in := map[string]*ops.Tensor{"rate": ops.Scalar(ir.F32, 0.125), "scale": ops.Scalar(ir.F32, 0.5)}
	for range 3 {
		if _, err := ops.Run(program, variables, in); err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context(), "step", map[string]any{"rate": []float32{0.125}, "scale": []float32{0.5}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range m.Variables {
		got := make([]float32, v.Type.Elements())
		if err := s.Get(v.Name, got); err != nil {
			t.Fatal(err)
		}
		compare(t, map[string][]float64{v.Name: widen(got)}, map[string]*ops.Tensor{v.Name: variables[v.Name]}, 1e-5)
	}
}
