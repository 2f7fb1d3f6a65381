package cpu

import (
	"math"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
)

func init() {
	register("max_pool2d", maxPool2D)
	register("max_pool2d_grad", maxPool2DGrad)
	register("avg_pool2d", avgPool2D)
	register("avg_pool2d_grad", avgPool2DGrad)
}

// pooling is the geometry of a pooling from x to y.
type pooling struct {
	n, c, h, w, oh, ow int
	kh, kw, sh, sw     int
	rows, columns      []stretch
	countPads          bool // average over the whole window, not only what lies inside the image
}

// pooling reads the geometry from the parameters and the larger and the smaller tensor.
func (c *checker) pooling(x, y tensor) pooling {
	kernel := c.intsOf("kernel", 2, 1, mostConvParam)
	strides := c.intsOf("strides", 2, 1, mostConvParam)
	pads := c.intsOf("pads", 4, 0, mostConvParam)
	c.image(x)
	c.image(y)
	if c.err != nil {
		return pooling{}
	}
	p := pooling{
		n: x.Shape[0], c: x.Shape[1], h: x.Shape[2], w: x.Shape[3], oh: y.Shape[2], ow: y.Shape[3],
		kh: kernel[0], kw: kernel[1], sh: strides[0], sw: strides[1],
	}
	if max(p.h, p.w) > mostConvParam {
		c.failf("shape %v is too large to pool", x.Shape)
		return pooling{}
	}
	if max(pads[0], pads[2]) >= p.kh || max(pads[1], pads[3]) >= p.kw {
		c.failf("pads %v must be smaller than the kernel %v: a window may not lie outside of the image", pads, kernel)
	}
	c.shape(y, p.n, p.c, outputSize(p.h+pads[0]+pads[2], p.kh, p.sh, 1), outputSize(p.w+pads[1]+pads[3], p.kw, p.sw, 1))
	if c.err == nil {
		p.rows, p.columns = stretches(p.oh, p.h, p.kh, p.sh, pads[0]), stretches(p.ow, p.w, p.kw, p.sw, pads[1])
	}
	return p
}

// stretch are neighbouring windows of one size along an axis: those inside the image, or one that the border cuts.
type stretch struct {
	at, count  int // of outputs
	from, size int // of the first window, inside the image
}

// stretches divides the outputs of an axis.
func stretches(outputs, inputs, kernel, stride, pad int) (all []stretch) {
	for at := 0; at < outputs; {
		from := max(0, at*stride-pad)
		s := stretch{at: at, count: 1, from: from, size: min(inputs, at*stride-pad+kernel) - from}
		if s.size == kernel {
			s.count = min(outputs, (inputs-kernel+pad)/stride+1) - at
		}
		all = append(all, s)
		at += s.count
	}
	return all
}

// windows calls run for all windows of the output rows [first, last), those of one size at once. x is the first element
// of the first window in its image, y that of the first output pixel.
func (p *pooling) windows(first, last int, run func(x, y int, s window)) {
	for _, rows := range p.rows {
		from, to := max(first, rows.at), min(last, rows.at+rows.count)
		if from >= to {
			continue
		}
		top := rows.from + (from-rows.at)*p.sh
		for _, columns := range p.columns {
			run((top*p.w+columns.from)*p.c, (from*p.ow+columns.at)*p.c, window{
				channels: p.c, pixels: columns.count, rows: to - from, kh: rows.size, kw: columns.size, step: p.sw, dilation: 1,
				line: p.w * p.c, xRow: p.sh * p.w * p.c, yRow: p.ow * p.c, uniform: true,
			})
		}
	}
}

// shares are, for every size of a window, what an average multiplies its elements with, once a channel.
func (p *pooling) shares() map[int][]float32 {
	shares := map[int][]float32{}
	p.windows(0, p.oh, func(_, _ int, s window) {
		if size := s.kh * s.kw; shares[size] == nil {
			shares[size] = p.share(size)
		}
	})
	return shares
}

// share is that of every channel in a window of which so many pixels are inside.
func (p *pooling) share(size int) []float32 { return slices.Repeat([]float32{1 / p.count(size)}, p.c) }

// count is what an average divides by, of a window of which so many pixels are inside.
func (p *pooling) count(inside int) float32 {
	if p.countPads {
		return float32(p.kh * p.kw)
	}
	return float32(inside)
}

// forward is the task that calls run for some rows of every image: y and x are those of the image.
func (p *pooling) forward(x, y []float32, run func(y, x []float32, first, last int)) task {
	work := blocks{images: p.n, rows: p.oh, each: max(1, p.oh/max(1, 8/p.n))}
	parts := work.parts(len(y) * p.kh * p.kw)
	return task{phases: []phase{{parts, func(part int, _ []float32) {
		from, to := span(part, parts, work.count())
		for unit := from; unit < to; unit++ {
			image, first, last := work.at(unit)
			run(y[image*p.oh*p.ow*p.c:], x[image*p.h*p.w*p.c:], first, last)
		}
	}}}}
}

