package cpu

import (
	"math"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
)

func init() {
	register("weighted_sum", weightedSum)
	register("weighted_sum_weight_grad", weightedSumWeightGrad)
}

// selected reads parameter select: for each of the terms a position among so many weights.
func (c *checker) selected(terms, weights int) []int {
	if terms < 1 {
		c.failf("has no terms")
		return nil
	}
	return c.intsOf("select", terms, 0, weights-1)
}

// terms returns so many operands after the first, which must all be like the model.
func (c *checker) terms(model tensor, count int) [][]float32 {
	var terms [][]float32
	for i := 1; i <= count; i++ {
		t := c.operand(i, plan.F32)
		c.like(t, model)
		terms = append(terms, t.f32)
	}
	return terms
}

// mixBlock is the number of elements that go through scratch at a time. It stays in the second cache, and a term is read
// for long enough that the processor fetches ahead: with blocks of a few kilobytes, memory gives a third as much.
const mixBlock = 1 << 14

// statistics reads the mean and the variance at two operands.
func (c *checker) statistics(at, channels int, eps float64) *normalisation {
	mean, variance := c.operand(at, plan.F32), c.operand(at+1, plan.F32)
	c.vector(mean, channels)
	c.vector(variance, channels)
	return &normalisation{eps: eps, mean: mean.f32, variance: variance.f32}
}

// weighted_sum(weights, x…) → Σ weights[select[i]]·x[i]. Parameter normalized lists terms that are normalised first:
// their means and variances follow the terms, and parameter eps has a number for each. With several results, select lists
// the terms of each in turn; then none is normalised, and no result is in the place of an operand.
func weightedSum(l *launch) (task, error) {
	c := check(l, 2, anyNumber, max(1, len(l.out)))
	w, y := c.operand(0, plan.F32), c.result(0, plan.F32)
	normalized := optional(c, "normalized", []int(nil), "whole numbers")
	if c.err == nil && len(l.in)-1-2*len(normalized) < 1 {
		c.failf("has %d operands, too few for weights, terms and statistics of %d terms", len(l.in), len(normalized))
	}
	if c.err != nil {
		return task{}, c.err
	}
	count := len(l.in) - 1 - 2*len(normalized)
	terms := c.terms(y, count)
	selected := c.selected(count*len(l.out), len(w.f32))
	c.layout(w, nil)
	if c.err == nil && len(l.out) > 1 && len(normalized) > 0 {
		c.failf("has %d results and normalised terms, wants one or none", len(l.out))
	}
	n, eps := 1, []float64(nil)
	if len(normalized) > 0 {
		_, n = c.pixels(y)
		eps = c.floatsParam("eps")
		if c.err == nil && len(eps) != len(normalized) {
			c.failf("parameter eps has %d numbers for %d normalised terms", len(eps), len(normalized))
		}
	}
	norms := make([]*normalisation, count)
	for k, i := range normalized {
		if c.err == nil && (i < 0 || i >= count || norms[i] != nil) {
			c.failf("parameter normalized %v does not name terms, each once", normalized)
		}
		if c.err == nil {
			norms[i] = c.statistics(1+count+2*k, n, eps[k])
		}
	}
	if c.err != nil {
		return task{}, c.err
	}
	var sums []mixture
	for i := range l.out {
		result := c.result(i, plan.F32)
		c.like(result, y)
		sums = append(sums, mixture{y: result.f32, weights: w.f32, selected: selected[i*count:][:count], terms: terms, norms: norms, channels: n, coefficients: l.shared(mixRoom(count, n))})
	}
	if c.err != nil {
		return task{}, c.err
	}
	for i := range sums {
		s := &sums[i]
		s.inPlace = slices.ContainsFunc(terms, func(x []float32) bool { return &x[0] == &s.y[0] })
	}
	return mixing(sums), nil
}

// mixing is the task of weighted sums of the same terms. They take turns at each block, which then is in the second cache.
func mixing(sums []mixture) task {
	n := sums[0].channels
	size := len(sums[0].y) / n // in pixels, or elements where nothing is normalised
	block := max(1, mixBlock/n)
	parts := (size + block - 1) / block
	prepare := func(int, []float32) {
		for i := range sums {
			sums[i].prepare()
		}
	}
	run := func(part int, scratch []float32) {
		from, to := span(part, parts, size)
		for i := range sums {
			y := sums[i].y[from*n : to*n]
			if !sums[i].inPlace {
				sums[i].sum(y, from*n)
				continue
			}
			sum := scratch[:len(y)]
			sums[i].sum(sum, from*n)
			copy(y, sum)
		}
	}
	return task{scratch: block * n, phases: []phase{{1, prepare}, {parts, run}}}
}

