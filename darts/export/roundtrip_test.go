package export

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/infer"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx/onnxruntime"
	"github.com/dartsc/dartsc/ops/onnx/onnxtest"
	"github.com/dartsc/dartsc/ops/onnx/reader"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
)

// TestRoundTrip: an exported network, read by onnx-go into our IR and compiled, answers what the network's own program
// does in the float64 reference. All published genotypes in both forms, batches 1 and 7, folded by us or by the export.
func TestRoundTrip(t *testing.T) {
	for i, name := range []string{"NASNet", "AmoebaNet", "DARTS_V1", "DARTS_V2"} {
		for _, imagenet := range []bool{false, true} {
			m := named(t, name, imagenet)
			w := trained(t, m)
			exported, err := ONNX(context.Background(), m, Options{FoldBatchNorm: i%2 == 0, Weights: w})
			if err != nil {
				t.Fatal(err)
			}
			for _, batch := range []int{1, 7} {
				t.Run(fmt.Sprintf("%s/imagenet=%t/batch=%d", name, imagenet, batch), func(t *testing.T) {
					want := expected(t, m, w, batch)
					got := imported(t, exported, want, batch)
					if d := got.Difference(want.Expected["logits"]); !(d < 1e-5) {
						t.Errorf("got a relative error of %g, want at most 1e-5", d)
					}
				})
			}
		}
	}
}

// imported runs an ONNX file through the reader, the compiler and the CPU.
func imported(t *testing.T, file []byte, c onnxtest.Case, batch int) *ops.Tensor {
	t.Helper()
	n, err := reader.Read(file, reader.Options{Batch: batch})
	if err != nil {
		t.Fatal(err)
	}
	p, err := infer.Compile(t.Context(), n, infer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range p.Programs[0].Launches {
		if l.Kernel == "batch_norm" {
			t.Errorf("launch %s at %s is not folded", l.Kernel, l.Scope)
		}
	}
	s, err := runtime.Open(p, cpu.New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Initialize(0); err != nil {
		t.Fatal(err)
	}
	images := make([]float32, len(c.Inputs["images"].Data))
	for i, v := range c.Inputs["images"].Data {
		images[i] = float32(v)
	}
	want := c.Expected["logits"]
	logits := make([]float32, len(want.Data))
	if err := s.Run(t.Context(), reader.Program, map[string]any{"images": images}, map[string]any{"logits": logits}); err != nil {
		t.Fatal(err)
	}
	got := ops.NewTensor(want.Type)
	for i, v := range logits {
		got.Data[i] = float64(v)
	}
	return got
}

// TestHalfWeights: a file with weights in half precision is smaller, and answers nearly the same; onnxruntime, where it
// is there, answers exactly what our plan of it does.
func TestHalfWeights(t *testing.T) {
	m := named(t, "DARTS_V2", false)
	w := trained(t, m)
	whole, err := ONNX(t.Context(), m, Options{Weights: w})
	if err != nil {
		t.Fatal(err)
	}
	for _, fold := range []bool{false, true} {
		file, err := ONNX(t.Context(), m, Options{Weights: w, HalfWeights: true, FoldBatchNorm: fold})
		if err != nil {
			t.Fatal(err)
		}
		if len(file) >= len(whole) {
			t.Errorf("%d bytes in half precision, %d in single", len(file), len(whole))
		}
		want := expected(t, m, w, 2)
		got := imported(t, file, want, 2)
		if d := got.Difference(want.Expected["logits"]); !(d > 1e-6 && d < 1e-2) {
			t.Errorf("fold=%t: a relative difference of %g from single precision, want about 1e-3", fold, d)
		}
		if err := onnxruntime.Available(t.Context()); err != nil {
			t.Logf("not compared with onnxruntime: %v", err)
			continue
		}
		onnxtest.Compare(t, file, 1e-5, onnxtest.Case{Inputs: want.Inputs, Expected: map[string]*ops.Tensor{"logits": got}})
	}
}

// TestCell: a cell alone has the two inputs, the result and the variables that it has in the network.
func TestCell(t *testing.T) {
	for _, imagenet := range []bool{false, true} {
		m := named(t, "DARTS_V1", imagenet)
		m.Network.Layers = 6 // cells 2 and 4 reduce
		for i, want := range map[int]string{
			m.Network.FirstCell(true): "f32[3,32,", m.Network.FirstCell(false): "f32[3,16,", 5: "f32[3,64,",
		} {
			m.Cell = &i
			file, err := ONNX(t.Context(), m, Options{})
			if err != nil {
				t.Fatal(err)
			}
			n, err := reader.Read(file, reader.Options{Batch: 3})
			if err != nil {
				t.Fatal(err)
			}
			p := n.Module.Program(reader.Program)
			if got := p.Results[0].Value.Type.String(); !strings.HasPrefix(got, want) || len(p.Inputs) != 2 {
				t.Errorf("imagenet=%t, cell %d: %d inputs, result %s, want %s…", imagenet, i, len(p.Inputs), got, want)
			}
			for name := range n.Values {
				if !strings.HasPrefix(name, fmt.Sprintf("cells.%d.", i)) {
					t.Errorf("cell %d has variable %s", i, name)
				}
			}
		}
	}
}
