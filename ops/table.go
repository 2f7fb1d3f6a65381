// Package ops says what every operation of the IR means: one table, one entry an operation, with its attributes, its
// shape rule, its gradient (written in IR, so that a gradient is itself compiled and fused), a plain float64 reference
// evaluation, its floating-point operations, and its ONNX form. One file a family: elementwise, conv, norm, pool,
// reduce, matmul, shape, loss, mixed, highway, text, random, image, optimiser.
//
// The reference evaluation over these entries ([Run]) is the oracle that every backend is held against; the gradients
// are held against finite differences of it. The package knows no device, no plan and no network. To add an operation,
// write one entry and list it in table; the table test names every part that is missing.
package ops

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/ir"
)

// Def is everything that one operation is.
type Def struct {
	Kind     string
	Operands string    // the operands in order, for people and messages: "x, w"; "…" marks repetition
	Attrs    []AttrDef // every attribute, each of which must be present
	Infer    func(op *ir.Op) ([]ir.Type, error)
	Eval     func(op *ir.Op, in []*Tensor) []*Tensor
	Gradient GradientFunc
	FLOPs    func(op *ir.Op) float64
	ONNX     ONNXFunc

	// NoGradient says why there is no gradient where Gradient is nil, NoONNX the same of ONNX.
	NoGradient string
	NoONNX     string

	// Pointwise marks an operation whose result element depends only on the operand elements at the same position
	// (or on scalars): it may run in place and be merged with others of its kind.
	Pointwise bool
}

// GradientFunc appends to b the cotangents of the operands, given those of the results (nil: zero). An operand that
// has no gradient gets nil.
type GradientFunc func(b *Builder, op *ir.Op, cotangents []*ir.Value) []*ir.Value

// AttrDef is the name of an attribute and an example of its type.
type AttrDef struct {
	Name string
	Like any
}

// table is filled by init, because its entries refer to it in turn.
var table = map[string]*Def{}

func init() {
	families := [][]*Def{
		elementwiseDefs, shapeDefs, reduceDefs, matmulDefs, convDefs, normDefs, poolDefs,
		mixedDefs, lossDefs, highwayDefs, textDefs, randomDefs, imageDefs, optimiserDefs, {gradientDef},
	}
	for _, family := range families {
		for _, def := range family {
			if table[def.Kind] != nil {
				panic("ops: two entries for " + def.Kind) // a mistake in the table itself, seen at every start
			}
			table[def.Kind] = def
		}
	}
}

// Lookup returns the entry of an operation, or nil.
func Lookup(kind string) *Def { return table[kind] }

