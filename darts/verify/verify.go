// Package verify holds a compiled ONNX file to what others make of it: our reference interpreter, in float64, and
// onnxruntime where it is installed. It knows no images and no genotype. Start with [Run].
package verify

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/dartsc/dartsc/darts/infer"
	"github.com/dartsc/dartsc/internal/philox"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx/onnxruntime"
	"github.com/dartsc/dartsc/ops/onnx/reader"
	session "github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
)

// Options say how to verify.
type Options struct {
	infer.Options
	Seed    uint64 // of the random inputs, normally distributed
	Workers int    // 0: one for each processor
	Runs    int    // how often to run the plan and onnxruntime for their times; 0: once

	SkipReference bool // which takes seconds an image for a network of full size
}

// Report is what a verification found. Differences are the largest ones of any result, relative to the largest element of
// what it should be.
type Report struct {
	Inputs, Results map[string]string // types by name
	Operations      int               // of the program as it was read
	Launches        int               // of the plan

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
	program := n.Module.Program(reader.Program)
	inputs := map[string]*ops.Tensor{}
	r := &Report{Inputs: map[string]string{}, Results: map[string]string{}, Operations: len(program.Ops)}
	for i, v := range program.Inputs {
		x, stream := ops.NewTensor(v.Type), philox.New(o.Seed, 0, uint64(i))
		for k := range x.Data {
			x.Data[k] = float64(float32(stream.Normal(uint64(k))))
		}
		inputs[v.Name], r.Inputs[v.Name] = x, v.Type.String()
	}
	for _, v := range program.Results {
		r.Results[v.Name] = v.Value.Type.String()
	}
	if o.Workers == 0 {
		o.Workers = runtime.NumCPU()
	}
	got, err := r.plan(ctx, n, inputs, o)
	if err != nil {
		return nil, err
	}
	var want map[string]*ops.Tensor
	if !o.SkipReference {
		if want, err = reference(n, inputs); err != nil {
			return nil, err
		}
		if r.Reference, err = difference(got, want); err != nil {
			return nil, err
		}
	}
	if err := onnxruntime.Available(ctx); err != nil {
		r.Missing = err.Error()
		return r, nil
	}
	peer, err := onnxruntime.Run(ctx, content, inputs, onnxruntime.Options{Threads: o.Workers, Runs: o.Runs})
	if err != nil {
		return nil, err
	}
	r.OnnxRuntime = &Peer{Version: peer.Version, Fastest: fastest(peer.Times)}
	if r.OnnxRuntime.Difference, err = difference(got, peer.Outputs); err != nil {
		return nil, fmt.Errorf("onnxruntime: %w", err)
	}
	return r, nil
}

// plan compiles the network and runs it.
func (r *Report) plan(ctx context.Context, n *reader.Network, inputs map[string]*ops.Tensor, o Options) (map[string]*ops.Tensor, error) {
	p, err := infer.Compile(ctx, n, o.Options)
	if err != nil {
		return nil, err
	}
	r.Launches = len(p.Programs[0].Launches)
	s, err := session.Open(p, cpu.New(o.Workers))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.Initialize(0); err != nil {
		return nil, err
	}
	in, out := map[string]any{}, map[string]any{}
	for name, x := range inputs {
		data := make([]float32, len(x.Data))
		for i, v := range x.Data {
			data[i] = float32(v)
		}
		in[name] = data
	}
	results := map[string]*ops.Tensor{}
	for _, v := range n.Module.Program(reader.Program).Results {
		results[v.Name] = ops.NewTensor(v.Value.Type)
		out[v.Name] = make([]float32, v.Value.Type.Elements())
	}
	var times []time.Duration
	for range max(o.Runs, 1) {
		start := time.Now()
		if err := s.Run(ctx, reader.Program, in, out); err != nil {
			return nil, err
		}
		times = append(times, time.Since(start))
	}
	r.Fastest = fastest(times)
	for name, x := range results {
		for i, v := range out[name].([]float32) {
			x.Data[i] = float64(v)
		}
	}
	return results, nil
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

func fastest(times []time.Duration) time.Duration {
	least := times[0]
	for _, t := range times {
		least = min(least, t)
	}
	return least
}
