package cpu

import "github.com/dartsc/dartsc/compiler/plan"

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

// pixelParts cuts rows of so many channels into parts: whole images are no better than others here. Parts are long, so that
// memory streams, but four of them, see sideBySide, are not much more than a second cache holds.
func pixelParts(rows, channels int) int {
	const few, long, most = 16, 1 << 16, 128
	n := rows * channels
	return min(rows, max(1, min(n/blockElements, few), min(n/long, most)))
}

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
	m := l.moments(parts, n, mean.f32, variance.f32)
	run := func(part int, _ []float32) {
		from, to := span(part, parts, rows)
		m.add(part, x.f32[from*n:to*n], true)
		m.end(part, to-from)
	}
	count := func(part int) int {
		from, to := span(part, parts, rows)
		return to - from
	}
	return task{phases: []phase{{parts, run}, m.merge(count)}}, nil
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

// batch_norm_sums(g, x, mean, var[, p, seed, step]) → Σg, Σg·x̂, of what is left of g by the drop path of that stream which
// parameter drop names.
func batchNormSums(l *launch) (task, error) {
	c := check(l, 4, 7, 2)
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
	drop := c.drops(4, x.Shape[0])
	if (drop == nil) != (len(l.in) == 4) || drop != nil && len(l.in) != 7 {
		c.failf("has %d operands, wants 4, or 7 with a drop path", len(l.in))
	}
	parts := pixelParts(rows, n)
	sums := l.products(parts, mean.f32, variance.f32, eps, sum.f32, sumX.f32)
	run := func(part int, _ []float32) {
		from, to := span(part, parts, rows)
		sums.add(part, g.f32[from*n:to*n], x.f32[from*n:to*n], true)
	}
	if drop == nil {
		return task{phases: []phase{{parts, run}, sums.merge()}}, c.err
	}
	images, size := x.Shape[0], len(x.f32)/x.Shape[0]
	parts = min(parts, images)
	sums.units, sums.drop = parts, drop
	run = func(part int, _ []float32) {
		sums.of(part, true)
		from, to := span(part, parts, images)
		for image := from; image < to; image++ {
			if drop.factors[image] != 0 {
				sums.add(part, g.f32[image*size:(image+1)*size], x.f32[image*size:(image+1)*size], false)
			}
		}
	}
	return task{phases: []phase{drop.prepare(), {parts, run}, sums.merge()}}, c.err
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
	grad := c.normGradient(2, operands, rows, n, eps, weight)
	if c.err != nil {
		return task{}, c.err
	}
	if rows <= fewRows {
		return task{phases: []phase{{1, func(int, []float32) { grad.applyToFew(dx.f32, g.f32, x.f32) }}}}, nil
	}
	parts := pixelParts(rows, n)
	run := func(part int, _ []float32) {
		from, to := span(part, parts, rows)
		grad.apply(dx.f32[from*n:to*n], g.f32[from*n:to*n], x.f32[from*n:to*n])
	}
	return task{phases: []phase{grad.prepare(), {parts, run}}}, nil
}

var unscaled float32 = 1

// scaled reads parameter scale and returns the number of operands before the weights, which are the last with it, and
// the weight that it names.
func (c *checker) scaled(operands int) (rest int, weight *float32) {
	at := optional(c, "scale", -1, "a whole number")
	if c.err != nil || at < 0 {
		return operands, &unscaled
	}
	return operands - 1, c.element(operands-1, at)
}

// element returns the element that parameter scale names of an operand.
func (c *checker) element(operand, at int) *float32 {
	weights := c.operand(operand, plan.F32)
	c.layout(weights, nil)
	if c.err == nil && at >= len(weights.f32) {
		c.failf("parameter scale is %d, the weights have %d elements", at, len(weights.f32))
	}
	if c.err != nil {
		return &unscaled
	}
	return &weights.f32[at]
}
