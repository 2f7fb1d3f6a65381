// Package fuse groups operations that become one launch: each group is an operation "fusion" whose body is the group,
// so that a fused module prints, verifies and runs in the reference interpreter like any other. A group has an
// attribute "group" that names its pattern, which the targets lower to a kernel:
//
//	separable     prologue → depthwise conv2d → pointwise conv2d → batch_stats, of which prologue and statistics may be absent
//	separable_grad its way back, image by image, see separable.go
//	horizontal    several of these that read one state, or add to its cotangent, see horizontal.go
//	linear_loss   matmul → bias_add → cross_entropy over a large vocabulary, and its way back, see linear_loss.go
//	prologue      [batch_norm or concat →] relu → conv2d or conv2d_weight_grad: applied as the convolution loads its input
//	norm_relu     batch_norm → relu
//	mixture       batch_norm of some or all terms → weighted_sum: a node of a supernet in one pass over memory
//	scaled        batch_norm_input_grad → weighted_sum of one term: its way back
//	split         conv2d_input_grad [→ add] → slice → relu_grad: the way back into the parts of a concat, see split.go
//	accumulate    conv2d_input_grad or matmul → add: the cotangent of a value with several uses grows where it is
//	elementwise   a tree of pointwise operations, one pass over memory; batch_norm, drop_path and slices of channels may be in it
//
// The package knows the operations through package ops, and no target; a target that has no kernel for a pattern may
// lower the body operation by operation.
package fuse

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// The values of the attribute "group".
const (
	Separable     = "separable"
	SeparableGrad = "separable_grad"
	Horizontal    = "horizontal"
	LinearLoss    = "linear_loss"
	Prologue      = "prologue"
	NormRelu      = "norm_relu"
	Mixture       = "mixture"
	Scaled        = "scaled"
	Split         = "split"
	Accumulate    = "accumulate"
	Elementwise   = "elementwise"
)

// Fuse returns the pass that groups the operations of every program. It wants a module after Decompose; nothing may share or
// simplify after it. ByImage is for a target that goes through large groups image by image, in a cache.
func Fuse(byImage bool) func(m *ir.Module) error {
	return func(m *ir.Module) error {
		for _, p := range m.Programs {
			if err := fuseProgram(m, p, byImage); err != nil {
				return err
			}
		}
		return nil
	}
}

// fuseProgram groups the operations of a program or of the body of a loop.
func fuseProgram(m *ir.Module, p *ir.Program, byImage bool) error {
	for _, op := range p.Ops {
		if op.Kind == ir.Scan {
			if err := fuseProgram(m, op.Body, byImage); err != nil {
				return err
			}
		}
	}
	g := newGrouping(m, p)
	g.separables()
	if byImage {
		g.splits()
	}
	g.linearLosses()
	g.prologues()
	g.mixtures()
	g.accumulations()
	g.elementwise()
	if err := g.rebuild(); err != nil {
		return err
	}
	return horizontal(m, p)
}

// grouping decides which operations join which: a member is computed inside its root. An operation may be a member of
// several roots (a prologue is cheap to repeat); it then disappears from the program.
type grouping struct {
	module  *ir.Module
	program *ir.Program
	users   map[*ir.Value][]*ir.Op
	results map[*ir.Value]bool // returned by the program: must exist
	members map[*ir.Op][]*ir.Op
	pattern map[*ir.Op]string      // by root
	gone    map[*ir.Op]bool        // computed only inside groups
	outputs map[*ir.Op][]*ir.Value // by root: the results of the group; nil: those of the root
	roots   map[*ir.Op][]*ir.Op    // of members of separable groups
	at      map[*ir.Op]int         // position in the program
}

