// Package cpu lowers programs to the kernels of runtime/cpu: activations [N,C,H,W] lie channels last, weights of
// convolutions [O,I,KH,KW] as [KH][KW][I][O], everything else row-major. It knows the names and operands of the
// kernels, not how they work.
package cpu

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/compiler/fuse"
	"github.com/dartsc/dartsc/compiler/lower"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Name is the target's name in plans and on the command line.
const Name = "cpu"

// The layouts of four-dimensional tensors.
var (
	channelsLast = plan.Layout{0, 2, 3, 1}
	filters      = plan.Layout{2, 3, 1, 0}
)

// Target implements lower.Target.
type Target struct{}

// Name returns "cpu".
func (Target) Name() string { return Name }

// Rest is none: launches run one after the other.
func (Target) Rest() int { return 0 }

// Layout puts four-dimensional variables, which are weights of convolutions and their moments, in filter order.
func (Target) Layout(v *ir.Variable) plan.Layout {
	if lower.IsFilter(v) {
		return filters
	}
	return nil
}

// Copy returns nil: the runtime has the kernel.
func (Target) Copy(from, to plan.Tensor) *plan.DeviceLaunch { return nil }

// Modules returns nil: the runtime has all kernels.
func (Target) Modules() []plan.Module { return nil }

// Lower chooses the kernels.
func (t Target) Lower(p *ir.Program) (*lower.Program, error) {
	l := &lowering{target: t, out: &lower.Program{Name: p.Name}, tensors: make(map[*ir.Value]int, len(p.Ops)), copies: map[copyKey]int{}}
	for _, in := range p.Inputs {
		var order plan.Layout
		if len(in.Type.Shape) == 4 && in.Type.DType.Float() {
			order = channelsLast
		}
		l.out.Inputs = append(l.out.Inputs, lower.Port{Name: in.Name, Tensor: l.define(in, order)})
	}
	l.findDropped(p)
	if err := l.ops(p); err != nil {
		return nil, err
	}
	for _, r := range p.Results {
		l.op0 = &ir.Op{Phase: "report"}
		l.out.Results = append(l.out.Results, lower.Port{Name: r.Name, Tensor: l.own(r.Value)})
	}
	join(l.out)
	return l.out, nil
}

func (l *lowering) ops(p *ir.Program) error {
	for _, op := range p.Ops {
		if err := l.op(op); err != nil {
			return fmt.Errorf("lower program %s: %s: %w", p.Name, op.Position(), err)
		}
	}
	return nil
}

type lowering struct {
	target  Target
	out     *lower.Program
	tensors map[*ir.Value]int
	copies  map[copyKey]int
	dropped map[*ir.Value]*ir.Op // by result: those drop_path that its readers do
	op0     *ir.Op               // the operation being lowered
	inLoop  bool                 // the body of a loop
}

// copyKey is a value in another layout than its own.
type copyKey struct {
	tensor int
	order  string
}

// define gives a value a tensor.
func (l *lowering) define(v *ir.Value, order plan.Layout) int {
	t := l.out.Add(lower.Tensor{Tensor: tensorOf(v.Type, order)})
	l.tensors[v] = t
	return t
}

func tensorOf(t ir.Type, order plan.Layout) plan.Tensor {
	return plan.Tensor{DType: plan.DType(t.DType), Shape: t.Shape, Order: order}
}

// operand returns the tensor of a value; a constant is filled when it is first needed.
func (l *lowering) operand(v *ir.Value) int {
	if t, ok := l.tensors[v]; ok {
		return t
	}
	t := l.define(v, defaultOrder(v.Type))
	l.out.Launches = append(l.out.Launches, lower.Launch{Launch: plan.Launch{
		Kernel: "fill", Results: []int{t}, Params: plan.Params{"value": v.Def.Attrs.Float("value")},
		Phase: l.op0.Phase, Scope: l.op0.Scope, Bytes: float64(v.Type.Bytes()),
	}})
	return t
}

// own returns a tensor that is not a variable's, for results of the program: the variable may change before they are read.
func (l *lowering) own(v *ir.Value) int {
	t := l.operand(v)
	if l.out.Tensors[t].Home == (lower.Home{}) {
		return t
	}
	return l.copy(t, l.out.Tensors[t].Order)
}

// inOrder returns the tensor of a value in the given layout, through a copy if it has another.
func (l *lowering) inOrder(v *ir.Value, order plan.Layout) int {
	t := l.operand(v)
	if len(v.Type.Shape) != 4 || slices.Equal(l.out.Tensors[t].Order, order) {
		return t
	}
	key := copyKey{t, fmt.Sprint(order)}
	if c, ok := l.copies[key]; ok {
		return c
	}
	c := l.copy(t, order)
	l.copies[key] = c
	return c
}

