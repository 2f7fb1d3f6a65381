package golden

import (
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/model"
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
	if len(f.Tensors) == 0 {
		t.Fatal("no tensors")
	}
	base := path
	for _, kind := range []string{".pt", ".zip", ".legacy", ".state_dict"} {
		base = strings.TrimSuffix(base, kind)
	}
	c := readCase(t, base+expectedSuffix)
	if c.meta("vocabulary") != "" {
		t.Skip("recurrent cells are not supported yet")
	}
	m := ir.NewModule("derived")
	b := ops.NewBuilder(m, "eval")
	logits, _ := c.derived().Forward(&cnn.Scope{Builder: b, Weights: &model.Weights{}}, b.Input("x", ir.T(ir.F32, c.shape("x")...)))
	b.Result("logits", logits)
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	engines(t, m, func(t *testing.T, e engine, tolerance float64) {
		set := 0
		for _, tensor := range f.Tensors {
			if m.Variable(tensor.Name) == nil {
				if !strings.HasPrefix(tensor.Name, "auxiliary_head.") && !strings.HasSuffix(tensor.Name, ".num_batches_tracked") {
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
		compare(t, "logits in evaluation", e.run("eval", map[string][]float64{"x": c.values("x")})["logits"], c.values("logits_eval"), max(tolerance, roundedTolerance))
	})
}