func newGrouping(m *ir.Module, p *ir.Program) *grouping {
	g := &grouping{
		module: m, program: p,
		users: make(map[*ir.Value][]*ir.Op, len(p.Ops)), results: map[*ir.Value]bool{},
		members: map[*ir.Op][]*ir.Op{}, pattern: map[*ir.Op]string{}, gone: map[*ir.Op]bool{},
		outputs: map[*ir.Op][]*ir.Value{}, roots: map[*ir.Op][]*ir.Op{}, at: make(map[*ir.Op]int, len(p.Ops)),
	}
	for i, op := range p.Ops {
		g.at[op] = i
		for _, v := range op.Operands {
			g.users[v] = append(g.users[v], op)
		}
	}
	for _, r := range p.Results {
		g.results[r.Value] = true
	}
	return g
}

func is(op *ir.Op) func(user *ir.Op) bool { return func(user *ir.Op) bool { return user == op } }

// private says whether a value is used only by operations that f accepts, and is not a result.
func (g *grouping) private(v *ir.Value, f func(user *ir.Op) bool) bool {
	if g.results[v] || len(g.users[v]) == 0 {
		return false
	}
	for _, user := range g.users[v] {
		if !f(user) {
			return false
		}
	}
	return true
}

// prologues joins ReLU, and the normalisation before it, to the convolutions that read it. Those in separable groups
// bring their groups along, which may also hold the gradient of the ReLU.
func (g *grouping) prologues() {
	for _, op := range g.program.Ops {
		if op.Kind != "relu" || len(op.Result().Type.Shape) != 4 || g.gone[op] {
			continue
		}
		norm := op.Operands[0].Def
		masked := func(user *ir.Op) bool { return user == op || user.Kind == "relu_grad" && len(g.roots[user]) > 0 }
		if norm != nil && (norm.Kind != "batch_norm" || !g.private(norm.Result(), masked)) {
			norm = nil
		}
		switch {
		case g.private(op.Result(), convolves(op)):
			first := cmp.Or(norm, g.concatBefore(op))
			for _, user := range g.users[op.Result()] {
				g.prologue(user, first, op)
			}
			g.gone[op] = true
			if first != nil {
				g.gone[first] = true
			}
		case norm != nil && len(g.users[norm.Result()]) == 1:
			g.pattern[op], g.members[op] = NormRelu, []*ir.Op{norm}
			g.gone[norm] = true
		}
	}
}

// concatBefore returns the concat of channels that only a ReLU reads, which only dense convolutions read: they can load
// the parts instead.
func (g *grouping) concatBefore(relu *ir.Op) *ir.Op {
	concat := relu.Operands[0].Def
	if concat == nil || concat.Kind != "concat" || concat.Attrs.Int("axis") != 1 {
		return nil
	}
	dense := func(user *ir.Op) bool { return user.Attrs.Int("groups") == 1 && len(g.roots[user]) == 0 }
	if !g.private(concat.Result(), is(relu)) || !g.private(relu.Result(), dense) {
		return nil
	}
	return concat
}

// convolves says of the users of an operation which are convolutions, or gradients of filters, of its result.
func convolves(op *ir.Op) func(user *ir.Op) bool {
	return func(user *ir.Op) bool {
		return (user.Kind == "conv2d" || user.Kind == "conv2d_weight_grad") && user.Operands[0] == op.Result() && user.Operands[1] != op.Result()
	}
}

// prologue makes ReLU, and what comes first unless it is nil, members of a convolution's group or groups.
func (g *grouping) prologue(convolution, first, relu *ir.Op) {
	roots := slices.Clone(g.roots[convolution])
	if !g.gone[convolution] && g.pattern[convolution] == "" { // it is there by itself, whether or not a group makes it again
		g.pattern[convolution], roots = Prologue, append(roots, convolution)
	}
	for _, root := range roots {
		if first != nil {
			g.join(root, first)
		}
		g.join(root, relu)
	}
}

// join makes an operation a member of a group, which stand in the order of the program.
func (g *grouping) join(root, op *ir.Op) {
	members := g.members[root]
	at, there := slices.BinarySearchFunc(members, op, func(a, b *ir.Op) int { return g.at[a] - g.at[b] })
	if !there {
		g.members[root] = slices.Insert(members, at, op)
	}
}

