package verify

import (
	"context"
	"time"

	"github.com/dartsc/dartsc/darts/infer"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx/reader"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
)

// compiled is a network on the CPU.
type compiled struct {
	session *runtime.Session
	results map[string]ir.Type
}

func open(ctx context.Context, n *reader.Network, o Options) (*compiled, error) {
	p, err := infer.Compile(ctx, n, o.Options)
	if err != nil {
		return nil, err
	}
	c := &compiled{results: map[string]ir.Type{}}
	for _, v := range n.Module.Program(reader.Program).Results {
		c.results[v.Name] = v.Value.Type
	}
	if c.session, err = runtime.Open(p, cpu.New(o.Workers)); err != nil {
		return nil, err
	}
	if err := c.session.Initialize(0); err != nil {
		c.session.Close()
		return nil, err
	}
	return c, nil
}

// run gives the network inputs by name so many times, and says how long each took.
func (c *compiled) run(ctx context.Context, inputs map[string]*ops.Tensor, runs int) (map[string]*ops.Tensor, []time.Duration, error) {
	in, out := map[string]any{}, map[string]any{}
	for name, x := range inputs {
		data := make([]float32, len(x.Data))
		for i, v := range x.Data {
			data[i] = float32(v)
		}
		in[name] = data
	}
	for name, t := range c.results {
		out[name] = make([]float32, t.Elements())
	}
	var times []time.Duration
	for range runs {
		start := time.Now()
		if err := c.session.Run(ctx, reader.Program, in, out); err != nil {
			return nil, nil, err
		}
		times = append(times, time.Since(start))
	}
	results := map[string]*ops.Tensor{}
	for name, t := range c.results {
		results[name] = ops.NewTensor(t)
		for i, v := range out[name].([]float32) {
			results[name].Data[i] = float64(v)
		}
	}
	return results, times, nil
}
