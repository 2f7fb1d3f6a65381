package cpu

import (
	"math"

	"github.com/dartsc/dartsc/compiler/plan"
)

func init() {
	register("batch_stats", batchStats)
	register("batch_norm", batchNorm)
	register("batch_norm_sums", batchNormSums)
	register("batch_norm_input_grad", batchNormInputGrad)
}

// BatchNorm sees x as a matrix of pixels by channels: images channels last, or [N,C] row-major.

// pixels requires such a matrix and returns its sizes.
func (c *checker) pixels(t tensor) (rows, channels int) {
	if c.err == nil && len(t.Shape) == 2 {
		c.layout(t, nil)
	} else {
		c.image(t)
	}
	if c.err != nil {
		return 0, 0
	}
	return t.Elements() / t.Shape[1], t.Shape[1]
}

// pixelParts cuts rows of so many channels into parts: whole images are no better than others here.
func pixelParts(rows, channels int) int { return min(rows, partsOf(rows*channels)) }

// sumRows is how many pixels are added in float32 before they go into float64.
const sumRows = 64

// batch_stats(x) → mean, var
func batchStats(l *launch) (task, error) {
	c := check(l, 1, 1, 2)
	x, mean, variance := c.operand(0, plan.F32), c.result(0, plan.F32), c.result(1, plan.F32)
	rows, n := c.pixels(x)
	c.vector(mean, n)
	c.vector(variance, n)
	if c.err != nil {
		return task{}, c.err
	}
	parts := pixelParts(rows, n)
	sums, squares := make([]float64, parts*n), make([]float64, parts*n) // by part: mean, and squares of differences to it
	run := func(part int, _ []float32) {
		from, to := span(part, parts, rows)
		mean, square := sums[part*n:(part+1)*n], squares[part*n:(part+1)*n]
		moments(mean, square, x.f32[from*n:to*n], to-from)
	}
	merge := func(int, []float32) {
		for c := range n {
			count, m, s := 0.0, 0.0, 0.0
			for part := range parts {
				from, to := span(part, parts, rows)
				more := float64(to - from)
				// Chan, Golub and LeVeque 1979: moments of a union from those of its parts.
				d := sums[part*n+c] - m
				s += squares[part*n+c] + d*d*count*more/(count+more)
				m += d * more / (count + more)
				count += more
			}
			mean.f32[c], variance.f32[c] = float32(m), float32(s/count)
		}
	}
	return task{phases: []phase{{parts, run}, {1, merge}}}, nil
}

// moments computes mean and squared differences of every channel of so many rows.
func moments(mean, square []float64, x []float32, rows int) {
	n := len(mean)
	for c := range n {
		sum := 0.0
		for from := 0; from < rows; from += sumRows {
			sum += float64(columnSum(x[from*n+c:], n, min(sumRows, rows-from)))
		}
		m := sum / float64(rows)
		center := float32(m)
		var total, first float64
		for from := 0; from < rows; from += sumRows {
			d, s := columnMoments(x[from*n+c:], n, min(sumRows, rows-from), center)
			first += float64(d)
			total += float64(s)
		}
		// The centre was rounded to float32: first corrects both moments for it.
		mean[c] = float64(center) + first/float64(rows)
		square[c] = max(0, total-first*first/float64(rows))
	}
}

// columnSum adds rows elements that lie n apart.
func columnSum(x []float32, n, rows int) float32 {
	var s0, s1, s2, s3 float32
	i := 0
	for ; rows >= 4; rows -= 4 {
		s0 += x[i]
		s1 += x[i+n]
		s2 += x[i+2*n]
		s3 += x[i+3*n]
		i += 4 * n
	}
	for ; rows > 0; rows-- {
		s0 += x[i]
		i += n
	}
	return (s0 + s1) + (s2 + s3)
}

// columnMoments adds the differences to a centre and their squares.
func columnMoments(x []float32, n, rows int, center float32) (first, second float32) {
	var d0, d1, s0, s1 float32
	i := 0
	for ; rows >= 2; rows -= 2 {
		a, b := x[i]-center, x[i+n]-center
		d0 += a
		d1 += b
		s0 += a * a
		s1 += b * b
		i += 2 * n
	}
	if rows > 0 {
		a := x[i] - center
		d0 += a
		s0 += a * a
	}
	return d0 + d1, s0 + s1
}

// batch_norm(x, mean, var[, gamma, beta]) → y, with ReLU after it where parameter relu says so.
func batchNorm(l *launch) (task, error) {
	c := check(l, 3, 5, 1)
	x, y := c.operand(0, plan.F32), c.result(0, plan.F32)
	rows, n := c.pixels(x)
	c.like(y, x)
	norm := c.normalisation(1, n)
	relu := optional(c, "relu", false, "true or false")
	if c.err != nil {
		return task{}, c.err
	}
	parts := pixelParts(rows, n)
	return task{phases: []phase{norm.prepare(), {parts, func(part int, _ []float32) {
		from, to := span(part, parts, rows)
		norm.apply(y.f32[from*n:to*n], x.f32[from*n:to*n], relu)
	}}}}, nil
}

