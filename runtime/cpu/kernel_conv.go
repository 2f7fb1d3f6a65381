package cpu

import (
	"fmt"

	"github.com/dartsc/dartsc/compiler/plan"
)

func init() {
	register("conv2d", conv2d)
	register("conv2d_input_grad", conv2dInputGrad)
}

// conv2d(x, w[, bias][, mean, var[, gamma, beta]][, more parts of x…]) → y, with a prologue on x. There is a bias where the
// number of operands without those parts is odd.
func conv2d(l *launch) (task, error) {
	c := check(l, 2, anyNumber, 1)
	x, parts := c.source()
	w, y := c.operand(1, plan.F32), c.result(0, plan.F32)
	g := c.convolution(x, w, y)
	biased := (len(l.in) - c.parts() + 1) % 2
	bias := c.bias(2, g.o, biased == 1)
	p := c.prologue(2+biased, g.c)
	if c.err != nil {
		return task{}, c.err
	}
	return convolve(l, g, x.f32, parts, p, filter{func() []float32 { return w.f32 }, w.fixed}, made{y: y.f32, bias: bias}, p.phases()), nil
}

// bias reads the operand at a place, if there is a bias.
func (c *checker) bias(at, channels int, present bool) *offset {
	if !present || c.err != nil {
		return nil
	}
	t := c.operand(at, plan.F32)
	c.vector(t, channels)
	if c.err != nil {
		return nil
	}
	scale := make([]float32, channels)
	for i := range scale {
		scale[i] = 1
	}
	return &offset{t.f32, make([]float32, channels), scale}
}

// offset is a bias for each channel.
type offset struct{ bias, zero, one []float32 }

// add adds the bias to whole pixels.
func (o *offset) add(y []float32) {
	if o != nil {
		vec.normalize(y, y, o.zero, o.one, o.bias, false)
	}
}

// filter is the weights of a convolution; fixed ones are packed once.
type filter struct {
	weights func() []float32
	fixed   bool
}

// made is what becomes of what a convolution makes.
type made struct {
	y     []float32
	sum   []float32    // unless nil it is added to this, which may be y
	bias  *offset      // or nil
	parts []maskedPart // unless there are none, in place of y
	mask  rowFunc      // of the parts
}

// maskedPart is channels from one on, so many, where x is positive.
type maskedPart struct {
	from, c int
	x, y    []float32
}

// reads adds the memory that so many pixels from one on come from and go to.
func (m *made) reads(pixel, pixels, channels int, into *ahead) {
	from, to := pixel*channels, (pixel+pixels)*channels
	if m.sum != nil {
		into.add(m.sum[from:to])
	}
	if len(m.parts) == 0 && (m.sum == nil || &m.sum[0] != &m.y[0]) {
		into.add(m.y[from:to])
	}
	for _, p := range m.parts {
		into.add(p.x[pixel*p.c:][:pixels*p.c])
		into.add(p.y[pixel*p.c:][:pixels*p.c])
	}
}

// split writes the parts of pixels from one on.
func (m *made) split(pixel int, all []float32, channels int) {
	pixels := len(all) / channels
	for _, p := range m.parts {
		y := p.y[pixel*p.c:][:pixels*p.c]
		vec.copyRows(y, p.c, all[p.from:], channels, p.c, pixels)
		m.mask(y, y, p.x[pixel*p.c:][:len(y)], 0, 0)
	}
}

