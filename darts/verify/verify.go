// Package verify holds a compiled ONNX file to what others make of it: our reference interpreter, in float64, and
// onnxruntime where it is installed. It knows no images and no genotype. Start with [Run].
package verify

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/dartsc/dartsc/darts/infer"
	"github.com/dartsc/dartsc/internal/philox"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx/onnxruntime"
	"github.com/dartsc/dartsc/ops/onnx/reader"
)

// Options say how to verify.
type Options struct {
	infer.Options
	Seed    uint64 // of the random inputs, normally distributed
	Workers int    // 0: one for each processor
	Runs    int    // how often to run the plan and onnxruntime in a turn, for their times; 0: once
	Turns   int    // how many turns each of them gets, one after the other; 0: one

	SkipReference bool // which takes seconds an image for a network of full size
}

// Report is what a verification found. Differences are the largest ones of any result, relative to the largest element of
// what it should be.
type Report struct {
	Inputs, Results map[string]string // types by name
	Operations      int               // of the program as it was read
	Launches        int               // of the plan

	// Effect is how much other random inputs change the results. Where it is no larger than the differences that are
	// accepted, agreement says nothing: fresh weights of a deep network let the images vanish on the way.
	Effect      float64
	Reference   float64 // the plan's difference from the reference interpreter; 0 where that is skipped
	Fastest     time.Duration
	OnnxRuntime *Peer  // nil where it is not installed:
	Missing     string // why
}

// Peer is onnxruntime on the same inputs.
type Peer struct {
	Version    string
	Difference float64 // of the plan from it
	Fastest    time.Duration
}

// Run verifies a file: n is what was read from content.
func Run(ctx context.Context, n *reader.Network, content []byte, o Options) (*Report, error) {
	o.Runs, o.Turns = max(o.Runs, 1), max(o.Turns, 1)
	if o.Workers == 0 {
		o.Workers = runtime.NumCPU()
	}
	program := n.Module.Program(reader.Program)
	r := &Report{Inputs: map[string]string{}, Results: map[string]string{}, Operations: len(program.Ops)}
	for _, v := range program.Inputs {
		r.Inputs[v.Name] = v.Type.String()
	}
	for _, v := range program.Results {
		r.Results[v.Name] = v.Value.Type.String()
	}
	p, err := open(ctx, n, o)
	if err != nil {
		return nil, err
	}
	defer p.session.Close()
	r.Launches = len(p.session.Plan().Programs[0].Launches)
	inputs := random(program, o.Seed)
	got, _, err := p.run(ctx, inputs, 1)
	if err != nil {
		return nil, err
	}
	other, _, err := p.run(ctx, random(program, o.Seed+1), 1)
	if err != nil {
		return nil, err
	}
	if r.Effect, err = difference(other, got); err != nil {
		return nil, err
	}
	if !o.SkipReference {
		want, err := reference(n, inputs)
		if err != nil {
			return nil, err
		}
		if r.Reference, err = difference(got, want); err != nil {
			return nil, err
		}
	}
	return r, r.takeTurns(ctx, p, content, inputs, o)
}

// random are normally distributed inputs for a program.
func random(program *ir.Program, seed uint64) map[string]*ops.Tensor {
	inputs := map[string]*ops.Tensor{}
	for i, v := range program.Inputs {
		x, stream := ops.NewTensor(v.Type), philox.New(seed, 0, uint64(i))
		for k := range x.Data {
			x.Data[k] = float64(float32(stream.Normal(uint64(k))))
		}
		inputs[v.Name] = x
	}
	return inputs
}

// takeTurns runs the plan and onnxruntime turn about, and compares what they answer.
func (r *Report) takeTurns(ctx context.Context, p *compiled, content []byte, inputs map[string]*ops.Tensor, o Options) error {
	missing := onnxruntime.Available(ctx)
	if missing != nil {
		r.Missing = missing.Error()
	}
	var ours, theirs []time.Duration
	for range o.Turns {
		got, times, err := p.run(ctx, inputs, o.Runs)
		if err != nil {
			return err
		}
		ours = append(ours, times...)
		if missing != nil {
			continue
		}
		peer, err := onnxruntime.Run(ctx, content, inputs, onnxruntime.Options{Threads: o.Workers, Runs: o.Runs})
		if err != nil {
			return err
		}
		theirs = append(theirs, peer.Times...)
		r.OnnxRuntime = &Peer{Version: peer.Version, Fastest: slices.Min(theirs)}
		if r.OnnxRuntime.Difference, err = difference(got, peer.Outputs); err != nil {
			return fmt.Errorf("onnxruntime: %w", err)
		}
	}
	r.Fastest = slices.Min(ours)
	return nil
}

func reference(n *reader.Network, inputs map[string]*ops.Tensor) (map[string]*ops.Tensor, error) {
	variables := ops.Variables(n.Module)
	for name, v := range variables {
		for i, x := range n.Values[name] {
			v.Data[i] = float64(x)
		}
	}
	return ops.Run(n.Module.Program(reader.Program), variables, inputs)
}

// difference is the largest relative difference of any result.
func difference(got, want map[string]*ops.Tensor) (float64, error) {
	most := 0.0
	for name, w := range want {
		g := got[name]
		if g == nil || !g.Type.Equal(ir.Type{DType: w.Type.DType, Shape: w.Type.Shape}) {
			return 0, fmt.Errorf("result %s has another shape than %s", name, w.Type)
		}
		most = max(most, g.Difference(w))
	}
	return most, nil
}
