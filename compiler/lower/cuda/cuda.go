// Package cuda lowers programs to launches of kernels for NVIDIA GPUs. The kernels stand in kernels/*.cu as templates;
// every launch names one with a specialisation, a struct of constants generated here (shapes, strides, flags). Plans carry
// the source, so compiling one needs neither CUDA nor a GPU.
//
// Activations [N,C,H,W] lie channels last, weights of convolutions [O,I,KH,KW] as [KH][KW][I][O], everything else
// row-major. One file a family of operations says which kernel computes it and how the work divides into blocks; code.go
// writes the sources. What has no kernel for a whole group of package fuse is lowered operation by operation. The package
// knows no driver and no runtime.
package cuda

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/dartsc/dartsc/compiler/lower"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Architectures are the GPUs that plans are made for: A100 and H100, H200.
var Architectures = []string{"sm_80", "sm_90"}

const prefix = "cuda:"

// Names returns the names of the targets.
func Names() []string {
	var names []string
	for _, a := range Architectures {
		names = append(names, prefix+a)
	}
	return names
}

// Target implements lower.Target. It collects the code of all programs that it lowers: one Target makes one plan.
type Target struct {
	architecture string
	precision    string
	code         code
}

// The precisions. TF32 rounds the factors of products (convolutions but depthwise ones, and matrices) to 10 bits, for tensor cores;
// sums are float32. BF16 does too, keeps images, which are the four-dimensional values but weights, with 7 bits in memory, and rounds the factors of products of separable
// and pointwise convolutions to as many; weights, statistics, logits, and what else is computed with, are float32.
const (
	FP32 = "fp32"
	TF32 = "tf32"
	BF16 = "bf16"
)

// Precisions lists them.
var Precisions = []string{FP32, TF32, BF16}

// New returns a target by its name and precision ("" is FP32), or nil.
func New(name, precision string) *Target {
	architecture, ok := strings.CutPrefix(name, prefix)
	if !ok || !slices.Contains(Architectures, architecture) {
		return nil
	}
	if precision != "" && !slices.Contains(Precisions, precision) {
		return nil
	}
	return &Target{architecture: architecture, precision: precision}
}

// onTensorCores says whether products may be computed there.
func (t *Target) onTensorCores() bool { return t.precision == TF32 || t.precision == BF16 }

// Name returns the name in plans and on the command line, as cuda:sm_90.
func (t *Target) Name() string { return prefix + t.architecture }

// Modules returns the code of what has been lowered.
func (t *Target) Modules() []plan.Module { return t.code.modules() }

// The layouts of four-dimensional tensors.
var (
	channelsLast = plan.Layout{0, 2, 3, 1}
	filters      = plan.Layout{2, 3, 1, 0}
)

// Rest lets launches run side by side: with more of it there is no room for it in the middle of a search step, with less
// the longest chain of launches that wait for one another grows.
func (t *Target) Rest() int { return 16 }

// Layout puts four-dimensional variables, which are weights of convolutions and their moments, in filter order.
func (t *Target) Layout(v *ir.Variable) plan.Layout {
	if lower.IsFilter(v) {
		return filters
	}
	return nil
}

// Copy is the launch of a copy between two layouts.
func (t *Target) Copy(from, to plan.Tensor) *plan.DeviceLaunch {
	l := &lowering{target: t, out: &lower.Program{}}
	x, y := l.out.Add(lower.Tensor{Tensor: from}), l.out.Add(lower.Tensor{Tensor: to})
	l.move(x, y)
	l.join()
	return l.out.Launches[0].Device
}

// Lower chooses the kernels.
func (t *Target) Lower(p *ir.Program) (*lower.Program, error) {
	l := newLowering(t, p)
	for _, in := range p.Inputs {
		l.at = &ir.Op{Phase: "data"}
		l.out.Inputs = append(l.out.Inputs, lower.Port{Name: in.Name, Tensor: l.input(in)})
	}
	if err := l.ops(p); err != nil {
		return nil, err
	}
	for _, r := range p.Results {
		l.at = &ir.Op{Phase: "report"}
		l.out.Results = append(l.out.Results, lower.Port{Name: r.Name, Tensor: l.own(r.Value)})
	}
	l.join()
	return l.out, l.err
}

func newLowering(t *Target, p *ir.Program) *lowering {
	return &lowering{target: t, out: &lower.Program{Name: p.Name}, tensors: make(map[*ir.Value]int, len(p.Ops)), copies: map[copyKey]int{}, updates: map[int]update{}}
}

// ops lowers all operations of a program, or of the body of a loop.
func (l *lowering) ops(p *ir.Program) error {
	list := flatten(p.Ops)
	l.trees = treesOf(list, p.Results)
	l.index(list, p.Results)
	for _, op := range list {
		if err := l.op(op); err != nil {
			return fmt.Errorf("lower program %s: %s: %w", p.Name, op.Position(), err)
		}
	}
	return nil
}

