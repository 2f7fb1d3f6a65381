package cpu

import "github.com/dartsc/dartsc/compiler/plan"

func init() { register("separable_grad", separableGrad) }

// separable_grad(g[, x], depthwise, pointwise[, z, mean, var, Σg, Σg·ẑ[, gamma]][, weights][, sum][, mean, var[, gamma,
// beta]]) → dx[, d(depthwise), d(pointwise)][, Σdx, Σdx·x̂] is the way back through
//
//	x ─ prologue ─ depthwise ─ pointwise ─ z ─ BatchNorm ─ · weight
//
// for the cotangent g of the end, with the parameters and the prologue of separable. What there is of it, parameters say:
// normalized (and affine) that there is a BatchNorm behind z, with norm_eps; scale which of the weights follows;
// accumulate that sum is added to the cotangent of what the prologue gives; mask that dx is the cotangent of the
// prologue's normalised x, behind its ReLU; weights that both filters' gradients are results, and sums those of the
// prologue's BatchNorm for dx. Without mask and weights there is no x.
func separableGrad(l *launch) (task, error) {
	c := check(l, 3, 16, len(l.out))
	b := c.separableGradient()
	if c.err != nil {
		return task{}, c.err
	}
	phases := append(b.source.prologue.phases(), b.turn(), b.pack())
	if b.norm != nil {
		phases = append(phases, b.norm.prepare())
	}
	parts := min(b.geometry.n, b.mostParts())
	size := len(b.weights) + len(b.pointwise)
	sums := func() []float32 { return nil }
	if b.dDepthwise != nil {
		sums = l.shared(parts * size)
	}
	phases = append(phases, phase{parts, func(part int, scratch []float32) {
		var dw, dp []float32
		if all := sums(); all != nil {
			all = all[part*size : (part+1)*size]
			clear(all)
			dw, dp = all[:len(b.weights)], all[len(b.weights):]
		}
		from, to := span(part, parts, b.geometry.n)
		for image := from; image < to; image++ {
			b.image(image, scratch, dw, dp)
		}
	}})
	if b.dDepthwise != nil {
		phases = append(phases, phase{1, func(int, []float32) {
			addParts(b.dDepthwise, sums(), parts, size)
			addParts(b.dPointwise, sums()[len(b.weights):], parts, size)
		}})
	}
	if b.sums != nil {
		phases = append(phases, b.sums.merge())
	}
	return task{scratch: b.scratch(), phases: phases}, nil
}

// addParts adds the sums of parts, which lie a distance apart, in their order.
func addParts(y, sums []float32, parts, distance int) {
	copy(y, sums)
	for part := 1; part < parts; part++ {
		vec.add(y, sums[part*distance:][:len(y)])
	}
}

// separableGradient is a bound launch.
type separableGradient struct {
	separableConvolution
	geometry               convolution // of the depthwise convolution
	back                   convolution // its transpose, where the stride is 1
	g, z, sum, dx          []float32
	norm                   *normGradient // nil: none
	mask                   bool
	dDepthwise, dPointwise []float32 // nil: not wanted
	sums                   *products
	turned, packed         func() []float32
	relu                   rowFunc // the gradient of ReLU
}