// Kinds returns the names of all operations, sorted.
func Kinds() []string {
	var kinds []string
	for kind := range table {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	return kinds
}

// Rules gives package ir the shape rules of the table.
var Rules ir.Rules = rules{}

type rules struct{}

func (rules) Infer(op *ir.Op) ([]ir.Type, error) {
	def := table[op.Kind]
	if def == nil {
		return nil, fmt.Errorf("unknown operation %q", op.Kind)
	}
	if len(op.Attrs) != len(def.Attrs) {
		return nil, fmt.Errorf("has %d attributes, wants %d: %s", len(op.Attrs), len(def.Attrs), attrNames(def.Attrs))
	}
	for _, want := range def.Attrs {
		if !hasAttr(op.Attrs, want) {
			return nil, fmt.Errorf("attribute %s is missing or not of type %T", want.Name, want.Like)
		}
	}
	types, err := def.Infer(op)
	if err != nil {
		return nil, err
	}
	for _, t := range types {
		if err := t.Check(); err != nil {
			return nil, fmt.Errorf("result: %w", err)
		}
	}
	return types, nil
}

func hasAttr(attrs ir.Attrs, want AttrDef) bool {
	for _, a := range attrs {
		if a.Name == want.Name {
			return fmt.Sprintf("%T", a.Value) == fmt.Sprintf("%T", want.Like)
		}
	}
	return false
}

func attrNames(defs []AttrDef) string {
	names := make([]string, len(defs))
	for i, d := range defs {
		names[i] = d.Name
	}
	return fmt.Sprint(names)
}

// FLOPs returns the floating-point operations of one operation; a multiply-add counts two. A fusion is the sum of its
// body, a scan that of its steps.
func FLOPs(op *ir.Op) float64 {
	if op.Body != nil {
		sum := 0.0
		for _, inner := range op.Body.Ops {
			sum += FLOPs(inner)
		}
		if op.Kind == ir.Scan {
			sum *= float64(ir.LoopOf(op).Steps)
		}
		return sum
	}
	if def := table[op.Kind]; def != nil && def.FLOPs != nil {
		return def.FLOPs(op)
	}
	return 0
}

// Bytes returns the bytes that one operation must read and write at least: its operands and its results, once each. A
// constant is no memory to a pointwise operation.
func Bytes(op *ir.Op) float64 {
	sum, def := 0, table[op.Kind]
	for i, v := range op.Operands {
		free := def != nil && def.Pointwise && IsConstant(v)
		if !free && !slices.Contains(op.Operands[:i], v) {
			sum += bytesRead(op, i)
		}
	}
	for _, v := range op.Results {
		sum += v.Type.Bytes()
	}
	return float64(sum)
}

// IsConstant says whether a value is a splat constant.
func IsConstant(v *ir.Value) bool { return v.Def != nil && v.Def.Kind == "constant" }

// bytesRead is what an operation reads of an operand: all, or what the slices take that alone read it in a group.
func bytesRead(op *ir.Op, i int) int {
	all := op.Operands[i].Type.Bytes()
	if op.Kind != ir.Fusion {
		return all
	}
	sum := 0
	for _, inner := range op.Body.Ops {
		switch {
		case !slices.Contains(inner.Operands, op.Body.Inputs[i]):
		case inner.Kind != "slice":
			return all
		default:
			sum += inner.Result().Type.Bytes()
		}
	}
	return min(sum, all)
}

// Shape rules share these checks.

func wantOperands(op *ir.Op, least, most int) error {
	if n := len(op.Operands); n < least || n > most {
		return fmt.Errorf("has %d operands, wants %s", n, table[op.Kind].Operands)
	}
	return nil
}

func wantRank(op *ir.Op, i, rank int) error {
	if t := operandType(op, i); len(t.Shape) != rank {
		return fmt.Errorf("operand %d is %s, wants rank %d", i, t, rank)
	}
	return nil
}

func wantType(op *ir.Op, i int, want ir.Type) error {
	if t := operandType(op, i); !t.Equal(want) {
		return fmt.Errorf("operand %d is %s, wants %s", i, t, want)
	}
	return nil
}

// wantFloat checks that the operands are of one floating-point type.
func wantFloat(op *ir.Op, operands ...int) error {
	for _, i := range operands {
		t, firstType := operandType(op, i), operandType(op, operands[0])
		if !t.DType.Float() {
			return fmt.Errorf("operand %d is %s, wants a floating-point type", i, t)
		}
		if t.DType != firstType.DType {
			return fmt.Errorf("operands are %s and %s, want one element type", firstType, t)
		}
	}
	return nil
}

// operandType is the type of an operand, or an invalid one where there are fewer operands: rules that are evaluated
// together in first need no order among themselves.
func operandType(op *ir.Op, i int) ir.Type {
	if i >= len(op.Operands) {
		return ir.Type{}
	}
	return op.Operands[i].Type
}

// attrLimit bounds the integers in attributes (and the dimensions they are added to), so that no sum or product of two
// of them overflows.
const attrLimit = 1 << 30

// wantInts checks that an attribute is a list of n integers of at least the given size.
func wantInts(op *ir.Op, name string, n, least int) error {
	list := op.Attrs.Ints(name)
	if len(list) != n {
		return fmt.Errorf("attribute %s %v has %d numbers, wants %d", name, list, len(list), n)
	}
	for _, v := range list {
		if v < least || v > attrLimit {
			return fmt.Errorf("attribute %s %v: want numbers from %d to %d", name, list, least, attrLimit)
		}
	}
	return nil
}

// wantInt checks that an attribute is at least the given size.
func wantInt(op *ir.Op, name string, least int) error {
	if v := op.Attrs.Int(name); v < least || v > attrLimit {
		return fmt.Errorf("attribute %s is %d, wants a number from %d to %d", name, v, least, attrLimit)
	}
	return nil
}

// wantShape checks that the attribute shape makes a type of the given rank.
func wantShape(op *ir.Op, dtype ir.DType, rank int) error {
	shape := op.Attrs.Ints("shape")
	if len(shape) != rank {
		return fmt.Errorf("attribute shape %v wants %d dimensions", shape, rank)
	}
	return ir.Type{DType: dtype, Shape: shape}.Check()
}

// wantFloatAttr checks that an attribute lies between two numbers, which NaN does not.
func wantFloatAttr(op *ir.Op, name string, least, most float64) error {
	if v := op.Attrs.Float(name); !(v >= least && v <= most) {
		return fmt.Errorf("attribute %s is %v, wants a number from %v to %v", name, v, least, most)
	}
	return nil
}

func isScalar(t ir.Type) bool { return len(t.Shape) == 0 }

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// perElement counts n operations for every element of the first result.
func perElement(n float64) func(*ir.Op) float64 {
	return func(op *ir.Op) float64 { return n * float64(op.Results[0].Type.Elements()) }
}

// perOperandElement counts n operations for every element of the first operand.
func perOperandElement(n float64) func(*ir.Op) float64 {
	return func(op *ir.Op) float64 { return n * float64(op.Operands[0].Type.Elements()) }
}

func noFLOPs(*ir.Op) float64 { return 0 }
