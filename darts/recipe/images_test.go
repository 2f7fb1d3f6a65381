package recipe

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/runtime/cpu"
)

// keeping compiles what a GPU would run, where the data set stays, for the processor.
func keeping(t *testing.T, m *ir.Module, err error, metadata map[string]string) *plan.Plan {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	p, err := compiler.Compile(context.Background(), m, compiler.Options{Metadata: metadata})
	if err != nil {
		t.Fatal(err)
	}
	if v := p.Variable(bilevel.DataSet); v == nil || v.Kind != "data" {
		t.Fatalf("the plan keeps no data set: %+v", v)
	}
	return p
}

// TestKeptImages: a training whose images stay on the device makes the same bits as one that is given them step by step, in
// epochs and evaluations, and leaves the same checkpoints, which do not have the images.
func TestKeptImages(t *testing.T) {
	config := tinyTraining()
	config.Epochs = 1
	for _, portion := range []float64{1, 0.8} { // evaluated on the test images, and on some to train on
		config.TrainPortion = portion
		images, err := config.open(context.Background(), 1)
		if err != nil {
			t.Fatal(err)
		}
		d := images.Summary()
		m, err := TrainModule(config, d, "cuda:sm_90", 0)
		p := keeping(t, m, err, TrainMetadata(config, d))
		if v := p.Variable(bilevel.DataSet); v.Shape[0] != d.Train+d.Test {
			t.Errorf("%d images stay, want %d", v.Shape[0], d.Train+d.Test)
		}
		var want []byte
		for _, given := range []*plan.Plan{nil, p} {
			path, _ := trainWith(t, config, given, nil)
			found, err := filepath.Glob(filepath.Join(path, "checkpoints", "*", "*.safetensors"))
			if err != nil || len(found) == 0 {
				t.Fatalf("no checkpoint in %s (error %v)", path, err)
			}
			got, err := os.ReadFile(found[len(found)-1])
			if err != nil {
				t.Fatal(err)
			}
			if metrics, err := os.ReadFile(filepath.Join(path, "metrics.jsonl")); err != nil {
				t.Fatal(err)
			} else {
				got = append(got, metrics...)
			}
			if want == nil {
				want = got
			} else if !bytes.Equal(got, want) {
				t.Errorf("train portion %v: a training whose images stay on the device leaves other files", portion)
			}
		}
	}
}

// TestKeptElsewhere: a plan that keeps images is refused where the data set has another number of them.
func TestKeptElsewhere(t *testing.T) {
	config := Quick()
	config.InitChannels, config.Layers = 2, 2
	set, err := config.open(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	d := set.Summary()
	d.Train -= 100
	m, err := SearchModule(config, d, "cuda:sm_90", 0)
	p := keeping(t, m, err, SearchMetadata(config, d))
	if _, err := NewSearch(context.Background(), config, Options{Device: cpu.New(1), Plan: p}); err == nil || !strings.Contains(err.Error(), "compile it with this --data") {
		t.Errorf("error %v, want one that names the two numbers of images", err)
	}
}

func TestWhatStays(t *testing.T) {
	d, err := data.Absent(10, data.Size{Height: 32, Width: 32}, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		n      int
		target string
		limit  int64
		want   int
	}{
		{"on a GPU", 60000, "cuda:sm_90", 0, 60000},
		{"on the processor", 60000, "cpu", 0, 0},
		{"with a limit of memory", 60000, "cuda:sm_90", 1 << 30, 0},
		{"not known", 0, "cuda:sm_80", 0, 0},
		{"too large", 400000, "cuda:sm_80", 0, 0},
	} {
		if got := kept(c.n, d, c.target, c.limit); got != c.want {
			t.Errorf("%s: %d images stay, want %d", c.name, got, c.want)
		}
	}
}
