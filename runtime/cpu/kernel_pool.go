package cpu

import "github.com/dartsc/dartsc/compiler/plan"

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

// window returns the rows and columns of the image in the window of one output.
func (p *pooling) window(oh, ow int) (top, bottom, left, right int) {
	top, left = oh*p.sh-p.top, ow*p.sw-p.left
	return max(0, top), min(p.h, top+p.kh), max(0, left), min(p.w, left+p.kw)
}

// share is what an output of an average counts each of its inputs.
func (p *pooling) share(top, bottom, left, right int) float32 {
	if p.countPads {
		return 1 / float32(p.kh*p.kw)
	}
	return 1 / float32((bottom-top)*(right-left))
}

// forward is the task that computes each pixel of y from its window; the pixel function gets an image of x.
func (p *pooling) forward(x, y []float32, pixel func(y, x []float32, oh, ow int)) task {
	work := blocks{images: p.n, rows: p.oh, each: max(1, p.oh/max(1, 8/p.n))}
	parts := work.parts(len(y) * p.kh * p.kw)
	return task{phases: []phase{{parts, func(part int, _ []float32) {
		from, to := span(part, parts, work.count())
		for unit := from; unit < to; unit++ {
			image, first, last := work.at(unit)
			in := x[image*p.h*p.w*p.c : (image+1)*p.h*p.w*p.c]
			for oh := first; oh < last; oh++ {
				for ow := range p.ow {
					pixel(y[((image*p.oh+oh)*p.ow+ow)*p.c:][:p.c], in, oh, ow)
				}
			}
		}
	}}}}
}

// backward is the task that clears each image of dx and then adds to the window of each pixel of dy; the pixel function
// gets the number of the image.
func (p *pooling) backward(dx, dy []float32, pixel func(dx, dy []float32, image, oh, ow int)) task {
	work := blocks{images: p.n, rows: 1, each: 1}
	parts := work.parts(len(dy) * p.kh * p.kw)
	return task{phases: []phase{{parts, func(part int, _ []float32) {
		from, to := span(part, parts, p.n)
		for image := from; image < to; image++ {
			out := dx[image*p.h*p.w*p.c : (image+1)*p.h*p.w*p.c]
			clear(out)
			for oh := range p.oh {
				for ow := range p.ow {
					pixel(out, dy[((image*p.oh+oh)*p.ow+ow)*p.c:][:p.c], image, oh, ow)
				}
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
	return p.forward(x.f32, y.f32, func(y, x []float32, oh, ow int) {
		top, bottom, left, right := p.window(oh, ow)
		copy(y, x[(top*p.w+left)*p.c:])
		for h := top; h < bottom; h++ {
			for w := left; w < right; w++ {
				in := x[(h*p.w+w)*p.c:][:len(y)]
				for i, v := range in {
					y[i] = max(y[i], v)
				}
			}
		}
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
	return p.backward(dx.f32, dy.f32, func(dx, dy []float32, image, oh, ow int) {
		in := x.f32[image*len(dx) : (image+1)*len(dx)]
		top, bottom, left, right := p.window(oh, ow)
		for i, v := range dy {
			at := (top*p.w+left)*p.c + i
			best := in[at]
			for h := top; h < bottom; h++ {
				position := (h*p.w+left)*p.c + i
				for range right - left {
					if in[position] > best {
						best, at = in[position], position
					}
					position += p.c
				}
			}
			dx[at] += v
		}
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
	return p.forward(x.f32, y.f32, func(y, x []float32, oh, ow int) {
		clear(y)
		top, bottom, left, right := p.window(oh, ow)
		for h := top; h < bottom; h++ {
			for w := left; w < right; w++ {
				vec.add(y, x[(h*p.w+w)*p.c:][:len(y)])
			}
		}
		vec.multiply(y, p.share(top, bottom, left, right))
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
	return p.backward(dx.f32, dy.f32, func(dx, dy []float32, _, oh, ow int) {
		top, bottom, left, right := p.window(oh, ow)
		share := p.share(top, bottom, left, right)
		for h := top; h < bottom; h++ {
			for w := left; w < right; w++ {
				vec.axpy(dx[(h*p.w+w)*p.c:][:len(dy)], share, dy)
			}
		}
	}), nil
}
