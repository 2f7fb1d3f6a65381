package reader_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx"
	"github.com/dartsc/dartsc/ops/onnx/reader"
)

// exported is a network with one of every operation that package onnx writes, and its variables.
func exported(t testing.TB, batch int) (*ir.Module, map[string][]float32) {
	t.Helper()
	m := ir.NewModule("exported")
	b := ops.NewBuilder(m, "infer")
	random := rand.New(rand.NewPCG(3, 0))
	values := map[string][]float32{}
	read := func(name string, low, high float64, shape ...int) *ir.Value {
		v := b.Declare(ir.Variable{Name: name, Type: ir.T(ir.F32, shape...)})
		for range v.Type.Elements() {
			values[name] = append(values[name], float32(low+(high-low)*random.Float64()))
		}
		return b.Read(v)
	}
	norm := func(name string, x *ir.Value) *ir.Value {
		c := x.Type.Shape[1]
		return b.BatchNorm(x, read(name+".mean", -1, 1, c), read(name+".var", 0.5, 2, c), []*ir.Value{read(name+".gamma", 0.5, 2, c), read(name+".beta", -1, 1, c)}, 1e-5)
	}
	x := b.Input("image", ir.T(ir.F32, batch, 3, 9, 7))
	b.At("stem", func() {
		x = b.Relu(norm("bn", b.Conv2D(x, read("stem.weight", -1, 1, 6, 3, 3, 3), ops.Conv(1, 1))))
	})
	dilated := ops.Conv(1, 2)
	dilated.Dilations, dilated.Groups = [2]int{2, 2}, 6
	b.At("cell", func() {
		y := norm("bn2", b.Conv2D(x, read("dil.weight", -1, 1, 6, 1, 3, 3), dilated))
		including := ops.Pool(3, 1, 1)
		including.CountIncludePad = true
		y = b.Add(y, b.Add(b.MaxPool2D(x, ops.Pool(3, 1, 1)), b.Add(b.AvgPool2D(x, ops.Pool(3, 1, 1)), b.AvgPool2D(x, including))))
		y = b.Add(y, b.BiasAdd(b.Mul(y, y), read("bias", -1, 1, 6))) // both inputs of Mul are one value
		shifted := b.Slice(x, []int{0, 0, 1, 1}, []int{batch, 6, 9, 7})
		second := ops.Conv(2, 0)
		second.Pads = [4]int{0, 0, 1, 1}
		reduced := b.Concat(1, b.Conv2D(y, read("reduce1", -1, 1, 3, 6, 1, 1), ops.Conv(2, 0)), b.Conv2D(shifted, read("reduce2", -1, 1, 3, 6, 1, 1), second))
		x = norm("bn3", reduced) // [batch,6,5,4]
	})
	half := b.Constant(ir.T(ir.F32), 0.5)
	y := b.Sub(b.Sigmoid(x), b.Mul(b.Tanh(x), half))
	y = b.Div(b.Neg(b.Exp(y)), b.Sqrt(b.Log(b.Add(b.Exp(x), b.Constant(ir.T(ir.F32), 2)))))
	y = b.Reshape(b.Transpose(b.Reshape(y, batch, 6, 20), 0, 2, 1), batch*20, 6)
	y = b.Softmax(b.MatMul(y, read("mixing", -1, 1, 6, 6), false, true))
	x = b.Mul(x, b.Reshape(y, batch, 6, 5, 4))
	features := b.Concat(1, b.ReduceMean(x, 2, 3), b.ReduceSum(x, 2, 3), b.ReduceMean(b.ReduceMean(x, 3), 2), b.Reshape(x, batch, 120))
	logits := b.Linear(features, read("classifier.weight", -1, 1, 10, 138), read("classifier.bias", -1, 1, 10))
	b.Result("logits", logits)
	b.Result("probabilities", b.Softmax(logits))
	b.Result("same image", b.Program.Inputs[0])
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	return m, values
}

// TestRoundTrip: what package onnx writes comes back as a program that computes the same, for other batches too.
func TestRoundTrip(t *testing.T) {
	written, values := exported(t, 2)
	for _, fold := range []bool{false, true} {
		file, err := onnx.Export(written, "infer", values, onnx.Options{FoldBatchNorm: fold, ProducerVersion: "1", Metadata: map[string]string{"genotype": "g"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, batch := range []int{0, 1, 3} {
			got, err := reader.Read(file, reader.Options{Batch: batch})
			if err != nil {
				t.Fatal(err)
			}
			if got.Metadata["genotype"] != "g" || got.Opset != onnx.Opset || got.Producer != "dartsc 1" {
				t.Errorf("metadata %v, opset %d, producer %s", got.Metadata, got.Opset, got.Producer)
			}
			want, _ := exported(t, max(batch, 1))
			compare(t, run(t, got.Module, reader.Program, got.Values), run(t, want, "infer", values), 1e-5)
		}
	}
}

// run evaluates a program in float64 on a random image.
func run(t *testing.T, m *ir.Module, program string, values map[string][]float32) map[string]*ops.Tensor {
	t.Helper()
	variables := ops.Variables(m)
	for name, v := range variables {
		if len(values[name]) != len(v.Data) {
			t.Fatalf("variable %s has %d elements, its value %d", name, len(v.Data), len(values[name]))
		}
		for i, x := range values[name] {
			v.Data[i] = float64(x)
		}
	}
	inputs, random := map[string]*ops.Tensor{}, rand.New(rand.NewPCG(9, 0))
	for _, v := range m.Program(program).Inputs {
		inputs[v.Name] = ops.NewTensor(v.Type)
		for i := range inputs[v.Name].Data {
			inputs[v.Name].Data[i] = random.NormFloat64()
		}
	}
	results, err := ops.Run(m.Program(program), variables, inputs)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func compare(t *testing.T, got, want map[string]*ops.Tensor, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d results, want %d", len(got), len(want))
	}
	for name, w := range want {
		g := got[name]
		if g == nil || !g.Type.Equal(w.Type) {
			t.Errorf("result %s is %v, want %s", name, g, w.Type)
			continue
		}
		for i := range w.Data {
			if difference := math.Abs(g.Data[i] - w.Data[i]); !(difference <= tolerance*(1+math.Abs(w.Data[i]))) {
				t.Fatalf("result %s element %d: got %v, want %v", name, i, g.Data[i], w.Data[i])
			}
		}
	}
}
