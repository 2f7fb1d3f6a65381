package cpu

import "github.com/dartsc/dartsc/compiler/plan"

func init() { register("separable_grad", alone(separableGrad)) }

// separable_grad(g[, p, seed, step][, x], depthwise, pointwise[, z, mean, var, Σg, Σg·ẑ[, gamma]][, weights][, sum][, mean, var[, gamma,
// beta]]) → dx[, d(depthwise), d(pointwise)][, Σdx, Σdx·x̂] is the way back through
//
//	x ─ prologue ─ depthwise ─ pointwise ─ z ─ BatchNorm ─ · weight
//
// for the cotangent g of the end, with the parameters and the prologue of separable. What there is of it, parameters say:
// normalized (and affine) that there is a BatchNorm behind z, with norm_eps; drop the stream of the drop path behind that;
// scale which of the weights follows;
// accumulate that sum is added to the cotangent of what the prologue gives; mask that dx is the cotangent of the
// prologue's normalised x, behind its ReLU; weights that both filters' gradients are results, and sums those of the
// prologue's BatchNorm for dx. Without mask and weights there is no x.
func separableGrad(l *launch) (byImage, error) {
	c := check(l, 3, 19, len(l.out))
	b := c.separableGradient()
	if c.err != nil {
		return byImage{}, c.err
	}
	t := byImage{
		before: append(b.source.prologue.phases(), b.turn(), b.pack()), units: b.depthwise.n, parts: min(b.depthwise.n, maxParts), scratch: b.scratch(),
		run: func(_, image int, scratch []float32, _ *feed, next *ahead) {
			b.image(image, scratch, nil, nil, nil, next)
		},
		reads: b.reads, work: b.work(),
	}
	if b.norm != nil {
		t.before = append(t.before, b.norm.prepare())
	}
	if b.dDepthwise != nil {
		// Every part has its own sums of the filters' gradients.
		size := len(b.weights) + len(b.pointwise)
		t.parts = min(b.depthwise.n, b.mostParts())
		parts, sums := t.parts, l.shared(t.parts*size)
		t.source = &b.source
		t.begin = func(part int) { clear(sums()[part*size : (part+1)*size]) }
		t.run = func(part, image int, scratch []float32, source *feed, next *ahead) {
			all := sums()[part*size : (part+1)*size]
			b.image(image, scratch, source, all[:len(b.weights)], all[len(b.weights):], next)
		}
		pointwise := func() []float32 { return sums()[len(b.weights):] }
		t.after = append(t.after, sumParts(b.dDepthwise, sums, parts, size), sumParts(b.dPointwise, pointwise, parts, size))
	}
	if b.sums != nil {
		t.after = append(t.after, b.sums.merge())
	}
	return t, nil
}

// separableGradient is a bound launch.
type separableGradient struct {
	separableConvolution
	back                   convolution  // its transpose, where the stride is 1
	strided                *interleaved // the same where it is not
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
	c.image(g)
	if c.err != nil {
		return b
	}
	drop := c.drops(next, g.Shape[0])
	if drop != nil {
		next += 3
	}
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
		b.norm.drop = drop
		b.z, next = z.f32, end
		if weight != &unscaled {
			next++
		}
	}
	if c.err == nil && drop != nil && b.norm == nil {
		c.failf("parameter drop names a drop path, normalized is false: wants a BatchNorm before it")
	}
	if flag("accumulate") {
		sum := take()
		c.like(sum, x)
		b.sum = sum.f32
	}
	b.separableConvolution = c.separable(x, depthwise, pointwise, g, next)
	c.like(dx, x)
	b.g, b.dx = g.f32, dx.f32
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
		c.vector(sum, b.depthwise.c)
		c.vector(sumX, b.depthwise.c)
		result += 2
		norm := b.source.prologue.norm
		if c.err == nil && norm == nil {
			c.failf("parameter sums is true, prologue is %q: wants a normalisation", c.Params.Text("prologue"))
		}
		if c.err == nil {
			b.sums = c.products(b.depthwise.n, norm.mean, norm.variance, norm.eps, sum.f32, sumX.f32)
		}
	}
	if c.err == nil && len(c.out) != result {
		c.failf("has %d results, wants %d", len(c.out), result)
	}
	if c.err != nil {
		return b
	}
	if g := &b.depthwise; g.sh > 1 || g.sw > 1 {
		b.strided = g.interleaved()
	} else {
		b.back = g.transposed()
	}
	b.turned, b.packed = c.shared(len(b.weights)), c.shared(vec.packed(b.o, b.depthwise.c))
	return b
}

