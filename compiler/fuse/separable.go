package fuse

import (
	"slices"

	"github.com/dartsc/dartsc/ir"
)

// Separable convolutions and their way back, for one primitive of an edge:
//
//	x ─ [batch_norm] ─ relu ─ depthwise ─ pointwise ─ z ─ batch_stats
//
//	dz = [weighted_sum of] batch_norm_input_grad    the cotangent of z
//	between = conv2d_input_grad(dz, pointwise)
//	dx = conv2d_input_grad(between, depthwise)      [+ the cotangent so far] [→ relu_grad [→ batch_norm_sums]]
//	conv2d_weight_grad(x, between), conv2d_weight_grad(depthwise of x, dz)
//
// A target makes what lies between in its cache, and makes it again on the way back. These are the only groups with
// several results from several operations.
func (g *grouping) separables() {
	for _, op := range g.program.Ops {
		if op.Kind == "conv2d_input_grad" && pointwise(op) && !g.gone[op] {
			g.separableGrad(op)
		}
	}
	for _, op := range g.program.Ops {
		if op.Kind == "conv2d" && pointwise(op) {
			g.separable(op)
		}
	}
}

// separable joins a pointwise convolution to the depthwise one before it, if nothing else reads that but its own way
// back, which makes it again; and to the statistics of its result.
func (g *grouping) separable(op *ir.Op) {
	before := op.Operands[0].Def
	if before == nil || before.Kind != "conv2d" || !depthwise(before) || len(before.Operands) != 2 || before.Phase != op.Phase || before.Operands[0] == before.Operands[1] {
		return
	}
	again := func(user *ir.Op) bool {
		return user == op || user.Kind == "conv2d_weight_grad" && len(g.roots[user]) > 0
	}
	if !g.private(before.Result(), again) {
		return
	}
	c := &candidate{results: op.Results, members: []*ir.Op{before, op}}
	for _, user := range g.users[op.Result()] {
		if user.Kind == "batch_stats" {
			c.take(user)
			c.results = append(slices.Clone(c.results), user.Results...)
			break
		}
	}
	if g.complete(c, Separable) {
		g.gone[before] = true
	}
}

// candidate is a group that may come to be: its members in any order, and what must come out of it, in the order of
// the kernel's results.
type candidate struct {
	members []*ir.Op
	results []*ir.Value
}

func (c *candidate) take(op *ir.Op) { c.members = append(c.members, op) }

// separableGrad makes the group around the gradient of a pointwise convolution's input.
func (g *grouping) separableGrad(op *ir.Op) {
	b := &wayBack{grouping: g, pointwise: op}
	if !b.convolutions() {
		return
	}
	c := &candidate{members: []*ir.Op{op, b.depthwise}}
	if b.dDepthwise != nil {
		c.members = append(c.members, b.dDepthwise, b.dPointwise)
	}
	c.members = append(c.members, b.cotangent()...)
	out := b.depthwise.Result()
	if add := g.sum(out); add != nil {
		c.take(add)
		out = add.Result()
	}
	mask := b.mask(out)
	if mask != nil {
		c.take(mask)
		out = mask.Result()
	}
	c.results = []*ir.Value{out}
	if b.dDepthwise != nil {
		c.results = append(c.results, b.dDepthwise.Result(), b.dPointwise.Result())
	}
	if mask != nil {
		if sums := b.normSums(mask); sums != nil {
			c.take(sums)
			c.results = append(c.results, sums.Results...)
		}
	}
	if !g.complete(c, SeparableGrad) {
		return
	}
	root := g.roots[op][0]
	if b.dPointwise != nil { // what lies between is made again
		g.joinForward(root, b.dPointwise.Operands[0].Def)
	}
	if mask != nil && mask.Operands[1].Def != nil && mask.Operands[1].Def.Kind == "batch_norm" {
		g.join(root, mask.Operands[1].Def)
	}
}

// joinForward adds an operation of the way there to a group; a prologue found later goes with it.
func (g *grouping) joinForward(root, op *ir.Op) {
	g.join(root, op)
	g.roots[op] = append(g.roots[op], root)
}

// complete makes the group if its root, the last of its members, comes before all that reads its results.
func (g *grouping) complete(c *candidate, pattern string) bool {
	root := slices.MaxFunc(c.members, func(a, b *ir.Op) int { return g.at[a] - g.at[b] })
	for _, op := range c.members {
		if g.gone[op] || g.pattern[op] != "" {
			return false
		}
		for _, v := range op.Results {
			for _, user := range g.users[v] {
				if g.at[user] < g.at[root] && !slices.Contains(c.members, user) {
					return false
				}
			}
		}
	}
	for _, op := range c.members {
		g.roots[op] = append(g.roots[op], root)
		if op != root {
			g.gone[op] = true
			g.join(root, op)
		}
	}
	g.pattern[root], g.outputs[root] = pattern, c.results
	return true
}

// wayBack finds the parts of a separable_grad group around its first convolution.
type wayBack struct {
	*grouping
	pointwise, depthwise   *ir.Op // gradients of inputs
	dDepthwise, dPointwise *ir.Op // gradients of filters; both or neither
}

