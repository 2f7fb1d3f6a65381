package ops_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// gradientProgram computes the gradient of the case's operation: besides x0, x1, … it takes the cotangents g0, … of
// the results, and returns d0, … for those operands that have a gradient.
func (c opCase) gradientProgram(t *testing.T) *ir.Program {
	t.Helper()
	m := ir.NewModule("gradient")
	b := ops.NewBuilder(m, "gradient")
	op := c.append(t, b)
	cotangents := make([]*ir.Value, len(op.Results))
	for i, y := range op.Results {
		if i == 0 || !c.firstOnly {
			cotangents[i] = b.Input(fmt.Sprintf("g%d", i), y.Type)
		}
	}
	grads := ops.Lookup(op.Kind).Gradient(b, op, cotangents)
	if len(grads) != len(op.Operands) {
		t.Fatalf("got %d cotangents of %d operands", len(grads), len(op.Operands))
	}
	for i, g := range grads {
		if g == nil {
			continue
		}
		if !g.Type.Equal(op.Operands[i].Type) {
			t.Errorf("cotangent of operand %d: got %s, want %s", i, g.Type, op.Operands[i].Type)
		}
		b.Result(fmt.Sprintf("d%d", i), g)
	}
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := ir.Verify(m, ops.Rules); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestGradients holds every gradient against central differences of the reference.
func TestGradients(t *testing.T) {
	for _, c := range cases {
		forward := c.program(t)
		op := forward.Ops[0]
		if ops.Lookup(op.Kind).Gradient == nil {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			inputs := c.inputs(2)
			backward := c.gradientProgram(t)
			for _, v := range backward.Inputs[len(c.in):] {
				g := ops.NewTensor(v.Type)
				for i := range g.Data {
					g.Data[i] = math.Sin(float64(1 + 3*i))
				}
				inputs[v.Name] = g
			}
			derivatives := run(t, backward, inputs)

			// An input that is several operands has the sum of their cotangents.
			for at, x := range forward.Inputs {
				if !x.Type.DType.Float() || slices.Contains(c.constant, at) {
					continue
				}
				got := make([]float64, x.Type.Elements())
				for i, operand := range op.Operands {
					if d := derivatives[fmt.Sprintf("d%d", i)]; operand == x && d != nil {
						for k, v := range d.Data {
							got[k] += v
						}
					}
				}
				want := centralDifferences(t, forward, inputs, x.Name)
				if e := relativeError(got, want); e > 1e-6 {
					t.Errorf("%s: relative error %.2g\n got %v\nwant %v", x.Name, e, got, want)
				}
			}
		})
	}
}

// centralDifferences derives ⟨g, y⟩ with respect to every element of one input.
func centralDifferences(t *testing.T, p *ir.Program, inputs map[string]*ops.Tensor, name string) []float64 {
	const step = 1e-5
	value := func() float64 {
		sum := 0.0
		for i := range p.Results {
			g := inputs[fmt.Sprintf("g%d", i)]
			if g == nil {
				continue
			}
			for k, v := range run(t, p, inputs)[fmt.Sprintf("y%d", i)].Data {
				sum += g.Data[k] * v
			}
		}
		return sum
	}
	x := inputs[name].Data
	slope := make([]float64, len(x))
	for i, old := range x {
		x[i] = old + step
		above := value()
		x[i] = old - step
		below := value()
		x[i] = old
		slope[i] = (above - below) / (2 * step)
	}
	return slope
}

// relativeError is the largest difference, in units of the largest wanted number.
func relativeError(got, want []float64) float64 {
	difference, scale := 0.0, 0.0
	for i := range want {
		if math.IsNaN(got[i]) {
			return math.Inf(1)
		}
		difference = math.Max(difference, math.Abs(got[i]-want[i]))
		scale = math.Max(scale, math.Abs(want[i]))
	}
	if scale < 1e-9 {
		return difference // all zero
	}
	return difference / scale
}
