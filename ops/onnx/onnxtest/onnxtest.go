// Package onnxtest holds exported models to what others make of them: the reference checker of the onnx package, and
// onnxruntime. It is for tests; where Python or one of the packages is missing they skip.
package onnxtest

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx/onnxruntime"
)

//go:embed check.py
var script []byte

// Case is one run of a model: inputs by name, and the results that are expected.
type Case struct {
	Inputs, Expected map[string]*ops.Tensor
}

// Require skips the test where the checker or the runtime is missing. Where DARTSC_NEED_ONNXRUNTIME is set they must be
// there, so that CI cannot skip by mistake.
func Require(t *testing.T) {
	t.Helper()
	out, err := exec.Command("python3", "-c", "import numpy, onnx, onnxruntime").CombinedOutput()
	switch {
	case err == nil:
	case os.Getenv("DARTSC_NEED_ONNXRUNTIME") != "":
		t.Fatalf("python3 has no numpy, onnx or onnxruntime: %v %s", err, lastLine(out))
	default:
		t.Skipf("needs python3 with numpy, onnx and onnxruntime (pip install onnx onnxruntime): %v %s", err, lastLine(out))
	}
}

// Compare fails where the model does not pass the checker with full shape inference, or where onnxruntime's results
// differ from what is expected by more than tolerance, relative to the largest element.
func Compare(t *testing.T, model []byte, tolerance float64, cases ...Case) {
	t.Helper()
	folder := t.TempDir()
	check, file := filepath.Join(folder, "check.py"), filepath.Join(folder, "model.onnx")
	for path, content := range map[string][]byte{check: script, file: model} {
		if err := os.WriteFile(path, content, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("python3", check, file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range cases {
		result, err := onnxruntime.Run(t.Context(), model, c.Inputs, onnxruntime.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range c.Expected {
			got := result.Outputs[name]
			if got == nil || !slices.Equal(got.Type.Shape, want.Type.Shape) {
				t.Errorf("result %s is %v, want %s", name, got, want.Type)
				continue
			}
			if difference := got.Difference(want); !(difference <= tolerance) {
				t.Errorf("result %s: got a relative error of %g, want at most %g", name, difference, tolerance)
			}
		}
	}
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
