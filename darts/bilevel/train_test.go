package bilevel

import (
	"context"
	"math"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	passes "github.com/dartsc/dartsc/compiler/pass"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/internal/philox"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
)

// TestTrainStep compares two steps of training a derived network (auxiliary head, drop path, label smoothing) on the
// CPU with the reference: losses to 1e-4, and every weight afterwards to 1e-2: among half a million ReLUs and maxima one
// may fall to the other side of its kink in float32.
func TestTrainStep(t *testing.T) {
	genotype, _ := space.Named("DARTS_V2")
	network := cnn.Derived{Genotype: genotype, Channels: 4, Layers: 4, Classes: 10, Auxiliary: true}
	const size, side = 6, 32
	config := TrainConfig{
		SGD: Defaults().SGD, AuxiliaryWeight: 0.4, LabelSmoothing: 0.1, DropPath: true,
		Batch: Batch{Size: size, Height: side, Width: side, Channels: 3, Raw: true},
	}
	m := ir.NewModule("train")
	if err := BuildTrainStep(m, network, config); err != nil {
		t.Fatal(err)
	}
	p, err := compiler.Compile(context.Background(), m, compiler.Options{Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := runtime.Open(p, cpu.New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Initialize(5); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]float64{LearningRate: 0.025, DropPath: 0.25, Seed: 11} {
		if err := s.SetScalar(name, v); err != nil {
			t.Fatal(err)
		}
	}
	plain := m.Clone()
	if err := passes.Differentiate(plain); err != nil {
		t.Fatal(err)
	}
	variables := ops.Variables(plain)
	for _, v := range p.Variables {
		if v.Kind == "control" {
			value, err := s.Scalar(v.Name)
			if err != nil {
				t.Fatal(err)
			}
			variables[v.Name].Data[0] = value
			continue
		}
		for i, x := range get(t, s, v.Name, v.Elements()) {
			variables[v.Name].Data[i] = float64(x)
		}
	}
	images, labels := make([]float32, size*3*side*side), make([]int32, size)
	stream := philox.New(2, 2, 3) // not a formula: repeated pixels put maxima and ReLUs exactly on their kinks
	for i := range images {
		images[i] = float32(stream.Normal(uint64(i)))
	}
	for i := range labels {
		labels[i] = int32(i * 3 % 10)
	}
	program := plain.Program(TrainStep)
	inputs := map[string]*ops.Tensor{}
	for _, in := range program.Inputs {
		inputs[in.Name] = ops.NewTensor(in.Type)
		for i := range inputs[in.Name].Data {
			if in.Name == "train_images" {
				inputs[in.Name].Data[i] = float64(images[i])
			} else {
				inputs[in.Name].Data[i] = float64(labels[i])
			}
		}
	}
	loss := make([]float32, 1)
	for step := range 2 {
		want, err := ops.Run(program, variables, inputs)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(context.Background(), TrainStep, map[string]any{"train_images": images, "train_labels": labels}, map[string]any{"loss": loss}); err != nil {
			t.Fatal(err)
		}
		if got, want := float64(loss[0]), want["loss"].Data[0]; math.Abs(got-want) > 1e-4*want {
			t.Errorf("step %d: loss %g, want %g", step, got, want)
		}
	}
	for _, v := range m.Variables {
		if v.Kind != ir.Weight {
			continue
		}
		var difference, norm float64
		for i, x := range get(t, s, v.Name, v.Type.Elements()) {
			want := variables[v.Name].Data[i]
			difference += (float64(x) - want) * (float64(x) - want)
			norm += want * want
		}
		if math.Sqrt(difference) > 1e-2*math.Sqrt(norm)+1e-7 {
			t.Errorf("%s: off by %.3g of norm %.3g", v.Name, math.Sqrt(difference), math.Sqrt(norm))
		}
	}
}

func get(t *testing.T, s *runtime.Session, name string, elements int) []float32 {
	t.Helper()
	values := make([]float32, elements)
	if err := s.Get(name, values); err != nil {
		t.Fatal(err)
	}
	return values
}