// batch_norm_sums(g, x, mean, var) → Σg, Σg·x̂
func batchNormSums(l *launch) (task, error) {
	c := check(l, 4, 4, 2)
	g, x, mean, variance := c.operand(0, plan.F32), c.operand(1, plan.F32), c.operand(2, plan.F32), c.operand(3, plan.F32)
	sum, sumX := c.result(0, plan.F32), c.result(1, plan.F32)
	eps := c.floatParam("eps")
	rows, n := c.pixels(x)
	c.like(g, x)
	for _, t := range []tensor{mean, variance, sum, sumX} {
		c.vector(t, n)
	}
	if c.err != nil {
		return task{}, c.err
	}
	parts := pixelParts(rows, n)
	sums := make([]float64, 2*parts*n) // by part and channel: Σg, Σg·(x - mean)
	run := func(part int, _ []float32) {
		from, to := span(part, parts, rows)
		for c := range n {
			var s, p float64
			for r := from; r < to; r += sumRows {
				a, b := columnProducts(g.f32[r*n+c:], x.f32[r*n+c:], n, min(sumRows, to-r), mean.f32[c])
				s += float64(a)
				p += float64(b)
			}
			sums[2*(part*n+c)], sums[2*(part*n+c)+1] = s, p
		}
	}
	merge := func(int, []float32) {
		for c := range n {
			var s, p float64
			for part := range parts {
				s += sums[2*(part*n+c)]
				p += sums[2*(part*n+c)+1]
			}
			sum.f32[c], sumX.f32[c] = float32(s), float32(p/math.Sqrt(float64(variance.f32[c])+eps))
		}
	}
	return task{phases: []phase{{parts, run}, {1, merge}}}, nil
}

// columnProducts adds g and g·(x - mean) over rows that lie n apart.
func columnProducts(g, x []float32, n, rows int, mean float32) (sum, product float32) {
	var s0, s1, p0, p1 float32
	i := 0
	for ; rows >= 2; rows -= 2 {
		a, b := g[i], g[i+n]
		s0 += a
		s1 += b
		p0 += a * (x[i] - mean)
		p1 += b * (x[i+n] - mean)
		i += 2 * n
	}
	if rows > 0 {
		s0 += g[i]
		p0 += g[i] * (x[i] - mean)
	}
	return s0 + s1, p0 + p1
}

// batch_norm_input_grad(g, x, mean, var, Σg, Σg·x̂[, gamma]) → dx = a·g + b·(x - mean) + c with coefficients by channel
func batchNormInputGrad(l *launch) (task, error) {
	c := check(l, 6, 7, 1)
	g, x, dx := c.operand(0, plan.F32), c.operand(1, plan.F32), c.result(0, plan.F32)
	eps := c.floatParam("eps")
	rows, n := c.pixels(x)
	c.like(g, x)
	c.like(dx, x)
	var channel [5][]float32 // mean, var, Σg, Σg·x̂, gamma or nil
	for i := 2; i < len(l.in); i++ {
		t := c.operand(i, plan.F32)
		c.vector(t, n)
		if c.err == nil {
			channel[i-2] = t.f32
		}
	}
	if c.err != nil {
		return task{}, c.err
	}
	coefficients := l.shared(4 * n)
	prepare := func(int, []float32) {
		all := coefficients()
		copy(all[:n], channel[0])
		for i := range n {
			inverse := 1 / math.Sqrt(float64(channel[1][i])+eps)
			a := inverse
			if channel[4] != nil {
				a *= float64(channel[4][i])
			}
			all[n+i] = float32(a)
			all[2*n+i] = float32(-a * inverse * float64(channel[3][i]) / float64(rows))
			all[3*n+i] = float32(-a * float64(channel[2][i]) / float64(rows))
		}
	}
	parts := pixelParts(rows, n)
	run := func(part int, _ []float32) {
		all := coefficients()
		from, to := span(part, parts, rows)
		for r := from; r < to; r++ {
			affine(dx.f32[r*n:(r+1)*n], g.f32[r*n:(r+1)*n], x.f32[r*n:(r+1)*n], all[:n], all[n:2*n], all[2*n:3*n], all[3*n:4*n])
		}
	}
	return task{phases: []phase{{1, prepare}, {parts, run}}}, nil
}

// affine is y = a·g + b·(x - mean) + c.
func affine(y, g, x, mean, a, b, c []float32) {
	n := len(y)
	g, x, mean, a, b, c = g[:n], x[:n], mean[:n], a[:n], b[:n], c[:n]
	for i := range y {
		y[i] = a[i]*g[i] + (b[i]*(x[i]-mean[i]) + c[i])
	}
}
