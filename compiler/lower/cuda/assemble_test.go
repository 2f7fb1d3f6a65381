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
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/internal/nvrtc"
	"github.com/dartsc/dartsc/ir"
)

// full asks TestAssemble for the sizes of the papers too, which take minutes; CI sets it.
const full = "DARTSC_FULL_NVRTC"

// mostSpill is how many bytes of registers a thread may spill: what the compiler does to a few kernels to fit more
// blocks on a processor. The most is in separable convolutions of 144 channels with statistics: 84 bytes, once for a tile.
const mostSpill = 128

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
	sizes := map[string]func(t *testing.T) *ir.Module{
		"small":          func(t *testing.T) *ir.Module { return searchModule(t, search, batch, false) },
		"small training": func(t *testing.T) *ir.Module { return trainingOf(t, 8, 3, 8) },
	}
	recurrent := rnn.Language{Vocabulary: 50, Hidden: 12, Dropout: rnn.Dropout{Embedding: 0.2, Hidden: 0.25}}
	text := bilevel.TextDefaults()
	text.Rows, text.Steps = 8, 5
	sizes["recurrent"] = func(t *testing.T) *ir.Module { return textModule(t, recurrent, text) }
	if os.Getenv(full) != "" {
		large, config := recurrent, text
		large.Vocabulary, large.Hidden = 10000, 300
		config.Rows, config.Steps, config.Unrolled = 256, 35, true
		sizes["recurrent second order"] = func(t *testing.T) *ir.Module { return textModule(t, large, config) }
		search = cnn.Supernet{Channels: 16, Layers: 8, Classes: 10}
		batch = bilevel.Batch{Size: 64, Channels: 3, Height: 32, Width: 32}
		sizes["second order"] = func(t *testing.T) *ir.Module { return searchModule(t, search, batch, true) }
		sizes["training"] = trainingModule
		sizes["tensor cores"] = trainingModule
		sizes["bf16"] = trainingModule
	}
	for name, module := range sizes {
		for _, target := range cuda.Names() {
			t.Run(name+" "+target, func(t *testing.T) {
				options := compiler.Options{Target: target, Precision: map[string]string{"tensor cores": cuda.TF32, "bf16": cuda.BF16}[name]}
				p, err := compiler.Compile(t.Context(), module(t), options)
				if err != nil {
					t.Fatal(err)
				}
				if err := cuda.Assemble(t.Context(), library, p); err != nil {
					t.Fatal(err)
				}
				checkAssembled(t, p)
			})
		}
	}
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

// trainingModule is the training of DARTS_V2 on CIFAR-10 at the size of the paper.
func trainingModule(t *testing.T) *ir.Module { return trainingOf(t, 36, 20, 96) }

// trainingOf is one with so many channels, cells and images in a batch.
func trainingOf(t *testing.T, channels, layers, batch int) *ir.Module {
	t.Helper()
	m := ir.NewModule("train")
	genotype, ok := space.Named("DARTS_V2")
	if !ok {
		t.Fatal("DARTS_V2 is unknown")
	}
	network := cnn.Derived{Genotype: genotype, Channels: channels, Layers: layers, Classes: 10, Auxiliary: true}
	config := bilevel.TrainConfig{
		SGD: bilevel.Defaults().SGD, AuxiliaryWeight: 0.4, DropPath: true,
		Batch: augmented(bilevel.Batch{Size: batch, Channels: 3, Height: 32, Width: 32}),
	}
	if err := bilevel.BuildTrainStep(m, network, config); err != nil {
		t.Fatal(err)
	}
	return m
}

var parameter = regexp.MustCompile(`\.param \.align 8 \.b8 (\w+)_param_0\[(\d+)\]`)

// checkAssembled: every kernel is there, takes as many bytes of arguments as its launches give it, and keeps what it
// works with in registers.
func checkAssembled(t *testing.T, p *plan.Plan) {
	t.Helper()
	bytes := map[string]int{}
	registers := map[string]plan.Function{}
	for _, m := range p.Modules {
		for _, f := range m.Functions {
			registers[f.Name] = f
			if f.SpillBytes > mostSpill {
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