// mixtures joins the normalisation of terms to the weighted sums that alone use them, and a scaling to the gradient
// of the normalisation before it. Normalisations with scale and shift stay: supernets have none.
func (g *grouping) mixtures() {
	for _, op := range g.program.Ops {
		if op.Kind != "weighted_sum" || g.gone[op] || g.pattern[op] != "" {
			continue
		}
		if x := op.Operands[1].Def; len(op.Operands) == 2 && x != nil && x.Kind == "batch_norm_input_grad" && g.private(op.Operands[1], is(op)) && g.pattern[x] == "" && !g.gone[x] {
			g.pattern[op], g.members[op], g.gone[x] = Scaled, []*ir.Op{x}, true
			continue
		}
		if !mixes(op) {
			continue
		}
		seen := map[*ir.Op]bool{}
		for _, term := range op.Operands[1:] {
			norm := term.Def
			if norm == nil || norm.Kind != "batch_norm" || len(norm.Operands) != 3 || seen[norm] || !g.private(term, mixes) {
				continue
			}
			seen[norm] = true
			g.pattern[op], g.gone[norm] = Mixture, true
			g.members[op] = append(g.members[op], norm)
		}
	}
}

// mixes says whether an operation is a weighted sum of images. A normalised pooling is a term of several.
func mixes(op *ir.Op) bool { return op.Kind == "weighted_sum" && len(op.Result().Type.Shape) == 4 }

// accumulations joins the gradient of a convolution's input, or a matrix product, to the addition that is its only user.
func (g *grouping) accumulations() {
	for _, op := range g.program.Ops {
		if op.Kind != "add" || op.Operands[0] == op.Operands[1] || g.gone[op] || g.pattern[op] != "" {
			continue
		}
		if !op.Operands[0].Type.Equal(op.Operands[1].Type) { // a number is added, and no kernel takes one
			continue
		}
		// The later one of two, so that the other is there before it.
		for _, v := range []*ir.Value{op.Operands[1], op.Operands[0]} {
			if v.Def != nil && accumulates(v.Def) && !g.gone[v.Def] && g.pattern[v.Def] == "" && g.private(v, is(op)) {
				g.pattern[op], g.members[op], g.gone[v.Def] = Accumulate, []*ir.Op{v.Def}, true
				break
			}
		}
	}
}

// accumulates says whether a kernel can add onto a value.
func accumulates(op *ir.Op) bool { return op.Kind == "conv2d_input_grad" || op.Kind == "matmul" }

// elementwise joins pointwise operations, BatchNorms, drop paths and slices of channels to their only user. An operation on two whole
// tensors stays where it is: to join it would keep both alive until its user runs, for the sake of one pass over memory.
func (g *grouping) elementwise() {
	root := map[*ir.Op]*ir.Op{}
	for i := len(g.program.Ops) - 1; i >= 0; i-- {
		op := g.program.Ops[i]
		if !Pointwise(op) && !OnImages(op) || g.gone[op] || g.pattern[op] != "" {
			continue
		}
		if Pointwise(op) {
			root[op] = op
		}
		v := op.Result()
		if g.results[v] || len(g.users[v]) != 1 || wholeOperands(op) > 1 && op.Kind != "relu_grad" {
			continue
		}
		user := g.users[v][0]
		to := root[user]
		if to == nil || user.Phase != op.Phase || !v.Type.Equal(to.Result().Type) {
			continue
		}
		root[op] = to
		g.pattern[to] = Elementwise
		g.members[to] = append([]*ir.Op{op}, g.members[to]...)
		g.gone[op] = true
	}
}

// Pointwise says whether an operation can be an instruction of an elementwise group.
func Pointwise(op *ir.Op) bool {
	def := ops.Lookup(op.Kind)
	return def != nil && def.Pointwise && len(op.Results) == 1
}

