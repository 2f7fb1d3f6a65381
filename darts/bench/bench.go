// Package bench times single steps of the workloads that compilers of this kind are compared by, on random data: the
// search step of both orders and the training step of a derived network. Sizes and names are those of the PyTorch
// script that they are run beside. It knows no data set and writes nothing.
package bench

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/roofline"
)

// Options says what to time: a workload, whose sizes are its own where they are zero, or a plan.
type Options struct {
	Workload      string     // one of Workloads
	Plan          *plan.Plan // in place of a workload: its first program is timed
	Started       time.Time  // when the process began, or zero
	Batch         int
	Channels      int
	Layers        int
	Steps, Warmup int
	MemoryLimit   int64
	Device        runtime.Device
	Roofline      roofline.Roofline // of the device; empty where it is not known
	Profile       bool              // also say where the time goes
}

// Result is one line of output; on the CPU, peak memory is added by who knows the process.
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
	CompileS  float64 `json:"compile_s,omitempty"`
	StartS    float64 `json:"start_s,omitempty"` // from the start of the process to the first step
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

// compile makes the plan of a workload.
func (o Options) compile(ctx context.Context) (*plan.Plan, error) {
	w, err := o.resolve()
	if err != nil {
		return nil, err
	}
	const size, colours = 32, 3
	m := ir.NewModule(w.name)
	batch := bilevel.Batch{Size: w.batch, Height: size, Width: size, Channels: colours, Raw: true}
	if err := w.build(m, w.channels, w.layers, batch); err != nil {
		return nil, err
	}
	return compiler.Compile(ctx, m, compiler.Options{Target: o.Device.Target(), MemoryLimit: o.MemoryLimit, Metadata: map[string]string{
		"init_channels": strconv.Itoa(w.channels), "layers": strconv.Itoa(w.layers), "batch_size": strconv.Itoa(w.batch), "classes": strconv.Itoa(classes),
	}})
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
