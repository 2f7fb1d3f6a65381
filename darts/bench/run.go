package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cost"
)

// Run times one workload, or the first program of a plan.
func Run(ctx context.Context, o Options) (Result, error) {
	p := o.Plan
	var compiled time.Duration
	if p == nil {
		var err error
		start := time.Now()
		if p, err = o.compile(ctx); err != nil {
			return Result{}, err
		}
		compiled = time.Since(start)
	}
	if len(p.Programs) == 0 {
		return Result{}, fmt.Errorf("plan %s has no program", p.Name)
	}
	program := p.Programs[0]
	t, err := o.time(ctx, p)
	if err != nil {
		return Result{}, err
	}
	launches := cost.Predict(program, o.Roofline) // when the arena has gone: it counts to no peak of memory
	r := Result{
		Workload: p.Name, Mode: "plan", Device: o.Device.Target(), Precision: cmp.Or(p.Metadata["precision"], "fp32"),
		Batch: number(p, "batch_size"), Channels: number(p, "init_channels"), Layers: number(p, "layers"), Hidden: number(p, "nhid"),
		MedianMS: median(t.steps), MinMS: slices.Min(t.steps), WarmupS: t.warmup.Seconds(), CompileS: compiled.Seconds(), StartS: t.start.Seconds(),
		PlanMiB: float64(p.VariableBytes+p.ArenaBytes) / (1 << 20), Launches: program.Count(), Loss: float64(t.loss),
	}
	total := cost.Total(launches)
	r.GFLOPs, r.Roofline = total.FLOPs/1e9, 1000*total.Roofline
	items := r.Batch * max(1, number(p, "bptt")) // images or words
	r.ItemsPerS, r.GFLOPPerS, r.Fraction = 1000*float64(items)/r.MedianMS, 1000*r.GFLOPs/r.MedianMS, r.Roofline/r.MedianMS
	if r.Device != "cpu" {
		r.PeakMiB = r.PlanMiB // all that is taken of the device's memory, but for the driver's own
	}
	if o.Profile {
		for i, seconds := range t.launches {
			launches[i].Measured = seconds
		}
		r.Kernels = byKernel(launches, o.Steps)
	}
	return r, nil
}

// number reads what a plan says of itself; 0 where it does not say.
func number(p *plan.Plan, key string) int {
	n, _ := strconv.Atoi(p.Metadata[key])
	return n
}

// timing is what a clock says of the steps.
type timing struct {
	steps         []float64 // milliseconds
	start, warmup time.Duration
	loss          float32
	launches      []float64 // seconds in all steps, with Options.Profile
}

// time opens a plan and runs its first program.
func (o Options) time(ctx context.Context, p *plan.Plan) (t timing, err error) {
	s, err := runtime.Open(p, o.Device)
	if err != nil {
		return t, err
	}
	defer s.Close()
	if err := s.Initialize(1); err != nil {
		return t, err
	}
	for name, rate := range map[string]float64{bilevel.LearningRate: 0.025, bilevel.AlphaLearningRate: 3e-4} {
		if p.Variable(name) == nil {
			continue
		}
		if err := s.SetScalar(name, rate); err != nil {
			return t, err
		}
	}
	program := p.Programs[0]
	inputs, err := cost.Inputs(p, program)
	if err != nil {
		return t, fmt.Errorf("plan %s: %w", p.Name, err)
	}
	loss, results := make([]float32, 1), map[string]any{}
	if slices.ContainsFunc(program.Results, func(r plan.Port) bool { return r.Name == "loss" }) {
		results["loss"] = loss
	}
	start := time.Now()
	if !o.Started.IsZero() {
		t.start = start.Sub(o.Started)
	}
	for i := range o.Warmup + o.Steps {
		if i == o.Warmup {
			t.warmup = time.Since(start)
			if o.Profile {
				t.launches = make([]float64, program.Count())
				s.SetProfile(func(_ string, launch int, d time.Duration) { t.launches[launch] += d.Seconds() })
			}
		}
		began := time.Now()
		if err := s.Run(ctx, program.Name, inputs, results); err != nil {
			return t, err
		}
		if i >= o.Warmup {
			t.steps = append(t.steps, 1000*time.Since(began).Seconds())
		}
	}
	t.loss = loss[0]
	return t, nil
}

// byKernel sums up what the launches took together over so many steps.
func byKernel(launches []cost.Launch, steps int) []KernelTime {
	var all []KernelTime
	for _, g := range cost.ByKernel(launches) {
		k := KernelTime{Kernel: g.Kernel, Launches: g.Launches, MS: 1000 * g.Measured / float64(steps)}
		if seconds := k.MS / 1000; seconds > 0 {
			k.GFLOPPerS, k.GBPerS, k.Fraction = g.FLOPs/seconds/1e9, g.Bytes/seconds/1e9, g.Roofline/seconds
		}
		all = append(all, k)
	}
	return all
}

func median(v []float64) float64 {
	sorted := slices.Sorted(slices.Values(v))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