// index notes who makes a value and who reads it.
func (l *lowering) index(list []*ir.Op, results []ir.Result) {
	l.makers, l.users, l.results = make(map[*ir.Value]*ir.Op, len(list)), make(map[*ir.Value][]*ir.Op, len(list)), map[*ir.Value]bool{}
	for _, op := range list {
		for i, v := range op.Operands {
			if !slices.Contains(op.Operands[:i], v) {
				l.users[v] = append(l.users[v], op)
			}
		}
		for _, v := range op.Results {
			l.makers[v] = op
		}
	}
	for _, r := range results {
		l.results[r.Value] = true
	}
}

// lowering is a program on its way, or the body of a loop.
type lowering struct {
	target    *Target
	out       *lower.Program
	tensors   map[*ir.Value]int
	copies    map[copyKey]int
	at        *ir.Op     // the operation of the program that is being lowered: scope and phase of its launches
	flops     float64    // of that operation, until a launch counts them
	functions []function // of the launches so far, in their order
	makers    map[*ir.Value]*ir.Op
	users     map[*ir.Value][]*ir.Op
	results   map[*ir.Value]bool  // of the program
	trees     map[*ir.Op][]*ir.Op // of pointwise operations; empty for those inside another tree
	updates   map[int]update      // of optimisers, by launch
	around    *lowering           // of the body of a loop: the program around it
	captured  []int               // the tensors of that program that the body has come to read
	err       error
}

// copyKey is a tensor in another layout than its own.
type copyKey struct {
	tensor int
	order  string
}

// families are the tables of operations, one of each file. A function lowers one operation whose operands have tensors.
var families = []map[string]func(l *lowering, op *ir.Op) error{
	moves, reductions, convolutions, norms, mixtures, poolings, losses, images, optimisers, texts, highways,
}

func lowerer(kind string) func(l *lowering, op *ir.Op) error {
	for _, family := range families {
		if f := family[kind]; f != nil {
			return f
		}
	}
	return nil
}

// Lowers says whether there is a kernel for an operation.
func Lowers(kind string) bool {
	return lowerer(kind) != nil || expressions[kind] != nil || kind == "constant"
}

func (l *lowering) op(op *ir.Op) error {
	switch op.Kind {
	case ir.Read:
		t := l.result(op.Result(), l.target.Layout(op.Variable))
		l.out.Tensors[t].Home = lower.InVariable(op.Variable)
		return nil
	case ir.Assign:
		l.at = op
		l.out.Writes = append(l.out.Writes, lower.Write{Home: lower.InVariable(op.Variable), Tensor: l.operand(op.Operands[0])})
		return nil
	case "constant": // made where it is needed
		return nil
	}
	l.at = op
	if len(op.Results) > 0 {
		if _, made := l.tensors[op.Results[0]]; made { // by a launch that makes more
			return nil
		}
	}
	if op.Kind == ir.Scan {
		return l.scan(op)
	}
	if tree, ok := l.trees[op]; ok {
		return l.tree(op, tree)
	}
	if op.Kind == ir.Fusion {
		return l.fusion(op)
	}
	return l.single(op)
}

// single lowers an operation of the program or of a group.
func (l *lowering) single(op *ir.Op) error {
	for _, v := range append(slices.Clone(op.Operands), op.Results...) {
		if v.Type.Elements() > math.MaxInt32 {
			return fmt.Errorf("%s has %s: kernels count elements with 31 bits; use a smaller batch", op.Kind, v.Type)
		}
	}
	l.flops = ops.FLOPs(op)
	if pointwise(op) {
		return l.elementwise(&ir.Program{Ops: []*ir.Op{op}, Results: []ir.Result{{Value: op.Result()}}})
	}
	if f := lowerer(op.Kind); f != nil {
		return f(l, op)
	}
	return fmt.Errorf("target %s has no kernel for operation %s", l.target.Name(), op.Kind)
}

// fusion lowers a group to its kernel, or operation by operation. The values inside stand for those outside.
func (l *lowering) fusion(op *ir.Op) error {
	for i, in := range op.Body.Inputs {
		l.tensors[in] = l.operand(op.Operands[i])
	}
	whole := groups[op.Attrs.Text("group")]
	done := false
	l.flops = ops.FLOPs(op)
	if whole != nil {
		var err error
		if done, err = whole(l, op.Body); err != nil {
			return err
		}
	}
	if !done {
		for _, inner := range op.Body.Ops {
			if inner.Kind == "constant" {
				continue
			}
			lowerInner := l.single
			if inner.Kind == ir.Fusion { // a member of a horizontal group
				lowerInner = l.fusion
			}
			if err := lowerInner(inner); err != nil {
				return err
			}
		}
	}
	for i, r := range op.Body.Results {
		l.tensors[op.Results[i]] = l.operand(r.Value)
	}
	return nil
}

