package cpu

import (
	"math"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
)

// convolution is the geometry of a convolution y = x * w, shared by the forward kernel and both gradients.
type convolution struct {
	n, c, h, w               int // x
	o, oh, ow                int // y
	kh, kw                   int
	sh, sw, dh, dw           int
	top, left, bottom, right int
	groups                   int
}

// mostConvParam bounds strides, pads, dilations and kernel sizes, so that no position overflows.
const mostConvParam = 1 << 20

// convolution reads the geometry from the parameters and from the tensors in their places.
func (c *checker) convolution(x, w, y tensor) convolution {
	strides := c.intsOf("strides", 2, 1, mostConvParam)
	dilations := c.intsOf("dilations", 2, 1, mostConvParam)
	pads := c.intsOf("pads", 4, -mostConvParam, mostConvParam)
	groups := c.intParam("groups")
	c.image(x)
	c.image(y)
	c.rank(w, 4)
	c.layout(w, outputsLast)
	if c.err != nil {
		return convolution{}
	}
	g := convolution{
		n: x.Shape[0], c: x.Shape[1], h: x.Shape[2], w: x.Shape[3],
		o: y.Shape[1], oh: y.Shape[2], ow: y.Shape[3], kh: w.Shape[2], kw: w.Shape[3],
		sh: strides[0], sw: strides[1], dh: dilations[0], dw: dilations[1],
		top: pads[0], left: pads[1], bottom: pads[2], right: pads[3], groups: groups,
	}
	if groups < 1 || g.c%groups != 0 || g.o%groups != 0 {
		c.failf("%d channels in and %d out do not divide into %d groups", g.c, g.o, groups)
		return convolution{}
	}
	c.shape(w, g.o, g.c/groups, g.kh, g.kw)
	if max(g.kh, g.kw, g.h, g.w) > mostConvParam {
		c.failf("shapes %v and %v are too large to convolve", x.Shape, w.Shape)
		return convolution{}
	}
	c.shape(y, g.n, g.o, outputSize(g.h+g.top+g.bottom, g.kh, g.sh, g.dh), outputSize(g.w+g.left+g.right, g.kw, g.sw, g.dw))
	return g
}

// outputSize is the number of positions of a window, 0 where it does not fit.
func outputSize(padded, kernel, stride, dilation int) int {
	span := padded - dilation*(kernel-1) - 1
	if span < 0 {
		return 0
	}
	return span/stride + 1
}

// depthwise says whether every channel is a group of its own.
func (g *convolution) depthwise() bool { return g.groups == g.c && g.o == g.c }

// macs is the number of multiply-adds.
func (g *convolution) macs() int { return g.n * g.oh * g.ow * g.o * (g.c / g.groups) * g.kh * g.kw }

// window is how so many rows of outputs depend on padded rows that lie stride apart.
func (g *convolution) window(rows, stride int) window {
	return window{channels: g.c, pixels: g.ow, rows: rows, kh: g.kh, kw: g.kw, step: g.sw, dilation: g.dw,
		line: g.dh * stride, xRow: g.sh * stride, yRow: g.ow * g.c}
}

// width is the number of input pixels that a row of outputs depends on.
func (g *convolution) width() int { return (g.ow-1)*g.sw + (g.kw-1)*g.dw + 1 }

// height is the same for a number of output rows.
func (g *convolution) height(rows int) int { return (rows-1)*g.sh + (g.kh-1)*g.dh + 1 }

// scratch is what a unit of work needs to hold its padded rows.
func (g *convolution) scratch() int { return g.height(g.blocks().each) * g.width() * g.c }

// blocks cuts the rows of every image into units of work: whole images when there are many, else several units an
// image; and never more rows than scratch of a megabyte holds.
func (g *convolution) blocks() blocks {
	const manyImages, mostScratch = 8, 1 << 18
	rows := max(1, g.oh/max(1, manyImages/g.n))
	for rows > 1 && g.height(rows)*g.width()*g.c > mostScratch {
		rows = (rows + 1) / 2
	}
	return blocks{images: g.n, rows: g.oh, each: rows}
}

// blocks are units of work: each image's rows cut into pieces.
type blocks struct {
	images, rows, each int
}

func (b blocks) perImage() int { return (b.rows + b.each - 1) / b.each }
func (b blocks) count() int    { return b.images * b.perImage() }

// at returns the image and the rows [from, to) of a unit.
func (b blocks) at(unit int) (image, from, to int) {
	image, from = unit/b.perImage(), unit%b.perImage()*b.each
	return image, from, min(from+b.each, b.rows)
}

// leastMACs is the number of multiply-adds that is worth a part of its own: some microseconds.
const leastMACs = 1 << 14

// parts is how many parts share the units.
func (b blocks) parts(macs int) int { return max(1, min(macs/leastMACs, b.count())) }

// prologue is what happens to x on its way into a convolution: nothing, ReLU, BatchNorm or both.
type prologue struct {
	norm *normalisation // nil: none
	relu bool
}

