package compiler

import (
	"context"
	"fmt"
	"testing"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// recurrent builds a step of a small recurrent network: its hidden state is a variable that it moves on, and its weights
// take a step down the gradient. It has room for so many time steps and takes length of them.
func recurrent(t *testing.T, steps, length int, reverse bool) *ir.Module {
	t.Helper()
	m := ir.NewModule("recurrent")
	b := ops.NewBuilder(m, "step")
	hidden := b.Declare(ir.Variable{Name: "hidden", Kind: ir.Statistic, Type: ir.T(ir.F32, 5, 6)})
	v := b.Declare(ir.Variable{Name: "w", Kind: ir.Weight, Type: ir.T(ir.F32, 6, 6)})
	x, h, w := b.Input("x", ir.T(ir.F32, steps, 5, 6)), b.Read(hidden), b.Read(v)
	b.At("cell", func() {
		last, all := b.Scan(b.Constant(ir.T(ir.I64), float64(length)), steps, []*ir.Value{h, h}, []*ir.Value{x}, reverse,
			func(b *ops.Builder, in ir.LoopBody) (next, outputs []*ir.Value) {
				y, _, _ := b.BatchNormTrain(b.MatMul(in.Carried[0], w, false, false), nil, 1e-3)
				y = b.Tanh(b.Add(y, in.Stacked[0]))
				// The second carried value follows one step behind: its new value is the first's old one.
				return []*ir.Value{y, in.Carried[0]}, []*ir.Value{b.Mul(y, in.Carried[1]), in.Stacked[0], y}
			})
		b.Assign(hidden, b.Detach(last[0]))
		loss := b.Add(b.ReduceSum(b.Mul(all[0], all[2]), 0, 1, 2), b.ReduceSum(last[1], 0, 1))
		g := b.Gradient(loss, w, x)
		b.Assign(v, b.Axpby(w, g[0], 1, -0.01))
		b.Result("loss", loss)
		b.Result("x again", all[1])
		b.Result("before the last", last[1])
		b.Result("gradient of x", g[1])
	})
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestScan(t *testing.T) {
	for _, length := range []int{0, 1, 3, 7} {
		for _, reverse := range []bool{false, true} {
			t.Run(fmt.Sprint(length, reverse), func(t *testing.T) {
				compareWithReference(t, recurrent(t, 7, length, reverse), newGenerator(uint64(length)))
			})
		}
	}
}

// TestScanPlanSize: a plan for a long sequence is as large as one for a short one, and no arena is lost to the body.
func TestScanPlanSize(t *testing.T) {
	size := func(steps int) (int, int) {
		p, err := Compile(context.Background(), recurrent(t, steps, steps, false), Options{Verify: true})
		if err != nil {
			t.Fatal(err)
		}
		data, err := plan.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		return len(data), p.Programs[0].Count()
	}
	short, few := size(5)
	long, many := size(500)
	if long > short+short/10 || many != few {
		t.Errorf("%d bytes and %d launches for 500 steps, %d and %d for 5", long, many, short, few)
	}
}
