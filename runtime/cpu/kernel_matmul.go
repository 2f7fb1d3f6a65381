package cpu

import "github.com/dartsc/dartsc/compiler/plan"

func init() {
	register("matmul", matMul)
	register("bias_add", biasAdd)
}

// matrix requires a row-major matrix and returns its rows and columns as a product sees them.
func (c *checker) matrix(t tensor, transposed bool) (rows, columns int) {
	c.rank(t, 2)
	c.layout(t, nil)
	switch {
	case c.err != nil:
		return 0, 0
	case transposed:
		return t.Shape[1], t.Shape[0]
	}
	return t.Shape[0], t.Shape[1]
}

// matmul(a, b[, sum]) → y, the product or, with a third operand, that and the product together; y may be the sum. Both
// are packed first: b as the product wants it, a transposed a to rows.
func matMul(l *launch) (task, error) {
	c := check(l, 2, 3, 1)
	a, b, y := c.operand(0, plan.F32), c.operand(1, plan.F32), c.result(0, plan.F32)
	transposeA, transposeB := c.boolParam("transpose_a"), c.boolParam("transpose_b")
	m, k := c.matrix(a, transposeA)
	k2, n := c.matrix(b, transposeB)
	c.layout(y, nil)
	c.shape(y, m, n)
	if c.err == nil && k != k2 {
		c.failf("inner dimensions %d and %d differ", k, k2)
	}
	var sum []float32
	if len(l.in) == 3 {
		s := c.operand(2, plan.F32)
		c.like(s, y)
		sum = s.f32
	}
	if c.err == nil && (&y.f32[0] == &a.f32[0] || &y.f32[0] == &b.f32[0]) {
		c.failf("the result is where a factor is")
	}
	if c.err != nil {
		return task{}, c.err
	}
	if min(n, k) >= smallSides && m*n*k <= smallProduct {
		return smallMatMul(y.f32, a.f32, b.f32, sum, m, n, k, transposeA, transposeB), nil
	}
	packedB := l.shared(vec.packed(k, n))
	phases := []phase{{1, func(int, []float32) {
		row, column := n, 1
		if transposeB {
			row, column = 1, k
		}
		vec.pack(packedB(), b.f32, row, column, k, n)
	}}}
	rows := func() []float32 { return a.f32 }
	if transposeA {
		rows = l.shared(m * k)
		phases = append(phases, phase{1, func(int, []float32) {
			for i := range m {
				row := rows()[i*k : (i+1)*k]
				for j := range row {
					row[j] = a.f32[j*m+i]
				}
			}
		}})
	}
	work := blocks{images: 1, rows: m, each: 8}
	parts := work.parts(m * n * k)
	phases = append(phases, phase{parts, func(part int, _ []float32) {
		from, to := span(part, parts, work.count())
		first, last := from*work.each, min(to*work.each, m)
		if sum != nil && &sum[0] != &y.f32[0] {
			copy(y.f32[first*n:last*n], sum[first*n:last*n])
		}
		vec.gemm(y.f32[first*n:], n, rows()[first*k:], k, packedB(), last-first, n, k, sum != nil)
	}})
	return task{phases: phases}, nil
}

// smallProduct is the number of multiply-adds up to which a product is added up in float64, for nothing is lost by it. A
// BatchNorm over a few rows magnifies the last bits of a product a thousand times. Narrow products, such as a
// classifier's, have short sums or few of them and gain nothing.
const (
	smallProduct = 1 << 14
	smallSides   = 12
)

func smallMatMul(y, a, b, sum []float32, m, n, k int, transposeA, transposeB bool) task {
	aRow, aColumn, bRow, bColumn := k, 1, n, 1
	if transposeA {
		aRow, aColumn = 1, m
	}
	if transposeB {
		bRow, bColumn = 1, k
	}
	return oneTask(phase{1, func(int, []float32) {
		for i := range m {
			for j := range n {
				v := 0.0
				for l := range k {
					v += float64(a[i*aRow+l*aColumn]) * float64(b[l*bRow+j*bColumn])
				}
				if sum != nil {
					v += float64(sum[i*n+j])
				}
				y[i*n+j] = float32(v)
			}
		}
	}})
}

// bias_add(x [N,C] or [N,C,H,W], bias [C]) → x + bias
func biasAdd(l *launch) (task, error) {
	c := check(l, 2, 2, 1)
	x, bias, y := c.operand(0, plan.F32), c.operand(1, plan.F32), c.result(0, plan.F32)
	rows, n := c.pixels(x)
	c.vector(bias, n)
	c.like(y, x)
	if c.err != nil {
		return task{}, c.err
	}
	// The bias is copied first: with one row the result may take its place in memory.
	shared := l.shared(n)
	keep := func(int, []float32) { copy(shared(), bias.f32) }
	parts := pixelParts(rows, n)
	return task{phases: []phase{{1, keep}, {parts, func(part int, _ []float32) {
		from, to := span(part, parts, rows)
		for r := from; r < to; r++ {
			out, in := y.f32[r*n:(r+1)*n], x.f32[r*n:(r+1)*n]
			for i, v := range shared() {
				out[i] = in[i] + v
			}
		}
	}}}}, nil
}
