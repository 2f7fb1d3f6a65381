package cuda

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
)

var highways = map[string]func(l *lowering, op *ir.Op) error{
	"highway": func(l *lowering, op *ir.Op) error {
		if n, found := l.normalisationOf(op); found {
			l.highwayNorm(op, n)
			return nil
		}
		terms := len(op.Attrs.Ints("edges"))
		c := l.call(op.Kind, "Highway")
		for _, v := range op.Operands {
			c.in(l.operand(v))
		}
		c.out(l.result(op.Result(), nil))
		c.places(op, op.Operands[1:1+terms], op.Result().Type.Shape[1])
		c.gates(op, op.Result().Type)
		c.int("V", 1)
		c.int("terms", terms)
		c.loop(op.Result().Type.Elements())
		c.emit()
		return nil
	},
	"highway_product_grad": highwayGrad,
	"highway_state_grad":   highwayGrad,
	"highway_weight_grad": func(l *lowering, op *ir.Op) error {
		g := op.Operands[0]
		terms := len(op.Attrs.Ints("edges"))
		c := l.call(op.Kind, "HighwayWeightGrad")
		for _, v := range op.Operands {
			c.in(l.operand(v))
		}
		c.out(l.result(op.Result(), nil))
		activations := c.activations(op)
		c.int("elements", g.Type.Shape[1])
		c.int("terms", terms)
		c.int("weights", op.Result().Type.Elements())
		c.columns(1, g.Type.Elements(), 1, 1, terms*activations, fewestWideRows, plan.F32)
		c.places(op, op.Operands[1:1+terms], g.Type.Shape[1])
		c.emit()
		return nil
	},
}

// activationNames are those of an operation in the order of the kernels' numbers.
var activationNames = []string{"none", "tanh", "relu", "sigmoid", "identity"}

// activations describes the columns of the weights; it returns how many there are.
func (c *call) activations(op *ir.Op) int {
	var numbers []int
	for name := range strings.SplitSeq(op.Attrs.Text("activations"), ",") {
		numbers = append(numbers, slices.Index(activationNames, name))
	}
	c.int("activations", len(numbers))
	c.ints("activation", numbers)
	return len(numbers)
}

// gates describes states and the activations between them.
func (c *call) gates(op *ir.Op, state ir.Type) {
	c.int("rows", state.Shape[0])
	c.int("channels", state.Shape[1])
	c.activations(op)
}

// places says where each term finds its edge and its block; numbers follow all addresses.
func (c *call) places(op *ir.Op, products []*ir.Value, channels int) {
	var from, width []int
	for i, p := range products {
		from, width = append(from, 2*op.Attrs.Ints("blocks")[i]*channels), append(width, p.Type.Shape[1])
	}
	c.integers(op.Attrs.Ints("edges")...)
	c.integers(from...)
	c.integers(width...)
}

// highwayGrad lowers the gradient of a product or of a state, and that of the other with it where it is to come.
func highwayGrad(l *lowering, op *ir.Op) error {
	ofProduct, ofState := op, l.sibling(op)
	if op.Kind == "highway_state_grad" {
		ofProduct, ofState = ofState, op
	}
	first := 2 // of the cotangents
	if op == ofProduct {
		first = 3
	}
	weights, product, g := op.Operands[0], op.Operands[1], op.Operands[first:]
	state := g[0].Type
	terms := product.Type.Shape[1] / (2 * state.Shape[1])
	c := l.call(op.Kind, "HighwayGrad")
	c.in(l.operand(weights), l.operand(product))
	if ofProduct != nil {
		c.in(l.operand(ofProduct.Operands[2]))
	} else {
		c.none(1)
	}
	edges := slices.Repeat([]int{-1}, terms)
	blocks := op.Attrs.Ints("blocks")
	for b := range terms {
		if t := slices.Index(blocks, b); t >= 0 {
			c.in(l.operand(g[t]))
			edges[b] = op.Attrs.Ints("edges")[t]
		} else {
			c.none(1)
		}
	}
	for _, made := range []*ir.Op{ofProduct, ofState} {
		if made != nil {
			c.out(l.result(made.Result(), nil))
		} else {
			c.none(1)
		}
	}
	c.gates(op, state)
	c.int("terms", terms)
	c.bool("of_product", ofProduct != nil)
	c.bool("of_state", ofState != nil)
	c.integers(edges...)
	c.loop(state.Elements())
	c.emit()
	return nil
}

// sibling is the gradient of the state that belongs to one of the product, or the other way around, if it is yet to be made
// and what it needs is there; else nil.
func (l *lowering) sibling(op *ir.Op) *ir.Op {
	for _, other := range l.users[op.Operands[1]] {
		product, state := op, other
		if op.Kind == "highway_state_grad" {
			product, state = other, op
		}
		if product.Kind != "highway_product_grad" || state.Kind != "highway_state_grad" || other.Phase != op.Phase || !sameConnections(product, state) {
			continue
		}
		_, made := l.tensors[other.Result()]
		_, there := l.tensors[product.Operands[2]]
		if !made && there {
			return other
		}
	}
	return nil
}

// sameConnections says whether gradients of a product and of a state are of one place in the cell.
func sameConnections(product, state *ir.Op) bool {
	return slices.Equal(slices.Concat(product.Operands[:2], product.Operands[3:]), state.Operands) && fmt.Sprint(product.Attrs) == fmt.Sprint(state.Attrs)
}