func (l *lowering) copy(t int, order plan.Layout) int {
	from := l.out.Tensors[t]
	c := l.out.Add(lower.Tensor{Tensor: plan.Tensor{DType: from.DType, Shape: from.Shape, Order: order}})
	l.out.Launches = append(l.out.Launches, lower.Launch{Launch: plan.Launch{
		Kernel: lower.Copy, Operands: []int{t}, Results: []int{c}, Phase: l.op0.Phase, Scope: l.op0.Scope, Bytes: 2 * float64(from.Bytes()),
	}})
	return c
}

// defaultOrder is the layout of a four-dimensional value of which nothing else is known.
func defaultOrder(t ir.Type) plan.Layout {
	if len(t.Shape) == 4 && t.DType.Float() {
		return channelsLast
	}
	return nil
}

func (l *lowering) op(op *ir.Op) error {
	l.op0 = op
	switch op.Kind {
	case ir.Read:
		t := l.define(op.Result(), l.target.Layout(op.Variable))
		l.out.Tensors[t].Home = lower.InVariable(op.Variable)
		return nil
	case ir.Assign:
		l.out.Writes = append(l.out.Writes, lower.Write{Home: lower.InVariable(op.Variable), Tensor: l.operand(op.Operands[0])})
		return nil
	case "constant": // made where it is needed
		return nil
	case ir.Fusion:
		return l.fusion(op)
	case ir.Scan:
		return l.scan(op)
	}
	if op.Kind == "gradient" || op.Kind == "batch_norm_train" {
		return fmt.Errorf("must be expanded before lowering")
	}
	if len(op.Results) == 1 && l.dropped[op.Result()] != nil {
		return nil
	}
	if op.Kind == "batch_norm_sums" {
		p := params(op.Attrs)
		g, drop := l.beforeDrop(op.Operands[0], p)
		l.launch(op.Kind, op, slices.Concat([]*ir.Value{g}, op.Operands[1:], drop), p, op).Bytes += bytesOf(drop)
		return nil
	}
	if fuse.Pointwise(op) {
		return l.elementwise(op, &ir.Program{Ops: []*ir.Op{op}, Results: []ir.Result{{Value: op.Result()}}}, nil)
	}
	l.launch(op.Kind, op, op.Operands, params(op.Attrs), op)
	return nil
}

// fusion lowers a group to its kernel.
func (l *lowering) fusion(op *ir.Op) error {
	body := op.Body
	outer := map[*ir.Value]*ir.Value{}
	for i, in := range body.Inputs {
		outer[in] = op.Operands[i]
	}
	root := body.Ops[len(body.Ops)-1]
	switch group := op.Attrs.Text("group"); group {
	case fuse.Horizontal:
		return l.horizontal(op)
	case fuse.Separable, fuse.SeparableGrad:
		return l.separable(op, outer)
	case fuse.LinearLoss:
		l.linearLoss(op, outer)
		return nil
	case fuse.Elementwise:
		return l.elementwise(op, body, outer)
	case fuse.NormRelu:
		norm := body.Ops[0]
		p := params(norm.Attrs)
		p["relu"] = true
		l.launch(norm.Kind, norm, outside(norm.Operands, outer), p, op)
		return nil
	case fuse.Prologue:
		// Operands of the kernel: x or its first part, the root's other operands, then those of the normalisation or the
		// other parts of x.
		p := params(root.Attrs)
		first := body.Ops[0]
		x, more := first.Operands[:1], first.Operands[1:]
		p["prologue"] = "relu"
		switch first.Kind {
		case "batch_norm":
			p["prologue"], p["eps"] = "batch_norm_relu", first.Attrs.Float("eps")
		case "concat":
			p["parts"] = len(first.Operands)
		}
		operands := slices.Concat(x, root.Operands[1:])
		l.launch(root.Kind, root, outside(append(operands, more...), outer), p, op)
		return nil
	case fuse.Mixture:
		// Operands of the kernel: weights, terms, then mean and variance of the terms that are normalised.
		p := params(root.Attrs)
		operands, statistics := []*ir.Value{root.Operands[0]}, []*ir.Value(nil)
		var normalized []int
		var eps []float64
		for i, term := range root.Operands[1:] {
			if norm := term.Def; norm != nil && norm.Kind == "batch_norm" {
				normalized, eps = append(normalized, i), append(eps, norm.Attrs.Float("eps"))
				statistics = append(statistics, norm.Operands[1:]...)
				term = norm.Operands[0]
			}
			operands = append(operands, term)
		}
		p["normalized"], p["eps"] = normalized, eps
		l.launch(root.Kind, root, outside(append(operands, statistics...), outer), p, op)
		return nil
	case fuse.Scaled:
		// Operands of the kernel: those of the gradient, then the weights, of which parameter scale names one.
		gradient := body.Ops[0]
		p := params(gradient.Attrs)
		p["scale"] = root.Attrs.Ints("select")[0]
		l.launch(gradient.Kind, gradient, outside(append(slices.Clone(gradient.Operands), root.Operands[0]), outer), p, op)
		return nil
	case fuse.Split:
		// Operands of the kernel: those of the gradient, what it is added to, if anything is, and the masks of the parts.
		gradient, operands, masks := body.Ops[0], []*ir.Value(nil), []*ir.Value(nil)
		p := params(gradient.Attrs)
		var from []int
		for _, inner := range body.Ops {
			switch inner.Kind {
			case "conv2d_input_grad":
				gradient, operands = inner, inner.Operands
			case "add":
				operands = append(slices.Clone(operands), fuse.Addend(inner, gradient.Result()))
			}
		}
		for _, r := range body.Results {
			mask := r.Value.Def
			masks, from = append(masks, mask.Operands[1]), append(from, mask.Operands[0].Def.Attrs.Ints("starts")[1])
		}
		p["parts"] = from
		l.launch(gradient.Kind, gradient, outside(append(slices.Clone(operands), masks...), outer), p, op).InPlace = nil // a part has no place in the whole
		return nil
	case fuse.Accumulate:
		// Operands of the kernel: those of the gradient, then what it is added to.
		gradient := body.Ops[0]
		sum := fuse.Addend(root, gradient.Result())
		l.launch(gradient.Kind, gradient, outside(append(slices.Clone(gradient.Operands), sum), outer), params(gradient.Attrs), op)
		return nil
	default:
		return fmt.Errorf("no kernel for group %q", group)
	}
}

