package cpu

import "github.com/dartsc/dartsc/compiler/plan"

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

// terms returns the operands after the first, which must all be like the model.
func (c *checker) terms(model tensor) [][]float32 {
	var terms [][]float32
	for i := 1; i < len(c.in); i++ {
		t := c.operand(i, plan.F32)
		c.like(t, model)
		terms = append(terms, t.f32)
	}
	return terms
}

// mixBlock is the number of elements that go through scratch at a time: small enough for the first cache.
const mixBlock = 1024

// weighted_sum(weights, x…) → Σ weights[select[i]]·x[i]
func weightedSum(l *launch) (task, error) {
	c := check(l, 2, anyNumber, 1)
	w, y := c.operand(0, plan.F32), c.result(0, plan.F32)
	terms := c.terms(y)
	selected := c.selected(len(terms), len(w.f32))
	c.layout(w, nil)
	if c.err != nil {
		return task{}, c.err
	}
	// The weights are copied first: the result may take their place in memory.
	chosen := l.shared(len(terms))
	choose := func(int, []float32) {
		for i, position := range selected {
			chosen()[i] = w.f32[position]
		}
	}
	parts := partsOf(len(y.f32))
	run := func(part int, scratch []float32) {
		end := 0
		for from, to := span(part, parts, len(y.f32)); from < to; from = end {
			end = min(from+mixBlock, to)
			sum := scratch[:end-from]
			vec.scale(sum, chosen()[0], terms[0][from:end])
			for i := 1; i < len(terms); i++ {
				vec.axpy(sum, chosen()[i], terms[i][from:end])
			}
			copy(y.f32[from:end], sum)
		}
	}
	return task{scratch: mixBlock, phases: []phase{{1, choose}, {parts, run}}}, nil
}

// weighted_sum_weight_grad(g, x…): element select[i] gets ⟨g, x[i]⟩ added, the others are zero.
func weightedSumWeightGrad(l *launch) (task, error) {
	c := check(l, 2, anyNumber, 1)
	g, dw := c.operand(0, plan.F32), c.result(0, plan.F32)
	terms := c.terms(g)
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
		for from, to := span(part, parts, len(g.f32)); from < to; from = end { // blocks, so that g stays in the cache
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
