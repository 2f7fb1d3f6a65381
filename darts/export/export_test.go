package export

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/safetensors"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/darts/weights"
	"github.com/dartsc/dartsc/internal/philox"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx/onnxtest"
)

func named(t *testing.T, name string, imagenet bool) Model {
	t.Helper()
	genotype, err := space.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	m := Model{
		Network: cnn.Derived{Genotype: genotype, Channels: 4, Layers: 3, Classes: 10, ImageNet: imagenet},
		Data:    data.Summary{Name: "test", Classes: make([]string, 10), Height: 9, Width: 12, Channels: 3, Mean: make([]float32, 3), Std: []float32{1, 1, 1}},
		Seed:    3,
	}
	if imagenet {
		m.Data.Height, m.Data.Width = 40, 64
	}
	return m
}

// trained are fresh weights and running statistics away from their start, as a training leaves them.
func trained(t *testing.T, m Model) *weights.Weights {
	t.Helper()
	module, err := m.Module(1)
	if err != nil {
		t.Fatal(err)
	}
	initial, err := fresh(context.Background(), module, m.Seed)
	if err != nil {
		t.Fatal(err)
	}
	var tensors []safetensors.Tensor
	for i, v := range module.Variables {
		values, stream := initial[v.Name], philox.New(7, 0, uint64(i))
		if v.Kind == ir.Statistic {
			for j := range values {
				values[j] = 0.2 + stream.Float32(uint64(j))
			}
		}
		tensors = append(tensors, safetensors.FromFloat32s(v.Name, v.Type.Shape, values))
	}
	return weights.New("test", "safetensors", tensors)
}

// TestNone: an edge that carries nothing is left out, for any batch; a node of such edges alone is refused.
func TestNone(t *testing.T) {
	for text, want := range map[string]string{
		"Genotype(normal=[('none', 0), ('sep_conv_3x3', 1)], normal_concat=[2], reduce=[('skip_connect', 0), ('none', 1)], reduce_concat=[2])": "",
		"Genotype(normal=[('none', 0), ('none', 1)], normal_concat=[2], reduce=[('skip_connect', 0), ('none', 1)], reduce_concat=[2])":         `normal node 0: all of its edges are "none"`,
	} {
		_, err := ONNX(context.Background(), named(t, text, false), Options{})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}

// TestRuntime compares what onnxruntime makes of exported networks with the float64 reference, for all published
// genotypes in both forms, odd image sizes, and batches other than the one they were built for.
func TestRuntime(t *testing.T) {
	onnxtest.Require(t)
	for _, name := range []string{"NASNet", "AmoebaNet", "DARTS_V1", "DARTS_V2"} {
		for _, imagenet := range []bool{false, true} {
			for _, fold := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/imagenet=%t/fold=%t", name, imagenet, fold), func(t *testing.T) {
					m := named(t, name, imagenet)
					w := trained(t, m)
					exported, err := ONNX(context.Background(), m, Options{FoldBatchNorm: fold, Weights: w})
					if err != nil {
						t.Fatal(err)
					}
					onnxtest.Compare(t, exported, 1e-4, expected(t, m, w, 1), expected(t, m, w, 7))
				})
			}
		}
	}
}

// expected evaluates the network in float64.
func expected(t *testing.T, m Model, w *weights.Weights, batch int) onnxtest.Case {
	t.Helper()
	module, err := m.Module(batch)
	if err != nil {
		t.Fatal(err)
	}
	variables := ops.Variables(module)
	for name, v := range variables {
		tensor, _ := w.Lookup(name)
		if v.Data, err = tensor.Float64s(); err != nil {
			t.Fatal(err)
		}
	}
	program := module.Program(Inference)
	images, stream := ops.NewTensor(program.Inputs[0].Type), philox.New(9, 0, uint64(batch))
	for i := range images.Data {
		images.Data[i] = float64(float32(stream.Normal(uint64(i))))
	}
	inputs := map[string]*ops.Tensor{"images": images}
	results, err := ops.Run(program, variables, inputs)
	if err != nil {
		t.Fatal(err)
	}
	return onnxtest.Case{Inputs: inputs, Expected: results}
}

// TestWeightsMustFit: a file of other weights is refused by its first tensor that does not fit.
func TestWeightsMustFit(t *testing.T) {
	m := named(t, "DARTS_V2", false)
	w := trained(t, m)
	for _, c := range []struct {
		name  string
		spoil func(tensors []safetensors.Tensor) []safetensors.Tensor
		want  string
	}{
		{"a tensor is missing", func(l []safetensors.Tensor) []safetensors.Tensor { return l[1:] }, "tensor " + w.Tensors[0].Name + ", [12,3,3,3] in the network, is not in the file"},
		{"another shape", func(l []safetensors.Tensor) []safetensors.Tensor { l[0].Shape = []int{12, 27}; return l }, "is [12,27] in the file, [12,3,3,3] in the network"},
		{"another type", func(l []safetensors.Tensor) []safetensors.Tensor { l[0].DType = safetensors.I32; return l }, "--weights: "},
	} {
		spoiled := weights.New("test", "safetensors", c.spoil(slices.Clone(w.Tensors)))
		if _, err := ONNX(context.Background(), m, Options{Weights: spoiled}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}
