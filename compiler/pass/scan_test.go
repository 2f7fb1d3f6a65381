package pass_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler/pass"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

const scanSteps = 4

// network builds a small recurrent network with a loss, and its gradient with respect to all that is continuous:
// h' = tanh(h·w + x), put out as relu(h'), with a second carried value that only counts and a captured scale.
func network(t *testing.T, reverse, gradient bool) *ir.Module {
	t.Helper()
	m := ir.NewModule("network")
	b := ops.NewBuilder(m, "loss")
	f := func(shape ...int) ir.Type { return ir.T(ir.F64, shape...) }
	length := b.Input("length", ir.T(ir.I64))
	h, x, w, s, c := b.Input("h", f(2, 3)), b.Input("x", f(scanSteps, 2, 3)), b.Input("w", f(3, 3)), b.Input("s", f()), b.Input("c", f(2, 3))
	one := b.Constant(f(), 1)
	var loss *ir.Value
	b.At("cell", func() {
		last, all := b.Scan(length, scanSteps, []*ir.Value{h, b.Constant(f(), 0), c}, []*ir.Value{x}, reverse, func(b *ops.Builder, in ir.LoopBody) (next, outputs []*ir.Value) {
			y := b.Tanh(b.Add(b.MatMul(in.Carried[0], w, false, false), in.Stacked[0]))
			scaled := b.Mul(b.Mul(y, s), in.Carried[2])
			return []*ir.Value{y, b.Add(in.Carried[1], one), scaled}, []*ir.Value{b.Relu(scaled), b.Detach(y)}
		})
		loss = b.Add(b.ReduceSum(b.Mul(last[0], last[0]), 0, 1), b.ReduceSum(b.Exp(all[0]), 0, 1, 2))
		loss = b.Add(loss, b.Add(b.ReduceSum(all[1], 0, 1, 2), b.ReduceSum(last[2], 0, 1)))
		b.Result("steps", last[1])
	})
	b.Result("loss", loss)
	if gradient {
		for i, g := range b.Gradient(loss, h, x, w, s, c) {
			b.Result("gradient of "+[]string{"h", "x", "w", "s", "c"}[i], g)
		}
	}
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestScanGradient holds the gradient of a loop against central differences, for every number of steps and both ways,
// after all passes that rewrite it.
func TestScanGradient(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		plain, m := network(t, reverse, false).Programs[0], network(t, reverse, true)
		for _, p := range []pass.Func{pass.Share, pass.Simplify, pass.Dead, pass.Differentiate, pass.Variables, pass.Dead, pass.Simplify, pass.Commute, pass.Share, pass.Dead, pass.Decompose, pass.Schedule} {
			if err := p(m); err != nil {
				t.Fatal(err)
			}
			if err := ir.Verify(m, ops.Rules); err != nil {
				t.Fatalf("%v\n%s", err, m)
			}
		}
		for length := range scanSteps + 1 {
			r := rand.New(rand.NewPCG(3, uint64(length)))
			inputs := map[string]*ops.Tensor{}
			for _, v := range plain.Inputs {
				x := ops.NewTensor(v.Type)
				for i := range x.Data {
					x.Data[i] = r.NormFloat64() / 2
				}
				inputs[v.Name] = x
			}
			inputs["length"].Data[0] = float64(length)
			got := evaluate(t, m.Programs[0], inputs)
			if got["steps"].Data[0] != float64(length) {
				t.Errorf("counts %v steps of %d", got["steps"].Data[0], length)
			}
			for name, x := range inputs {
				g := got["gradient of "+name]
				for i := range x.Data {
					if g == nil {
						continue
					}
					const step = 1e-5
					old := x.Data[i]
					x.Data[i] = old + step
					above := detached(t, plain, inputs)
					x.Data[i] = old - step
					below := detached(t, plain, inputs)
					x.Data[i] = old
					if want := (above - below) / (2 * step); math.Abs(g.Data[i]-want) > 1e-6*math.Max(1, math.Abs(want)) {
						t.Errorf("reverse %v, length %d: gradient of %s at %d is %v, want %v", reverse, length, name, i, g.Data[i], want)
					}
				}
			}
		}
	}
}

// detached is the loss without the part that is detached.
func detached(t *testing.T, p *ir.Program, inputs map[string]*ops.Tensor) float64 {
	t.Helper()
	sum := evaluate(t, p, inputs)["loss"].Data[0]
	for _, op := range p.Ops {
		if op.Kind == ir.Scan {
			return sum - sumOf(t, p, op.Results[4], inputs)
		}
	}
	return sum
}

func sumOf(t *testing.T, p *ir.Program, v *ir.Value, inputs map[string]*ops.Tensor) (sum float64) {
	t.Helper()
	q := *p
	q.Results = []ir.Result{{Name: "v", Value: v}}
	for _, x := range evaluate(t, &q, inputs)["v"].Data {
		sum += x
	}
	return sum
}

func evaluate(t *testing.T, p *ir.Program, inputs map[string]*ops.Tensor) map[string]*ops.Tensor {
	t.Helper()
	out, err := ops.Run(p, nil, inputs)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestScanKeepsLittle: what a loop stacks for its gradient is the least, and what nobody needs is not carried.
func TestScanKeepsLittle(t *testing.T) {
	m := network(t, false, true)
	p := m.Programs[0]
	kept := p.Results[:0]
	for _, r := range p.Results {
		if r.Name == "gradient of x" {
			kept = append(kept, r)
		}
	}
	p.Results = kept
	for _, f := range []pass.Func{pass.Simplify, pass.Differentiate, pass.Dead, pass.Simplify, pass.Dead} {
		if err := f(m); err != nil {
			t.Fatal(err)
		}
	}
	var shapes []string
	for _, op := range p.Ops {
		if op.Kind == ir.Scan {
			l := ir.LoopOf(op)
			shapes = append(shapes, fmt.Sprintf("carried %d, stacked %d, results %d", l.Carried, l.Stacked, len(l.Results)))
		}
	}
	// Forward: h and c carried; the hidden state of each step (tanh and relu are made from it) and c before it are kept.
	if got := strings.Join(shapes, "; "); got != "carried 2, stacked 1, results 5; carried 2, stacked 3, results 3" {
		t.Errorf("%s\n%s", got, m)
	}
}
