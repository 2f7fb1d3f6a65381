package torchfile

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFixtures reads the tensors that gopickle was tested with: one of four numbers for each element type, as PyTorch 1.13
// wrote it in every protocol and both serialisations.
func TestFixtures(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/nlpodyssey/gopickle").Output()
	if err != nil {
		t.Skip("no module cache: ", err)
	}
	paths, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "pytorch", "testdata", "*.pt"))
	if err != nil || len(paths) == 0 {
		t.Skip("gopickle comes without its test data")
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		source, err := open(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(path), err)
			continue
		}
		value, ok := source.root().(*tensor)
		if !ok {
			t.Errorf("%s: holds a %T", filepath.Base(path), source.root())
			continue
		}
		m := materialiser{source: source, copies: copyLimit(int64(len(content))), read: map[string][]byte{}}
		got, err := m.tensor("t", value)
		if err != nil || got.Elements() != 4 || len(got.Shape) != 1 {
			t.Errorf("%s: shape %v, error %v; want four numbers", filepath.Base(path), got.Shape, err)
			continue
		}
		numbers, err := got.Float64s()
		if err != nil {
			continue // whole numbers
		}
		for i, want := range []float64{1.2, -3.4, 5.6, -7.8} {
			if difference := numbers[i] - want; difference > 0.02 || difference < -0.02 {
				t.Errorf("%s: %v", filepath.Base(path), numbers)
			}
		}
	}
}