// mostParts bounds the sums of filters' gradients that parts have, see mostSums.
func (b *separableGradient) mostParts() int {
	return min(mostSums, max(1, mostSumElements/(len(b.weights)+len(b.pointwise))))
}

// turn brings the depthwise filter into the order of the way back.
func (b *separableGradient) turn() phase {
	if b.strided != nil {
		return phase{1, func(int, []float32) { b.strided.weights(b.turned(), b.weights, b.depthwise.kw) }}
	}
	return b.depthwise.turn(b.turned, b.weights)
}

// pack packs the transpose of the pointwise filter [C][O].
func (b *separableGradient) pack() phase {
	return phase{1, func(int, []float32) { vec.pack(b.packed(), b.pointwise, 1, b.o, b.o, b.depthwise.c) }}
}

// pads is how the cotangent of what lies between the convolutions is padded on the way back.
func (b *separableGradient) pads(between []float32) (source padded, height int) {
	g, t := &b.depthwise, &b.back
	if s := b.strided; s != nil {
		return padded{x: between, c: g.c, h: g.oh, w: g.ow, top: s.top, left: s.left, width: s.width}, s.height
	}
	return padded{x: between, c: t.c, h: t.h, w: t.w, top: t.top, left: t.left, width: t.width()}, t.height(g.h)
}

// rooms are the parts of a worker's scratch: the padded input of an image, the cotangent of what lies between the
// convolutions, that with its pads, rows of dx, and tiles of the cotangent of z and of what lies between.
func (b *separableGradient) rooms() [6]int {
	g := &b.depthwise
	source, height := b.pads(nil)
	tile := tileRows(g.ow*g.c) * g.ow
	return [6]int{g.height(g.oh) * g.width() * g.c, g.oh * g.ow * g.c, height * source.width * g.c, tileRows(g.w*g.c) * g.w * g.c, tile * b.o, tile * g.c}
}

func (b *separableGradient) scratch() int {
	total := 0
	for _, n := range b.rooms() {
		total += n
	}
	return total
}

// work is the number of multiply-adds of an image that are products or depthwise convolutions.
func (b *separableGradient) work() int {
	g := &b.depthwise
	taps := g.kh * g.kw
	n := g.oh * g.ow * g.c * b.o
	if b.dDepthwise != nil {
		n += g.oh * g.ow * g.c * (taps + b.o)
	}
	if b.strided == nil {
		n += g.h * g.w * g.c * taps
	}
	return n
}

// reads adds the image's parts of g and z, and of x where only its mask is needed.
func (b *separableGradient) reads(image int, into *ahead) {
	g := &b.depthwise
	size := g.oh * g.ow * b.o
	into.add(b.g[image*size : (image+1)*size])
	if b.norm != nil {
		into.add(b.z[image*size : (image+1)*size])
	}
	if b.mask && b.dDepthwise == nil {
		b.source.reads(image, 0, g.height(g.oh), into)
	}
}

