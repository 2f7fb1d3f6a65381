package cpu

import (
	"slices"
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
	activations   []string
	edges, blocks []int
}

// highway reads the parameters, for states like the model.
func (c *checker) highway(model tensor) *highway {
	c.rank(model, 2)
	c.layout(model, nil)
	h := &highway{activations: strings.Split(param[string](c, "activations", "names of activations"), ","), edges: c.intsParam("edges"), blocks: c.intsParam("blocks")}
	for _, name := range h.activations {
		if c.err == nil && !slices.Contains([]string{"none", "tanh", "relu", "sigmoid", "identity"}, name) {
			c.failf("activation %q: want none, tanh, relu, sigmoid or identity", name)
		}
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
		if c.err == nil && (e < 0 || e >= w.Shape[0] || w.Shape[1] != len(h.activations)) {
			c.failf("%s has shape %v: no edge %d of %d activations", w.name, w.Shape, e, len(h.activations))
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

// mixture is how much of each activation a term takes: all but none together, then each.
type gateMixture struct{ all, tanh, relu, sigmoid, identity float32 }

func (h *highway) mixture(term int) (m gateMixture) {
	k := len(h.activations)
	for i, w := range h.weights[h.edges[term]*k:][:k] {
		switch h.activations[i] {
		case "tanh":
			m.tanh += w
		case "relu":
			m.relu += w
		case "sigmoid":
			m.sigmoid += w
		case "identity":
			m.identity += w
		default:
			continue
		}
		m.all += w
	}
	return m
}

// takes says whether an activation is among those mixed; what is not costs nothing.
func (h *highway) takes(activation string) bool { return slices.Contains(h.activations, activation) }

// rowOf is the best loop for an operation on rows.
func rowOf(name string) rowFunc {
	if fast := vec.rows[name]; fast != nil {
		return fast
	}
	return pointwise[name].run
}

// gateRows are the loops that highway connections are made of, and scratch for a row of each intermediate.
type gateRows struct {
	*highway
	tanh, sigmoid, relu, mul, axpby, reluGrad rowFunc
}

func (h *highway) bindRows() gateRows {
	return gateRows{h, rowOf("tanh"), rowOf("sigmoid"), rowOf("relu"), rowOf("mul"), rowOf("axpby"), rowOf("relu_grad")}
}

// mixed puts Σ w_a·act_a(x) into y; t is scratch.
func (r gateRows) mixed(y, t, x []float32, m gateMixture) {
	r.axpby(y, x, x, m.identity, 0)
	add := func(name string, act rowFunc, w float32) {
		if r.takes(name) {
			act(t, x, x, 0, 0)
			r.axpby(y, y, t, 1, w)
		}
	}
	add("tanh", r.tanh, m.tanh)
	add("relu", r.relu, m.relu)
	add("sigmoid", r.sigmoid, m.sigmoid)
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
	if h.few() {
		return h.forwardFew(y.f32, products, states), nil
	}
	r, n := h.bindRows(), h.n
	parts := min(h.rows, partsOf(h.rows*n*terms))
	return task{scratch: 4 * n, phases: []phase{{parts, func(part int, scratch []float32) {
		sum, open, mixed, t := scratch[:n], scratch[n:2*n], scratch[2*n:3*n], scratch[3*n:4*n]
		from, to := span(part, parts, h.rows)
		for row := from; row < to; row++ {
			clear(sum)
			for i, p := range products {
				m, s := h.mixture(i), states[i][row*n:(row+1)*n]
				r.sigmoid(open, p.gate(row), p.gate(row), 0, 0)
				r.mixed(mixed, t, p.candidate(row), m)
				r.axpby(mixed, mixed, s, 1, -m.all)
				r.mul(mixed, mixed, open, 0, 0)
				r.axpby(sum, sum, s, 1, m.all)
				vec.add(sum, mixed)
			}
			copy(y.f32[row*n:], sum)
		}
	}}}}, nil
}

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
	if h.few() {
		return h.productGradFew(d, grads, products, s, g), nil
	}
	r, n := h.bindRows(), h.n
	parts := min(h.rows, partsOf(h.rows*n*terms))
	return task{scratch: 4 * n, phases: []phase{{parts, func(part int, scratch []float32) {
		from, to := span(part, parts, h.rows)
		for row := from; row < to; row++ {
			if terms*2*n < products[0].row {
				clear(d.f32[row*products[0].row:][:products[0].row])
			}
			for i := range terms {
				r.productGrad(i, grads[i].gate(row), grads[i].candidate(row), products[i].gate(row), products[i].candidate(row),
					s[row*n:(row+1)*n], g[i][row*n:(row+1)*n], scratch)
			}
		}
	}}}}, nil
}

func (r gateRows) productGrad(term int, dGate, dCandidate, gate, x, s, g, scratch []float32) {
	n, m := r.n, r.mixture(term)
	open, t, passed, mixed := scratch[:n], scratch[n:2*n], scratch[2*n:3*n], scratch[3*n:4*n]
	r.sigmoid(open, gate, gate, 0, 0)
	r.mul(passed, g, open, 0, 0)
	// Slope and mixture together, for both want the activations.
	r.axpby(mixed, x, s, m.identity, -m.all)
	r.axpby(dCandidate, passed, passed, m.identity, 0)
	if r.takes("relu") {
		r.relu(t, x, x, 0, 0)
		r.axpby(mixed, mixed, t, 1, m.relu)
		r.reluGrad(t, passed, x, 0, 0)
		r.axpby(dCandidate, dCandidate, t, 1, m.relu)
	}
	if r.takes("tanh") {
		r.tanh(t, x, x, 0, 0)
		r.axpby(mixed, mixed, t, 1, m.tanh)
		r.mul(t, t, t, 0, 0)
		r.mul(t, t, passed, 0, 0)
		r.axpby(t, passed, t, m.tanh, -m.tanh)
		vec.add(dCandidate, t)
	}
	if r.takes("sigmoid") {
		r.sigmoid(t, x, x, 0, 0)
		r.axpby(mixed, mixed, t, 1, m.sigmoid)
		r.mul(dGate, t, t, 0, 0)
		r.axpby(t, t, dGate, m.sigmoid, -m.sigmoid)
		r.mul(t, t, passed, 0, 0)
		vec.add(dCandidate, t)
	}
	r.mul(open, open, passed, 0, 0) // g·σ²
	r.axpby(passed, passed, open, 1, -1)
	r.mul(dGate, passed, mixed, 0, 0)
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
	if h.few() {
		return h.stateGradFew(d.f32, products, g), nil
	}
	r, n := h.bindRows(), h.n
	parts := min(h.rows, partsOf(h.rows*n*terms))
	return task{scratch: 2 * n, phases: []phase{{parts, func(part int, scratch []float32) {
		sum, t := scratch[:n], scratch[n:2*n]
		from, to := span(part, parts, h.rows)
		for row := from; row < to; row++ {
			clear(sum)
			for i, p := range products {
				all, cotangent := h.mixture(i).all, g[i][row*n:(row+1)*n]
				r.sigmoid(t, p.gate(row), p.gate(row), 0, 0)
				r.mul(t, t, cotangent, 0, 0)
				r.axpby(t, cotangent, t, all, -all)
				vec.add(sum, t)
			}
			copy(d.f32[row*n:], sum)
		}
	}}}}, nil
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
	r, n, kinds := h.bindRows(), h.n, len(h.activations)
	parts := min(h.rows, partsOf(h.rows*n*terms))
	partial := make([]float64, parts*terms*kinds)
	sums := phase{parts, func(part int, scratch []float32) {
		own := partial[part*terms*kinds:][:terms*kinds]
		clear(own)
		from, to := span(part, parts, h.rows)
		for row := from; row < to; row++ {
			for i, p := range products {
				r.weightSums(own[i*kinds:(i+1)*kinds], p.gate(row), p.candidate(row), states[i][row*n:(row+1)*n], g.f32[row*n:(row+1)*n], scratch)
			}
		}
	}}
	merge := phase{1, func(int, []float32) {
		clear(d.f32)
		for i, edge := range h.edges {
			for k := range kinds {
				sum := 0.0
				for part := range parts {
					sum += partial[(part*terms+i)*kinds+k]
				}
				d.f32[edge*kinds+k] += float32(sum)
			}
		}
	}}
	return task{scratch: 3 * n, phases: []phase{sums, merge}}, nil
}

func (r gateRows) weightSums(sums []float64, gate, x, s, g, scratch []float32) {
	n := r.n
	if r.few() {
		r.weightSumsFew(sums, gate, x, s, g)
		return
	}
	open, t, rest := scratch[:n], scratch[n:2*n], scratch[2*n:3*n]
	r.sigmoid(open, gate, gate, 0, 0)
	r.mul(open, open, g, 0, 0)
	r.axpby(rest, g, open, 1, -1)
	state := vec.dot(rest, s)
	for k, name := range r.activations {
		switch name {
		case "none":
			continue
		case "tanh":
			r.tanh(t, x, x, 0, 0)
		case "relu":
			r.relu(t, x, x, 0, 0)
		case "sigmoid":
			r.sigmoid(t, x, x, 0, 0)
		case "identity":
			sums[k] += state + vec.dot(open, x)
			continue
		}
		sums[k] += state + vec.dot(open, t)
	}
}
