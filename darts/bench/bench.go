// Package bench times single steps of the workloads that compilers of this kind are compared by, on random data: the
// search steps of both orders and the training step of a derived network, of images and of text. Sizes and names are those of the PyTorch
// script that they are run beside. It knows no data set and writes nothing.
package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/rnn"
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
	Hidden        int
	Steps, Warmup int
	MemoryLimit   int64
	Precision     string // of products, where the device has several: "" is fp32
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
	Channels  int     `json:"channels,omitempty"`
	Layers    int     `json:"layers,omitempty"`
	Hidden    int     `json:"nhid,omitempty"`
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
	Loss      float64 `json:"loss,omitempty"`              // of the last step; inference has none

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
	name string
	sizes
	build func(m *ir.Module, s sizes) error
}

// sizes are those of either task; the other's are 0.
type sizes struct {
	batch, channels, layers int // of images
	hidden                  int // of text
}

const (
	classes    = 10
	vocabulary = 10000
	timeSteps  = 35
)

var workloads = []workload{
	{"search1", sizes{channels: 16, layers: 8, batch: 64}, buildSearch(false)},
	{"search2", sizes{channels: 16, layers: 8, batch: 64}, buildSearch(true)},
	{"train", sizes{channels: 36, layers: 20, batch: 96}, buildTrain},
	{"rnn1", sizes{hidden: 300, batch: 256}, buildTextSearch(false)},
	{"rnn2", sizes{hidden: 300, batch: 256}, buildTextSearch(true)},
	{"rnntrain", sizes{hidden: 850, batch: 64}, buildTextTrain},
}

// Workloads lists the names.
func Workloads() []string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

// images is the data of a step: as large as CIFAR-10's.
func (s sizes) images() bilevel.Batch {
	return bilevel.Batch{Size: s.batch, Height: 32, Width: 32, Channels: 3, Raw: true}
}

func buildSearch(unrolled bool) func(*ir.Module, sizes) error {
	return func(m *ir.Module, s sizes) error {
		config := bilevel.Defaults()
		config.Unrolled, config.Batch = unrolled, s.images()
		return bilevel.BuildSearchStep(m, cnn.Supernet{Channels: s.channels, Layers: s.layers, Classes: classes}, config)
	}
}

func buildTrain(m *ir.Module, s sizes) error {
	genotype, _ := space.Named("DARTS_V2")
	network := cnn.Derived{Genotype: genotype, Channels: s.channels, Layers: s.layers, Classes: classes, Auxiliary: true}
	return bilevel.BuildTrainStep(m, network, bilevel.TrainConfig{SGD: bilevel.Defaults().SGD, AuxiliaryWeight: 0.4, Batch: s.images()})
}

// text is the model of the original's defaults, and how its steps are made.
func (s sizes) text() (rnn.Language, bilevel.TextConfig) {
	config := bilevel.TextDefaults()
	config.Rows, config.Steps = s.batch, timeSteps
	return rnn.Language{Vocabulary: vocabulary, Hidden: s.hidden, Dropout: rnn.Dropout{Embedding: 0.2, Input: 0.75, Hidden: 0.25, Output: 0.75}}, config
}

func buildTextSearch(unrolled bool) func(*ir.Module, sizes) error {
	return func(m *ir.Module, s sizes) error {
		language, config := s.text()
		config.Unrolled = unrolled
		return bilevel.BuildTextSearchStep(m, language, config)
	}
}

func buildTextTrain(m *ir.Module, s sizes) error {
	language, config := s.text()
	genotype, _ := space.NamedRecurrent("DARTS_V2")
	language.Genotype = &genotype
	return bilevel.BuildTextTrainStep(m, language, config, false)
}

// metadata is what the plan of a workload says of itself.
func (o Options) metadata(s sizes) map[string]string {
	m := map[string]string{"batch_size": strconv.Itoa(s.batch), "precision": cmp.Or(o.Precision, "fp32")}
	if s.hidden > 0 {
		m["nhid"], m["bptt"], m["vocabulary"] = strconv.Itoa(s.hidden), strconv.Itoa(timeSteps), strconv.Itoa(vocabulary)
	} else {
		m["init_channels"], m["layers"], m["classes"] = strconv.Itoa(s.channels), strconv.Itoa(s.layers), strconv.Itoa(classes)
	}
	return m
}

// compile makes the plan of a workload.
func (o Options) compile(ctx context.Context) (*plan.Plan, error) {
	w, err := o.resolve()
	if err != nil {
		return nil, err
	}
	m := ir.NewModule(w.name)
	if err := w.build(m, w.sizes); err != nil {
		return nil, err
	}
	return compiler.Compile(ctx, m, compiler.Options{Target: o.Device.Target(), Precision: o.Precision, MemoryLimit: o.MemoryLimit, Metadata: o.metadata(w.sizes)})
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
	for _, size := range []struct{ given, value *int }{{&o.Batch, &w.batch}, {&o.Channels, &w.channels}, {&o.Layers, &w.layers}, {&o.Hidden, &w.hidden}} {
		if *size.given > 0 && *size.value > 0 {
			*size.value = *size.given
		}
	}
	return w, nil
}
