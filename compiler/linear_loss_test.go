package compiler

import (
	"context"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// TestLinearLoss: the loss of a large vocabulary and its gradients are one launch, and those of the reference. A part of
// the loss comes of something else, as with regularisation.
func TestLinearLoss(t *testing.T) {
	const rows, size, classes = 105, 4, 10000
	m := ir.NewModule("language")
	b := ops.NewBuilder(m, "step")
	table := b.Declare(ir.Variable{Name: "w", Kind: ir.Weight, Type: ir.T(ir.F32, classes, size)})
	shift := b.Declare(ir.Variable{Name: "bias", Kind: ir.Weight, Type: ir.T(ir.F32, classes)})
	x, w, bias := b.Input("x", ir.T(ir.F32, rows, size)), b.Read(table), b.Read(shift)
	loss := b.CrossEntropy(b.Linear(x, w, bias), b.Constant(ir.T(ir.I32, rows), 17), 0, "mean")
	total := b.Axpby(loss, b.ReduceSum(b.Mul(x, x), 0, 1), 1, 0.01)
	g := b.Gradient(total, x, w, bias)
	b.Assign(table, b.Axpby(w, g[1], 1, -0.5))
	b.Assign(shift, b.Axpby(bias, g[2], 1, -0.5))
	b.Result("loss", total)
	b.Result("gradient of x", g[0])
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	fused, err := Transform(context.Background(), m, Options{Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	if text := fused.String(); strings.Count(text, `group="linear_loss"`) != 1 {
		t.Errorf("want one group linear_loss in\n%s", text)
	}
	compareWithReference(t, m, newGenerator(1))
}