// backward is the task that calls run for every image, with so much scratch.
func (p *pooling) backward(dx, dy []float32, scratch int, run func(dx, dy []float32, image int, scratch []float32)) task {
	work := blocks{images: p.n, rows: 1, each: 1}
	parts, size := work.parts(len(dy)*p.kh*p.kw), p.h*p.w*p.c
	return task{scratch: scratch, phases: []phase{{parts, func(part int, scratch []float32) {
		from, to := span(part, parts, p.n)
		for image := from; image < to; image++ {
			run(dx[image*size:(image+1)*size], dy[image*p.oh*p.ow*p.c:], image, scratch)
		}
	}}}}
}

// max_pool2d(x) → y
func maxPool2D(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	x, y := c.operand(0, plan.F32), c.result(0, plan.F32)
	p := c.pooling(x, y)
	if c.err != nil {
		return task{}, c.err
	}
	if p.around() {
		beside := p.row(l, float32(math.Inf(-1)))
		return p.forward(x.f32, y.f32, func(y, x []float32, first, last int) {
			p.bands(first, last, func(row, rows int) {
				vec.maxAround(y[row*len(beside):], p.three(x, beside, row), p.c, p.w, rows)
			})
		}), nil
	}
	return p.forward(x.f32, y.f32, func(y, x []float32, first, last int) {
		p.windows(first, last, func(xAt, yAt int, s window) { vec.maxPool(y[yAt:], x[xAt:], s) })
	}), nil
}

// max_pool2d_grad(g, x) → dx: to the first maximum of each window in row-major order.
func maxPool2DGrad(l *launch) (task, error) {
	c := check(l, 2, 2, 1)
	dy, x, dx := c.operand(0, plan.F32), c.operand(1, plan.F32), c.result(0, plan.F32)
	p := c.pooling(x, dy)
	c.like(dx, x)
	if c.err != nil {
		return task{}, c.err
	}
	size := p.h * p.w * p.c
	if p.around() && vec.maxAroundGrad != nil {
		beside := p.row(l, float32(math.Inf(-1)))
		line := len(beside)
		return p.backward(dx.f32, dy.f32, line, func(dx, dy []float32, image int, scratch []float32) {
			unused := scratch[:line] // what comes to the rows beside the image
			clear(dx)
			clear(unused)
			p.bands(0, p.h, func(row, rows int) {
				vec.maxAroundGrad(p.three(dx, unused, row), dy[row*line:], p.three(x.f32[image*size:][:size], beside, row), p.c, p.w, rows)
			})
		}), nil
	}
	return p.backward(dx.f32, dy.f32, 0, func(dx, dy []float32, image int, _ []float32) {
		clear(dx)
		p.windows(0, p.oh, func(xAt, yAt int, s window) {
			vec.maxPoolGrad(dx[xAt:], dy[yAt:], x.f32[image*size+xAt:], s)
		})
	}), nil
}

// avg_pool2d(x) → y: a sum and its quotient, which loses less than a sum of shares.
func avgPool2D(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	x, y := c.operand(0, plan.F32), c.result(0, plan.F32)
	p := c.pooling(x, y)
	p.countPads = c.boolParam("count_include_pad")
	if c.err != nil {
		return task{}, c.err
	}
	if p.around() {
		beside, rowShares := p.row(l, 0), p.rowShares(l)
		return p.forward(x.f32, y.f32, func(y, x []float32, first, last int) {
			p.bands(first, last, func(row, rows int) {
				vec.sumAround(y[row*len(beside):], p.three(x, beside, row), rowShares[p.rowsInside(row)], p.c, p.w, rows)
			})
		}), nil
	}
	ones := slices.Repeat([]float32{1}, p.c)
	return p.forward(x.f32, y.f32, func(y, x []float32, first, last int) {
		p.windows(first, last, func(xAt, yAt int, s window) {
			vec.depthwise(y[yAt:], x[xAt:], ones, s)
			count := p.count(s.kh * s.kw)
			for r := range s.rows {
				row := y[yAt+r*s.yRow:][:s.pixels*s.channels]
				for i := range row { // divided, not multiplied with a share: a BatchNorm of few values magnifies the last bit
					row[i] /= count
				}
			}
		})
	}), nil
}

// avg_pool2d_grad(g) → dx
func avgPool2DGrad(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	dy, dx := c.operand(0, plan.F32), c.result(0, plan.F32)
	p := c.pooling(dx, dy)
	p.countPads = c.boolParam("count_include_pad")
	c.shapeParam(dx)
	if c.err != nil {
		return task{}, c.err
	}
	shares := p.shares()
	return p.backward(dx.f32, dy.f32, 0, func(dx, dy []float32, _ int, _ []float32) {
		clear(dx)
		p.windows(0, p.oh, func(xAt, yAt int, s window) {
			vec.scatter(dx[xAt:], dy[yAt:], shares[s.kh*s.kw], s)
		})
	}), nil
}