// convolutions finds the other three.
func (b *wayBack) convolutions() bool {
	between, dz := b.pointwise.Result(), b.pointwise.Operands[0]
	if b.results[between] {
		return false
	}
	for _, user := range b.users[between] {
		switch {
		case user.Kind == "conv2d_input_grad" && user.Operands[0] == between && depthwise(user) && b.depthwise == nil:
			b.depthwise = user
		case user.Kind == "conv2d_weight_grad" && user.Operands[1] == between && user.Operands[0] != between && b.dDepthwise == nil:
			b.dDepthwise = user
		default:
			return false
		}
	}
	if b.depthwise == nil || b.depthwise.Phase != b.pointwise.Phase {
		return false
	}
	if b.dDepthwise == nil {
		return true
	}
	for _, user := range b.users[dz] {
		if user.Kind == "conv2d_weight_grad" && user.Operands[1] == dz && b.again(user.Operands[0].Def) && pointwise(user) {
			b.dPointwise = user
		}
	}
	return b.dPointwise != nil && sameGeometry(b.depthwise, b.dDepthwise)
}

// again says whether an operation is the depthwise convolution that this is the way back of.
func (b *wayBack) again(op *ir.Op) bool {
	return op != nil && op.Kind == "conv2d" && sameGeometry(op, b.depthwise) &&
		op.Operands[0] == b.dDepthwise.Operands[0] && op.Operands[1] == b.depthwise.Operands[1]
}

// cotangent returns the gradient of BatchNorm that gives the cotangent of z, and what scales it, where only this group
// reads them.
func (b *wayBack) cotangent() (ops []*ir.Op) {
	mine := func(user *ir.Op) bool { return user == b.pointwise || user == b.dPointwise }
	v := b.pointwise.Operands[0]
	op := v.Def
	if op != nil && op.Kind == "weighted_sum" && len(op.Operands) == 2 && b.private(v, mine) {
		norm := op.Operands[1].Def
		if norm != nil && norm.Kind == "batch_norm_input_grad" && b.private(norm.Result(), is(op)) {
			return []*ir.Op{norm, op}
		}
		return nil
	}
	if op != nil && op.Kind == "batch_norm_input_grad" && b.private(v, mine) {
		return []*ir.Op{op}
	}
	return nil
}

// sum returns the addition of the cotangent so far, if that is there before.
func (g *grouping) sum(v *ir.Value) *ir.Op {
	add := g.onlyUser(v)
	if add == nil || add.Kind != "add" || add.Operands[0] == add.Operands[1] || !add.Result().Type.Equal(v.Type) {
		return nil
	}
	other := Addend(add, v)
	if !other.Type.Equal(v.Type) || other.Def != nil && g.at[other.Def] > g.at[v.Def] {
		return nil
	}
	return add
}

func (g *grouping) onlyUser(v *ir.Value) *ir.Op {
	if g.results[v] || len(g.users[v]) != 1 {
		return nil
	}
	return g.users[v][0]
}

// mask returns the gradient of the prologue's ReLU. Where the filters' gradients read x, it must be the same ReLU.
func (b *wayBack) mask(v *ir.Value) *ir.Op {
	op := b.onlyUser(v)
	if op == nil || op.Kind != "relu_grad" || op.Operands[0] != v || op.Operands[1] == v {
		return nil
	}
	if b.dDepthwise != nil {
		relu := b.dDepthwise.Operands[0].Def
		if relu == nil || relu.Kind != "relu" || relu.Operands[0] != op.Operands[1] || !b.private(relu.Result(), convolves(relu)) {
			return nil
		}
	}
	return op
}

// normSums returns the sums of the prologue's BatchNorm for the cotangent that mask gives.
func (b *wayBack) normSums(mask *ir.Op) *ir.Op {
	norm := mask.Operands[1].Def
	if norm == nil || norm.Kind != "batch_norm" {
		return nil
	}
	for _, user := range b.users[mask.Result()] {
		if user.Kind == "batch_norm_sums" && user.Operands[0] == mask.Result() && slices.Equal(user.Operands[1:], norm.Operands[:3]) &&
			user.Attrs.Float("eps") == norm.Attrs.Float("eps") {
			return user
		}
	}
	return nil
}

// pointwise says whether an operation is, or is a gradient of, a 1×1 convolution of all channels at every pixel.
func pointwise(op *ir.Op) bool {
	filter := filterShape(op)
	return filter[2] == 1 && filter[3] == 1 && op.Attrs.Int("groups") == 1 && slices.Equal(op.Attrs.Ints("strides"), []int{1, 1}) &&
		slices.Equal(op.Attrs.Ints("pads"), []int{0, 0, 0, 0})
}

// depthwise says whether an operation is, or is a gradient of, a convolution with one filter a channel.
func depthwise(op *ir.Op) bool {
	filter, groups := filterShape(op), op.Attrs.Int("groups")
	return groups == filter[0] && filter[1] == 1
}

func filterShape(op *ir.Op) []int {
	if op.Kind == "conv2d_weight_grad" {
		return op.Attrs.Ints("shape")
	}
	return op.Operands[1].Type.Shape
}

// sameGeometry compares what two operations say of one convolution.
func sameGeometry(a, b *ir.Op) bool {
	for _, name := range []string{"strides", "pads", "dilations"} {
		if !slices.Equal(a.Attrs.Ints(name), b.Attrs.Ints(name)) {
			return false
		}
	}
	return a.Attrs.Int("groups") == b.Attrs.Int("groups") && slices.Equal(filterShape(a), filterShape(b))
}