// prologue reads the parameter of that name and the operands from at on.
func (c *checker) prologue(at, channels int) prologue {
	p := prologue{}
	switch name := optional(c, "prologue", "", "a text"); name {
	case "", "relu":
		p.relu = name == "relu"
		if len(c.in) != at+c.parts()-1 {
			c.failf("has %d operands, wants %d with prologue %q", len(c.in), at+c.parts()-1, name)
		}
	case "batch_norm", "batch_norm_relu":
		p.norm, p.relu = c.normalisation(at, channels), name == "batch_norm_relu"
	default:
		c.failf(`parameter prologue is %q: want "", relu, batch_norm or batch_norm_relu`, name)
	}
	return p
}

func (p *prologue) none() bool { return p.norm == nil && !p.relu }

// phases is what must run before the prologue is applied.
func (p *prologue) phases() []phase {
	if p.norm == nil {
		return nil
	}
	return []phase{p.norm.prepare()}
}

// apply brings whole pixels from x to y.
func (p *prologue) apply(y, x []float32) {
	switch {
	case p.norm != nil:
		p.norm.apply(y, x, p.relu)
	case p.relu:
		vec.relu(y, x)
	default:
		copy(y, x)
	}
}

// part is some of the channels of an image.
type part struct {
	x []float32
	c int
}

// parts returns how many tensors x is, by the parameter of that name. The first is operand 0, the others come last.
func (c *checker) parts() int {
	n := optional(c, "parts", 1, "an integer")
	if c.err == nil && (n < 1 || n > len(c.in)-1) {
		c.failf("parameter parts is %d: want at least 1, and fewer than the %d operands", n, len(c.in))
	}
	if c.err != nil {
		return 1
	}
	return n
}

// source returns x, and where it is more than one tensor, these: x is then what their channels together would be.
func (c *checker) source() (x tensor, parts []part) {
	x = c.operand(0, plan.F32)
	n := c.parts()
	if c.err != nil || n == 1 {
		return x, nil
	}
	c.image(x)
	if c.err != nil {
		return x, nil
	}
	first := x
	x.Shape, x.f32 = slices.Clone(x.Shape), nil
	x.Shape[1] = 0
	for i := range n {
		t := first
		if i > 0 {
			t = c.operand(len(c.in)-n+i, plan.F32)
		}
		c.image(t)
		if c.err != nil {
			return x, nil
		}
		c.shape(t, first.Shape[0], t.Shape[1], first.Shape[2], first.Shape[3])
		parts = append(parts, part{t.f32, t.Shape[1]})
		x.Shape[1] += t.Shape[1]
	}
	return x, parts
}

// padded is a way of reading the rows of images as if the pads were there and the prologue had been applied.
type padded struct {
	x         []float32
	parts     []part // in place of x
	c, h, w   int
	top, left int
	width     int // pixels of a padded row
	height    int // rows of a padded image
	prologue  prologue
}

// join makes the pads those of both, and says whether they read the same in the same way, all of it.
func (p *padded) join(q *padded) bool {
	if p.parts != nil || q.parts != nil || p.prologue.norm != nil || q.prologue != p.prologue || p.c != q.c || p.h != q.h || p.w != q.w || &p.x[0] != &q.x[0] {
		return false
	}
	right, bottom := max(p.width-p.left, q.width-q.left), max(p.height-p.top, q.height-q.top)
	p.top, p.left = max(p.top, q.top), max(p.left, q.left)
	p.width, p.height = p.left+right, p.top+bottom
	return true
}

// rows returns the padded rows [from, from+count) of an image and their distance. It reads x in place where nothing is
// to be added, else it fills scratch.
func (p *padded) rows(scratch []float32, image, from, count int) (rows []float32, stride int) {
	f := p.feed(scratch, image, from, count)
	f.until(count)
	return f.rows, f.stride
}

// source reads x, or parts of it, for a convolution.
func (g *convolution) source(x []float32, parts []part, p prologue) padded {
	return padded{x: x, parts: parts, c: g.c, h: g.h, w: g.w, top: g.top, left: g.left, width: g.width(), height: g.height(g.oh), prologue: p}
}

// lookAhead begins a unit of work, and adds what the next one reads of the source.
func (g *convolution) lookAhead(work blocks, unit int, source *padded, next *ahead) {
	next.clear(g.macs() / work.count())
	if unit+1 < work.count() {
		image, first, last := work.at(unit + 1)
		source.reads(image, first*g.sh, g.height(last-first), next)
	}
}

// feed is rows, filled as they are needed: what has just been written is still in the first cache.
type feed struct {
	padded
	rows   []float32
	stride int
	image  int
	from   int  // the image's row that the first one is, without pads
	filled int  // how many there are
	clean  bool // the pads are there, of an image before

	wider *feed // whose rows these are, from that one on
	skip  int
}

// feeds are those that no part of a task uses now.
var feeds spares[feed]

