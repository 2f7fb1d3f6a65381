package bilevel

import (
	"context"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/ir"
)

// searchModule builds a small search step.
func searchModule(t *testing.T, change func(c *Config)) *ir.Module {
	t.Helper()
	config := Defaults()
	config.Batch = Batch{Size: 4, Height: 8, Width: 8, Channels: 3, Mean: []float64{.5, .5, .5}, Std: []float64{.2, .2, .2}, Augment: Augment{Padding: 2, Flip: true}}
	if change != nil {
		change(&config)
	}
	m := ir.NewModule("search")
	if err := BuildSearchStep(m, cnn.Supernet{Channels: 4, Layers: 3, Classes: 10}, config); err != nil {
		t.Fatal(err)
	}
	return m
}

func transformed(t *testing.T, m *ir.Module) *ir.Program {
	t.Helper()
	out, err := compiler.Transform(context.Background(), m, compiler.Options{Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	return out.Program(SearchStep)
}

// each calls f for every operation of a program, those inside groups included; phase is that of the group.
func each(p *ir.Program, f func(op *ir.Op, phase string)) {
	for _, op := range p.Ops {
		f(op, op.Phase)
		if op.Body != nil {
			for _, inner := range op.Body.Ops {
				f(inner, op.Phase)
			}
		}
	}
}

// TestPoolsAreShared: the compiler finds by itself that the poolings of one state are the same for every edge out of it.
func TestPoolsAreShared(t *testing.T) {
	m := searchModule(t, nil)
	pools := func(p *ir.Program) map[string]int {
		n := map[string]int{}
		each(p, func(op *ir.Op, phase string) {
			if phase == "train" && (op.Kind == "max_pool2d" || op.Kind == "avg_pool2d") {
				n[op.Kind]++
			}
		})
		return n
	}
	const cells, edges, states = 3, 14, 5
	for kind, n := range pools(m.Program(SearchStep)) {
		if n != cells*edges {
			t.Errorf("the model has %d %s, want one an edge, %d", n, kind, cells*edges)
		}
	}
	for kind, n := range pools(transformed(t, m)) {
		if n < cells*states || n > 2*cells*states { // some are made again for the way back
			t.Errorf("the compiled step has %d %s, want one or two a state, of which there are %d", n, kind, cells*states)
		}
	}
}

// TestFirstOrderNeedsNoWeightGradients: nor does the half of a Hessian-vector product.
func TestFirstOrderNeedsNoWeightGradients(t *testing.T) {
	for _, c := range []struct {
		name     string
		unrolled bool
		without  []string
		with     []string
	}{
		{"first order", false, []string{"alpha"}, []string{"train"}},
		{"second order", true, []string{"hessian +", "hessian -"}, []string{"unroll", "alpha", "train"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			gradients := map[string]int{}
			each(transformed(t, searchModule(t, func(config *Config) { config.Unrolled = c.unrolled })), func(op *ir.Op, phase string) {
				if op.Kind == "conv2d_weight_grad" {
					gradients[phase]++
				}
			})
			for _, phase := range c.without {
				if gradients[phase] != 0 {
					t.Errorf("phase %q computes %d weight gradients, want none", phase, gradients[phase])
				}
			}
			for _, phase := range c.with {
				if gradients[phase] == 0 {
					t.Errorf("phase %q computes no weight gradients", phase)
				}
			}
		})
	}
}

// TestOptimisersAreDisjoint: SGD has the weights and only them, Adam the alphas and only them. (In a fork of the
// original the alphas were parameters of the module, and SGD trained them on the training loss.)
func TestOptimisersAreDisjoint(t *testing.T) {
	for _, unrolled := range []bool{false, true} {
		m := searchModule(t, func(c *Config) { c.Unrolled = unrolled })
		updated := map[string]int{}
		for _, op := range transformed(t, m).Ops {
			if op.Kind != ir.Assign {
				continue
			}
			v := op.Variable
			updated[v.Name]++
			by := op.Operands[0].Def.Kind
			if want := map[ir.Kind]string{ir.Weight: "sgd", ir.Alpha: "adam"}[v.Kind]; want != "" && by != want {
				t.Errorf("unrolled %t: %s %s is updated by %s, want %s", unrolled, v.Kind, v.Name, by, want)
			}
		}
		for _, v := range m.Variables {
			changes := v.Kind != ir.Control || v.Name == Step
			if got := updated[v.Name]; changes && got != 1 || !changes && got != 0 {
				t.Errorf("unrolled %t: %s %s is assigned %d times in a step", unrolled, v.Kind, v.Name, got)
			}
		}
	}
}

// TestBatchesDrawApart: both batches of a step are augmented from streams of their own.
func TestBatchesDrawApart(t *testing.T) {
	streams := map[int]string{}
	each(searchModule(t, func(c *Config) { c.Batch.Augment.Cutout = 4 }).Program(SearchStep), func(op *ir.Op, _ string) {
		if !op.Attrs.Has("stream") {
			return
		}
		s := op.Attrs.Int("stream")
		if other, ok := streams[s]; ok {
			t.Errorf("%s and %s draw from one stream, %d", op.Kind, other, s)
		}
		streams[s] = op.Kind
	})
	if len(streams) != 6 {
		t.Errorf("%d random operations, want crop, flip and cutout for two batches", len(streams))
	}
}

// TestPeakNearLowerBound: no placement of the step's tensors can need less than the bound.
func TestPeakNearLowerBound(t *testing.T) {
	for _, unrolled := range []bool{false, true} {
		p, err := compiler.Compile(context.Background(), searchModule(t, func(c *Config) { c.Unrolled = unrolled }), compiler.Options{})
		if err != nil {
			t.Fatal(err)
		}
		program := p.Program(SearchStep)
		if ratio := float64(program.PeakBytes) / float64(program.LowerBound); ratio < 1 || ratio > 1.15 {
			t.Errorf("unrolled %t: peak %d bytes is %.3f times the lower bound %d, want 1 to 1.15", unrolled, program.PeakBytes, ratio, program.LowerBound)
		}
	}
}

// TestErrorsNameThePlace: a network that cannot be built says where.
func TestErrorsNameThePlace(t *testing.T) {
	for _, c := range []struct {
		name    string
		network cnn.Network
		batch   Batch
		want    string
	}{
		{"image too small", cnn.Supernet{Channels: 4, Layers: 3, Classes: 10}, Batch{Size: 4, Height: 3, Width: 8, Channels: 3, Raw: true}, "images of 3x8 are too small: 2 reductions"},
		{"one value a channel", cnn.Supernet{Channels: 4, Layers: 1, Classes: 10}, Batch{Size: 1, Height: 2, Width: 2, Channels: 3, Raw: true}, "cell 0 (reduction)/edge 0→2/max_pool_3x3: cells.0._ops.0._ops.1.1: BatchNorm needs more than one value"},
		{"no channels", cnn.Supernet{Layers: 1, Classes: 10}, Batch{Size: 1, Height: 2, Width: 2, Channels: 3, Raw: true}, "--init-channels is 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := Defaults()
			config.Batch = c.batch
			err := BuildSearchStep(ir.NewModule("search"), c.network, config)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line with %q", err, c.want)
			}
		})
	}
}
