package cpu

import (
	"strings"

	"github.com/dartsc/dartsc/compiler/plan"
)

func init() {
	register("highway", bindHighway)
	register("highway_product_grad", bindHighwayProductGrad)
	register("highway_state_grad", bindHighwayStateGrad)
	register("highway_weight_grad", bindHighwayWeightGrad)
}

// highway is what the kernels of highway connections share: rows of n channels, products with a pair of halves (gate
// and candidate) for each block, and for each term an edge, which is a row of the weights, and a block.
type highway struct {
	rows, n       int
	weights       []float32
	places        []int // in a mixture, of the activations; 0 is none
	edges, blocks []int
	mixtures      []gateMixture // of the terms
}

// highway reads the parameters, for states like the model.
func (c *checker) highway(model tensor) *highway {
	c.rank(model, 2)
	c.layout(model, nil)
	h := &highway{edges: c.intsParam("edges"), blocks: c.intsParam("blocks")}
	h.mixtures = make([]gateMixture, len(h.edges))
	for _, name := range strings.Split(param[string](c, "activations", "names of activations"), ",") {
		at := mixed[name]
		if c.err == nil && at == 0 && name != "none" {
			c.failf("activation %q: want none, tanh, relu, sigmoid or identity", name)
		}
		h.places = append(h.places, at)
	}
	if c.err == nil && (len(h.edges) == 0 || len(h.blocks) != len(h.edges)) {
		c.failf("has %d edges and %d blocks, wants as many", len(h.edges), len(h.blocks))
	}
	if c.err == nil {
		h.rows, h.n = model.Shape[0], model.Shape[1]
	}
	return h
}

// weighed checks the tensor that has a row for each edge and a column for each activation.
func (h *highway) weighed(c *checker, w tensor) {
	c.rank(w, 2)
	c.layout(w, nil)
	for _, e := range h.edges {
		if c.err == nil && (e < 0 || e >= w.Shape[0] || w.Shape[1] != len(h.places)) {
			c.failf("%s has shape %v: no edge %d of %d activations", w.name, w.Shape, e, len(h.places))
		}
	}
	h.weights = w.f32
}

// product returns a product that has the block of a term.
func (h *highway) product(c *checker, at, block int) halves {
	p := c.operand(at, plan.F32)
	c.rank(p, 2)
	c.layout(p, nil)
	if c.err == nil && (p.Shape[0] != h.rows || block < 0 || block >= p.Shape[1]/(2*h.n)) {
		c.failf("%s has shape %v: no block %d for states [%d %d]", p.name, p.Shape, block, h.rows, h.n)
	}
	if c.err != nil {
		return halves{}
	}
	return halves{p.f32, p.Shape[1], 2 * block * h.n, h.n}
}

func (h *highway) state(c *checker, at int) []float32 {
	t := c.operand(at, plan.F32)
	c.layout(t, nil)
	c.shape(t, h.rows, h.n)
	return t.f32
}

// halves is one block of a product.
type halves struct {
	data       []float32
	row, at, n int
}

func (p halves) gate(row int) []float32      { return p.data[row*p.row+p.at:][:p.n] }
func (p halves) candidate(row int) []float32 { return p.data[row*p.row+p.at+p.n:][:p.n] }

// gateMixture is how much of each activation a term takes: all of them together, then tanh, relu, sigmoid and identity.
// None contributes nothing.
type gateMixture struct {
	exact   [5]float64
	weights [5]float32
}

// Places in a mixture, and in what highwayWeightGrad sums up.
const (
	mixAll = iota
	mixTanh
	mixRelu
	mixSigmoid
	mixIdentity
)

// mixed gives the place of an activation.
var mixed = map[string]int{"tanh": mixTanh, "relu": mixRelu, "sigmoid": mixSigmoid, "identity": mixIdentity}

// mix is the phase that works out the mixtures of all terms, which the weights may change from run to run.
func (h *highway) mix() phase {
	return phase{1, func(int, []float32) {
		for term, edge := range h.edges {
			m := &h.mixtures[term]
			*m = gateMixture{}
			for i, at := range h.places {
				if at > mixAll {
					w := h.weights[edge*len(h.places)+i]
					m.exact[at] += float64(w)
					m.exact[mixAll] += float64(w)
				}
			}
			for i, w := range m.exact {
				m.weights[i] = float32(w)
			}
		}
	}}
}

// highway(weights, product…, state…) → Σ all·s + σ(c)·(mixed(h) - all·s)
func bindHighway(l *launch) (task, error) {
	c := check(l, 3, anyNumber, 1)
	y := c.result(0, plan.F32)
	h := c.highway(y)
	h.weighed(c, c.operand(0, plan.F32))
	terms := len(h.edges)
	if c.err == nil && len(l.in) != 1+2*terms {
		c.failf("has %d operands for %d terms", len(l.in), terms)
	}
	if c.err != nil {
		return task{}, c.err
	}
	products, states := make([]halves, terms), make([][]float32, terms)
	for i := range terms {
		products[i], states[i] = h.product(c, 1+i, h.blocks[i]), h.state(c, 1+terms+i)
	}
	if c.err != nil {
		return task{}, c.err
	}
	loops := h.loops()
	return oneTask(h.mix(), h.eachPart(func(_, from, to int) {
		clear(y.f32[from*h.n : to*h.n])
		for i, p := range products {
			for row := from; row < to; row++ {
				loops.highway(h.row(y.f32, row), p.gate(row), p.candidate(row), h.row(states[i], row), &h.mixtures[i])
			}
		}
	})), nil
}

