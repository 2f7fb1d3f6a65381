package cpu

import "github.com/dartsc/dartsc/compiler/plan"

func init() { register("conv2d_weight_grad", conv2dWeightGrad) }

// Every part of a weight gradient has its own sum over its images, in the workspace. There are few, and fewer for
// large weights, because they are memory.
const (
	mostSums        = 16
	mostSumElements = 1 << 22
)

// conv2d_weight_grad(x, g[, mean, var[, gamma, beta]][, more parts of x…]) → dw, with a prologue on x.
func conv2dWeightGrad(l *launch) (task, error) {
	c := check(l, 2, anyNumber, 1)
	x, from := c.source()
	dy, dw := c.operand(1, plan.F32), c.result(0, plan.F32)
	g := c.convolution(x, dw, dy)
	p := c.prologue(2, g.c)
	c.shapeParam(dw)
	if c.err != nil {
		return task{}, c.err
	}
	source := g.source(x.f32, from, p)
	work, size := g.blocks(), len(dw.f32)
	parts := min(work.parts(g.macs()), mostSums, max(1, mostSumElements/size))
	sums := func() []float32 { return dw.f32 }
	if parts > 1 {
		sums = l.shared(parts * size)
	}
	add := g.denseWeights
	if g.depthwise() {
		add = g.depthwiseWeights
	}
	cotangent := func(unit int) []float32 {
		image, first, last := work.at(unit)
		return dy.f32[(image*g.oh+first)*g.ow*g.o : (image*g.oh+last)*g.ow*g.o]
	}
	phases := append(p.phases(), phase{parts, func(part int, scratch []float32) {
		sum := sums()[part*size : (part+1)*size]
		clear(sum)
		next := aheads.take()
		defer aheads.give(next)
		from, to := span(part, parts, work.count())
		for unit := from; unit < to; unit++ {
			image, first, last := work.at(unit)
			x, stride := source.rows(scratch, image, first*g.sh, g.height(last-first))
			g.lookAhead(work, unit, &source, next)
			if unit+1 < work.count() {
				next.add(cotangent(unit + 1))
			}
			add(sum, x, cotangent(unit), stride, last-first, next)
		}
	}})
	if parts > 1 {
		phases = append(phases, sumParts(dw.f32, sums, parts, size))
	}
	return task{scratch: g.scratch(), phases: phases}, nil
}

// sumParts is the phase that adds the sums of parts, which lie a distance apart, in their order.
func sumParts(y []float32, sums func() []float32, parts, distance int) phase {
	pieces := partsOf(len(y))
	return phase{pieces, func(piece int, _ []float32) {
		from, to := span(piece, pieces, len(y))
		copy(y[from:to], sums()[from:to])
		for part := 1; part < parts; part++ {
			vec.add(y[from:to], sums()[part*distance+from:part*distance+to])
		}
	}}
}

// depthwiseWeights adds the products of a number of rows of g with padded rows that lie stride apart.
func (g *convolution) depthwiseWeights(dw, x, dy []float32, stride, count int, _ *ahead) {
	vec.correlate(dw, x, dy, g.window(count, stride))
}

// longestSum is the most pixels that are added in one go, so that float32 loses little.
const longestSum = 256

// denseWeights is the same by outer products, one for each row of taps where these are neighbours in memory.
func (g *convolution) denseWeights(dw, x, dy []float32, stride, count int, next *ahead) {
	m := matricesOf(*g)
	pixels, rows := g.ow, count
	if g.kh == 1 && g.kw == 1 && g.sh == 1 && g.sw == 1 && stride == g.ow*g.c {
		pixels, rows = g.ow*count, 1
	}
	for r := range rows {
		for i := range m.count {
			at := m.at(i)
			in := x[(r*g.sh+at.kh*g.dh)*stride+at.kw*g.dw*g.c+at.group*m.k:]
			out := dy[r*g.ow*g.o+at.group*m.n:]
			to := dw[i/m.groups*m.tap+at.group*m.n:]
			for p := 0; p < pixels; p += longestSum {
				vec.outer(to, g.o, in[p*g.sw*g.c:], g.sw*g.c, out[p*g.o:], g.o, min(longestSum, pixels-p), m.k, m.n, next)
			}
		}
	}
}
