// Package onnxtest holds exported models to what others make of them: the reference checker of the onnx package, and
// onnxruntime. It is for tests; where Python or one of the packages is missing they skip.
package onnxtest

import (
	"archive/zip"
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/ops"
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
	write := func(name string, content []byte) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, content, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := []string{write("check.py", script), write("model.onnx", model)}
	for i, c := range cases {
		path := filepath.Join(folder, fmt.Sprintf("case%d.npz", i))
		if err := writeCase(path, c); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	out, err := exec.Command("python3", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var difference float64
	if _, err := fmt.Sscanf(lastLine(out), "max relative error %g", &difference); err != nil {
		t.Fatalf("check.py printed %q: %v", out, err)
	}
	t.Log(lastLine(out))
	if !(difference <= tolerance) {
		t.Errorf("got a relative error of %g, want at most %g", difference, tolerance)
	}
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// writeCase writes the tensors of a case as float32 for numpy: a zip file of .npy files.
func writeCase(path string, c Case) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	for kind, tensors := range map[string]map[string]*ops.Tensor{"input": c.Inputs, "expected": c.Expected} {
		for name, x := range tensors {
			w, err := archive.Create(kind + " " + name + ".npy")
			if err != nil {
				return err
			}
			shape := ""
			for _, d := range x.Type.Shape {
				shape += fmt.Sprintf("%d,", d)
			}
			header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }\n", shape)
			content := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
			content = append(content, header...)
			for _, v := range x.Data {
				if content, err = binary.Append(content, binary.LittleEndian, float32(v)); err != nil {
					return err
				}
			}
			if _, err := w.Write(content); err != nil {
				return err
			}
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return file.Close()
}
