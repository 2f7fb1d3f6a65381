package verify

import (
	"testing"

	"github.com/dartsc/dartsc/ops/onnx/onnxtest"
	"github.com/dartsc/dartsc/ops/onnx/reader"
)

// TestConformance compiles the conformance cases of ONNX that are read, and runs them on the CPU. Which those are, and
// that the reference interpreter passes them too, says the test of package reader.
func TestConformance(t *testing.T) {
	cases, err := onnxtest.Conformance()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		n, err := reader.Read(c.File, reader.Options{})
		if err != nil {
			continue
		}
		t.Run(c.Title, func(t *testing.T) {
			p, err := open(t.Context(), n, Options{Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer p.session.Close()
			results, _, err := p.run(t.Context(), c.Inputs, 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Check(results); err != nil {
				t.Error(err)
			}
		})
	}
}