// convolve is the task of a convolution of x, or of parts, after the given phases.
func convolve(l *launch, g convolution, x []float32, parts []part, p prologue, w filter, to made, phases []phase) task {
	source := g.source(x, parts, p)
	var rows func(y, x []float32, stride, count int, next *ahead)
	var prepare []phase
	if g.depthwise() {
		rows = func(y, x []float32, stride, count int, next *ahead) {
			s := g.window(count, stride)
			s.next = next
			vec.depthwise(y, x, w.weights(), s)
		}
	} else {
		m := matricesOf(g)
		b, once := l.keep(m.size(), w.fixed)
		if pack := m.pack(b, w.weights); once {
			prepare = append(prepare, pack)
		} else {
			phases = append(phases, pack)
		}
		rows = func(y, x []float32, stride, count int, next *ahead) {
			g.denseRows(y, x, b(), m, stride, count, to.sum != nil, next)
		}
	}
	work, room, extra := g.blocks(), g.scratch(), 0
	if to.sum != nil && g.depthwise() {
		extra = work.each * g.ow * g.o
	}
	if len(to.parts) > 0 {
		extra += work.each * g.ow * g.o
	}
	tasks := work.parts(g.macs())
	run := func(part int, scratch []float32) {
		next := aheads.take()
		defer aheads.give(next)
		begin, end := span(part, tasks, work.count())
		for unit := begin; unit < end; unit++ {
			image, first, last := work.at(unit)
			x, stride := source.rows(scratch[:room], image, first*g.sh, g.height(last-first))
			g.lookAhead(work, unit, &source, next)
			if unit+1 < work.count() {
				image, first, last := work.at(unit + 1)
				to.reads((image*g.oh+first)*g.ow, (last-first)*g.ow, g.o, next)
			}
			pixel := (image*g.oh + first) * g.ow
			n, more := (last-first)*g.ow*g.o, scratch[room:]
			var out []float32
			if len(to.parts) == 0 {
				out = to.y[pixel*g.o:][:n]
			} else {
				out, more = more[:n], more[n:]
			}
			if to.sum != nil {
				copy(out, to.sum[pixel*g.o:]) // nothing moves where they are the same
			}
			if to.sum == nil || !g.depthwise() {
				rows(out, x, stride, last-first, next)
				to.bias.add(out)
			} else {
				rows(more[:n], x, stride, last-first, next)
				vec.add(out, more[:n])
			}
			to.split(pixel, out, g.o)
		}
	}
	return task{scratch: room + extra, once: prepare, phases: append(phases, phase{tasks, run})}
}

// denseRows computes a number of output rows from padded rows that lie stride apart, by matrix products, and may add
// them to what is there. The taps of a kernel's row are one product where they are neighbours in memory, and so are
// several rows of outputs of a 1×1 kernel.
func (g *convolution) denseRows(y, x, b []float32, m matrices, stride, count int, add bool, next *ahead) {
	pixels := g.ow
	if g.kh == 1 && g.kw == 1 && g.sh == 1 && g.sw == 1 && stride == g.ow*g.c {
		pixels, count = g.ow*count, 1
	}
	for r := range count {
		out := y[r*g.ow*g.o:]
		for i := range m.count {
			at := m.at(i)
			in := x[(r*g.sh+at.kh*g.dh)*stride+at.kw*g.dw*g.c+at.group*(g.c/g.groups):]
			first := at.kh == 0 && at.kw == 0 && !add
			vec.gemm(out[at.group*m.n:], g.o, in, g.sw*g.c, b[i*m.packed:(i+1)*m.packed], pixels, m.n, m.k, !first, next)
		}
	}
}

// matrices are the weights of a convolution [KH][KW][I][O] as k×n matrices to multiply pixels with: one for each tap
// and group, or one for each row of taps where its pixels are neighbours in memory.
type matrices struct {
	count, k, n int
	kw          int // taps of a row that have a matrix of their own: 1 or all
	groups      int
	packed      int // elements of a packed matrix
	tap, row    int // elements of a tap's weights, and between their rows
}

func matricesOf(g convolution) matrices {
	i, o := g.c/g.groups, g.o/g.groups
	m := matrices{count: g.kh * g.kw * g.groups, k: i, n: o, kw: g.kw, groups: g.groups, tap: i * g.o, row: g.o}
	if g.groups == 1 && g.dw == 1 {
		m.count, m.k, m.kw, m.tap = g.kh, g.kw*i, 1, g.kw*i*g.o
	}
	m.packed = vec.packed(m.k, m.n)
	return m
}

// tapGroup is what a matrix belongs to; kw is 0 where it holds a whole row of taps.
type tapGroup struct{ kh, kw, group int }

func (m *matrices) at(i int) tapGroup {
	tap := i / m.groups
	return tapGroup{tap / m.kw, tap % m.kw, i % m.groups}
}

func (m *matrices) size() int { return m.count * m.packed }