// eachPart divides the rows into the parts of a phase, by what all terms together take.
func (h *highway) eachPart(run func(part, from, to int)) phase {
	parts := min(h.rows, partsOf(h.rows*h.n*len(h.edges)))
	return phase{parts, func(part int, _ []float32) {
		from, to := span(part, parts, h.rows)
		run(part, from, to)
	}}
}

// row is a row of a state.
func (h *highway) row(s []float32, row int) []float32 { return s[row*h.n : (row+1)*h.n] }

// highway_product_grad(weights, product, state, g…) → the cotangent of the product: of the gate g·σ(1-σ)·(mixed - all·s),
// of the candidate g·σ·mixed'.
func bindHighwayProductGrad(l *launch) (task, error) {
	c := check(l, 4, anyNumber, 1)
	state, d := c.operand(2, plan.F32), c.result(0, plan.F32)
	h := c.highway(state)
	h.weighed(c, c.operand(0, plan.F32))
	terms, s := len(h.edges), h.state(c, 2)
	c.like(d, c.operand(1, plan.F32))
	if c.err == nil && len(l.in) != 3+terms {
		c.failf("has %d operands for %d terms", len(l.in), terms)
	}
	if c.err != nil {
		return task{}, c.err
	}
	products, grads, g := make([]halves, terms), make([]halves, terms), make([][]float32, terms)
	for i, block := range h.blocks {
		products[i], g[i] = h.product(c, 1, block), h.state(c, 3+i)
		grads[i] = halves{d.f32, products[i].row, products[i].at, h.n}
	}
	if c.err != nil {
		return task{}, c.err
	}
	loops := h.loops()
	width := products[0].row
	return oneTask(h.mix(), h.eachPart(func(_, from, to int) {
		if terms*2*h.n < width {
			clear(d.f32[from*width : to*width])
		}
		for i, p := range products {
			for row := from; row < to; row++ {
				loops.highwayProductGrad(grads[i].gate(row), grads[i].candidate(row), p.gate(row), p.candidate(row), h.row(s, row), h.row(g[i], row), &h.mixtures[i])
			}
		}
	})), nil
}

// highway_state_grad(weights, product, g…) → Σ all·g·(1-σ)
func bindHighwayStateGrad(l *launch) (task, error) {
	c := check(l, 3, anyNumber, 1)
	d := c.result(0, plan.F32)
	h := c.highway(d)
	h.weighed(c, c.operand(0, plan.F32))
	terms := len(h.edges)
	if c.err == nil && len(l.in) != 2+terms {
		c.failf("has %d operands for %d terms", len(l.in), terms)
	}
	if c.err != nil {
		return task{}, c.err
	}
	products, g := make([]halves, terms), make([][]float32, terms)
	for i, block := range h.blocks {
		products[i], g[i] = h.product(c, 1, block), h.state(c, 2+i)
	}
	if c.err != nil {
		return task{}, c.err
	}
	loops := h.loops()
	return oneTask(h.mix(), h.eachPart(func(_, from, to int) {
		clear(d.f32[from*h.n : to*h.n])
		for i, p := range products {
			for row := from; row < to; row++ {
				loops.highwayStateGrad(h.row(d.f32, row), p.gate(row), h.row(g[i], row), &h.mixtures[i])
			}
		}
	})), nil
}

// highway_weight_grad(g, product…, state…): for each term and activation Σ g·(s + σ·(act - s)).
func bindHighwayWeightGrad(l *launch) (task, error) {
	c := check(l, 3, anyNumber, 1)
	g, d := c.operand(0, plan.F32), c.result(0, plan.F32)
	h := c.highway(g)
	h.weighed(c, d)
	c.shape(d, c.intsParam("shape")...)
	terms := len(h.edges)
	if c.err == nil && len(l.in) != 1+2*terms {
		c.failf("has %d operands for %d terms", len(l.in), terms)
	}
	if c.err != nil {
		return task{}, c.err
	}
	products, states := make([]halves, terms), make([][]float32, terms)
	for i := range terms {
		products[i], states[i] = h.product(c, 1+i, h.blocks[i]), h.state(c, 1+terms+i)
	}
	if c.err != nil {
		return task{}, c.err
	}
	loops := h.loops()
	const sums = 5
	partial := make([]float64, maxParts*terms*sums)
	add := h.eachPart(func(part, from, to int) {
		for i, p := range products {
			own := partial[(part*terms+i)*sums:][:sums]
			clear(own)
			for row := from; row < to; row++ {
				loops.highwayWeightGrad(own, p.gate(row), p.candidate(row), h.row(states[i], row), h.row(g.f32, row))
			}
		}
	})
	merge := phase{1, func(int, []float32) {
		clear(d.f32)
		for i, edge := range h.edges {
			var total [sums]float64
			for part := range add.parts {
				for k := range total {
					total[k] += partial[(part*terms+i)*sums+k]
				}
			}
			for k, at := range h.places {
				if at > mixAll {
					d.f32[edge*len(h.places)+k] += float32(total[mixAll] + total[at])
				}
			}
		}
	}}
	return oneTask(add, merge), nil
}
