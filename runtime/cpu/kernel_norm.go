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
	room := columnRoom(n)
	// By part: mean, squares of differences to it, differences to the rounded mean, and that.
	sums, squares, first := make([]float64, parts*room), make([]float64, parts*room), make([]float64, parts*room)
	centers := make([]float32, parts*room)
	run := func(part int, _ []float32) {
		from, to := span(part, parts, rows)
		own, end := part*room, (part+1)*room
		moments(sums[own:end], squares[own:end], first[own:end], centers[own:own+n], x.f32[from*n:to*n], to-from)
	}
	merge := func(int, []float32) {
		for c := range n {
			count, m, s := 0.0, 0.0, 0.0
			for part := range parts {
				from, to := span(part, parts, rows)
				more := float64(to - from)
				// Chan, Golub and LeVeque 1979: moments of a union from those of its parts.
				d := sums[part*room+c] - m
				s += squares[part*room+c] + d*d*count*more/(count+more)
				m += d * more / (count + more)
				count += more
			}
			mean.f32[c], variance.f32[c] = float32(m), float32(s/count)
		}
	}
	return task{phases: []phase{{parts, run}, {1, merge}}}, nil
}

// moments computes mean and squared differences of every channel of so many rows. All have columnRoom.
func moments(mean, square, first []float64, center, x []float32, rows int) {
	n := len(center)
	clear(mean)
	vec.columnSums(mean, x, n)
	for c := range n {
		center[c] = float32(mean[c] / float64(rows))
	}
	clear(first)
	clear(square)
	vec.columnMoments(first, square, x, center)
	for c := range n {
		// The centre was rounded to float32: first corrects both moments for it.
		mean[c] = float64(center[c]) + first[c]/float64(rows)
		square[c] = max(0, square[c]-first[c]*first[c]/float64(rows))
	}
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
	if rows <= fewRows {
		return task{phases: []phase{{1, func(int, []float32) { norm.applyToFew(y.f32, x.f32, relu) }}}}, nil
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
	room := columnRoom(n)
	sums, products := make([]float64, parts*room), make([]float64, parts*room) // by part: Σg, Σg·(x - mean)
	run := func(part int, _ []float32) {
		from, to := span(part, parts, rows)
		s, p := sums[part*room:(part+1)*room], products[part*room:(part+1)*room]
		clear(s)
		clear(p)
		vec.columnProducts(s, p, g.f32[from*n:to*n], x.f32[from*n:to*n], mean.f32)
	}
	merge := func(int, []float32) {
		for c := range n {
			var s, p float64
			for at := c; at < len(sums); at += room {
				s += sums[at]
				p += products[at]
			}
			sum.f32[c], sumX.f32[c] = float32(s), float32(p/math.Sqrt(float64(variance.f32[c])+eps))
		}
	}
	return task{phases: []phase{{parts, run}, {1, merge}}}, nil
}

// batch_norm_input_grad(g, x, mean, var, Σg, Σg·x̂[, gamma][, weights]) → dx = a·g + b·(x - mean) + c with coefficients by
// channel. With parameter scale, the result is multiplied by that element of the weights.
func batchNormInputGrad(l *launch) (task, error) {
	c := check(l, 6, 8, 1)
	operands, weight := c.scaled(len(l.in))
	if c.err == nil && (operands < 6 || operands > 7) {
		c.failf("has %d operands beside the weights, wants 6 or 7", operands)
	}
	if c.err != nil {
		return task{}, c.err
	}
	g, x, dx := c.operand(0, plan.F32), c.operand(1, plan.F32), c.result(0, plan.F32)
	eps := c.floatParam("eps")
	rows, n := c.pixels(x)
	c.like(g, x)
	c.like(dx, x)
	var channel [5][]float32 // mean, var, Σg, Σg·x̂, gamma or nil
	for i := 2; i < operands; i++ {
		t := c.operand(i, plan.F32)
		c.vector(t, n)
		if c.err == nil {
			channel[i-2] = t.f32
		}
	}
	if c.err != nil {
		return task{}, c.err
	}
	if rows <= fewRows {
		return task{phases: []phase{{1, func(int, []float32) {
			inputGradOfFew(dx.f32, g.f32, x.f32, channel, rows, eps, float64(*weight))
		}}}}, nil
	}
	coefficients := l.shared(4 * n)
	prepare := func(int, []float32) {
		all, factor := coefficients(), float64(*weight)
		copy(all[:n], channel[0])
		for i := range n {
			inverse := 1 / math.Sqrt(float64(channel[1][i])+eps)
			a := inverse * factor
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
		vec.affine(dx.f32[from*n:to*n], g.f32[from*n:to*n], x.f32[from*n:to*n], all[:n], all[n:2*n], all[2*n:3*n], all[3*n:4*n])
	}
	return task{phases: []phase{{1, prepare}, {parts, run}}}, nil
}

// fewRows is up to how many rows BatchNorm and its gradient are worked out in float64: what is left of a cotangent when its mean and its
// part along x are taken out may be much smaller than these.
const fewRows = 16

func (n *normalisation) applyToFew(y, x []float32, relu bool) {
	for i := range y {
		c := i % len(n.mean)
		v := (float64(x[i]) - float64(n.mean[c])) / math.Sqrt(float64(n.variance[c])+n.eps)
		if n.gamma != nil {
			v = v*float64(n.gamma[c]) + float64(n.beta[c])
		}
		if y[i] = float32(v); relu {
			y[i] = positivePart(y[i])
		}
	}
}

func inputGradOfFew(dx, g, x []float32, channel [5][]float32, rows int, eps, factor float64) {
	n := len(channel[0])
	for i := range dx {
		c := i % n
		inverse := 1 / math.Sqrt(float64(channel[1][c])+eps)
		a := inverse * factor
		if channel[4] != nil {
			a *= float64(channel[4][c])
		}
		normal := (float64(x[i]) - float64(channel[0][c])) * inverse
		dx[i] = float32(a * (float64(g[i]) - (float64(channel[2][c])+normal*float64(channel[3][c]))/float64(rows)))
	}
}

var unscaled float32 = 1

// scaled reads parameter scale and returns the number of operands before the weights, which are the last with it, and
// the weight that it names.
func (c *checker) scaled(operands int) (rest int, weight *float32) {
	at := optional(c, "scale", -1, "a whole number")
	if c.err != nil || at < 0 {
		return operands, &unscaled
	}
	weights := c.operand(operands-1, plan.F32)
	c.layout(weights, nil)
	if c.err == nil && at >= len(weights.f32) {
		c.failf("parameter scale is %d, the weights have %d elements", at, len(weights.f32))
	}
	if c.err != nil {
		return operands, &unscaled
	}
	return operands - 1, &weights.f32[at]
}
