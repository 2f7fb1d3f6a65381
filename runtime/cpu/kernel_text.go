package cpu

import (
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
)

func init() {
	register("embedding", bindEmbedding)
	register("embedding_grad", bindEmbeddingGrad)
	register("dropout_mask", bindDropoutMask)
	register("mask_steps", bindMaskSteps)
}

// words checks words […] and a vector for each, […,n].
func (c *checker) words(words, vectors tensor) (n int) {
	c.layout(words, nil)
	c.layout(vectors, nil)
	rank := len(words.Shape)
	if c.err == nil && (len(vectors.Shape) != rank+1 || !slices.Equal(vectors.Shape[:rank], words.Shape)) {
		c.failf("%s has shape %v, wants a vector for each of %v words", vectors.name, vectors.Shape, words.Shape)
	}
	if c.err != nil {
		return 1
	}
	return vectors.Shape[rank]
}

// embedding(words, table [V,N]) → the row of each word; a word outside of the table has zeros.
func bindEmbedding(l *launch) (task, error) {
	c := check(l, 2, 2, 1)
	words, table, y := c.operand(0, plan.I32), c.operand(1, plan.F32), c.result(0, plan.F32)
	n := c.words(words, y)
	c.rank(table, 2)
	c.layout(table, nil)
	if c.err == nil {
		c.shape(table, table.Shape[0], n)
	}
	if c.err != nil {
		return task{}, c.err
	}
	return oneTask(takeRows(y.f32, table.f32, words.i32, table.Shape[0])), nil
}

// takeRows copies the rows of a table, of which there are so many, that numbers name; one that the table lacks is zeros.
func takeRows[T any](y, table []T, numbers []int32, rows int) phase {
	size := len(table) / rows
	return rowParts(len(numbers), size, func(first, last int) {
		for i := first; i < last; i++ {
			if into, row := y[i*size:(i+1)*size], int(numbers[i]); row >= 0 && row < rows {
				copy(into, table[row*size:])
			} else {
				clear(into)
			}
		}
	})
}

// embedding_grad(g, words) → [rows,N]. Each part sums up some columns over all words, in their order.
func bindEmbeddingGrad(l *launch) (task, error) {
	c := check(l, 2, 2, 1)
	g, words, table := c.operand(0, plan.F32), c.operand(1, plan.I32), c.result(0, plan.F32)
	n := c.words(words, g)
	c.layout(table, nil)
	rows := c.intParam("rows")
	c.shape(table, rows, n)
	if c.err != nil {
		return task{}, c.err
	}
	parts := max(1, min(n/64, maxParts))
	return oneTask(fill(table, 0), phase{parts, func(part int, _ []float32) {
		from, to := span(part, parts, n)
		for i, word := range words.i32 {
			if word >= 0 && int(word) < rows {
				vec.add(table.f32[int(word)*n+from:int(word)*n+to], g.f32[i*n+from:i*n+to])
			}
		}
	}}), nil
}

// dropout_mask(seed, step): 0 with probability p, else 1/(1-p).
func bindDropoutMask(l *launch) (task, error) {
	c := check(l, 2, 2, 1)
	y := c.result(0, plan.F32)
	random, p := c.randomness(0), c.floatParam("p")
	c.layout(y, nil)
	c.shape(y, c.intsParam("shape")...)
	if dtype := param[string](c, "dtype", "f32"); c.err == nil && dtype != "f32" {
		c.failf("parameter dtype is %q, wants f32", dtype)
	}
	if c.err == nil && !(p >= 0 && p < 1) {
		c.failf("p is %v, wants a probability below 1", p)
	}
	if c.err != nil {
		return task{}, c.err
	}
	keep := float32(1 - p)
	return oneTask(rowParts(len(y.f32), 16, func(first, last int) {
		stream := random.stream()
		for i := first; i < last; i++ {
			if y.f32[i] = 0; stream.Float32(uint64(i)) < keep {
				y.f32[i] = 1 / keep
			}
		}
	})), nil
}

// mask_steps(x [T,…], length): zeros in the steps from length on. The result may be x.
func bindMaskSteps(l *launch) (task, error) {
	c := check(l, 2, 2, 1)
	x, length, y := c.operand(0, plan.F32), c.scalar(1, plan.I64), c.result(0, plan.F32)
	steps := c.outermost(x)
	c.like(y, x)
	if c.err != nil {
		return task{}, c.err
	}
	size := len(x.f32) / steps
	return oneTask(rowParts(steps, size, func(first, last int) {
		for t := first; t < last; t++ {
			into := y.f32[t*size : (t+1)*size]
			if int64(t) >= length.i64[0] {
				clear(into)
			} else {
				copy(into, x.f32[t*size:])
			}
		}
	})), nil
}