// OnImages says whether an operation can be in an elementwise group although what it does depends on the channel or the image.
func OnImages(op *ir.Op) bool {
	switch op.Kind {
	case "batch_norm", "drop_path":
		return len(op.Result().Type.Shape) == 4
	case "slice":
		x, y := op.Operands[0].Type.Shape, op.Result().Type.Shape
		return len(x) == 4 && x[0] == y[0] && x[2] == y[2] && x[3] == y[3]
	}
	return false
}

// wholeOperands counts the operands as large as the result, constants left out.
func wholeOperands(op *ir.Op) int {
	n := 0
	for i, v := range op.Operands {
		repeated := i > 0 && v == op.Operands[0]
		if v.Type.Equal(op.Result().Type) && !ops.IsConstant(v) && !repeated {
			n++
		}
	}
	return n
}

// rebuild replaces every root by a fusion and drops what exists only inside groups.
func (g *grouping) rebuild() error {
	b := ops.Continue(g.module)
	replaced := map[*ir.Value]*ir.Value{}
	kept := make([]*ir.Op, 0, len(g.program.Ops))
	for _, op := range g.program.Ops {
		if g.gone[op] {
			continue
		}
		for i, v := range op.Operands {
			if r := replaced[v]; r != nil {
				op.Operands[i] = r
			}
		}
		if g.pattern[op] == "" {
			kept = append(kept, op)
			continue
		}
		body, operands := g.body(op, replaced)
		b.Place(op)
		fused := b.Fuse(body, operands, ir.A("group", g.pattern[op]))
		for i, v := range g.outputsOf(op) {
			replaced[v] = fused[i]
		}
		kept = append(kept, b.Program.Ops...)
		b.Program.Ops = nil
	}
	for i, r := range g.program.Results {
		if v := replaced[r.Value]; v != nil {
			g.program.Results[i].Value = v
		}
	}
	g.program.Ops = kept
	g.program.Number()
	return b.Err()
}

// body copies the members of a group and its root into a program of its own, and returns the operands it needs.
// Constants come along where they become part of the kernel; the other groups' kernels take tensors.
func (g *grouping) body(root *ir.Op, replaced map[*ir.Value]*ir.Value) (body *ir.Program, operands []*ir.Value) {
	body = &ir.Program{Name: g.pattern[root]}
	inside := map[*ir.Value]*ir.Value{}
	var clone func(op *ir.Op) *ir.Op
	value := func(v *ir.Value) *ir.Value {
		if in := inside[v]; in != nil {
			return in
		}
		if ops.IsConstant(v) && g.pattern[root] == Elementwise {
			return clone(v.Def).Result()
		}
		in := &ir.Value{Type: v.Type, Name: fmt.Sprintf("in%d", len(operands))}
		inside[v] = in
		body.Inputs = append(body.Inputs, in)
		if r := replaced[v]; r != nil {
			v = r
		}
		operands = append(operands, v)
		return in
	}
	clone = func(op *ir.Op) *ir.Op {
		copied := &ir.Op{Kind: op.Kind, Attrs: op.Attrs}
		for _, v := range op.Operands {
			copied.Operands = append(copied.Operands, value(v))
		}
		for _, v := range op.Results {
			r := &ir.Value{Type: v.Type, Def: copied}
			inside[v] = r
			copied.Results = append(copied.Results, r)
		}
		body.Ops = append(body.Ops, copied)
		return copied
	}
	for _, member := range g.members[root] {
		clone(member)
	}
	clone(root)
	for i, v := range g.outputsOf(root) {
		name := v.Def.Kind
		if slices.ContainsFunc(body.Results, func(r ir.Result) bool { return r.Name == name }) {
			name = fmt.Sprint(name, " ", i)
		}
		body.Results = append(body.Results, ir.Result{Name: name, Value: inside[v]})
	}
	return body, operands
}

// outputsOf are the results of a group.
func (g *grouping) outputsOf(root *ir.Op) []*ir.Value {
	if outputs := g.outputs[root]; outputs != nil {
		return outputs
	}
	return root.Results
}
