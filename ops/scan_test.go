package ops_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// decay builds a program that carries h/2 + x on over up to 4 steps and puts out the new h.
func decay(t *testing.T, reverse bool) *ir.Program {
	t.Helper()
	b := ops.NewBuilder(ir.NewModule("m"), "decay")
	length, h, x, half := b.Input("length", i64), b.Input("h", f64(1)), b.Input("x", f64(4, 1)), b.Input("half", f64())
	last, outputs := b.Scan(length, 4, []*ir.Value{h}, []*ir.Value{x}, reverse, func(b *ops.Builder, in ir.LoopBody) (next, outputs []*ir.Value) {
		y := b.Add(b.Mul(in.Carried[0], half), in.Stacked[0])
		return []*ir.Value{y}, []*ir.Value{y}
	})
	b.Result("last", last[0])
	b.Result("all", outputs[0])
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := ir.Verify(b.Module, ops.Rules); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestScan(t *testing.T) {
	for _, c := range []struct {
		name    string
		reverse bool
		length  float64
	}{
		{"all steps", false, 4},
		{"two steps", false, 2},
		{"no step", false, 0},
		{"backwards", true, 3},
	} {
		inputs := map[string]*ops.Tensor{
			"length": {Type: i64, Data: []float64{c.length}}, "half": {Type: f64(), Data: []float64{0.5}},
			"h": {Type: f64(1), Data: []float64{8}}, "x": {Type: f64(4, 1), Data: []float64{1, 2, 3, 4}},
		}
		h, want := 8.0, make([]float64, 4)
		for n := range int(c.length) {
			at := n
			if c.reverse {
				at = int(c.length) - 1 - n
			}
			h = h/2 + inputs["x"].Data[at]
			want[at] = h
		}
		got := run(t, decay(t, c.reverse), inputs)
		if !slices.Equal(got["all"].Data, want) || got["last"].Data[0] != h {
			t.Errorf("%s: got %v and %v, want %v and %v", c.name, got["last"].Data, got["all"].Data, h, want)
		}
	}
	p := decay(t, false)
	_, err := ops.Run(p, nil, map[string]*ops.Tensor{
		"length": {Type: i64, Data: []float64{5}}, "half": ops.NewTensor(f64()), "h": ops.NewTensor(f64(1)), "x": ops.NewTensor(f64(4, 1)),
	})
	if err == nil || !strings.Contains(err.Error(), "is to take 5 steps, has room for 0 to 4") {
		t.Errorf("got error %v", err)
	}
	if got := ops.FLOPs(p.Ops[0]); got != 8 {
		t.Errorf("4 steps of 2 operations are %v", got)
	}
}
