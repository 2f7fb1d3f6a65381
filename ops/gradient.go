package ops

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
)

// gradient(y, x…) → the derivatives of the scalar y with respect to each x. It is how a program asks for
// differentiation; the compiler's first pass replaces it by the operations that compute it.
var gradientDef = &Def{
	Kind: "gradient", Operands: "y, x…",
	Infer: func(op *ir.Op) ([]ir.Type, error) {
		if len(op.Operands) < 2 {
			return nil, fmt.Errorf("has %d operands, wants a scalar and at least one value", len(op.Operands))
		}
		if err := first(wantRank(op, 0, 0), wantFloat(op, 0)); err != nil {
			return nil, err
		}
		var types []ir.Type
		for i, v := range op.Operands[1:] {
			if err := wantFloat(op, i+1); err != nil {
				return nil, err
			}
			types = append(types, v.Type)
		}
		return types, nil
	},
	NoGradient: "is expanded before anything differentiates it",
	FLOPs:      noFLOPs,
	NoONNX:     trainingOnly,
}

// Gradient asks for the derivatives of the scalar y with respect to x.
func (b *Builder) Gradient(y *ir.Value, x ...*ir.Value) []*ir.Value {
	return b.Op("gradient", len(x), append(values(y), x...))
}