func (c *checker) separableGradient() *separableGradient {
	flag := c.boolParam
	b := &separableGradient{mask: flag("mask"), relu: pointwiseRow("relu_grad")}
	next := 0 // operand
	take := func() tensor { next++; return c.operand(next-1, plan.F32) }
	g, dx, weights := take(), c.result(0, plan.F32), flag("weights")
	x := dx
	if b.mask || weights {
		x = take()
	}
	depthwise, pointwise := take(), take()
	if flag("normalized") {
		z, weight := take(), &unscaled
		c.like(z, g)
		end := next + 4
		if flag("affine") {
			end++
		}
		if at := optional(c, "scale", -1, "a whole number"); at >= 0 {
			weight = c.element(end, at)
		}
		rows, channels := c.pixels(g)
		b.norm = c.normGradient(next, end, rows, channels, c.floatParam("norm_eps"), weight)
		b.z, next = z.f32, end
		if weight != &unscaled {
			next++
		}
	}
	if flag("accumulate") {
		sum := take()
		c.like(sum, x)
		b.sum = sum.f32
	}
	b.separableConvolution = c.separable(x, depthwise, pointwise, g, next)
	c.like(dx, x)
	b.g, b.dx, b.geometry = g.f32, dx.f32, b.depthwise
	if c.err == nil && b.mask && !b.source.prologue.relu {
		c.failf("parameter mask is true, prologue is %q: wants a ReLU", c.Params.Text("prologue"))
	}
	result := 1
	if weights {
		dw, dp := c.result(1, plan.F32), c.result(2, plan.F32)
		c.like(dw, depthwise)
		c.like(dp, pointwise)
		b.dDepthwise, b.dPointwise, result = dw.f32, dp.f32, 3
	}
	if flag("sums") {
		sum, sumX := c.result(result, plan.F32), c.result(result+1, plan.F32)
		c.vector(sum, b.geometry.c)
		c.vector(sumX, b.geometry.c)
		result += 2
		norm := b.source.prologue.norm
		if c.err == nil && norm == nil {
			c.failf("parameter sums is true, prologue is %q: wants a normalisation", c.Params.Text("prologue"))
		}
		if c.err == nil {
			b.sums = c.products(b.geometry.n, norm.mean, norm.variance, norm.eps, sum.f32, sumX.f32)
		}
	}
	if c.err == nil && len(c.out) != result {
		c.failf("has %d results, wants %d", len(c.out), result)
	}
	if c.err != nil {
		return b
	}
	b.back = b.geometry.transposed()
	b.turned, b.packed = c.shared(len(b.weights)), c.shared(vec.packed(b.o, b.geometry.c))
	return b
}

// mostParts bounds the sums of filters' gradients that parts have, see mostSums.
func (b *separableGradient) mostParts() int {
	if b.dDepthwise == nil {
		return maxParts
	}
	return min(mostSums, max(1, mostSumElements/(len(b.weights)+len(b.pointwise))))
}

func (b *separableGradient) turn() phase { return b.geometry.turn(b.turned, b.weights) }

// pack packs the transpose of the pointwise filter [C][O].
func (b *separableGradient) pack() phase {
	return phase{1, func(int, []float32) { vec.pack(b.packed(), b.pointwise, 1, b.o, b.o, b.geometry.c) }}
}

// The scratch of a worker holds the padded input of an image, the cotangent of what lies between the convolutions, that
// with its pads or a row of it, a row or an image to add, and tiles of the cotangent of z and of what lies between.
func (b *separableGradient) rooms() [6]int {
	g := &b.geometry
	tile := min(tileRows, g.oh) * g.ow
	more := g.w * g.c
	if b.strided() {
		return [6]int{g.height(g.oh) * g.width() * g.c, g.oh * g.ow * g.c, g.width() * g.c, more, tile * b.o, tile * g.c}
	}
	if b.sum != nil {
		more = g.h * g.w * g.c
	}
	return [6]int{g.height(g.oh) * g.width() * g.c, g.oh * g.ow * g.c, b.back.height(g.h) * b.back.width() * g.c, more, tile * b.o, tile * g.c}
}

func (b *separableGradient) scratch() int {
	total := 0
	for _, n := range b.rooms() {
		total += n
	}
	return total
}

func (b *separableGradient) strided() bool { return b.geometry.sh > 1 || b.geometry.sw > 1 }

