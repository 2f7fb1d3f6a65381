package golden

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/safetensors"
)

const (
	referenceTolerance = 1e-9
	planTolerance      = 1e-4
	unrolledTolerance  = 1e-3 // of second-order alpha gradients in float32
)

// TestGolden checks every case file found.
func TestGolden(t *testing.T) {
	folder := caseFile("")
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, f := range files {
		path := filepath.Join(folder, f.Name())
		if strings.HasSuffix(path, expectedSuffix) {
			continue // read with the PyTorch files that it stands beside
		}
		switch filepath.Ext(f.Name()) {
		case ".safetensors":
			t.Run(f.Name(), func(t *testing.T) { checkTensors(t, readCase(t, path)) })
		case ".json":
			t.Run(f.Name(), func(t *testing.T) { checkJSON(t, path) })
		case ".pt":
			t.Run(f.Name(), func(t *testing.T) { checkTorch(t, path) })
		default:
			continue
		}
		checked++
	}
	if checked == 0 {
		t.Fatalf("no case files in %s", folder)
	}
}

// caseFile is the path of a case file.
func caseFile(name string) string {
	if folder := os.Getenv("DARTSC_GOLDEN"); folder != "" {
		return filepath.Join(folder, name)
	}
	return filepath.Join("testdata", name)
}

// checkTensors finds out what a case is from its metadata.
func checkTensors(t *testing.T, c *testCase) {
	switch {
	case c.meta("cases") != "":
		checkPrimitives(t, c)
	case c.meta("unrolled") != "" && c.has("init/alphas_normal"):
		checkSearch(t, c)
	case c.meta("arch") != "" && c.meta("layers") != "" && c.has("logits_eval") && c.has("loss"):
		checkDerived(t, c)
	case c.meta("unrolled") != "" && c.has("init/alphas"):
		checkTextSearch(t, c)
	case c.meta("arch") != "" && c.has("final_average/encoder.weight"):
		checkTextTraining(t, c)
	default:
		t.Fatalf("%q is no case that is known", c.meta("what"))
	}
}

// testCase is one file of tensors.
type testCase struct {
	*testing.T
	file *safetensors.File
}

func readCase(t *testing.T, path string) *testCase {
	t.Helper()
	f, err := safetensors.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return &testCase{t, f}
}

func (c *testCase) meta(name string) string { return c.file.Metadata[name] }

func (c *testCase) int(name string) int {
	c.Helper()
	n, err := strconv.Atoi(c.meta(name))
	if err != nil {
		c.Fatalf("metadata %s: %v", name, err)
	}
	return n
}

// tensor returns a tensor of the case, which must have it.
func (c *testCase) tensor(name string) safetensors.Tensor {
	c.Helper()
	tensor, ok := c.file.Lookup(name)
	if !ok {
		c.Fatalf("the case has no tensor %q", name)
	}
	return tensor
}

func (c *testCase) has(name string) bool {
	_, ok := c.file.Lookup(name)
	return ok
}

// values returns a tensor as float64, whatever it is stored as.
func (c *testCase) values(name string) []float64 {
	c.Helper()
	tensor := c.tensor(name)
	if ints, err := tensor.Int64s(); err == nil {
		out := make([]float64, len(ints))
		for i, v := range ints {
			out[i] = float64(v)
		}
		return out
	}
	out, err := tensor.Float64s()
	if err != nil {
		c.Fatal(err)
	}
	return out
}

func (c *testCase) shape(name string) []int {
	c.Helper()
	return c.tensor(name).Shape
}

// under lists the tensors whose names begin with prefix, without it.
func (c *testCase) under(prefix string) (names []string) {
	for _, tensor := range c.file.Tensors {
		if rest, ok := strings.CutPrefix(tensor.Name, prefix); ok {
			names = append(names, rest)
		}
	}
	return names
}

// compare fails where got is not near want.
func compare(t *testing.T, name string, got, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: got %d elements, want %d", name, len(got), len(want))
		return
	}
	if !near(got, want, tolerance) {
		difference, norm := distance(got, want)
		t.Errorf("%s: relative error %.3g, want at most %g (norm %.3g; got %.6g…, want %.6g…)", name, difference/norm, tolerance, norm, got[0], want[0])
	}
}

// near tells whether ‖got - want‖ is at most tolerance·‖want‖.
func near(got, want []float64, tolerance float64) bool {
	difference, norm := distance(got, want)
	return difference <= tolerance*norm || difference <= 1e-12
}

// distance returns ‖got - want‖ and ‖want‖; got may not be shorter than want.
func distance(got, want []float64) (difference, norm float64) {
	for i := range want {
		difference += (got[i] - want[i]) * (got[i] - want[i])
		norm += want[i] * want[i]
	}
	return math.Sqrt(difference), math.Sqrt(norm)
}
