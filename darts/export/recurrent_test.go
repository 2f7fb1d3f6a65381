package export

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/safetensors"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/darts/weights"
	"github.com/dartsc/dartsc/internal/philox"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
	"github.com/dartsc/dartsc/ops/onnx/onnxtest"
)

func recurrent(t *testing.T, name string) Recurrent {
	t.Helper()
	genotype, known := space.NamedRecurrent(name)
	if !known {
		t.Fatalf("no cell %s", name)
	}
	return Recurrent{Language: rnn.Language{Vocabulary: 11, Hidden: 6, Genotype: &genotype}, Seed: 3}
}

// trainedLanguage are weights far enough from their start that activations saturate.
func trainedLanguage(t *testing.T, m Recurrent) *weights.Weights {
	t.Helper()
	parameters, err := m.Language.Parameters()
	if err != nil {
		t.Fatal(err)
	}
	var tensors []safetensors.Tensor
	for i, v := range parameters {
		values, stream := make([]float32, v.Type.Elements()), philox.New(7, 0, uint64(i))
		for j := range values {
			values[j] = float32(stream.Normal(uint64(j)))
		}
		tensors = append(tensors, safetensors.FromFloat32s(v.Name, v.Type.Shape, values))
	}
	return weights.New("test", "safetensors", tensors)
}

// answered runs a form in float64.
func answered(t *testing.T, m Recurrent, w *weights.Weights, form string, steps, rows int) onnxtest.Case {
	t.Helper()
	module, err := m.Module(form, steps, rows)
	if err != nil {
		t.Fatal(err)
	}
	inputs := map[string]*ops.Tensor{}
	for i, v := range module.Programs[0].Inputs {
		x, stream := ops.NewTensor(v.Type), philox.New(9, uint64(i), 0)
		for j := range x.Data {
			if x.Data[j] = float64(float32(stream.Normal(uint64(j)))); v.Type.DType == ir.I32 {
				x.Data[j] = float64(stream.Intn(uint64(j), m.Language.Vocabulary))
			}
		}
		inputs[v.Name] = x
	}
	return onnxtest.Case{Inputs: inputs, Expected: runIn64(t, module, w, inputs)}
}

