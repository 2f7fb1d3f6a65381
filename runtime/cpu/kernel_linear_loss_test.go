package cpu

import (
	"math/rand/v2"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

type linearLossCase struct {
	m, k, v    int
	dx, dw, db bool
	reduction  string
}

func init() {
	for name, c := range map[string]linearLossCase{
		"one row":                      {1, 3, 5, true, true, true, "mean"},
		"one block":                    {7, 20, 60, true, true, true, "mean"},
		"several blocks":               {70, 133, 301, true, true, true, "sum"},
		"of weights alone":             {70, 33, 301, false, true, false, "mean"},
		"of input alone":               {65, 33, 301, true, false, false, "mean"},
		"of bias alone":                {40, 3, 100, false, false, true, "mean"},
		"loss alone":                   {70, 33, 301, false, false, false, "sum"},
		"several chunks":               {40, 3, 90000, true, true, true, "mean"},
		"loss alone in several chunks": {40, 3, 90000, false, false, false, "mean"},
	} {
		kernelCases = append(kernelCases, c.kernelCase(name))
	}
}

func (c linearLossCase) kernelCase(name string) kernelCase {
	return kernelCase{
		kernel: "linear_loss", name: name, operands: []operand{plain(c.m, c.k), plain(c.v, c.k), plain(c.v), someLabels(c.m, c.v)},
		params: plan.Params{"dx": c.dx, "dw": c.dw, "dbias": c.db, "cotangent": 1.5, "reduction": c.reduction, "label_smoothing": 0.0},
		build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
			logits := b.Linear(in[0], in[1], in[2])
			out := []*ir.Value{b.CrossEntropy(logits, in[3], 0, c.reduction)}
			g := b.CrossEntropyGrad(b.Constant(ir.T(ir.F32), 1.5), logits, in[3], 0, c.reduction)
			if c.dx {
				out = append(out, b.MatMul(g, in[1], false, false))
			}
			if c.dw {
				out = append(out, b.MatMul(g, in[0], true, false))
			}
			if c.db {
				out = append(out, b.ReduceSum(g, 0))
			}
			return out
		},
	}
}

// someLabels are classes, of which some do not count and some do not exist.
func someLabels(n, classes int) operand {
	return operand{Type: ir.T(ir.I32, n), fill: func(i int, r *rand.Rand) float64 { return float64(r.IntN(classes+2) - 1) }}
}
