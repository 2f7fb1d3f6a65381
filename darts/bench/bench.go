// Package bench times single steps of the workloads that compilers of this kind are compared by, on random data: the
// search step of both orders and the training step of a derived network. Sizes and names are those of the PyTorch
// script that they are run beside. It knows no data set and writes nothing.
package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/internal/philox"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cost"
	"github.com/dartsc/dartsc/runtime/roofline"
)

// Options says what to time. Zero sizes are the workload's own.
type Options struct {
	Workload      string // one of Workloads
	Batch         int
	Channels      int
	Layers        int
	Steps, Warmup int
	MemoryLimit   int64
	Device        runtime.Device
	Roofline      roofline.Roofline // of the device; empty where it is not known
	Profile       bool              // also say where the time goes
}

// Result is one line of output; peak memory is added by who knows the process.
type Result struct {
	Workload  string  `json:"workload"`
	Mode      string  `json:"mode"`
	Device    string  `json:"device"`
	Precision string  `json:"precision"`
	Batch     int     `json:"batch"`
	Channels  int     `json:"channels"`
	Layers    int     `json:"layers"`
	MedianMS  float64 `json:"median_ms"`
	MinMS     float64 `json:"min_ms"`
	ItemsPerS float64 `json:"items_per_s"`
	WarmupS   float64 `json:"warmup_s"`
	CompileS  float64 `json:"compile_s"`
	PeakMiB   float64 `json:"peak_mib"`
	PlanMiB   float64 `json:"plan_mib"` // variables and arena
	Launches  int     `json:"launches"`
	GFLOPs    float64 `json:"gflop"` // of a step
	GFLOPPerS float64 `json:"gflop_per_s"`
	Roofline  float64 `json:"roofline_ms,omitempty"`       // the least that the launches take on this device
	Fraction  float64 `json:"roofline_fraction,omitempty"` // of the median step
	Loss      float64 `json:"loss"`

	Kernels []KernelTime `json:"kernels,omitempty"` // with Options.Profile, slowest first
}

// KernelTime is what the launches of one kernel take together in a step. FLOPs and bytes are what they must do at
// least, so the rates are lower bounds.
type KernelTime struct {
	Kernel    string  `json:"kernel"`
	Launches  int     `json:"launches"`
	MS        float64 `json:"ms"`
	GFLOPPerS float64 `json:"gflop_per_s"`
	GBPerS    float64 `json:"gb_per_s"`
	Fraction  float64 `json:"roofline_fraction,omitempty"`
}

// workload is a network and its step, at the sizes of the papers.
type workload struct {
	name                    string
	channels, layers, batch int
	program                 string
	build                   func(m *ir.Module, channels, layers int, batch bilevel.Batch) error
}

const classes = 10

var workloads = []workload{
	{"search1", 16, 8, 64, bilevel.SearchStep, buildSearch(false)},
	{"search2", 16, 8, 64, bilevel.SearchStep, buildSearch(true)},
	{"train", 36, 20, 96, bilevel.TrainStep, buildTrain},
}

// Workloads lists the names.
func Workloads() []string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

func buildSearch(unrolled bool) func(*ir.Module, int, int, bilevel.Batch) error {
	return func(m *ir.Module, channels, layers int, batch bilevel.Batch) error {
		config := bilevel.Defaults()
		config.Unrolled, config.Batch = unrolled, batch
		return bilevel.BuildSearchStep(m, cnn.Supernet{Channels: channels, Layers: layers, Classes: classes}, config)
	}
}

func buildTrain(m *ir.Module, channels, layers int, batch bilevel.Batch) error {
	genotype, _ := space.Named("DARTS_V2")
	network := cnn.Derived{Genotype: genotype, Channels: channels, Layers: layers, Classes: classes, Auxiliary: true}
	return bilevel.BuildTrainStep(m, network, bilevel.TrainConfig{SGD: bilevel.Defaults().SGD, AuxiliaryWeight: 0.4, Batch: batch})
}

