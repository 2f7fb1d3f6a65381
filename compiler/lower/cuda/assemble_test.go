package cuda_test

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/export"
	"github.com/dartsc/dartsc/darts/infer"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/internal/nvrtc"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops/onnx/reader"
)

// full asks TestAssemble for the sizes of the papers too, which take minutes; CI sets it.
const full = "DARTSC_FULL_NVRTC"

// mostSpill is how many bytes of registers a thread may spill, for more blocks run on a processor then: numbers that it wants once a tile, outside of inner
// loops. The most is 60 bytes in a training on CIFAR-10, 36 in one on ImageNet, 32 in searches. Networks with fewer channels than 16 add products in double,
// and may spill mostSmallSpill.
const (
	mostSpill      = 64
	mostSmallSpill = 160
)

// TestAssemble compiles every kernel of search and training steps with NVRTC for all architectures, and compares what it
// says of them with the plan.
func TestAssemble(t *testing.T) {
	library, err := nvrtc.Open()
	if errors.Is(err, nvrtc.ErrAbsent) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	search := cnn.Supernet{Channels: 4, Layers: 2, Classes: 10}
	batch := bilevel.Batch{Size: 8, Channels: 3, Height: 16, Width: 16}
	cases := map[string]assembled{
		"small": of(func(t *testing.T) *ir.Module { return searchModule(t, search, batch, false) }),
		"small training": of(func(t *testing.T) *ir.Module {
			return trainingOf(t, derived(t, 8, 3), bilevel.Batch{Size: 8, Channels: 3, Height: 32, Width: 32})
		}),
	}
	recurrent := rnn.Language{Vocabulary: 50, Hidden: 12, Dropout: rnn.Dropout{Embedding: 0.2, Hidden: 0.25}}
	text := bilevel.TextDefaults()
	text.Rows, text.Steps = 8, 5
	cases["recurrent"] = of(func(t *testing.T) *ir.Module { return textModule(t, recurrent, text) })
	if os.Getenv(full) != "" {
		large, config := recurrent, text
		large.Vocabulary, large.Hidden = 10000, 300
		config.Rows, config.Steps, config.Unrolled = 256, 35, true
		cases["recurrent second order"] = of(func(t *testing.T) *ir.Module { return textModule(t, large, config) })
		paper, batch := cnn.Supernet{Channels: 16, Layers: 8, Classes: 10}, bilevel.Batch{Size: 64, Channels: 3, Height: 32, Width: 32}
		cases["second order"] = of(func(t *testing.T) *ir.Module { return searchModule(t, paper, batch, true) })
		cases["search bf16"] = of(func(t *testing.T) *ir.Module { return searchModule(t, paper, batch, false) }).in(cuda.BF16)
		cases["training"] = of(trainingModule)
		cases["training tf32"] = of(trainingModule).in(cuda.TF32)
		cases["training bf16"] = of(trainingModule).in(cuda.BF16)
		cases["training ImageNet"] = of(imageNetModule)
		cases["inference"] = inference
		cases["inference bf16"] = assembled(inference).in(cuda.BF16)
	}
	for name, compile := range cases {
		for _, target := range cuda.Names() {
			t.Run(name+" "+target, func(t *testing.T) {
				p, err := compile(t, compiler.Options{Target: target})
				if err != nil {
					t.Fatal(err)
				}
				if err := cuda.Assemble(t.Context(), library, p); err != nil {
					t.Fatal(err)
				}
				most := mostSpill
				if strings.HasPrefix(name, "small") {
					most = mostSmallSpill
				}
				checkAssembled(t, p, most)
			})
		}
	}
}

// assembled compiles a plan whose kernels are to be assembled.
type assembled func(*testing.T, compiler.Options) (*plan.Plan, error)

func of(module func(*testing.T) *ir.Module) assembled {
	return func(t *testing.T, o compiler.Options) (*plan.Plan, error) {
		return compiler.Compile(t.Context(), module(t), o)
	}
}

// in is the same in another precision.
func (compile assembled) in(precision string) assembled {
	return func(t *testing.T, o compiler.Options) (*plan.Plan, error) {
		o.Precision = precision
		return compile(t, o)
	}
}

// inference is of DARTS_V2 as ONNX, BatchNorms folded.
func inference(t *testing.T, o compiler.Options) (*plan.Plan, error) {
	t.Helper()
	network, err := data.Absent(10, data.Size{Height: 32, Width: 32}, 3)
	if err != nil {
		return nil, err
	}
	file, err := export.ONNX(t.Context(), export.Model{Network: derived(t, 36, 20), Data: network}, export.Options{})
	if err != nil {
		return nil, err
	}
	n, err := reader.Read(file, reader.Options{Batch: 32})
	if err != nil {
		return nil, err
	}
	return infer.Compile(t.Context(), n, infer.Options{Target: o.Target, Precision: o.Precision})
}