// within is a feed of the same rows or, out of one with more pads unless that is nil, of the whole image.
func (p *padded) within(wider *feed, scratch []float32, image, from, count int) feed {
	if wider == nil {
		return p.feed(scratch, image, from, count)
	}
	skip := wider.top - p.top
	return feed{rows: wider.rows[skip*wider.stride+(wider.left-p.left)*p.c:], stride: wider.stride, wider: wider, skip: skip}
}

// feed is for the same rows.
func (p *padded) feed(scratch []float32, image, from, count int) feed {
	first := from - p.top
	if p.inPlace() && first >= 0 && first+count <= p.h {
		pixels := p.x[image*p.h*p.w*p.c : (image+1)*p.h*p.w*p.c]
		return feed{padded: *p, rows: pixels[(first*p.w-p.left)*p.c:], stride: p.w * p.c, filled: count}
	}
	stride := p.width * p.c
	return feed{padded: *p, rows: scratch[:count*stride], stride: stride, image: image, from: first}
}

// until fills the rows before a number.
func (f *feed) until(row int) {
	if f.wider != nil {
		f.wider.until(f.skip + row)
		return
	}
	for ; f.filled < row; f.filled++ {
		f.row()
	}
}

// reads adds the memory that so many padded rows of an image come from.
func (p *padded) reads(image, from, count int, into *ahead) {
	first, last := max(0, from-p.top), min(p.h, from-p.top+count)
	if first >= last {
		return
	}
	pixel, pixels := (image*p.h+first)*p.w, (last-first)*p.w
	if p.parts == nil {
		into.add(p.x[pixel*p.c:][:pixels*p.c])
	}
	for _, part := range p.parts {
		into.add(part.x[pixel*part.c:][:pixels*part.c])
	}
}

// inPlace says whether rows that need no rows of pads can be read where they are.
func (p *padded) inPlace() bool {
	return p.parts == nil && p.prologue.none() && p.left <= 0 && p.width-p.left <= p.w
}

// row fills the next row.
func (f *feed) row() {
	from, to := max(0, f.left), min(f.width, f.w+f.left) // pixels that lie inside the image
	h, dst := f.from+f.filled, f.rows[f.filled*f.stride:]
	inside := h >= 0 && h < f.h && from < to
	switch {
	case f.clean:
	case !inside:
		clear(dst[:f.stride])
	default:
		if f.filled == 0 || h == 0 {
			clear(dst[:from*f.c])
		}
		clear(dst[to*f.c : min(f.stride+from*f.c, len(dst))]) // the next row's pad, too
	}
	if inside {
		f.load(dst[from*f.c:to*f.c], (f.image*f.h+h)*f.w+from-f.left)
	}
}

// load fills dst with pixels from one on.
func (p *padded) load(dst []float32, pixel int) {
	if p.parts == nil {
		p.prologue.apply(dst, p.x[pixel*p.c:][:len(dst)])
		return
	}
	channel := 0
	for _, part := range p.parts {
		vec.copyRows(dst[channel:], p.c, part.x[pixel*part.c:], part.c, part.c, len(dst)/p.c)
		channel += part.c
	}
	p.prologue.apply(dst, dst)
}

// normalisation is BatchNorm with given statistics, as y = (x - mean)·scale + beta with coefficients that prepare
// computes once a launch. The subtraction comes first, so that a mean far from zero costs no digits.
type normalisation struct {
	mean, variance, gamma, beta []float32 // gamma and beta nil: one and zero
	eps                         float64
	drop                        *drops           // behind it; nil: none
	coefficients                func() []float32 // mean, scale, beta, both times what drop multiplies images by that it keeps
}

// normalisation reads mean, var[, gamma, beta] from the operands from at on.
func (c *checker) normalisation(at, channels int) *normalisation {
	n := &normalisation{eps: c.floatParam("eps")}
	if len(c.in) != at+2 && len(c.in) != at+4 {
		c.failf("has %d operands, wants %d or %d", len(c.in), at+2, at+4)
	}
	for i, to := range []*[]float32{&n.mean, &n.variance, &n.gamma, &n.beta} {
		if at+i < len(c.in) {
			t := c.operand(at+i, plan.F32)
			c.vector(t, channels)
			*to = t.f32
		}
	}
	n.coefficients = c.shared(3 * channels)
	return n
}

// prepare is the phase that comes first.
func (n *normalisation) prepare() phase { return phase{1, func(int, []float32) { n.fill() }} }

func (n *normalisation) fill() {
	c := len(n.mean)
	all := n.coefficients()
	copy(all[:c], n.mean)
	kept := n.drop.factor()
	for i, v := range n.variance {
		s, b := 1/math.Sqrt(float64(v)+n.eps), float32(0)
		if n.gamma != nil {
			s, b = s*float64(n.gamma[i]), n.beta[i]
		}
		all[c+i], all[2*c+i] = float32(s)*kept, b*kept
	}
}

// apply normalises whole pixels; y may be x.
func (n *normalisation) apply(y, x []float32, relu bool) {
	all, c := n.coefficients(), len(n.mean)
	vec.normalize(y, x, all[:c], all[c:2*c], all[2*c:3*c], relu)
}
