package golden

import (
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/darts/torchfile"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// expectedSuffix ends the name of what NAME.zip.pt, NAME.legacy.pt and NAME.state_dict.pt are to answer.
const expectedSuffix = ".expected.safetensors"

// roundedTolerance is for files whose statistics have been rounded to float32 after the answer was computed.
const roundedTolerance = 1e-7

// checkTorch: a PyTorch file in a network of ours answers what it does in PyTorch.
func checkTorch(t *testing.T, path string) {
	f, err := torchfile.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	base := path
	for _, kind := range []string{".pt", ".zip", ".legacy", ".state_dict"} {
		base = strings.TrimSuffix(base, kind)
	}
	c := readCase(t, base+expectedSuffix)
	if c.meta("vocabulary") == "" {
		checkTorchImages(t, c, f)
	} else {
		checkTorchText(t, c, f)
	}
}

func checkTorchImages(t *testing.T, c *testCase, f *torchfile.File) {
	m := ir.NewModule("derived")
	b := ops.NewBuilder(m, "eval")
	logits, _ := c.derived().Forward(&cnn.Scope{Builder: b, Weights: &model.Weights{}}, b.Input("x", ir.T(ir.F32, c.shape("x")...)))
	b.Result("logits", logits)
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	engines(t, m, func(t *testing.T, e engine, tolerance float64) {
		setTorch(t, e, m, f, func(name string) bool {
			return strings.HasPrefix(name, "auxiliary_head.") || strings.HasSuffix(name, ".num_batches_tracked")
		})
		compare(t, "logits in evaluation", e.run("eval", map[string][]float64{"x": c.values("x")})["logits"], c.values("logits_eval"), max(tolerance, roundedTolerance))
	})
}

// checkTorchText: a whole pickled model says its genotype itself.
func checkTorchText(t *testing.T, c *testCase, f *torchfile.File) {
	text := c.meta("arch")
	if f.Class != "" {
		text, _ = f.Attributes["rnns.0.genotype"].(string)
	}
	genotype, err := space.ParseRecurrent(text)
	if err != nil {
		t.Fatal(err)
	}
	shape := c.shape("x")
	language := rnn.Language{Vocabulary: c.int("vocabulary"), Hidden: c.int("nhid"), Genotype: &genotype}
	m := ir.NewModule("language")
	b := ops.NewBuilder(m, "eval")
	words, hidden := b.Input("x", ir.T(ir.I32, shape...)), b.Input("hidden", ir.T(ir.F32, shape[1], language.Hidden))
	out := language.Forward(&rnn.Scope{Builder: b, Weights: &model.Weights{}}, words, hidden, b.Input("length", ir.T(ir.I64)))
	b.Result("logits", out.Logits)
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	engines(t, m, func(t *testing.T, e engine, tolerance float64) {
		setTorch(t, e, m, f, func(name string) bool { return name == "decoder.weight" }) // is encoder.weight
		got := e.run("eval", map[string][]float64{"x": c.values("x"), "hidden": make([]float64, shape[1]*language.Hidden), "length": {float64(shape[0])}})
		c := textCase{testCase: c, language: language, rows: shape[1], steps: shape[0]}
		compare(t, "log probabilities", c.logProbabilities(got["logits"]), c.values("eval_log_prob"), max(tolerance, roundedTolerance))
	})
}

// setTorch gives every variable its value, and uses every tensor of the file but those that may be left over.
func setTorch(t *testing.T, e engine, m *ir.Module, f *torchfile.File, leftOver func(name string) bool) {
	t.Helper()
	set := 0
	for _, tensor := range f.Tensors {
		if m.Variable(tensor.Name) == nil {
			if !leftOver(tensor.Name) {
				t.Errorf("the network has no %s", tensor.Name)
			}
			continue
		}
		values, err := tensor.Float64s()
		if err != nil {
			t.Fatal(err)
		}
		e.set(tensor.Name, values)
		set++
	}
	if set != len(m.Variables) {
		t.Errorf("the file has %d of the network's %d variables", set, len(m.Variables))
	}
}