func searchModule(t *testing.T, network cnn.Network, batch bilevel.Batch, unrolled bool) *ir.Module {
	t.Helper()
	m := ir.NewModule("search")
	config := bilevel.Defaults()
	config.Unrolled, config.Batch = unrolled, augmented(batch)
	if err := bilevel.BuildSearchStep(m, network, config); err != nil {
		t.Fatal(err)
	}
	if err := bilevel.BuildEvaluate(m, network, config.Batch); err != nil {
		t.Fatal(err)
	}
	return m
}

// textModule are the search and the training of a recurrent network, of DARTS_V2 where it is derived.
func textModule(t *testing.T, l rnn.Language, config bilevel.TextConfig) *ir.Module {
	t.Helper()
	m := ir.NewModule("text")
	if err := bilevel.BuildTextSearchStep(m, l, config); err != nil {
		t.Fatal(err)
	}
	genotype, ok := space.NamedRecurrent("DARTS_V2")
	if !ok {
		t.Fatal("DARTS_V2 is unknown")
	}
	l.Genotype = &genotype
	config.Activation = 2
	if err := bilevel.BuildTextTrainStep(m, l, config, true); err != nil {
		t.Fatal(err)
	}
	return m
}

func augmented(b bilevel.Batch) bilevel.Batch {
	b.Mean, b.Std = []float64{0.5, 0.5, 0.5}, []float64{0.25, 0.25, 0.25}
	b.Augment = bilevel.Augment{Padding: 4, Flip: true, Cutout: 8}
	b.Kept = 1000
	return b
}

// derived is DARTS_V2 for CIFAR-10, with so many channels and cells.
func derived(t *testing.T, channels, layers int) cnn.Derived {
	t.Helper()
	genotype, ok := space.Named("DARTS_V2")
	if !ok {
		t.Fatal("DARTS_V2 is unknown")
	}
	return cnn.Derived{Genotype: genotype, Channels: channels, Layers: layers, Classes: 10}
}

// trainingModule is the training of DARTS_V2 on CIFAR-10 at the size of the paper, imageNetModule that on ImageNet.
func trainingModule(t *testing.T) *ir.Module {
	return trainingOf(t, derived(t, 36, 20), bilevel.Batch{Size: 96, Channels: 3, Height: 32, Width: 32})
}
func imageNetModule(t *testing.T) *ir.Module {
	network := derived(t, 48, 14)
	network.Classes, network.ImageNet = 1000, true
	return trainingOf(t, network, bilevel.Batch{Size: 128, Channels: 3, Height: 224, Width: 224})
}

// trainingOf is that of a network with its auxiliary head, and its evaluation.
func trainingOf(t *testing.T, network cnn.Derived, batch bilevel.Batch) *ir.Module {
	t.Helper()
	m := ir.NewModule("train")
	network.Auxiliary = true
	config := bilevel.TrainConfig{SGD: bilevel.Defaults().SGD, AuxiliaryWeight: 0.4, DropPath: true, Batch: augmented(batch)}
	if err := bilevel.BuildTrainStep(m, network, config); err != nil {
		t.Fatal(err)
	}
	if err := bilevel.BuildEvaluate(m, network, config.Batch); err != nil {
		t.Fatal(err)
	}
	return m
}

var parameter = regexp.MustCompile(`\.param \.align 8 \.b8 (\w+)_param_0\[(\d+)\]`)

// checkAssembled: every kernel is there, takes as many bytes of arguments as its launches give it, and keeps what it
// works with in registers, but for so many bytes.
func checkAssembled(t *testing.T, p *plan.Plan, mostSpilled int) {
	t.Helper()
	bytes := map[string]int{}
	registers := map[string]plan.Function{}
	for _, m := range p.Modules {
		for _, f := range m.Functions {
			registers[f.Name] = f
			if f.SpillBytes > mostSpilled {
				t.Errorf("%s spills %d bytes", f.Name, f.SpillBytes)
			}
		}
		for _, match := range parameter.FindAllStringSubmatch(string(m.Image(p.Target[len("cuda:"):], plan.PTX)), -1) {
			bytes[match[1]], _ = strconv.Atoi(match[2])
		}
		if m.Image(p.Target[len("cuda:"):], plan.Cubin) == nil {
			t.Errorf("module %s has no cubin", m.Name)
		}
	}
	for _, program := range p.Programs {
		for i, l := range program.All() {
			if l.Loop != nil {
				continue
			}
			name := l.Device.Function
			if registers[name].Registers == 0 {
				t.Errorf("%s launch %d: the cubins have no kernel %s", program.Name, i, name)
			}
			if got := l.Device.ArgumentBytes(); bytes[name] != got {
				t.Errorf("%s launch %d: %s is given %d bytes of arguments and takes %d", program.Name, i, name, got, bytes[name])
			}
		}
	}
	if t.Failed() {
		return
	}
	var most []string
	for name, f := range registers {
		if f.Registers > 128 || f.SpillBytes > 0 {
			most = append(most, name+" "+strconv.Itoa(f.Registers)+" registers, "+strconv.Itoa(f.SpillBytes)+" bytes spilled")
		}
	}
	slices.Sort(most)
	t.Logf("%d kernels; beyond 128 registers or spilling: %s", len(registers), strings.Join(most, "; "))
}