// result gives a value a tensor.
func (l *lowering) result(v *ir.Value, order plan.Layout) int {
	if len(v.Type.Shape) != 4 {
		order = nil
	}
	t := l.out.Add(lower.Tensor{Tensor: plan.Tensor{DType: l.stored(v.Type, order), Shape: v.Type.Shape, Order: order}})
	l.tensors[v] = t
	return t
}

// stored is the type in memory of a value in a layout.
func (l *lowering) stored(t ir.Type, order plan.Layout) plan.DType {
	if l.target.precision == BF16 && t.DType == ir.F32 && len(t.Shape) == 4 && sameOrder(order, channelsLast) {
		return plan.BF16
	}
	return plan.DType(t.DType)
}

// input gives an input of the program a tensor, which the host fills with float32.
func (l *lowering) input(v *ir.Value) int {
	t := l.out.Add(lower.Tensor{Tensor: plan.Tensor{DType: plan.DType(v.Type.DType), Shape: v.Type.Shape, Order: usualOrder(v.Type)}})
	l.tensors[v] = t
	if dtype := l.stored(v.Type, usualOrder(v.Type)); dtype != l.out.Tensors[t].DType {
		l.tensors[v] = l.copyOf(t, dtype, usualOrder(v.Type))
	}
	return t
}

// exact returns a tensor that is not rounded to bf16, through a copy if it is.
func (l *lowering) exact(t int) int {
	if l.dtype(t) != ir.BF16 {
		return t
	}
	return l.copyOf(t, plan.F32, l.order(t))
}

func (l *lowering) dtype(t int) ir.DType { return ir.DType(l.out.Tensors[t].DType) }

// scratch is memory of a launch, which those after it may read, that is no value.
func (l *lowering) scratch(dtype plan.DType, elements int) int {
	return l.out.Add(lower.Tensor{Tensor: plan.Tensor{DType: dtype, Shape: []int{elements}}})
}

// operand returns the tensor of a value; a constant is filled when it is first needed, before a loop rather than in it.
func (l *lowering) operand(v *ir.Value) int {
	if t, ok := l.tensors[v]; ok {
		return t
	}
	if !ops.IsConstant(v) {
		l.fail("a value is used that no operation has made")
		return 0
	}
	if l.around != nil {
		return l.capture(v)
	}
	t := l.result(v, usualOrder(v.Type))
	c := l.call("fill", "Fill")
	c.out(t)
	c.typename("T", l.dtype(t))
	c.number("value", v.Def.Attrs.Float("value"))
	c.elements(v.Type.Elements(), 1)
	c.emit()
	return t
}

func (l *lowering) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf(format, args...)
	}
}

// own returns a tensor for a result of the program: float32, and not a variable's, which may change before it is read.
func (l *lowering) own(v *ir.Value) int {
	t := l.exact(l.operand(v))
	if l.out.Tensors[t].Home == (lower.Home{}) {
		return t
	}
	return l.copyOf(t, l.out.Tensors[t].DType, l.order(t))
}

// in returns the tensor of a value in the given layout, through a copy if it has another.
func (l *lowering) in(v *ir.Value, order plan.Layout) int {
	t := l.operand(v)
	if len(v.Type.Shape) != 4 || sameOrder(l.out.Tensors[t].Order, order) {
		return t
	}
	key := copyKey{t, fmt.Sprint(order)}
	c, ok := l.copies[key]
	if !ok {
		c = l.copyOf(t, l.stored(v.Type, order), order)
		l.copies[key] = c
	}
	return c
}

// image, filter and plain return the tensor of a value channels last, in filter order, and row-major.
func (l *lowering) image(v *ir.Value) int  { return l.in(v, channelsLast) }
func (l *lowering) filter(v *ir.Value) int { return l.in(v, filters) }
func (l *lowering) plain(v *ir.Value) int  { return l.in(v, nil) }

func (l *lowering) copyOf(t int, dtype plan.DType, order plan.Layout) int {
	c := l.out.Add(lower.Tensor{Tensor: plan.Tensor{DType: dtype, Shape: l.out.Tensors[t].Shape, Order: order}})
	l.move(t, c)
	return c
}

func (l *lowering) order(t int) plan.Layout { return l.out.Tensors[t].Order }

// usualOrder is the layout of a four-dimensional value of which nothing else is known.
func usualOrder(t ir.Type) plan.Layout {
	if len(t.Shape) == 4 && t.DType.Float() {
		return channelsLast
	}
	return nil
}

// sameOrder compares layouts; nil is the identity.
func sameOrder(a, b plan.Layout) bool {
	for i := range max(len(a), len(b)) {
		x, y := i, i
		if a != nil {
			x = a[i]
		}
		if b != nil {
			y = b[i]
		}
		if x != y {
			return false
		}
	}
	return true
}
