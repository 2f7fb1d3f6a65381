package cuda_test

import (
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
)

// TestMemory: a training at the size of the paper takes a quarter of the 6875 MiB that PyTorch takes, and less under a limit, for
// launches that make values again run as late as they stand; and what is too little is told.
func TestMemory(t *testing.T) {
	m := trainingModule(t)
	compile := func(limit int64) (*plan.Plan, error) {
		return compiler.Compile(t.Context(), m, compiler.Options{Target: "cuda:sm_90", MemoryLimit: limit})
	}
	for _, c := range []struct {
		name        string
		limit, most int64
	}{{"no limit", 0, 6875 << 20 / 4}, {"limit", 1200 << 20, 1200 << 20}} {
		p, err := compile(c.limit)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if need := p.ArenaBytes + p.VariableBytes; need > c.most {
			t.Errorf("%s: the plan takes %d bytes, want at most %d", c.name, need, c.most)
		}
	}
	if _, err := compile(1 << 20); err == nil || !strings.Contains(err.Error(), "the least that this plan needs is") {
		t.Errorf("a limit of 1 MiB: error %v, want the least that the plan needs", err)
	}
}
