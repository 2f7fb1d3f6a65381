package ir_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/dartsc/dartsc/ir"
)

// rules are a few operations, enough to build graphs with in the tests of this package.
type rules struct{}

// Infer gives the types of the results:
//
//	fill {shape}       a value out of nothing
//	relu x             like x
//	add x, y           like both
//	split x {at}       two parts of the first axis
//	conv2d x, weights  depthwise, at the same size
func (rules) Infer(op *ir.Op) ([]ir.Type, error) {
	arity := map[string]int{"fill": 0, "relu": 1, "add": 2, "split": 1, "conv2d": 2}
	want, known := arity[op.Kind]
	switch {
	case !known:
		return nil, fmt.Errorf("unknown operation")
	case want != len(op.Operands):
		return nil, fmt.Errorf("has %d operands, want %d", len(op.Operands), want)
	case op.Kind == "fill":
		return []ir.Type{ir.T(ir.F32, op.Attrs.Ints("shape")...)}, nil
	}
	x := op.Operands[0].Type
	switch op.Kind {
	case "add":
		if y := op.Operands[1].Type; !x.Equal(y) {
			return nil, fmt.Errorf("operands %s and %s differ", x, y)
		}
	case "split":
		at := op.Attrs.Int("at")
		if len(x.Shape) == 0 || at <= 0 || at >= x.Shape[0] {
			return nil, fmt.Errorf("cannot split %s at %d", x, at)
		}
		first, second := slices.Clone(x.Shape), slices.Clone(x.Shape)
		first[0], second[0] = at, x.Shape[0]-at
		return []ir.Type{ir.T(x.DType, first...), ir.T(x.DType, second...)}, nil
	case "conv2d":
		weights := op.Operands[1].Type
		if len(x.Shape) != 4 || len(weights.Shape) != 4 {
			return nil, fmt.Errorf("input %s and weights %s want four dimensions", x, weights)
		}
		if x.Shape[1] != weights.Shape[0] {
			return nil, fmt.Errorf("input %s has %d channels, weights %s want %d", x, x.Shape[1], weights, weights.Shape[0])
		}
	}
	return []ir.Type{x}, nil
}

// example builds a module with every feature of the graph and its text form.
func example(t *testing.T) *ir.Module {
	t.Helper()
	m := ir.NewModule("example")
	step := ir.NewBuilder(m, "step", rules{})
	x := step.Input("x", ir.T(ir.F32, 4, 8, 6, 5))
	step.Input("labels", ir.T(ir.I32, 4))
	w := step.Declare(ir.Variable{Name: "cells.0.weight", Type: ir.T(ir.F32, 8, 1, 3, 3), Init: ir.Init{Distribution: ir.Uniform, Value: 0.5}})
	rate := step.Declare(ir.Variable{Name: "learning rate", Kind: ir.Control, Type: ir.T(ir.F64), Init: ir.Init{Value: 0.025}})
	step.Declare(ir.Variable{Name: "alphas", Kind: ir.Alpha, Type: ir.T(ir.F32, 14, 8), Init: ir.Init{Distribution: ir.Normal, Value: 1e-3}})
	step.In("train", func() {
		step.Assign(rate, step.Read(rate))
		step.At("cell 3", func() {
			step.At("edge 1→4/sep_conv_5x5", func() {
				x = step.Op("conv2d", 1, []*ir.Value{x, step.Read(w)}, ir.A("pads", []int{1, 1, 1, 1}), ir.A("groups", 8))[0]
			})
			parts := step.Op("split", 2, []*ir.Value{x}, ir.A("at", 2))
			x = step.Fuse(sum(t, parts[0].Type), parts, ir.A("group", "reads the same"))[0]
		})
	})
	step.Result("y", x)
	build(t, step)
	other := ir.NewBuilder(m, "evaluate", rules{})
	other.Result("weights", other.Read(w))
	build(t, other)
	if err := ir.Verify(m, rules{}); err != nil {
		t.Fatal(err)
	}
	return m
}

// sum is the body of a fusion: relu(a + b).
func sum(t *testing.T, operand ir.Type) *ir.Program {
	t.Helper()
	b := ir.NewBuilder(ir.NewModule(""), "sum", rules{})
	operands := []*ir.Value{b.Input("a", operand), b.Input("b", operand)}
	b.Result("sum", b.Op("relu", 1, b.Op("add", 1, operands))[0])
	return build(t, b)
}

func build(t *testing.T, b *ir.Builder) *ir.Program {
	t.Helper()
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return p
}