// image does one image; dw and dp get the filters' gradients added, unless they are nil.
func (b *separableGradient) image(image int, scratch, dw, dp []float32) {
	var room [6][]float32
	for i, n := range b.rooms() {
		room[i], scratch = scratch[:n], scratch[n:]
	}
	g := &b.geometry
	var x []float32
	stride := 0
	if dw != nil {
		x, stride = b.source.rows(room[0], image, 0, g.height(g.oh))
	}
	between := room[1]
	for r := 0; r < g.oh; r += tileRows {
		rows := min(tileRows, g.oh-r)
		b.tile(between[r*g.ow*g.c:], x, (image*g.oh+r)*g.ow, r, rows, stride, room[4], room[5], dp)
	}
	if dw != nil {
		vec.correlate(dw, x, between, g.window(g.oh, stride))
	}
	at := image * g.h * g.w * g.c
	dx := b.dx[at:][:g.h*g.w*g.c]
	if b.sum != nil {
		copy(dx, b.sum[at:]) // nothing moves where they are the same
	}
	if b.strided() {
		b.spread(dx, between, room[2])
	} else {
		b.convolveBack(dx, between, room[2], room[3])
	}
	if b.mask {
		b.maskRows(dx, at, room[3])
	}
	if b.sums != nil {
		b.sums.add(image, dx, b.source.x[at:][:len(dx)])
	}
}

// tile computes the cotangent of some rows between the convolutions, from the given pixel of the batch on, and adds
// their share of the pointwise filter's gradient. The rows begin at row r of the image, whose padded input is x.
func (b *separableGradient) tile(between, x []float32, pixel, r, rows, stride int, dz, again, dp []float32) {
	g := &b.geometry
	pixels := rows * g.ow
	cotangent := b.g[pixel*b.o:][:pixels*b.o]
	if b.norm != nil {
		dz = dz[:pixels*b.o]
		b.norm.apply(dz, cotangent, b.z[pixel*b.o:][:pixels*b.o])
		cotangent = dz
	}
	if dp != nil {
		vec.depthwise(again, x[r*g.sh*stride:], b.weights, g.window(rows, stride))
		for p := 0; p < pixels; p += longestSum {
			vec.outer(dp, b.o, again[p*g.c:], g.c, cotangent[p*b.o:], b.o, min(longestSum, pixels-p), g.c, b.o)
		}
	}
	vec.gemm(between, g.c, cotangent, b.o, b.packed(), pixels, g.c, b.o, false)
}

// convolveBack goes through the depthwise convolution with stride 1.
func (b *separableGradient) convolveBack(dx, between, pads, more []float32) {
	t := &b.back
	source := padded{x: between, c: t.c, h: t.h, w: t.w, top: t.top, left: t.left, width: t.width()}
	rows, stride := source.rows(pads, 0, 0, t.height(t.oh))
	if b.sum == nil {
		vec.depthwise(dx, rows, b.turned(), t.window(t.oh, stride))
		return
	}
	more = more[:len(dx)]
	vec.depthwise(more, rows, b.turned(), t.window(t.oh, stride))
	vec.add(dx, more)
}

// spread goes through it with any stride.
func (b *separableGradient) spread(dx, between, row []float32) {
	g := &b.geometry
	if b.sum == nil {
		clear(dx)
	}
	add := func(x, dy []float32, kh int) {
		s := g.window(1, 0)
		s.kh = 1
		vec.scatter(x, dy, b.weights[kh*g.kw*g.c:(kh+1)*g.kw*g.c], s)
	}
	for h := range g.h {
		g.spreadRow(dx[h*g.w*g.c:][:g.w*g.c], row, between, h, add)
	}
}

// maskRows goes through the ReLU of the prologue; the rows of x begin at an element.
func (b *separableGradient) maskRows(dx []float32, at int, row []float32) {
	x := b.source.x[at:][:len(dx)]
	norm := b.source.prologue.norm
	if norm == nil {
		b.relu(dx, dx, x, 0, 0)
		return
	}
	n := b.geometry.w * b.geometry.c
	row = row[:n]
	for i := 0; i < len(dx); i += n {
		norm.apply(row, x[i:i+n], false)
		b.relu(dx[i:i+n], dx[i:i+n], row, 0, 0)
	}
}