func runIn64(t *testing.T, module *ir.Module, w *weights.Weights, inputs map[string]*ops.Tensor) map[string]*ops.Tensor {
	t.Helper()
	variables := ops.Variables(module)
	for name, v := range variables {
		tensor, found := w.Lookup(name)
		if !found {
			continue // the hidden state of an evaluation
		}
		var err error
		if v.Data, err = tensor.Float64s(); err != nil {
			t.Fatal(err)
		}
	}
	results, err := ops.Run(module.Programs[0], variables, inputs)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// TestRecurrentRuntime compares what onnxruntime makes of both forms with the float64 reference, for all published cells
// and sizes other than those that the programs were built for.
func TestRecurrentRuntime(t *testing.T) {
	onnxtest.Require(t)
	for _, name := range []string{"ENAS", "DARTS_V1", "DARTS_V2"} {
		m := recurrent(t, name)
		w := trainedLanguage(t, m)
		for form, sizes := range map[string][][2]int{Step: {{1, 5}}, Sequence: {{1, 1}, {9, 4}}} {
			t.Run(name+"/"+form, func(t *testing.T) {
				file, err := RecurrentONNX(context.Background(), m, form, w, false)
				if err != nil {
					t.Fatal(err)
				}
				var cases []onnxtest.Case
				for _, s := range sizes {
					cases = append(cases, answered(t, m, w, form, s[0], s[1]))
				}
				onnxtest.Compare(t, file, 1e-5, cases...)
			})
		}
	}
	m := recurrent(t, "DARTS_V2")
	w := trainedLanguage(t, m)
	half, err := RecurrentONNX(context.Background(), m, Sequence, w, true)
	if err != nil {
		t.Fatal(err)
	}
	onnxtest.Compare(t, half, 1e-2, answered(t, m, w, Sequence, 4, 2))
}

// TestOriginalInRuntime: a model that the original pickled gives in onnxruntime the log-probabilities that it gives in
// PyTorch.
func TestOriginalInRuntime(t *testing.T) {
	onnxtest.Require(t)
	const golden = "../golden/testdata/rnn_darts_v2."
	w, err := weights.Read(golden + "zip.pt")
	if err != nil {
		t.Fatal(err)
	}
	m := recurrent(t, "DARTS_V2")
	if m.Language, err = w.Language(); err != nil {
		t.Fatal(err)
	}
	genotype, err := space.ParseRecurrent(w.Metadata["genotype"])
	if err != nil {
		t.Fatal(err)
	}
	m.Language.Genotype = &genotype
	file, err := RecurrentONNX(context.Background(), m, Sequence, w, false)
	if err != nil {
		t.Fatal(err)
	}
	expected, err := safetensors.Read(golden + "expected.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	x, _ := expected.Lookup("x")
	words, err := x.Int64s()
	if err != nil {
		t.Fatal(err)
	}
	tokens := ops.NewTensor(ir.T(ir.I32, x.Shape...))
	for i, word := range words {
		tokens.Data[i] = float64(word)
	}
	y, _ := expected.Lookup("eval_log_prob")
	answers := ops.NewTensor(ir.T(ir.F32, y.Shape...))
	if answers.Data, err = y.Float64s(); err != nil {
		t.Fatal(err)
	}
	hidden := ops.NewTensor(ir.T(ir.F32, tokens.Type.Shape[1], m.Language.Hidden))
	onnxtest.Compare(t, file, 1e-5, onnxtest.Case{
		Inputs:   map[string]*ops.Tensor{"tokens": tokens, "hidden": hidden},
		Expected: map[string]*ops.Tensor{"log_probabilities": answers},
	})
}

// TestFormsAgree: a sequence is its steps one after the other, and its log-probabilities are those that an evaluation adds
// up.
func TestFormsAgree(t *testing.T) {
	const steps, rows = 4, 3
	m := recurrent(t, "DARTS_V1")
	w, v := trainedLanguage(t, m), m.Language.Vocabulary
	whole := answered(t, m, w, Sequence, steps, rows)
	tokens, answers := whole.Inputs["tokens"].Data, whole.Expected["log_probabilities"].Data
	module, err := m.Module(Step, 1, rows)
	if err != nil {
		t.Fatal(err)
	}
	hidden := whole.Inputs["hidden"]
	for i := range steps {
		words := ops.NewTensor(ir.T(ir.I32, rows))
		copy(words.Data, tokens[i*rows:])
		out := runIn64(t, module, w, map[string]*ops.Tensor{"tokens": words, "hidden": hidden})
		for j, got := range out["log_probabilities"].Data {
			if want := answers[i*rows*v+j]; math.Abs(got-want) > 1e-12*math.Abs(want) {
				t.Fatalf("step %d: log-probability %d is %v, in the sequence %v", i, j, got, want)
			}
		}
		hidden = out["next_hidden"]
	}
	if d := hidden.Difference(whole.Expected["next_hidden"]); d > 1e-12 {
		t.Errorf("the last hidden states differ by %v", d)
	}

	evaluation := ir.NewModule("evaluation")
	if err := bilevel.BuildTextEvaluate(evaluation, m.Language, rows, steps, false); err != nil {
		t.Fatal(err)
	}
	words, targets := ops.NewTensor(ir.T(ir.I32, steps, rows)), ops.NewTensor(ir.T(ir.I32, steps, rows))
	copy(words.Data, tokens)
	want := 0.0
	zero := map[string]*ops.Tensor{"tokens": words, "hidden": ops.NewTensor(whole.Inputs["hidden"].Type)}
	if module, err = m.Module(Sequence, steps, rows); err != nil {
		t.Fatal(err)
	}
	answers = runIn64(t, module, w, zero)["log_probabilities"].Data
	for i := range targets.Data {
		targets.Data[i] = float64((i * i) % v)
		want -= answers[i*v+int(targets.Data[i])]
	}
	got := runIn64(t, evaluation, w, map[string]*ops.Tensor{"length": ops.Scalar(ir.I64, steps), "tokens": words, "targets": targets})["loss"].Data[0]
	if math.Abs(got-want) > 1e-12*want {
		t.Errorf("the evaluation's loss is %v, that of the exported program %v", got, want)
	}
}

// TestRecurrentFile: symbolic sizes, metadata, and that neither form computes what it need not.
func TestRecurrentFile(t *testing.T) {
	m := recurrent(t, "DARTS_V2")
	m.Words, m.Version = strings.Split("a b c d e f g h i j <eos>", " "), "1.2"
	for form, want := range map[string]string{
		Step:     "tokens[batch] hidden[batch 6] log_probabilities[batch 11] next_hidden[batch 6]",
		Sequence: "tokens[steps batch] hidden[batch 6] log_probabilities[steps batch 11] next_hidden[batch 6]",
	} {
		file, err := RecurrentONNX(context.Background(), m, form, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		model := &onnxpb.ModelProto{}
		if err := proto.Unmarshal(file, model); err != nil {
			t.Fatal(err)
		}
		var signature []string
		for _, v := range append(model.Graph.Input, model.Graph.Output...) {
			var dims []string
			for _, d := range v.Type.GetTensorType().Shape.Dim {
				if dims = append(dims, d.GetDimParam()); d.GetDimParam() == "" {
					dims[len(dims)-1] = fmt.Sprint(d.GetDimValue())
				}
			}
			signature = append(signature, fmt.Sprintf("%s%v", v.GetName(), dims))
		}
		if got := strings.Join(signature, " "); got != want {
			t.Errorf("%s: signature\n got %s\nwant %s", form, got, want)
		}
		metadata := map[string]string{}
		for _, p := range model.MetadataProps {
			metadata[p.GetKey()] = p.GetValue()
		}
		if metadata["words"] != strings.Join(m.Words, "\n") || metadata["form"] != form || metadata["genotype"] != m.Language.Genotype.String() {
			t.Errorf("%s: metadata %v", form, metadata)
		}
		counts := map[string]int{}
		for _, n := range model.Graph.Node {
			counts[n.GetOpType()]++
		}
		if (counts["Scan"] == 1) != (form == Sequence) || counts["Softmax"] != 0 {
			t.Errorf("%s: nodes %v", form, counts)
		}
	}
	if _, err := RecurrentONNX(context.Background(), m, "loop", nil, false); err == nil || !strings.Contains(err.Error(), "want step or sequence") {
		t.Errorf("error %v", err)
	}
	m.Language.Genotype = nil
	if _, err := RecurrentONNX(context.Background(), m, Step, nil, false); err == nil || !strings.Contains(err.Error(), "only derived models") {
		t.Errorf("error %v", err)
	}
}
