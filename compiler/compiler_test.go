package compiler

import (
	"context"
	"testing"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

func TestPassOrder(t *testing.T) {
	if err := checkOrder(Passes()); err != nil {
		t.Error(err)
	}
	reversed := Passes()
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	if checkOrder(reversed) == nil {
		t.Error("the reversed table passes the check of its order")
	}
}

var _ = context.Background
var _ *plan.Plan
var _ *ir.Module
var _ = ops.Rules
