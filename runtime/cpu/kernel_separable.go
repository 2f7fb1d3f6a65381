package cpu

import "github.com/dartsc/dartsc/compiler/plan"

func init() { register("separable", alone(separable)) }

// Depthwise separable convolutions, the primitives of DARTS, go image by image: what lies between the depthwise and the
// pointwise convolution is made in the cache, forward and again backward, and never written to memory.

// tileElements is about how many numbers go from one convolution to the other at a time: what is made of them, and
// what they are made of, stays in the second cache. With fewer of them it would stay in the first one, but memory is read
// faster in long runs.
const tileElements = 1 << 13

// tileRows are the rows of pixels of that many elements.
func tileRows(row int) int { return max(1, tileElements/row) }

// separable(x, depthwise, pointwise[, bias][, mean, var[, gamma, beta]]) → z[, mean, var of z], with a prologue on x. The
// parameters are those of the depthwise convolution; the pointwise one is 1×1, and has a bias where the number of
// operands is even.
func separable(l *launch) (byImage, error) {
	results := 1
	if len(l.out) > 1 {
		results = 3
	}
	c := check(l, 3, 8, results)
	x, z := c.operand(0, plan.F32), c.result(0, plan.F32)
	biased := len(l.in)%2 == 0
	at := 3
	if biased {
		at = 4
	}
	pointwise := c.operand(2, plan.F32)
	s := c.separable(x, c.operand(1, plan.F32), pointwise, z, at)
	bias := c.bias(3, s.o, biased)
	var statistics [2]tensor
	for i := 1; i < results; i++ {
		statistics[i-1] = c.result(i, plan.F32)
		c.vector(statistics[i-1], s.o)
	}
	if c.err != nil {
		return byImage{}, c.err
	}
	g := s.depthwise
	work, room := g.blocks(), g.scratch()
	packed, once := l.keep(vec.packed(g.c, s.o), pointwise.fixed)
	pack := phase{1, func(int, []float32) { vec.pack(packed(), s.pointwise, s.o, 1, g.c, s.o) }}
	t := byImage{before: s.source.prologue.phases(), units: work.count(), work: work.each * g.ow * g.c * (g.kh*g.kw + s.o), parts: min(work.parts(g.macs()+g.n*g.oh*g.ow*g.c*s.o), maxParts)}
	if once {
		t.once = append(t.once, pack)
	} else {
		t.before = append(t.before, pack)
	}
	var m *moments
	if results == 3 {
		m = l.moments(work.count(), s.o, statistics[0].f32, statistics[1].f32)
		t.after = append(t.after, m.merge(func(unit int) int {
			_, first, last := work.at(unit)
			return (last - first) * g.ow
		}))
	}
	tile := tileRows(g.ow * g.c)
	t.scratch = room + tile*g.ow*g.c
	whole := work.count() == g.n
	if whole {
		t.source = &s.source
	}
	t.reads = func(unit int, into *ahead) {
		image, first, last := work.at(unit)
		if !whole {
			s.source.reads(image, first*g.sh, g.height(last-first), into)
		}
		into.add(z.f32[(image*g.oh+first)*g.ow*s.o : (image*g.oh+last)*g.ow*s.o])
	}
	t.run = func(_, unit int, scratch []float32, source *feed, next *ahead) {
		padded, between := scratch[:room], scratch[room:]
		image, first, last := work.at(unit)
		in := s.source.within(source, padded, image, first*g.sh, g.height(last-first))
		out := z.f32[(image*g.oh+first)*g.ow*s.o : (image*g.oh+last)*g.ow*s.o]
		for r := 0; r < last-first; r += tile {
			rows := min(tile, last-first-r)
			in.until(g.height(r + rows))
			z := out[r*g.ow*s.o:][:rows*g.ow*s.o]
			window := g.window(rows, in.stride)
			window.next = next
			vec.depthwise(between, in.rows[r*g.sh*in.stride:], s.weights, window)
			vec.gemm(z, s.o, between, g.c, packed(), rows*g.ow, s.o, g.c, false, next)
			bias.add(z)
			if m != nil {
				m.add(unit, z, r == 0)
			}
		}
		if m != nil {
			m.end(unit, len(out)/s.o)
		}
	}
	return t, nil
}

// separableConvolution is a depthwise convolution followed by a pointwise one, and how its input is read.
type separableConvolution struct {
	depthwise          convolution // from x to what lies between
	o                  int         // channels of z
	weights, pointwise []float32
	source             padded
}

// separable reads the geometry from the parameters and the tensors in their places, and the prologue from the operands
// from at on.
func (c *checker) separable(x, depthwise, pointwise, z tensor, at int) separableConvolution {
	c.image(x)
	c.image(z)
	c.rank(pointwise, 4)
	c.layout(pointwise, outputsLast)
	if c.err != nil {
		return separableConvolution{}
	}
	between := tensor{name: name{"what lies between the convolutions", 0}, Tensor: plan.Tensor{DType: plan.F32, Shape: []int{z.Shape[0], x.Shape[1], z.Shape[2], z.Shape[3]}, Order: channelsLast}}
	g := c.convolution(x, depthwise, between)
	c.shape(pointwise, z.Shape[1], g.c, 1, 1)
	if c.err == nil && (!g.depthwise() || z.Shape[0] != g.n) {
		c.failf("%d images of %d channels in %d groups, to %d images: wants as many groups as channels, and images as they are", g.n, g.c, g.groups, z.Shape[0])
	}
	p := c.prologue(at, g.c)
	if c.err != nil {
		return separableConvolution{}
	}
	return separableConvolution{g, z.Shape[1], depthwise.f32, pointwise.f32, g.source(x.f32, nil, p)}
}
