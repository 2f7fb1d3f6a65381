package infer_test

import (
	"testing"

	"github.com/dartsc/dartsc/darts/infer"
	"github.com/dartsc/dartsc/ops/onnx/onnxtest"
	"github.com/dartsc/dartsc/ops/onnx/reader"
)

// largestFuzzed bounds what one execution may take: values of the program, all together.
const largestFuzzed = 1 << 20

// FuzzCompile: what the reader accepts is compiled for both kinds of target.
func FuzzCompile(f *testing.F) {
	cases, err := onnxtest.Conformance()
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		if _, err := reader.Read(c.File, reader.Options{}); err == nil && len(c.File) < 4096 {
			f.Add(c.File)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, target := range []string{"cpu", "cuda:sm_80"} {
			n, err := reader.Read(content, reader.Options{})
			if err != nil || elements(n) > largestFuzzed {
				return
			}
			if _, err := infer.Compile(t.Context(), n, infer.Options{Target: target}); err != nil {
				t.Errorf("for %s: %v", target, err)
			}
		}
	})
}

// elements are those of all values of a network.
func elements(n *reader.Network) (sum int) {
	for _, op := range n.Module.Program(reader.Program).Ops {
		for _, v := range op.Results {
			sum += v.Type.Elements()
		}
	}
	return sum
}