// Run times one workload.
func Run(ctx context.Context, o Options) (Result, error) {
	w, err := o.resolve()
	if err != nil {
		return Result{}, err
	}
	const size, colours = 32, 3
	m := ir.NewModule(w.name)
	batch := bilevel.Batch{Size: w.batch, Height: size, Width: size, Channels: colours, Raw: true}
	if err := w.build(m, w.channels, w.layers, batch); err != nil {
		return Result{}, err
	}
	start := time.Now()
	p, err := compiler.Compile(ctx, m, compiler.Options{Target: o.Device.Target(), MemoryLimit: o.MemoryLimit})
	if err != nil {
		return Result{}, err
	}
	compiled := time.Since(start)
	s, err := runtime.Open(p, o.Device)
	if err != nil {
		return Result{}, err
	}
	defer s.Close()
	if err := s.Initialize(1); err != nil {
		return Result{}, err
	}
	if err := s.SetScalar(bilevel.LearningRate, 0.025); err != nil {
		return Result{}, err
	}
	if p.Variable(bilevel.AlphaLearningRate) != nil {
		if err := s.SetScalar(bilevel.AlphaLearningRate, 3e-4); err != nil {
			return Result{}, err
		}
	}
	program := p.Program(w.program)
	inputs := map[string]any{}
	for i, in := range program.Inputs {
		inputs[in.Name] = noise(program.Buffers[in.Buffer].Elements(), uint64(i))
		if len(program.Buffers[in.Buffer].Shape) == 1 {
			inputs[in.Name] = labels(w.batch, uint64(i))
		}
	}
	loss := make([]float32, 1)
	results := map[string]any{"loss": loss}
	var times []float64
	launches := cost.Predict(program, o.Roofline)
	start = time.Now()
	var warm time.Duration
	for i := range o.Warmup + o.Steps {
		if i == o.Warmup {
			warm = time.Since(start)
			if o.Profile {
				s.SetProfile(func(_ string, launch int, d time.Duration) { launches[launch].Measured += d.Seconds() })
			}
		}
		began := time.Now()
		if err := s.Run(ctx, w.program, inputs, results); err != nil {
			return Result{}, err
		}
		if i >= o.Warmup {
			times = append(times, 1000*time.Since(began).Seconds())
		}
	}
	r := Result{
		Workload: w.name, Mode: "plan", Device: o.Device.Target(), Precision: "fp32",
		Batch: w.batch, Channels: w.channels, Layers: w.layers,
		MedianMS: median(times), MinMS: slices.Min(times), WarmupS: warm.Seconds(), CompileS: compiled.Seconds(),
		PlanMiB: float64(p.VariableBytes+p.ArenaBytes) / (1 << 20), Launches: len(program.Launches), Loss: float64(loss[0]),
	}
	total := cost.Total(launches)
	r.GFLOPs, r.Roofline = total.FLOPs/1e9, 1000*total.Roofline
	r.ItemsPerS, r.GFLOPPerS, r.Fraction = 1000*float64(w.batch)/r.MedianMS, 1000*r.GFLOPs/r.MedianMS, r.Roofline/r.MedianMS
	if o.Profile {
		r.Kernels = byKernel(launches, o.Steps)
	}
	return r, nil
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

// resolve finds the workload and gives it the sizes asked for.
func (o Options) resolve() (workload, error) {
	i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == o.Workload })
	if i < 0 {
		return workload{}, fmt.Errorf("--workloads: unknown workload %q: want one of %v", o.Workload, Workloads())
	}
	if o.Steps < 1 || o.Warmup < 0 {
		return workload{}, fmt.Errorf("--steps must be at least 1 and --warmup at least 0")
	}
	w := workloads[i]
	for _, size := range []struct{ given, value *int }{{&o.Batch, &w.batch}, {&o.Channels, &w.channels}, {&o.Layers, &w.layers}} {
		if *size.given > 0 {
			*size.value = *size.given
		}
	}
	return w, nil
}

// noise is n standard normal numbers, as images that have been normalised.
func noise(n int, id uint64) []float32 {
	stream, out := philox.New(1, 0, id), make([]float32, n)
	for i := range out {
		out[i] = float32(stream.Normal(uint64(i)))
	}
	return out
}

func labels(n int, id uint64) []int32 {
	stream, out := philox.New(1, 0, id), make([]int32, n)
	for i := range out {
		out[i] = int32(stream.Intn(uint64(i), classes))
	}
	return out
}

func median(v []float64) float64 {
	sorted := slices.Sorted(slices.Values(v))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
