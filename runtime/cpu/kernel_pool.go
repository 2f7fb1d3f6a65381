package cpu

import (
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
	top, left          int
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
		kh: kernel[0], kw: kernel[1], sh: strides[0], sw: strides[1], top: pads[0], left: pads[1],
	}
	if max(p.h, p.w) > mostConvParam {
		c.failf("shape %v is too large to pool", x.Shape)
		return pooling{}
	}
	if max(pads[0], pads[2]) >= p.kh || max(pads[1], pads[3]) >= p.kw {
		c.failf("pads %v must be smaller than the kernel %v: a window may not lie outside of the image", pads, kernel)
	}
	c.shape(y, p.n, p.c, outputSize(p.h+pads[0]+pads[2], p.kh, p.sh, 1), outputSize(p.w+pads[1]+pads[3], p.kw, p.sw, 1))
	return p
}

// windows calls run for the windows of output row oh: those inside the image at once, each that the border cuts on its
// own. x is the first element of the first window in its image, y that of the first output pixel of its row.
func (p *pooling) windows(oh int, run func(x, y int, s window)) {
	top, bottom := max(0, oh*p.sh-p.top), min(p.h, oh*p.sh-p.top+p.kh)
	for ow, end := 0, 0; ow < p.ow; ow = end {
		from := ow*p.sw - p.left
		left, right := max(0, from), min(p.w, from+p.kw)
		end = ow + 1
		if right-left == p.kw {
			end = min(p.ow, (p.w-p.kw+p.left)/p.sw+1)
		}
		run((top*p.w+left)*p.c, ow*p.c, window{channels: p.c, pixels: end - ow, rows: 1, kh: bottom - top, kw: right - left,
			step: p.sw, dilation: 1, line: p.w * p.c, uniform: true})
	}
}

// shares are, for every size of a window, the number that an average counts its elements with, once a channel.
func (p *pooling) shares() map[int][]float32 {
	shares := map[int][]float32{}
	for oh := range p.oh {
		p.windows(oh, func(_, _ int, s window) {
			if size := s.kh * s.kw; shares[size] == nil {
				counted := size
				if p.countPads {
					counted = p.kh * p.kw
				}
				shares[size] = slices.Repeat([]float32{1 / float32(counted)}, p.c)
			}
		})
	}
	return shares
}

// forward is the task that computes rows of y from their windows in an image of x.
func (p *pooling) forward(x, y []float32, run func(y, x []float32, s window)) task {
	work := blocks{images: p.n, rows: p.oh, each: max(1, p.oh/max(1, 8/p.n))}
	parts := work.parts(len(y) * p.kh * p.kw)
	return task{phases: []phase{{parts, func(part int, _ []float32) {
		from, to := span(part, parts, work.count())
		for unit := from; unit < to; unit++ {
			image, first, last := work.at(unit)
			in := x[image*p.h*p.w*p.c : (image+1)*p.h*p.w*p.c]
			for oh := first; oh < last; oh++ {
				out := y[(image*p.oh+oh)*p.ow*p.c:][:p.ow*p.c]
				p.windows(oh, func(x, y int, s window) { run(out[y:], in[x:], s) })
			}
		}
	}}}}
}

// backward is the task that clears each image of dx and then adds to the windows of each row of dy; run gets the
// position of the windows in all images.
func (p *pooling) backward(dx, dy []float32, run func(dx, dy []float32, at int, s window)) task {
	work := blocks{images: p.n, rows: 1, each: 1}
	parts, size := work.parts(len(dy)*p.kh*p.kw), p.h*p.w*p.c
	return task{phases: []phase{{parts, func(part int, _ []float32) {
		from, to := span(part, parts, p.n)
		for image := from; image < to; image++ {
			out := dx[image*size : (image+1)*size]
			clear(out)
			for oh := range p.oh {
				in := dy[(image*p.oh+oh)*p.ow*p.c:][:p.ow*p.c]
				p.windows(oh, func(x, y int, s window) { run(out[x:], in[y:], image*size+x, s) })
			}
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
	return p.forward(x.f32, y.f32, vec.maxPool), nil
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
	return p.backward(dx.f32, dy.f32, func(dx, dy []float32, at int, s window) {
		vec.maxPoolGrad(dx, dy, x.f32[at:], s)
	}), nil
}

// avg_pool2d(x) → y
func avgPool2D(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	x, y := c.operand(0, plan.F32), c.result(0, plan.F32)
	p := c.pooling(x, y)
	p.countPads = c.boolParam("count_include_pad")
	if c.err != nil {
		return task{}, c.err
	}
	shares := p.shares()
	ones := slices.Repeat([]float32{1}, p.c)
	return p.forward(x.f32, y.f32, func(y, x []float32, s window) {
		vec.depthwise(y, x, ones, s) // a sum, which loses less than a sum of shares
		vec.multiply(y[:s.outputs()], shares[s.kh*s.kw][0])
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
	return p.backward(dx.f32, dy.f32, func(dx, dy []float32, _ int, s window) {
		vec.scatter(dx, dy, shares[s.kh*s.kw], s)
	}), nil
}