func outside(inner []*ir.Value, outer map[*ir.Value]*ir.Value) []*ir.Value {
	values := make([]*ir.Value, len(inner))
	for i, v := range inner {
		values[i] = outer[v]
	}
	return values
}

// launch appends a kernel, and returns it until the next one. Like is the operation whose rules of layout it follows; op is the one in the program, which
// has the results.
func (l *lowering) launch(kernel string, like *ir.Op, operands []*ir.Value, p plan.Params, op *ir.Op) *lower.Launch {
	first := func(at int) plan.Layout {
		if at < len(operands) {
			return l.out.Tensors[l.operand(operands[at])].Order
		}
		return nil
	}
	order := resultOrder(like, first)
	out := lower.Launch{Launch: plan.Launch{Kernel: kernel, Params: p, Phase: op.Phase, Scope: op.Scope, FLOPs: ops.FLOPs(op), Bytes: ops.Bytes(op)}}
	for i, v := range operands {
		if want, fixed := operandOrder(like, i, order); fixed {
			out.Operands = append(out.Operands, l.inOrder(v, want))
		} else {
			out.Operands = append(out.Operands, l.operand(v))
		}
	}
	for _, v := range op.Results {
		var o plan.Layout
		if len(v.Type.Shape) == 4 {
			o = order
		}
		out.Results = append(out.Results, l.define(v, o))
	}
	out.InPlace = inPlace(kernel, len(operands))
	l.out.Launches = append(l.out.Launches, out)
	return &l.out.Launches[len(l.out.Launches)-1]
}

// elementwise lowers a tree of pointwise operations to one kernel with a small program.
func (l *lowering) elementwise(op *ir.Op, body *ir.Program, outer map[*ir.Value]*ir.Value) error {
	result := op.Result()
	out := lower.Launch{Launch: plan.Launch{Kernel: "elementwise", Phase: op.Phase, Scope: op.Scope, FLOPs: ops.FLOPs(op), Bytes: ops.Bytes(op)}}
	// Operands first, so that registers of instructions follow them.
	registers := map[*ir.Value]int{}
	inside := map[*ir.Value]bool{}
	for _, inner := range body.Ops {
		for _, v := range inner.Results {
			inside[v] = true
		}
	}
	var external []*ir.Value
	seen, onImages := map[*ir.Value]bool{}, false
	for _, inner := range body.Ops {
		onImages = onImages || fuse.OnImages(inner)
		for _, v := range inner.Operands {
			if inside[v] || seen[v] || ops.IsConstant(v) {
				continue
			}
			seen[v] = true
			external = append(external, v)
		}
	}
	order, known := channelsLast, onImages
	for _, v := range external {
		if source := outerOf(v, outer); !known && len(source.Type.Shape) == 4 {
			order, known = l.out.Tensors[l.operand(source)].Order, true
		}
	}
	if !known {
		order = defaultOrder(result.Type)
	}
	for i, v := range external {
		registers[v] = i
		out.Operands = append(out.Operands, l.inOrder(outerOf(v, outer), order))
	}
	add := func(i plan.Instruction) int {
		out.Code = append(out.Code, i)
		return len(external) + len(out.Code) - 1
	}
	for _, inner := range body.Ops {
		if inner.Kind == "constant" {
			registers[inner.Result()] = add(plan.Instruction{Op: "constant", Constants: []float64{inner.Attrs.Float("value")}})
			continue
		}
		instruction := plan.Instruction{Op: inner.Kind, Constants: constants(inner)}
		for _, v := range inner.Operands {
			r, ok := registers[v]
			if !ok { // a constant outside the group
				r = add(plan.Instruction{Op: "constant", Constants: []float64{v.Def.Attrs.Float("value")}})
				registers[v] = r
			}
			instruction.Args = append(instruction.Args, r)
		}
		registers[inner.Result()] = add(instruction)
	}
	out.Params = plan.Params{"results": []int{registers[body.Results[0].Value]}}
	if len(result.Type.Shape) != 4 {
		order = nil
	}
	out.Results = []int{l.define(result, order)}
	for i, v := range external {
		if v.Type.Equal(result.Type) {
			out.InPlace = append(out.InPlace, lower.Alias{Operand: i, Result: 0})
		}
	}
	l.out.Launches = append(l.out.Launches, out)
	return nil
}

