package main

import (
	"math"
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// highway are the kernels of highway connections (package ops): of a gate c, a candidate x and a state s, with a mixture
// of weights by activation. Everything is made of e^-|c| and e^-|x|, which no argument takes out of range, and of one
// division.
func (t *numbers) highway() {
	t.connection("highway", "y, gate, x, state, mixture", "adds all·s + σ(c)·(mixed(x) - all·s) to y.", func(c *connection) {
		c.exponentials()
		open, _ := c.gate(c.reciprocal())
		mixed, _ := c.mixed(false)
		y, all := c.load("y"), c.weight(mixAll)
		VMULPS(c.load("state"), all, all)
		VADDPS(all, y, y)
		VSUBPS(all, mixed, mixed)
		VFMADD231PS(mixed, open, y)
		c.store(y, "y")
	})
	t.connection("highwayProductGrad", "dGate, dX, gate, x, state, dy, mixture",
		"computes the cotangents of a gate, dy·σ(c)·(1-σ(c))·(mixed(x) - all·s), and of a candidate, dy·σ(c)·mixed'(x).", func(c *connection) {
			c.exponentials()
			open, closed := c.gate(c.reciprocal())
			VMULPS(c.load("dy"), open, open)
			mixed, slope := c.mixed(true)
			VMULPS(open, slope, slope)
			c.store(slope, "dX")
			all := c.weight(mixAll)
			VFNMADD231PS(c.load("state"), all, mixed)
			VMULPS(closed, open, open)
			VMULPS(open, mixed, mixed)
			c.store(mixed, "dGate")
		})
	t.connection("highwayStateGrad", "y, gate, dy, mixture", "adds all·dy·(1-σ(c)) to y.", func(c *connection) {
		c.gateExponential = t.decay(c.load("gate"))
		r, sum := t.number(1), t.number(1)
		VADDPS(c.gateExponential, sum, sum)
		VDIVPS(sum, r, r)
		_, closed := c.gate(r)
		y, all := c.load("y"), c.weight(mixAll)
		VMULPS(c.load("dy"), all, all)
		VFMADD231PS(closed, all, y)
		c.store(y, "y")
	})
	t.highwayWeightGrad()
}

// The numbers of a mixture, in order; the first is the sum of the others.
const (
	mixAll = iota
	mixTanh
	mixRelu
	mixSigmoid
	mixIdentity
)

// connection is a vector of a kernel of highway connections.
type connection struct {
	*numbers
	pointers map[string]reg.GPVirtual
	part     bool

	gateExponential, exponential reg.VecVirtual // e^-|c|, e^-|x|
	// Of the candidate, see reciprocal:
	sigmoidShare, tanhShare reg.VecVirtual
}

// connection writes a kernel that passes vector after vector of rows of n elements; mixture stays.
func (t *numbers) connection(name, pointers, doc string, body func(c *connection)) {
	t.function(name, pointers, "n", doc)
	t.passing(pointers, body)
	t.end()
}

// passing writes the loop.
func (t *numbers) passing(pointers string, body func(c *connection)) {
	c := &connection{numbers: t, pointers: map[string]reg.GPVirtual{}}
	names := strings.Split(pointers, ", ")
	for _, name := range names {
		c.pointers[name] = value(name)
	}
	n := value("n")
	t.inVectors(n, func() {
		for _, name := range names {
			if name != "mixture" {
				ADDQ(U32(t.bytes()), c.pointers[name])
			}
		}
	}, func(part bool) {
		c.part = part
		body(c)
	})
}

func (c *connection) load(name string) reg.VecVirtual {
	return c.loaded(at(c.pointers[name], nil, 0, 0), c.part)
}

func (c *connection) store(r reg.VecVirtual, name string) {
	c.set.store(r, at(c.pointers[name], nil, 0, 0), c.part)
}

func (c *connection) weight(i int) reg.VecVirtual {
	return c.broadcast(at(c.pointers["mixture"], nil, 0, 4*i))
}

func (c *connection) exponentials() {
	c.gateExponential, c.exponential = c.decay(c.load("gate")), c.decay(c.load("x"))
}

// reciprocal returns 1/(1+e^-|c|), and notes 1/(1+e^-|x|) and tanh |x| = (1-e^-2|x|)/(1+e^-2|x|): all of one division.
func (c *connection) reciprocal() (gate reg.VecVirtual) {
	g, e, square := c.number(1), c.number(1), c.vector()
	VADDPS(c.gateExponential, g, g)
	VADDPS(c.exponential, e, e)
	VMULPS(c.exponential, c.exponential, square)
	double, both := c.number(1), c.vector()
	VADDPS(square, double, double)
	VMULPS(e, double, both)
	r, all := c.number(1), c.vector()
	VMULPS(both, g, all)
	VDIVPS(all, r, r)
	gate = c.vector()
	VMULPS(both, r, gate)
	VMULPS(g, r, r)
	VMULPS(r, double, double)
	VMULPS(r, e, e)
	far := c.number(1)
	VSUBPS(square, far, far)
	VMULPS(e, far, far)
	c.sigmoidShare, c.tanhShare = double, far
	return gate
}

// gate returns σ(c) and 1-σ(c), given 1/(1+e^-|c|).
func (c *connection) gate(r reg.VecVirtual) (open, closed reg.VecVirtual) {
	return c.halves(c.load("gate"), c.gateExponential, r)
}

// halves returns σ(x) and 1-σ(x) given e = e^-|x| and r = 1/(1+e).
func (c *connection) halves(x, e, r reg.VecVirtual) (sigmoid, rest reg.VecVirtual) {
	small := c.vector()
	VMULPS(r, e, small)
	sigmoid, rest = c.vector(), c.vector()
	VMOVAPS(r, sigmoid)
	VMOVAPS(small, rest)
	negative := c.where(less, x, c.zeros(1)[0])
	c.choose(negative, small, sigmoid)
	c.choose(negative, r, rest)
	return sigmoid, rest
}

// mixed returns what the activations make of x together and, if wanted, the slope of that.
func (c *connection) mixed(sloped bool) (mixed, slope reg.VecVirtual) {
	mixed = c.weight(mixIdentity)
	if sloped {
		slope = c.vector()
		VMOVAPS(mixed, slope)
	}
	sigmoid, rest := c.halves(c.load("x"), c.exponential, c.sigmoidShare)
	weight := c.weight(mixSigmoid)
	VMULPS(weight, sigmoid, sigmoid)
	if sloped {
		VFMADD231PS(sigmoid, rest, slope)
	}
	x := c.load("x")
	VFMADD213PS(sigmoid, x, mixed)
	tanh := c.nearTanh(x, c.tanhShare)
	weight = c.weight(mixTanh)
	VFMADD231PS(weight, tanh, mixed)
	if sloped {
		one := c.number(1)
		VFNMADD231PS(tanh, tanh, one)
		VFMADD231PS(weight, one, slope)
	}
	weight = c.weight(mixRelu)
	if sloped {
		VADDPS(c.only(c.where(less, c.zeros(1)[0], x), weight), slope, slope)
	}
	VFMADD231PS(c.positive(x), weight, mixed)
	return mixed, slope
}

// positive is max(x, 0), of NaN NaN.
func (s *set) positive(x reg.VecVirtual) reg.VecVirtual {
	y := s.zeros(1)[0]
	VMAXPS(x, y, y)
	return y
}

// highwayWeightGrad adds up over a row what the weights of activations are multiplied by.
func (t *numbers) highwayWeightGrad() {
	const pointers = "gate, x, state, dy"
	t.signature("highwayWeightGrad", "func(sums *float64, gate, x, state, dy *float32, n int)",
		"adds to sums Σ dy·(1-σ(c))·s, and Σ dy·σ(c)·y for y = tanh x, max(x, 0), σ(x) and x.")
	sums := t.zeros(5)
	t.passing(pointers, func(c *connection) {
		c.exponentials()
		open, closed := c.gate(c.reciprocal())
		g := c.load("dy")
		VMULPS(g, closed, closed)
		VMULPS(g, open, open)
		VFMADD231PS(c.load("state"), closed, sums[mixAll])
		sigmoid, _ := c.halves(c.load("x"), c.exponential, c.sigmoidShare)
		VFMADD231PS(sigmoid, open, sums[mixSigmoid])
		x := c.load("x")
		VFMADD231PS(x, open, sums[mixIdentity])
		VFMADD231PS(c.nearTanh(x, c.tanhShare), open, sums[mixTanh])
		VFMADD231PS(c.positive(x), open, sums[mixRelu])
	})
	to := value("sums")
	for i, sum := range sums {
		total := t.total(t.doubles(sum))
		VADDSD(at(to, nil, 0, 8*i), total, total)
		VMOVSD(total, at(to, nil, 0, 8*i))
	}
	t.end()
}

// decay changes x to e^-|x|, as exp does it but for one factor: it ends before numbers are subnormal.
func (t *numbers) decay(x reg.VecVirtual) reg.VecVirtual {
	VORPS(t.number(float32(math.Copysign(0, -1))), x, x)
	VMAXPS(x, t.number(decayEnd), x) // of NaN NaN
	y, n, _ := t.series(x)
	part := t.number(1)
	VPSLLD(U8(23), n, n) // leaves the lowest bits, which are the integer
	VPADDD(n, part, part)
	VMULPS(part, y, y)
	return y
}