// pack is the phase that packs all matrices into dst.
func (m matrices) pack(dst, w func() []float32) phase {
	return phase{m.parts(), func(part int, _ []float32) {
		from, to := span(part, m.parts(), m.count)
		for i := from; i < to; i++ {
			vec.pack(dst()[i*m.packed:(i+1)*m.packed], w()[i/m.groups*m.tap+i%m.groups*m.n:], m.row, 1, m.k, m.n)
		}
	}}
}

func (m *matrices) parts() int { return min(m.count, partsOf(m.size())) }

// conv2d_input_grad(g, w[, sum][, x…]) → dx, added to sum, which may be dx itself. With parameter parts, which lists
// channels of dx, the results are instead the channels from each of these on, as many as each x has, which masks them as the
// gradient of a ReLU does.
func conv2dInputGrad(l *launch) (task, error) {
	c := check(l, 2, anyNumber, len(l.out))
	dy, w := c.operand(0, plan.F32), c.operand(1, plan.F32)
	from := optional(c, "parts", []int(nil), "whole numbers")
	dx := tensor{name: name{"what the parts are of", 0}, Tensor: plan.Tensor{DType: plan.F32, Order: channelsLast}}
	if from == nil {
		dx = c.result(0, plan.F32)
	} else {
		dx.Shape = c.intsOf("shape", 4, 1, mostConvParam)
	}
	if more := len(l.in) - len(from); c.err == nil && (from != nil && len(from) == 0 || len(l.out) != max(1, len(from)) || more < 2 || more > 3) {
		c.failf("has %d operands and %d results for %d parts: wants one of each for every part, and 2 or 3 operands beside", len(l.in), len(l.out), len(from))
	}
	if c.err != nil {
		return task{}, c.err
	}
	g := c.convolution(dx, w, dy)
	c.shapeParam(dx)
	var sum []float32
	if c.err == nil && len(l.in)-len(from) == 3 {
		t := c.operand(2, plan.F32)
		c.like(t, dx)
		sum = t.f32
	}
	if c.err != nil {
		return task{}, c.err
	}
	if g.sh > 1 || g.sw > 1 {
		if from != nil {
			return task{}, fmt.Errorf("has strides %d and %d and makes parts: wants a stride of 1", g.sh, g.sw)
		}
		return stridedInputGrad(l, g, dy.f32, w.f32, dx.f32, sum), nil
	}
	parts := c.maskedParts(from, len(l.in)-len(from), dx)
	t := g.transposed()
	turned := l.shared(len(w.f32))
	return convolve(l, t, dy.f32, nil, prologue{}, filter{turned, false}, made{y: dx.f32, sum: sum, parts: parts, mask: pointwiseRow("relu_grad")}, []phase{g.turn(turned, w.f32)}), c.err
}

// maskedParts reads the results that are channels of the whole, those from the given ones on, and the operands from at on that
// mask them.
func (c *checker) maskedParts(from []int, at int, whole tensor) (parts []maskedPart) {
	for i, first := range from {
		x, y := c.operand(at+i, plan.F32), c.result(i, plan.F32)
		c.image(y)
		c.like(x, y)
		if c.err != nil {
			return nil
		}
		s := whole.Shape
		c.shape(y, s[0], y.Shape[1], s[2], s[3])
		if first < 0 || first+y.Shape[1] > s[1] {
			c.failf("part %d has channels %d to %d of %d", i, first, first+y.Shape[1], s[1])
		}
		parts = append(parts, maskedPart{first, y.Shape[1], x.f32, y.f32})
	}
	return parts
}

// transposed is the way back of a convolution with stride 1: one too, with its kernel turned around.
func (g *convolution) transposed() convolution {
	return convolution{
		n: g.n, c: g.o, h: g.oh, w: g.ow, o: g.c, oh: g.h, ow: g.w, kh: g.kh, kw: g.kw, sh: 1, sw: 1, dh: g.dh, dw: g.dw,
		top: g.dh*(g.kh-1) - g.top, left: g.dw*(g.kw-1) - g.left, groups: g.groups,
	}
}

