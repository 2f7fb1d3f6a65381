package cuda_test

import (
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
)

// TestMemoryLimit: a training at the size of the paper fits into half of what it takes by itself, for launches that make values
// again run as late as they stand; and what is too little is told.
func TestMemoryLimit(t *testing.T) {
	const target, limit = "cuda:sm_90", 1719 << 20 // a quarter of what PyTorch takes
	m := trainingModule(t)
	p, err := compiler.Compile(t.Context(), m, compiler.Options{Target: target, MemoryLimit: limit})
	if err != nil {
		t.Fatal(err)
	}
	if need := p.ArenaBytes + p.VariableBytes; need > limit {
		t.Errorf("the plan takes %d bytes, limit %d", need, limit)
	}
	_, err = compiler.Compile(t.Context(), m, compiler.Options{Target: target, MemoryLimit: 1 << 20})
	if err == nil || !strings.Contains(err.Error(), "the least that this plan needs is") {
		t.Errorf("a limit of 1 MiB: error %v", err)
	}
}
