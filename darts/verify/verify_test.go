package verify_test

import (
	"testing"

	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/export"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/darts/verify"
	"github.com/dartsc/dartsc/ops/onnx/reader"
)

// TestRun: a compiled network agrees with the reference, and the effect of other inputs tells a network that sees its
// images from one in which they vanish.
func TestRun(t *testing.T) {
	genotype, _ := space.Named("DARTS_V2")
	summary, err := data.Absent(3, data.Size{Height: 8, Width: 8}, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		layers int
		blind  bool
	}{{"shallow", 3, false}, {"deep, fresh", 20, true}} {
		m := export.Model{Network: cnn.Derived{Genotype: genotype, Channels: 4, Layers: c.layers, Classes: 3}, Data: summary}
		content, err := export.ONNX(t.Context(), m, export.Options{})
		if err != nil {
			t.Fatal(err)
		}
		n, err := reader.Read(content, reader.Options{Batch: 2})
		if err != nil {
			t.Fatal(err)
		}
		r, err := verify.Run(t.Context(), n, content, verify.Options{Workers: 2, Runs: 2, Turns: 2})
		if err != nil {
			t.Fatal(err)
		}
		if !(r.Reference < 1e-5) || r.Fastest <= 0 || r.Launches == 0 {
			t.Errorf("%s: %+v", c.name, r)
		}
		if r.OnnxRuntime != nil && !(r.OnnxRuntime.Difference < 1e-5 && r.OnnxRuntime.Fastest > 0) {
			t.Errorf("%s: %+v", c.name, r.OnnxRuntime)
		}
		if blind := r.Effect < 1e-4; blind != c.blind {
			t.Errorf("%s: other inputs change the results by %g", c.name, r.Effect)
		}
	}
}
