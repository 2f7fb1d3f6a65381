package onnx_test

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx"
)

// TestRuntime exports a network built for a batch of 2, lets the reference checker read it, and compares what an
// independent runtime makes of batches of 1 and 3 with the reference evaluation.
func TestRuntime(t *testing.T) {
	if out, err := exec.Command("python3", "-c", "import numpy, onnx, onnxruntime").CombinedOutput(); err != nil {
		t.Skipf("needs python3 with numpy, onnx and onnxruntime (pip install onnx onnxruntime): %v %s", err, lastLine(out))
	}
	for _, fold := range []bool{false, true} {
		t.Run(fmt.Sprintf("fold=%v", fold), func(t *testing.T) {
			folder := t.TempDir()
			exported := cell(2)
			data, err := onnx.Export(exported.build(t), "infer", exported.variables, onnx.Options{FoldBatchNorm: fold})
			if err != nil {
				t.Fatal(err)
			}
			model := filepath.Join(folder, "model.onnx")
			if err := os.WriteFile(model, data, 0o666); err != nil {
				t.Fatal(err)
			}
			args := []string{filepath.Join("testdata", "check.py"), model}
			for _, batch := range []int{1, 3} {
				path := filepath.Join(folder, fmt.Sprintf("batch%d.npz", batch))
				inputs, results := reference(t, cell(batch), uint64(batch))
				writeCase(t, path, inputs, results)
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
			if difference > 1e-5 {
				t.Errorf("got a relative error of %g, want at most 1e-5", difference)
			}
		})
	}
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// writeCase writes tensors as float32 for numpy: a zip file of .npy files.
func writeCase(t *testing.T, path string, inputs, results map[string]*ops.Tensor) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(file)
	write := func(kind string, tensors map[string]*ops.Tensor) {
		for name, x := range tensors {
			w, err := archive.Create(kind + " " + name + ".npy")
			if err != nil {
				t.Fatal(err)
			}
			shape := ""
			for _, d := range x.Type.Shape {
				shape += fmt.Sprintf("%d,", d)
			}
			header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }\n", shape)
			content := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
			content = append(content, header...)
			for _, v := range x.Data {
				content, err = binary.Append(content, binary.LittleEndian, float32(v))
				if err != nil {
					t.Fatal(err)
				}
			}
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("input", inputs)
	write("expected", results)
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}
