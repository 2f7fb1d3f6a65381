package fuse

import (
	"slices"

	"github.com/dartsc/dartsc/ir"
)

// The way back into a concat that a ReLU and a convolution read, for a target that goes image by image:
//
//	d = conv2d_input_grad [+ the cotangent so far]
//	relu_grad(slice(d), x) of every part x of the concat
//
// Its cotangent is then never whole, and what of it a mask takes away is never written.

// splits groups every way back of that form.
func (g *grouping) splits() {
	for _, op := range g.program.Ops {
		if op.Kind == "conv2d_input_grad" && slices.Equal(op.Attrs.Ints("strides"), []int{1, 1}) && !g.gone[op] {
			g.split(op)
		}
	}
}

func (g *grouping) split(op *ir.Op) {
	c := &candidate{members: []*ir.Op{op}}
	d := op.Result()
	if add := g.sum(d); add != nil {
		c.take(add)
		d = add.Result()
	}
	if g.results[d] || len(g.users[d]) < 2 {
		return
	}
	for _, slice := range g.users[d] {
		if slice.Kind != "slice" || !OnImages(slice) || slice.Phase != op.Phase {
			return
		}
		mask := g.onlyUser(slice.Result())
		if mask == nil || mask.Kind != "relu_grad" || mask.Operands[0] != slice.Result() || mask.Operands[1] == slice.Result() {
			return
		}
		c.take(slice)
		c.take(mask)
		c.results = append(c.results, mask.Result())
	}
	g.complete(c, Split)
}
