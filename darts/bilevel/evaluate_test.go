package bilevel

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/internal/philox"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
)

// evaluation builds and compiles the evaluation of a DARTS_V2 network.
func evaluation(t *testing.T, layers int, batch Batch) (*ir.Module, *plan.Plan) {
	t.Helper()
	genotype, _ := space.Named("DARTS_V2")
	m := ir.NewModule("evaluation")
	network := cnn.Derived{Genotype: genotype, Channels: 4, Layers: layers, Classes: 10, Auxiliary: true}
	if err := BuildEvaluate(m, network, batch); err != nil {
		t.Fatal(err)
	}
	p, err := compiler.Compile(context.Background(), m, compiler.Options{Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	return m, p
}

// TestEvaluateDerived compares the evaluation of a derived network on raw images with the reference; rows with a
// negative label do not count. Its auxiliary head is no part of the program.
func TestEvaluateDerived(t *testing.T) {
	const size, side = 7, 16
	batch := Batch{Size: size, Height: side, Width: side, Channels: 3, Mean: []float64{0.5, 0.4, 0.6}, Std: []float64{0.2, 0.3, 0.25}}
	m, p := evaluation(t, 4, batch)
	s, err := runtime.Open(p, cpu.New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Initialize(3); err != nil {
		t.Fatal(err)
	}
	variables := ops.Variables(m)
	for _, v := range p.Variables {
		if strings.HasPrefix(v.Name, "auxiliary_head.") {
			t.Errorf("the evaluation has a variable %s", v.Name)
		}
		for i, x := range get(t, s, v.Name, v.Elements()) {
			variables[v.Name].Data[i] = float64(x)
		}
	}
	images, labels := make([]uint8, size*side*side*3), []int32{3, 1, 4, -1, 5, 9, -1}
	stream := philox.New(2, 2, 3)
	for i := range images {
		images[i] = uint8(stream.Intn(uint64(i), 256))
	}
	program := m.Program(Evaluate)
	inputs := map[string]*ops.Tensor{}
	for _, in := range program.Inputs {
		inputs[in.Name] = ops.NewTensor(in.Type)
		for i := range inputs[in.Name].Data {
			if in.Name == "images" {
				inputs[in.Name].Data[i] = float64(images[i])
			} else {
				inputs[in.Name].Data[i] = float64(labels[i])
			}
		}
	}
	want, err := ops.Run(program, variables, inputs)
	if err != nil {
		t.Fatal(err)
	}
	loss, correct, correct5 := make([]float32, 1), make([]float32, 1), make([]float32, 1)
	results := map[string]any{"loss": loss, "correct": correct, "correct5": correct5}
	if err := s.Run(context.Background(), Evaluate, map[string]any{"images": images, "labels": labels}, results); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]float32{"loss": loss[0], "correct": correct[0], "correct5": correct5[0]} {
		if want := want[name].Data[0]; math.Abs(float64(got)-want) > 1e-4*want {
			t.Errorf("%s is %g, want %g", name, got, want)
		}
	}
	if correct5[0] < correct[0] || correct5[0] > 5 {
		t.Errorf("%g of 5 rows are correct, %g among the first five classes", correct[0], correct5[0])
	}
}

// TestEvaluateKeepsNothing: what a deeper network needs to be evaluated is more weights, and no more activations.
func TestEvaluateKeepsNothing(t *testing.T) {
	batch := Batch{Size: 8, Height: 16, Width: 16, Channels: 3, Raw: true}
	_, shallow := evaluation(t, 6, batch)
	_, deep := evaluation(t, 12, batch)
	if a, b := shallow.Program(Evaluate).PeakBytes, deep.Program(Evaluate).PeakBytes; b > a+a/50 {
		t.Errorf("6 cells need %d bytes of activations, 12 need %d", a, b)
	}
}