// image does one image, whose padded x may be there already; dw and dp get the filters' gradients added, unless they are
// nil.
func (b *separableGradient) image(image int, scratch []float32, source *feed, dw, dp []float32, next *ahead) {
	var room [6][]float32
	for i, n := range b.rooms() {
		room[i], scratch = scratch[:n], scratch[n:]
	}
	g := &b.depthwise
	var x feed
	if dw != nil {
		x = b.source.within(source, room[0], image, 0, g.height(g.oh))
	}
	between, tile := room[1], tileRows(g.ow*g.c)
	for r := 0; r < g.oh; r += tile {
		rows := min(tile, g.oh-r)
		b.between(between[r*g.ow*g.c:], (image*g.oh+r)*g.ow, rows*g.ow, room[4], next)
		if dw == nil {
			continue
		}
		x.until(g.height(r + rows))
		in, window := x.rows[r*g.sh*x.stride:], g.window(rows, x.stride)
		window.next = next
		again, dz := room[5], b.cotangent(room[4], (image*g.oh+r)*g.ow, rows*g.ow, true)
		vec.depthwise(again, in, b.weights, window)
		for p := 0; p < rows*g.ow; p += longestSum {
			vec.outer(dp, b.o, again[p*g.c:], g.c, dz[p*b.o:], b.o, min(longestSum, rows*g.ow-p), g.c, b.o, next)
		}
		vec.correlate(dw, in, between[r*g.ow*g.c:], window)
	}
	b.input(image, between, room[2], room[3], next)
}

// cotangent returns the cotangent of some pixels of z, in dz if it has to be computed, unless it is there already.
func (b *separableGradient) cotangent(dz []float32, pixel, pixels int, there bool) []float32 {
	from, to := pixel*b.o, (pixel+pixels)*b.o
	if b.norm == nil {
		return b.g[from:to]
	}
	dz = dz[:to-from]
	if !there {
		b.norm.applyTo(pixel/(b.depthwise.oh*b.depthwise.ow), dz, b.g[from:to], b.z[from:to])
	}
	return dz
}

// between computes the cotangent of some pixels between the convolutions, from the given pixel of the batch on.
func (b *separableGradient) between(dst []float32, pixel, pixels int, dz []float32, next *ahead) {
	c := b.depthwise.c
	vec.gemm(dst, c, b.cotangent(dz, pixel, pixels, false), b.o, b.packed(), pixels, c, b.o, false, next)
}

// input computes the cotangent of an image from that between the convolutions, some rows at a time.
func (b *separableGradient) input(image int, between, pads, more []float32, next *ahead) {
	g, t := &b.depthwise, &b.back
	source, height := b.pads(between)
	back := source.feed(pads, 0, 0, height)
	row := g.w * g.c
	tile := tileRows(row)
	for h := 0; h < g.h; h += tile {
		rows := min(tile, g.h-h)
		from, to := (image*g.h+h)*row, (image*g.h+h+rows)*row
		dx := b.dx[from:to]
		if b.sum != nil {
			copy(dx, b.sum[from:to]) // nothing moves where they are the same
		}
		if b.strided != nil {
			if b.sum == nil {
				clear(dx)
			}
			back.until(height)
			b.strided.add(dx, back.rows, b.turned(), back.stride, h, rows)
		} else {
			back.until(t.height(h + rows))
			s := t.window(rows, back.stride)
			s.add, s.next = b.sum != nil, next
			vec.depthwise(dx, back.rows[h*back.stride:], b.turned(), s)
		}
		b.endRows(image, dx, b.source.x[from:to], more, h == 0)
	}
}

// endRows goes through the ReLU of the prologue and sums, whichever is wanted, for rows of dx and x.
func (b *separableGradient) endRows(image int, dx, x, more []float32, first bool) {
	norm := b.source.prologue.norm
	switch {
	case b.mask && b.sums != nil:
		b.sums.addMasked(image, dx, x, norm, first)
		return
	case b.mask && norm != nil:
		y := more[:len(x)]
		norm.apply(y, x, false)
		b.relu(dx, dx, y, 0, 0)
	case b.mask:
		b.relu(dx, dx, x, 0, 0)
	}
	if b.sums != nil {
		b.sums.add(image, dx, x, first)
	}
}