// mixture is a weighted sum bound to its terms.
type mixture struct {
	y            []float32
	inPlace      bool // of a term
	weights      []float32
	selected     []int
	terms        [][]float32
	norms        []*normalisation // by term; nil: none
	channels     int
	coefficients func() []float32 // the terms' weights, ones and zeros by channel, then mean and factor of every term
}

func mixRoom(terms, channels int) int { return terms + 2*channels + 2*terms*channels }

// prepare copies the weights, since the result may take their place in memory, and works out what each channel of a
// term is multiplied by, and the mean that is taken from it before.
func (m *mixture) prepare() {
	all, n := m.coefficients(), m.channels
	for i, position := range m.selected {
		all[i] = m.weights[position]
	}
	ones := all[len(m.terms):]
	for c := range n {
		ones[c], ones[n+c] = 1, 0
	}
	for i, norm := range m.norms {
		mean, factor := m.of(i)
		if norm == nil {
			clear(mean)
			for c := range factor {
				factor[c] = all[i]
			}
			continue
		}
		copy(mean, norm.mean)
		for c, v := range norm.variance {
			factor[c] = float32(float64(all[i]) / math.Sqrt(float64(v)+norm.eps))
		}
	}
}

// of returns the coefficients of a term by channel.
func (m *mixture) of(term int) (mean, factor []float32) {
	n := m.channels
	at := m.coefficients()[len(m.terms)+2*n+2*n*term:]
	return at[:n], at[n : 2*n]
}

// sum mixes the elements from a position on, whole pixels where a term is normalised.
func (m *mixture) sum(sum []float32, from int) {
	if m.channels > 1 {
		m.normalizedSum(sum, from)
		return
	}
	all, to := m.coefficients(), from+len(sum)
	vec.scale(sum, all[0], m.terms[0][from:to])
	for i, x := range m.terms[1:] {
		vec.axpy(sum, all[1+i], x[from:to])
	}
}

// normalizedSum takes the terms four at a time.
func (m *mixture) normalizedSum(sum []float32, from int) {
	n, to := m.channels, from+len(sum)
	both := m.coefficients()[len(m.terms):]
	ones, zeros := both[:n], both[n:2*n]
	mean, factor := m.of(0)
	vec.normalize(sum, m.terms[0][from:to], mean, factor, zeros, false)
	i := 1
	for ; i+4 <= len(m.terms); i += 4 {
		var x, means, factors [4][]float32
		for k := range x {
			x[k] = m.terms[i+k][from:to]
			means[k], factors[k] = m.of(i + k)
		}
		vec.mix(sum, x, means, factors)
	}
	for ; i < len(m.terms); i++ {
		mean, factor := m.of(i)
		vec.affine(sum, sum, m.terms[i][from:to], mean, ones, factor, zeros)
	}
}

// weighted_sum_weight_grad(g, x…): element select[i] gets ⟨g, x[i]⟩ added, the others are zero.
func weightedSumWeightGrad(l *launch) (task, error) {
	c := check(l, 2, anyNumber, 1)
	g, dw := c.operand(0, plan.F32), c.result(0, plan.F32)
	terms := c.terms(g, len(l.in)-1)
	selected := c.selected(len(terms), len(dw.f32))
	c.layout(dw, nil)
	c.shapeParam(dw)
	if c.err != nil {
		return task{}, c.err
	}
	parts := partsOf(len(g.f32))
	sums := make([]float64, parts*len(terms))
	total := make([]float64, len(dw.f32))
	run := func(part int, _ []float32) {
		products := sums[part*len(terms) : (part+1)*len(terms)]
		clear(products)
		end := 0
		for from, to := span(part, parts, len(g.f32)); from < to; from = end { // blocks, so that g stays in the second cache
			end = min(from+mixBlock, to)
			for i, x := range terms {
				products[i] += vec.dot(g.f32[from:end], x[from:end])
			}
		}
	}
	merge := func(int, []float32) {
		clear(total)
		for i, sum := range sums {
			total[selected[i%len(terms)]] += sum
		}
		for i, v := range total {
			dw.f32[i] = float32(v)
		}
	}
	return task{phases: []phase{{parts, run}, {1, merge}}}, nil
}