// shapeParam requires that parameter shape, which gradients carry, is the result's.
func (c *checker) shapeParam(result tensor) {
	if shape := c.intsParam("shape"); c.err == nil {
		c.shape(result, shape...)
	}
}

// turn is the phase that reverses the order of the taps and swaps inputs and outputs of each group.
func (g *convolution) turn(dst func() []float32, w []float32) phase {
	taps, in, out := g.kh*g.kw, g.c/g.groups, g.o/g.groups
	parts := min(taps, partsOf(len(w)))
	return phase{parts, func(part int, _ []float32) {
		from, to := span(part, parts, taps)
		for tap := from; tap < to; tap++ {
			d, s := dst()[(taps-1-tap)*out*g.c:], w[tap*in*g.o:]
			for o := range out {
				for c := range g.c {
					d[o*g.c+c] = s[c%in*g.o+c/in*out+o]
				}
			}
		}
	}}
}

// stridedInputGrad is the gradient of a strided convolution. It goes by rows of dx: every row of g that reaches the row is spread
// over a row with pads, of which the inside is then copied.
func stridedInputGrad(l *launch, g convolution, dy, w, dx, sum []float32) task {
	row := g.width() * g.c
	var phases []phase
	var add func(x, dy []float32, kh int)
	if g.depthwise() {
		add = func(x, dy []float32, kh int) {
			s := g.window(1, 0)
			s.kh = 1
			vec.scatter(x, dy, w[kh*g.kw*g.c:(kh+1)*g.kw*g.c], s)
		}
	} else {
		in, out := g.c/g.groups, g.o/g.groups
		size := vec.packed(out, in)
		b := l.shared(g.kh * g.kw * g.groups * size)
		count := g.kh * g.kw * g.groups
		parts := min(count, partsOf(len(w)))
		phases = append(phases, phase{parts, func(part int, _ []float32) {
			from, to := span(part, parts, count)
			for i := from; i < to; i++ {
				vec.pack(b()[i*size:(i+1)*size], w[i/g.groups*in*g.o+i%g.groups*out:], 1, g.o, out, in)
			}
		}})
		add = func(x, dy []float32, kh int) {
			for kw := range g.kw {
				for group := range g.groups {
					i := (kh*g.kw+kw)*g.groups + group
					vec.gemm(x[kw*g.dw*g.c+group*in:], g.sw*g.c, dy[group*out:], g.o, b()[i*size:(i+1)*size], g.ow, in, out, true, nil)
				}
			}
		}
	}
	work := blocks{images: g.n, rows: g.h, each: max(1, g.h/max(1, 8/g.n))}
	parts := work.parts(g.macs())
	run := func(part int, scratch []float32) {
		scratch = scratch[:row]
		from, to := span(part, parts, work.count())
		for unit := from; unit < to; unit++ {
			image, first, last := work.at(unit)
			for h := first; h < last; h++ {
				at := (image*g.h + h) * g.w * g.c
				out := dx[at:][:g.w*g.c]
				if sum == nil {
					clear(out)
				} else {
					copy(out, sum[at:]) // nothing moves where they are the same
				}
				g.spreadRow(out, scratch, dy[image*g.oh*g.ow*g.o:][:g.oh*g.ow*g.o], h, add)
			}
		}
	}
	return task{scratch: row, phases: append(phases, phase{parts, run})}
}

// spreadRow adds row h of the gradient to dx.
func (g *convolution) spreadRow(dx, scratch, dy []float32, h int, add func(x, dy []float32, kh int)) {
	clear(scratch)
	for kh := range g.kh {
		from := h + g.top - kh*g.dh // padded row h is reached from row from/sh of g
		if from < 0 || from%g.sh != 0 || from/g.sh >= g.oh {
			continue
		}
		r := from / g.sh
		add(scratch, dy[r*g.ow*g.o:(r+1)*g.ow*g.o], kh)
	}
	// Pixel x of the row is pixel x+left of the padded one; a negative pad crops, so some have none.
	from, to := min(max(0, -g.left), g.w), max(0, min(g.w, g.width()-g.left))
	if from < to {
		vec.add(dx[from*g.c:to*g.c], scratch[(from+g.left)*g.c:][:(to-from)*g.c])
	}
}