// constants are the attributes of an instruction of an elementwise kernel.
func constants(op *ir.Op) []float64 {
	switch op.Kind {
	case "axpby":
		return []float64{op.Attrs.Float("a"), op.Attrs.Float("b")}
	case "batch_norm":
		return []float64{op.Attrs.Float("eps")}
	case "slice": // of channels
		return []float64{float64(op.Attrs.Ints("starts")[1])}
	case "drop_path":
		return []float64{float64(op.Attrs.Int("stream"))}
	}
	return nil
}

func outerOf(v *ir.Value, outer map[*ir.Value]*ir.Value) *ir.Value {
	if o := outer[v]; o != nil {
		return o
	}
	return v
}

func params(attrs ir.Attrs) plan.Params {
	p := plan.Params{}
	for _, a := range attrs {
		p[a.Name] = a.Value
	}
	return p
}

// resultOrder is the layout of an operation's four-dimensional results; of gives that of an operand.
func resultOrder(op *ir.Op, of func(operand int) plan.Layout) plan.Layout {
	switch op.Kind {
	case "conv2d_weight_grad":
		return filters
	case "take_images", "random_crop", "random_flip":
		return nil
	case "weighted_sum":
		return of(1)
	case "sgd", "adam", "drop_path", "slice", "pad", "concat":
		return of(0)
	}
	return channelsLast
}

// operandOrder is the layout that a kernel wants of an operand; fixed is false where it takes any.
func operandOrder(op *ir.Op, i int, result plan.Layout) (order plan.Layout, fixed bool) {
	switch op.Kind {
	case "conv2d", "conv2d_input_grad":
		if i == 1 {
			return filters, true
		}
		return channelsLast, true
	case "conv2d_weight_grad", "batch_norm", "batch_norm_sums", "batch_norm_input_grad", "batch_stats", "max_pool2d", "max_pool2d_grad", "avg_pool2d", "avg_pool2d_grad", "cutout", "bias_add":
		return channelsLast, true
	case "weighted_sum", "weighted_sum_weight_grad", "sgd", "adam", "concat":
		return result, true
	}
	return nil, false
}

// inPlace lists which results a kernel may write over which operands.
func inPlace(kernel string, operands int) []lower.Alias {
	switch kernel {
	case "batch_norm", "drop_path", "cutout", "bias_add", "mask_steps":
		return []lower.Alias{{Operand: 0, Result: 0}}
	case "batch_norm_input_grad":
		return []lower.Alias{{Operand: 0, Result: 0}, {Operand: 1, Result: 0}}
	case "conv2d_input_grad":
		if operands == 3 {
			return []lower.Alias{{Operand: 2, Result: 0}}
		}
	case "matmul":
		if operands == 3 {
			return []lower.Alias{{Operand: 2, Result: 0}}
		}
	case "cross_entropy_grad":
		return []lower.Alias{{Operand: 1, Result: 0}}
	case "weighted_sum":
		var all []lower.Alias
		for i := 1; i < operands; i++ {
			all = append(all, lower.Alias{Operand: i, Result: 0})
		}
		return all
	case "sgd":
		return []lower.Alias{{Operand: 0, Result: 0}, {Operand: 2, Result: 1}, {Operand: 1, Result: 0}}
	case "adam":
		return []lower.Alias{{Operand: 0, Result: 0}, {Operand: 2, Result: 1}, {Operand: 3, Result: 2}}
	}
	return nil
}
