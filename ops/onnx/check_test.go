package onnx_test

import (
	"fmt"
	"testing"

	"github.com/dartsc/dartsc/ops/onnx"
	"github.com/dartsc/dartsc/ops/onnx/onnxtest"
)

// TestRuntime exports a network built for a batch of 2, lets the reference checker read it, and compares what an
// independent runtime makes of batches of 1 and 3 with the reference evaluation.
func TestRuntime(t *testing.T) {
	onnxtest.Require(t)
	for _, fold := range []bool{false, true} {
		t.Run(fmt.Sprintf("fold=%v", fold), func(t *testing.T) {
			exported := cell(2)
			model, err := onnx.Export(exported.build(t), "infer", exported.variables, onnx.Options{FoldBatchNorm: fold})
			if err != nil {
				t.Fatal(err)
			}
			var cases []onnxtest.Case
			for _, batch := range []int{1, 3} {
				inputs, results := reference(t, cell(batch), uint64(batch))
				cases = append(cases, onnxtest.Case{Inputs: inputs, Expected: results})
			}
			onnxtest.Compare(t, model, 1e-5, cases...)
		})
	}
}
