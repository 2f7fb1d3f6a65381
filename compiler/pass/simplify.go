package pass

import (
	"slices"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Simplify rewrites operations into cheaper ones of the same meaning. The rules that matter for a supernet: a term that
// is constant zero (the primitive "none") leaves a weighted sum; a sum of weighted sums with the same weights becomes
// one, so that a node of a cell is a single operation; a convolution of a cropped image crops by negative pads.
var Simplify = each(func(m *ir.Module, p *ir.Program) error {
	uses := p.Uses(p.Number())
	replaced := substitution{}
	kept := make([]*ir.Op, 0, len(p.Ops))
	b := ops.Continue(m)
	for _, op := range p.Ops {
		replaced.operands(op)
		b.Place(op)
		if op.Kind == ir.Scan {
			captureConstants(ir.LoopOf(op))
		}
		v := rewrite(b, op, uses)
		if v == nil {
			kept = append(kept, op)
			continue
		}
		// New values take the place of the old one, with as many uses.
		kept = append(kept, b.Program.Ops...)
		for _, added := range b.Program.Ops {
			for _, r := range added.Results {
				r.ID, uses = len(uses), append(uses, 0)
			}
			for _, operand := range added.Operands {
				uses[operand.ID]++
			}
		}
		b.Program.Ops = nil
		uses[v.ID] += uses[op.Result().ID]
		for _, operand := range op.Operands {
			uses[operand.ID]--
		}
		replaced[op.Result()] = v
	}
	replaced.results(p)
	p.Ops = kept
	p.Number()
	return b.Err()
})

// rewrite returns a value equal to the only result of op, or nil where no rule applies. Uses counts the uses of values
// by their IDs.
func rewrite(b *ops.Builder, op *ir.Op, uses []int) *ir.Value {
	switch op.Kind {
	case "add":
		return rewriteAdd(b, op, uses)
	case "mul":
		return identity(op, 1)
	case "axpby":
		x, y, a, c := op.Operands[0], op.Operands[1], op.Attrs.Float("a"), op.Attrs.Float("b")
		switch {
		case a == 1 && c == 0 && x.Type.Equal(op.Result().Type):
			return x
		case a == 0 && c == 1 && y.Type.Equal(op.Result().Type):
			return y
		}
	case "weighted_sum":
		if w, ok := constantOf(op.Operands[0]); ok && w != 0 && len(op.Operands) == 2 {
			return b.Axpby(op.Operands[1], op.Operands[1], w, 0)
		}
		return dropZeroTerms(b, op)
	case "weighted_sum_weight_grad":
		return dropZeroTerms(b, op)
	case "conv2d":
		return cropInConvolution(b, op)
	case "concat":
		if len(op.Operands) == 1 {
			return op.Operands[0]
		}
	case "relu":
		if x := op.Operands[0].Def; x != nil && x.Kind == "relu" {
			return op.Operands[0]
		}
	case "reshape", "pad":
		return unchanged(op)
	case "slice":
		if v := unchanged(op); v != nil {
			return v
		}
		return sliceOfMask(b, op)
	}
	return nil
}

// unchanged removes an operation that leaves all as it is.
func unchanged(op *ir.Op) *ir.Value {
	if op.Operands[0].Type.Equal(op.Result().Type) {
		return op.Operands[0]
	}
	return nil
}

// sliceOfMask rewrites a slice of relu_grad(g, concat(…, x, …)) that is x's part: it is relu_grad of a slice of g by x,
// which does not need the concat.
func sliceOfMask(b *ops.Builder, op *ir.Op) *ir.Value {
	mask := op.Operands[0].Def
	if mask == nil || mask.Kind != "relu_grad" || mask.Phase != op.Phase || !mask.Operands[0].Type.Equal(mask.Result().Type) {
		return nil
	}
	x := partOf(mask.Operands[1], op)
	if x == nil {
		return nil
	}
	return b.ReluGrad(b.Slice(mask.Operands[0], op.Attrs.Ints("starts"), op.Attrs.Ints("ends")), x)
}

// partOf returns the operand of a concat that a slice would take out of it, or nil.
func partOf(whole *ir.Value, slice *ir.Op) *ir.Value {
	if whole.Def == nil || whole.Def.Kind != "concat" {
		return nil
	}
	axis, at := whole.Def.Attrs.Int("axis"), 0
	for _, x := range whole.Def.Operands {
		if at == slice.Attrs.Ints("starts")[axis] && x.Type.Equal(slice.Result().Type) {
			return x
		}
		at += x.Type.Shape[axis]
	}
	return nil
}

// identity removes an operation with its neutral element.
func identity(op *ir.Op, neutral float64) *ir.Value {
	for i, v := range op.Operands {
		other := op.Operands[1-i]
		if c, ok := constantOf(v); ok && c == neutral && other.Type.Equal(op.Result().Type) {
			return other
		}
	}
	return nil
}

func rewriteAdd(b *ops.Builder, op *ir.Op, uses []int) *ir.Value {
	if v := identity(op, 0); v != nil {
		return v
	}
	if v := merge(b, op.Operands[0], op.Operands[1], uses); v != nil {
		return v
	}
	// (a + x) + y, where x and y merge, is a + (x and y).
	if inner := op.Operands[0].Def; inner != nil && inner.Kind == "add" && inner.Phase == op.Phase && uses[op.Operands[0].ID] == 1 {
		for i, x := range inner.Operands {
			if v := merge(b, x, op.Operands[1], uses); v != nil && inner.Operands[1-i].Type.Equal(op.Result().Type) {
				return b.Add(inner.Operands[1-i], v)
			}
		}
	}
	return nil
}

// merge makes one operation of two whose results are added and have no other use: two weighted sums with the same
// weights, two gradients with respect to the weights under the same cotangent, two parts of the cotangent of one product
// or state of highway connections.
func merge(b *ops.Builder, v, w *ir.Value, uses []int) *ir.Value {
	x, y := v.Def, w.Def
	if x == nil || y == nil || x == y || x.Kind != y.Kind || x.Phase != y.Phase || uses[v.ID] != 1 || uses[w.ID] != 1 || !v.Type.Equal(w.Type) {
		return nil
	}
	shared, lists := 0, []string(nil) // operands that both have, and attributes with an entry for each other operand
	switch x.Kind {
	case "weighted_sum", "weighted_sum_weight_grad":
		shared, lists = 1, []string{"select"}
	case "highway_state_grad":
		shared, lists = 2, []string{"blocks", "edges"}
	case "highway_product_grad":
		shared, lists = 3, []string{"blocks", "edges"}
	default:
		return nil
	}
	if !slices.Equal(x.Operands[:shared], y.Operands[:shared]) || !x.Operands[shared].Type.Equal(y.Operands[shared].Type) || x.Attrs.Text("activations") != y.Attrs.Text("activations") {
		return nil
	}
	attrs := x.Attrs
	for _, name := range lists {
		attrs = attrs.With(name, slices.Concat(x.Attrs.Ints(name), y.Attrs.Ints(name)))
	}
	return b.Op(x.Kind, 1, slices.Concat(x.Operands, y.Operands[shared:]), attrs...)[0]
}

func dropZeroTerms(b *ops.Builder, op *ir.Op) *ir.Value {
	if c, ok := constantOf(op.Operands[0]); ok && c == 0 {
		return b.Constant(op.Result().Type, 0)
	}
	operands := []*ir.Value{op.Operands[0]}
	var selected []int
	for i, term := range op.Operands[1:] {
		if c, ok := constantOf(term); ok && c == 0 {
			continue
		}
		operands = append(operands, term)
		selected = append(selected, op.Attrs.Ints("select")[i])
	}
	switch len(operands) {
	case len(op.Operands):
		return nil
	case 1:
		return b.Constant(op.Result().Type, 0)
	}
	return b.Op(op.Kind, 1, operands, op.Attrs.With("select", selected)...)[0]
}

// cropInConvolution moves a crop of the image into the pads of the convolution, where it has none on that side.
func cropInConvolution(b *ops.Builder, op *ir.Op) *ir.Value {
	crop := op.Operands[0].Def
	if crop == nil || crop.Kind != "slice" {
		return nil
	}
	x := crop.Operands[0]
	starts, ends, a := crop.Attrs.Ints("starts"), crop.Attrs.Ints("ends"), ops.ConvAttrsOf(op)
	if starts[0] != 0 || ends[0] != x.Type.Shape[0] || starts[1] != 0 || ends[1] != x.Type.Shape[1] {
		return nil
	}
	for i := range 2 {
		before, after := starts[2+i], x.Type.Shape[2+i]-ends[2+i]
		if before > 0 && a.Pads[i] > 0 || after > 0 && a.Pads[2+i] > 0 {
			return nil
		}
		a.Pads[i] -= before
		a.Pads[2+i] -= after
	}
	operands := append([]*ir.Value{x}, op.Operands[1:]...)
	return b.Op(op.Kind, 1, operands, op.Attrs.With("pads", a.Pads[:])...)[0]
}
