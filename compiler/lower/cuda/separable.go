package cuda

import (
	"slices"

	"github.com/dartsc/dartsc/compiler/fuse"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

const (
	tileResults     = 4608                // of a tile, for its larger number of channels: 256 threads with 16 each, or a few more
	mostTileColumns = 32                  // so that tiles have rows to share
	mostTileBytes   = 110 << 10           // of shared memory: room for two blocks on a multiprocessor of 228 KiB, and for one on every other
	mostChunks      = 2 * multiprocessors // blocks that share the tiles of a launch
	mostPackedWidth = 4 * threads         // channels: a pack of four a thread
	mostCopied      = 96 << 10            // bytes of filters that blocks copy to shared memory
	largeFilters    = 48 << 10            // of those whose blocks have a multiprocessor to themselves
	mostLargeBytes  = 160 << 10           // of shared memory of such a block
	banks           = 128                 // bytes that lie side by side in shared memory
	residentBytes   = 224 << 10           // shared memory of a multiprocessor of which blocks share
	mostFloats      = 128                 // numbers that a thread adds in float
	mostResident    = 3                   // blocks on a multiprocessor: more leave threads too few registers, and were no faster
)

// separableGroup lowers [batch_norm →] relu → depthwise → pointwise → batch_stats.
func separableGroup(l *lowering, body *ir.Program) (bool, error) {
	p, err := fuse.PartsOf(body)
	if err != nil {
		return false, err
	}
	if len(p.Pointwise.Operands) != 2 {
		return false, nil
	}
	s := l.separableOf(&p, p.Depthwise, p.Source(), p.Pointwise.Result())
	if !s.fit(s.oh, s.ow, 1, 1, s.forwardBytes) {
		return false, nil
	}
	s.chooseOver(mostResident, s.forwardBytes)
	s.chooseHalves(!l.target.onTensorCores(), s.c, mostResident, s.forwardBytes)
	if s.over && !s.raw() {
		s.chooseAside(mostResident, s.forwardBytes)
	}
	c := l.call(fuse.Separable, "Separable")
	c.separable(s, s.oh, s.ow)
	c.entry(&p)
	c.in(l.image(p.Source()), l.filter(p.Depthwise.Operands[1]), l.filter(p.Pointwise.Operands[1]))
	z := l.result(p.Pointwise.Result(), channelsLast)
	c.out(z)
	c.image(z)
	c.bool("stats", p.Statistics != nil)
	c.few = c.tiles
	if p.Statistics != nil {
		c.few = mostFloats / (2 * ceiling(s.rows(), 16*s.warps()))
		c.out(l.result(p.Statistics.Results[0], nil), l.result(p.Statistics.Results[1], nil), l.scratch(plan.F64, s.chunks*2*s.o))
	} else {
		c.none(3)
	}
	c.counters = 1
	c.memory(s.forwardBytes(), mostResident)
	c.emit()
	return true, nil
}

// separableGradGroup lowers the way back as two launches, and the sums of the filters' gradients. Groups that add to the
// cotangent of a state come here without the addition; see withoutSum.
func separableGradGroup(l *lowering, body *ir.Program) (bool, error) {
	p, err := fuse.PartsOf(body)
	if err != nil {
		return false, err
	}
	if p.Add != nil {
		return false, nil
	}
	s := l.separableOf(&p, p.DX, p.DX.Result(), p.DBetween.Operands[0])
	back := *s
	if !s.fit(s.oh, s.ow, 1, 1, func() int { return s.pointwiseGradBytes(&p) }) || !back.fit(s.h, s.w, s.sh, s.sw, func() int { return back.depthwiseGradBytes(&p) }) {
		return false, nil
	}
	between := l.pointwiseGrad(&p, s)
	l.depthwiseGrad(&p, &back, between)
	return true, nil
}

func (l *lowering) pointwiseGrad(p *fuse.Parts, s *separable) (between int) {
	l.flops = flopsOf(p.NormGrad, p.Scale, p.DBetween, p.DPointwise, p.Norm, p.Relu, p.Depthwise)
	filters, resident, bytes := p.DPointwise != nil, mostResident, func() int { return s.pointwiseGradBytes(p) }
	if filters {
		s.chooseOver(resident, bytes)
		if _, _, wide := s.input(); ceiling(s.c, 16)*ceiling(s.o, 16) > 8*6 { // each warp keeps the sums of so many tiles
			resident = 1
		} else if !wide { // and threads where their packs go
			resident = 2
		}
	}
	s.chooseHalves(!l.target.onTensorCores(), s.o, resident, bytes)
	if !filters || s.over && !s.raw() {
		s.chooseAside(resident, bytes)
	}
	c := l.call("separable_pointwise_grad", "SeparablePointwiseGrad")
	c.separable(s, s.oh, s.ow)
	if filters {
		c.entry(p)
	} else {
		c.noEntry()
	}
	c.in(l.image(p.Cotangent()))
	c.bool("normalized", p.NormGrad != nil)
	scale := 0
	if n := p.NormGrad; n != nil {
		c.number("norm_eps", n.Attrs.Float("eps"))
		c.in(l.image(n.Operands[1]))
		for _, v := range n.Operands[2:6] {
			c.in(l.operand(v))
		}
		c.optional(1, l.all(n.Operands[6:])...)
		c.bool("affine", len(n.Operands) == 7)
	} else {
		c.none(6)
	}
	c.bool("scaled", p.Scale != nil)
	if p.Scale != nil {
		c.in(l.operand(p.Scale.Operands[0]))
		scale = p.Scale.Attrs.Ints("select")[0]
	} else {
		c.none(1)
	}
	c.in(l.filter(p.DBetween.Operands[1]))
	c.bool("filters", filters)
	between = l.result(p.DBetween.Result(), channelsLast)
	if filters {
		c.in(l.image(p.Source()), l.filter(p.DX.Operands[1]))
	} else {
		c.none(2)
	}
	c.out(between)
	c.image(between)
	partial := c.partial(filters, s.chunks*s.c*s.o)
	c.integers(scale)
	c.memory(bytes(), resident)
	c.emit()
	if filters {
		l.addChunks(p.DPointwise.Result(), partial, s.chunks)
	}
	return between
}

func (l *lowering) depthwiseGrad(p *fuse.Parts, s *separable, between int) {
	l.flops = flopsOf(p.DX, p.DDepthwise, p.Mask, p.Sums)
	c := l.call("separable_depthwise_grad", "SeparableDepthwiseGrad")
	c.separable(s, s.h, s.w)
	filters, masked, sums := p.DDepthwise != nil, p.Mask != nil, p.Sums != nil
	if filters || masked {
		c.entry(p)
	} else {
		c.noEntry()
	}
	c.in(between, l.filter(p.DX.Operands[1]))
	c.image(between)
	if filters || masked {
		c.in(l.image(p.Source()))
	} else {
		c.none(1)
	}
	dx := p.DX.Result()
	if masked {
		dx = p.Mask.Result()
	}
	c.out(l.result(dx, channelsLast))
	c.bool("masked", masked)
	c.bool("filters", filters)
	c.bool("sums", sums)
	partial := c.partial(filters, s.chunks*s.kh*s.kw*s.c)
	c.few = c.tiles
	if sums {
		results, strips, _ := s.back(p)
		c.few = mostFloats / (results * ceiling(strips, threads/s.packs()))
		c.out(l.result(p.Sums.Results[0], nil), l.result(p.Sums.Results[1], nil), l.scratch(plan.F64, s.chunks*2*s.c))
	} else {
		c.none(3)
	}
	c.counters = 1
	// Some need more registers than three blocks have: for the sums of many taps, for where they are, or for gamma and beta.
	resident, dense, affine := mostResident, s.sh == 1 && s.sw == 1, prologueOf(p.Norm, p.Rectified()).kind == prologueAffine
	if filters && s.kh*s.kw > 9 || (filters || sums) && dense && (affine || !s.wide(s.ow, s.pw-(s.kw-1)*s.dw, s.ow+(s.kw-1)*s.dw)) {
		resident = 2
	}
	bytes := func() int { return s.depthwiseGradBytes(p) }
	where(&s.twice, resident, bytes) // one tile is brought while the other is made
	c.bool("twice", s.twice)
	c.memory(bytes(), resident)
	c.emit()
	if filters {
		l.addChunks(p.DDepthwise.Result(), partial, s.chunks)
	}
}

// partial adds what the blocks leave of a filter's cotangent, if it is asked for.
func (c *call) partial(wanted bool, elements int) int {
	if !wanted {
		c.none(1)
		return 0
	}
	partial := c.l.scratch(plan.F32, elements)
	c.out(partial)
	return partial
}

// addChunks lowers the sum of [chunks][elements of a filter].
func (l *lowering) addChunks(filter *ir.Value, partial, chunks int) {
	c := l.call("conv2d_weight_grad", "Reduce")
	c.in(partial)
	c.image(partial)
	c.out(l.result(filter, filters))
	c.number("scale", 1)
	n := filter.Type.Elements()
	c.columns(1, chunks, n, pack(n), 1, fewestRows, plan.F64)
	c.family = c.template
	c.emit()
}

func (l *lowering) all(values []*ir.Value) (tensors []int) {
	for _, v := range values {
		tensors = append(tensors, l.operand(v))
	}
	return tensors
}

func flopsOf(list ...*ir.Op) (sum float64) {
	for _, op := range list {
		if op != nil {
			sum += ops.FLOPs(op)
		}
	}
	return sum
}

// entry adds the prologue of a group.
func (c *call) entry(p *fuse.Parts) {
	c.prologue(prologueOf(p.Norm, p.Rectified()))
}

func (c *call) noEntry() { c.prologue(prologue{}) }

// separable is the geometry of a separable convolution, and of the tiles that its kernels make: bh by bw of the results of
// a launch, down by across of an image. See kernels/separable.cu.
type separable struct {
	images, h, w, c, oh, ow, o     int
	kh, kw, sh, sw, dh, dw, ph, pw int
	bh, bw, down, across, chunks   int
	factors                        int // floats of the prologue
	size                           int // bytes of an element of an image
	copied, over, halves, twice    bool
	aside                          bool
	supported                      bool
}

func (l *lowering) separableOf(p *fuse.Parts, depthwise *ir.Op, x, z *ir.Value) *separable {
	a, xs, zs, k := ops.ConvAttrsOf(depthwise), x.Type.Shape, z.Type.Shape, depthwise.Operands[1].Type.Shape
	s := &separable{
		images: xs[0], h: xs[2], w: xs[3], c: xs[1], oh: zs[2], ow: zs[3], o: zs[1],
		kh: k[2], kw: k[3], sh: a.Strides[0], sw: a.Strides[1], dh: a.Dilations[0], dw: a.Dilations[1], ph: a.Pads[0], pw: a.Pads[1],
		size: int(l.stored(x.Type, channelsLast).Size()),
	}
	if p.Norm != nil {
		s.factors = 3 * s.c
	}
	s.aside = s.size < 4 && !s.raw() // what is half as large cannot lie where it is to become a float
	s.copied = 4*(s.c*s.o+s.kh*s.kw*s.c) <= mostCopied
	// What the kernels take: packs of four channels; the cotangents of a channel's taps and a pointwise filter's in registers. At stride 1 the way
	// back is a convolution with what is left of the pads.
	s.supported = s.c%4 == 0 && s.o%4 == 0 && s.c <= mostPackedWidth && s.o <= mostPackedWidth && s.kh <= 7 && s.kw <= 7 && ceiling(s.c, 16)*ceiling(s.o, 8) <= 8*24 &&
		(p.Norm == nil || p.Rectified())
	return s
}

// fit chooses tiles of h by w results, in whole steps of down by across of them, whose memory is at most mostTileBytes, or mostLargeBytes with large filters.
func (s *separable) fit(h, w, down, across int, bytes func() int) bool {
	if !s.supported {
		return false
	}
	steps := func(n, step int) int { return step * ceiling(n, step) }
	s.bw = steps(ceiling(w, ceiling(w, mostTileColumns)), across)
	s.bh = max(1, min(h, tileResults/(s.bw*max(s.c, s.o))))
	s.bh = steps(ceiling(h, ceiling(h, s.bh)), down)
	s.divide(h, w)
	most := mostTileBytes
	if s.copied && 4*s.c*s.o > largeFilters {
		most = mostLargeBytes
	}
	for bytes() > most {
		switch {
		case s.bh > down:
			s.bh = steps(ceiling(s.bh, 2), down)
		case s.bw > 8*across:
			s.bw = steps(ceiling(s.bw, 2), across)
		default:
			return false
		}
		s.divide(h, w)
	}
	return true
}

func (s *separable) divide(h, w int) {
	s.down, s.across = ceiling(h, s.bh), ceiling(w, s.bw)
	s.chunks = min(s.images*s.down*s.across, mostChunks)
}

// strip mirrors Strip in kernels/separable.cu: how many strips of each results cover so many, the inputs of all, and how far apart the results of one are.
func strip(taps, stride, dilation, results, each int) (count, inputs, step int) {
	step = 1
	if each > 1 && stride == 1 {
		step = dilation
	}
	count = step * ceiling(ceiling(results, step), each)
	return count, (each*count-1)*stride + (taps-1)*dilation + 1, step
}

// window is the size of Window's tile in elements of so many bytes, for threads that make so many results in a column.
func (s *separable) window(sh, sw, down, size int) int {
	if s.bh == 1 {
		down = 1
	}
	_, rows, _ := strip(s.kh, sh, s.dh, s.bh, down)
	_, columns, _ := strip(s.kw, sw, s.dw, s.bw, 4)
	return rows * padded(columns*s.c, sh*s.apart(sh, down), s.c, banks/size)
}

// apart mirrors Window::Apart: of rows of results that a warp's next lanes make.
func (s *separable) apart(sh, down int) int {
	if _, _, step := strip(s.kh, sh, s.dh, s.bh, down); step > 1 {
		return 1
	}
	return down
}

// padded mirrors padding in kernels/outer.cu: the length of a row with it.
func padded(elements, apart, c, banks int) int {
	for padding := 0; padding < banks; padding += 4 {
		if (apart*(elements+padding)-c)%banks == 0 {
			return elements + padding
		}
	}
	return elements
}

// lines mirrors Lines in kernels/outer.cu: the elements of a tile of pixels, whole lines of it or one after the other, that Window has made.
func (s *separable) lines(pixels int) int {
	line := s.bw * spread(s.c)
	skip := padded(line, s.apart(s.sh, min(s.bh, 2)), s.c, banks/s.size) - line
	if s.bw%16 > 0 || skip%8 > 0 {
		skip = 0
	}
	return pixels*spread(s.c) + pixels/s.bw*skip
}

// back is the shape of what the threads of SeparableDepthwiseGrad make at once: strips of so many results, so many of them a tile, of whose inputs
// the tile in shared memory holds so many elements.
func (s *separable) back(p *fuse.Parts) (results, strips, elements int) {
	if s.sh == 1 && s.sw == 1 {
		down := 2
		if s.bh == 1 || p.DDepthwise != nil && s.kh*s.kw > 9 {
			down = 1
		}
		rows, _, _ := strip(s.kh, 1, s.dh, s.bh, down)
		columns, _, _ := strip(s.kw, 1, s.dw, s.bw, 4)
		return 4 * down, rows * columns, s.window(1, 1, down, s.size)
	}
	each := 2
	if s.sh*s.sw > 4 || s.bw < 2*s.sw {
		each = 1
	}
	down, across := s.bh/s.sh, ceiling(s.bw/s.sw, each)
	rows, columns := down-1+met(s.kh, s.sh, s.dh, s.ph), each*across-1+met(s.kw, s.sw, s.dw, s.pw)
	return s.sh * s.sw * each, down * across, rows * padded(columns*s.c, 1, s.c, banks/s.size)
}

// met mirrors Phase in kernels/separable.cu: how many results inputs that are less than a stride apart meet through so many taps.
func met(taps, stride, dilation, pad int) int {
	floor := func(a int) int { return (a - (a%stride+stride)%stride) / stride }
	return floor(stride-1+pad) - floor(pad-(taps-1)*dilation) + 1
}

// spread mirrors the function of this name in kernels/outer.cu.
func spread(n int) int {
	n = 8 * ceiling(n, 8)
	if n%16 == 0 {
		n += 8
	}
	return n
}

// outerFloats is the memory in which Outer's groups of warps add what they have; see outer_groups in kernels/outer.cu.
func outerFloats(c, o int) int {
	tiles, best := ceiling(c, 16)*ceiling(o, 16), 1
	for g := 2; g <= 8; g *= 2 {
		if ceiling(tiles, 8/g) <= max(4, ceiling(tiles, 8)) && ceiling(tiles, 8/g)*(8/g) < ceiling(tiles, 8/best)*(8/best) {
			best = g
		}
	}
	return best * c * o
}

// wide mirrors Loader in kernels/separable.cu: tiles of so many columns, of which the first is left, have all columns of an image of width w, and threads stay
// in theirs.
func (s *separable) wide(w, left, columns int) bool {
	packs := w * s.c / 4
	return s.across == 1 && left <= 0 && w-left <= columns && packs <= threads && threads%packs == 0
}

// raw mirrors Laid in kernels/separable.cu: x lies as it is, for its prologue is no more than a ReLU.
func (s *separable) raw() bool { return s.factors == 0 }

// input is the shape of the tile of x that Window reads, and whether threads that bring it stay in their columns.
func (s *separable) input() (rows, columns int, wide bool) {
	_, rows, _ = strip(s.kh, s.sh, s.dh, s.bh, min(s.bh, 2))
	_, columns, _ = strip(s.kw, s.sw, s.dw, s.bw, 4)
	return rows, columns, s.wide(s.w, -s.pw, columns)
}

// asideBytes is the room of Brought for a tile of x.
func (s *separable) asideBytes() int {
	if !s.aside || s.raw() {
		return 0
	}
	rows, columns, wide := s.input()
	each := ceiling(rows*columns, threads/(s.c/4))
	if wide {
		each = ceiling(rows, threads/(s.w*s.c/4))
	}
	return each * threads * 4 * s.size
}

// rows are the pixels of a tile, in whole tiles of Matrix.
func (s *separable) rows() int { return 16 * ceiling(s.bh*s.bw, 16) }

// packs are those that the channels of a pixel are divided into by Window.
func (s *separable) packs() int {
	if s.c <= 2*threads {
		return s.c / 2
	}
	return s.c / 4
}

// sumBytes is the memory of channel_sums.
func (s *separable) sumBytes(channels, rows int) int {
	items := 2 * channels
	shares := func(rows int) int { return max(1, min(rows, threads/items)) }
	return 8 * max((items+1)*rows, items*shares(rows), items*(shares(s.chunks)+1))
}

// tileAnd is the memory of a tile of inputs and of so many elements that are made of it, which may lie over it.
func (s *separable) tileAnd(made int) int {
	size := 4
	if s.raw() {
		size = s.size
	}
	tile := 16 * ceiling(size*s.window(s.sh, s.sw, 2, size), 16)
	made = 16 * ceiling(made*s.size, 16)
	if s.over {
		return max(tile, made)
	}
	return tile + made
}

// chooseOver lets what is made of a tile lie over it, at the price of two more barriers a tile, where more blocks have room then.
func (s *separable) chooseOver(most int, bytes func() int) {
	rows, _, _ := strip(s.kh, s.sh, s.dh, s.bh, min(s.bh, 2))
	columns, _, _ := strip(s.kw, s.sw, s.dw, s.bw, 4)
	if s.c%8 != 0 || rows*columns > threads/s.packs() {
		return
	}
	apart := residentOf(bytes(), most)
	s.over = true
	s.over = residentOf(bytes(), most) > apart
}

// where sets an option where as many blocks have room with it.
func where(option *bool, most int, bytes func() int) {
	without := residentOf(bytes(), most)
	*option = true
	*option = residentOf(bytes(), most) == without && bytes() <= mostTileBytes
}

// chooseHalves keeps the weights of exact products as tensor cores take them, where there is room. Fewer products than 16 are not theirs.
func (s *separable) chooseHalves(exact bool, k, most int, bytes func() int) {
	if exact && s.copied && k >= 16 {
		where(&s.halves, most, bytes)
	}
}

// chooseAside has room for what the next tile is made of.
func (s *separable) chooseAside(most int, bytes func() int) {
	if !s.aside {
		where(&s.aside, most, bytes)
	}
}

// weights is the memory of Weights in kernels/separable.cu, of n times k.
func (s *separable) weights(n, k int) int {
	elements := 8 * ceiling(n, 8) * spread(k)
	if s.halves {
		elements *= 2
	}
	return elements * s.size
}

func (s *separable) forwardBytes() int {
	bytes := 4*s.factors + s.tileAnd(s.lines(s.rows())) + s.asideBytes()
	if s.copied {
		bytes += 4*s.kh*s.kw*s.c + s.weights(s.o, s.c)
	}
	return max(bytes, s.sumBytes(s.o, 8*s.warps()))
}

func (s *separable) pointwiseGradBytes(p *fuse.Parts) int {
	bytes := s.rows() * spread(s.o) * s.size
	if s.copied {
		bytes += s.weights(s.c, s.o)
	}
	if p.NormGrad != nil {
		bytes += 4 * 4 * s.o
	}
	if p.DPointwise == nil {
		if s.aside {
			packs := ceiling(s.rows(), threads/(2*ceiling(s.o, 8)))
			if p.NormGrad != nil {
				packs *= 2
			}
			bytes += packs * threads * 4 * s.size
		}
		return bytes
	}
	bytes += 4*s.factors + s.tileAnd(s.lines(s.bh*s.bw)) + s.asideBytes()
	if s.copied {
		bytes += 4 * s.kh * s.kw * s.c
	}
	return max(bytes, 4*outerFloats(s.c, s.o))
}

func (s *separable) depthwiseGradBytes(p *fuse.Parts) int {
	results, strips, elements := s.back(p)
	floats, lanes := s.factors, threads/s.packs()
	if s.copied {
		floats += s.kh * s.kw * s.c
	}
	tile := 16 * ceiling(elements*s.size, 16)
	if s.twice {
		tile *= 2
	}
	bytes := 4*floats + tile
	if s.sh == 1 && s.sw == 1 && strips <= lanes && (p.Mask != nil || p.DDepthwise != nil) { // Kept
		bytes += results * s.c / s.packs() * threads * s.size
	}
	if p.DDepthwise != nil {
		bytes = max(bytes, 4*ceiling(lanes, 2)*s.kh*s.kw*s.c)
	}
	if p.Sums != nil {
		bytes = max(bytes, s.sumBytes(s.c, lanes))
	}
	return bytes
}

// separable adds the geometry to a specialisation. Tiles are of h by w results.
func (c *call) separable(s *separable, h, w int) {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"images", s.images}, {"h", s.h}, {"w", s.w}, {"c", s.c}, {"oh", s.oh}, {"ow", s.ow}, {"o", s.o}, {"kh", s.kh}, {"kw", s.kw}, {"sh", s.sh}, {"sw", s.sw},
		{"dh", s.dh}, {"dw", s.dw}, {"ph", s.ph}, {"pw", s.pw}, {"bh", s.bh}, {"bw", s.bw}, {"down", s.down}, {"across", s.across}, {"chunks", s.chunks},
	} {
		c.int(f.name, f.value)
	}
	c.bool("copied", s.copied)
	c.bool("over", s.over)
	c.bool("halves", s.halves)
	c.bool("aside", s.aside)
	c.bool("tf32", c.l.target.onTensorCores())
	c.blocks, c.tiles = s.chunks, s.images*s.down*s.across
	c.family = c.template
}

// memory sets the shared memory of a block, and so how many run side by side: at most so many, which leaves threads the registers that they want.
func (c *call) memory(bytes, most int) {
	c.shared = bytes
	c.resident = residentOf(bytes, most)
}

// residentOf is how many blocks with so much shared memory run side by side, at most so many.
func residentOf(bytes, most int) int { return max(1, min(most, residentBytes/(bytes+1024))) }

// warps are those of Matrix along the rows.
func (s *separable) warps() int {
	warps := 1
	for warps < 8 && 16*2*warps <= s.rows() {
		warps *= 2
	}
	return warps
}

// withoutSum takes the addition to the cotangent of a state out of a way back, and what comes after it: on a GPU the
// ways back of all edges run at once, and one pass adds what they leave. It returns the operations in order, or nil for a group
// without an addition. Where the ReLU's gradient wants the result of a BatchNorm, normalized returns it if it is there already.
func withoutSum(group *ir.Op, normalized func(norm *ir.Op) *ir.Value) []*ir.Op {
	p, err := fuse.PartsOf(group.Body)
	if err != nil || p.Add == nil {
		return nil
	}
	outer := map[*ir.Value]*ir.Value{}
	for i, in := range group.Body.Inputs {
		outer[in] = group.Operands[i]
	}
	var after []*ir.Op
	if p.Norm != nil && p.Mask != nil {
		norm := copied(p.Norm, group, outer)
		if v := normalized(norm); v != nil {
			outer[p.Norm.Result()] = v
		} else {
			after = append(after, p.Norm)
		}
	}
	for _, op := range []*ir.Op{p.Add, p.Mask, p.Sums} {
		if op != nil {
			after = append(after, op)
		}
	}
	small := &ir.Op{Kind: group.Kind, Attrs: group.Attrs, Phase: group.Phase, Scope: group.Scope, Body: &ir.Program{Name: group.Body.Name}}
	for _, op := range group.Body.Ops {
		isLater := op == p.Add || op == p.Mask || op == p.Sums
		isPrologue := op == p.Norm || op == p.Relu
		if !isLater && !(isPrologue && p.DDepthwise == nil) {
			small.Body.Ops = append(small.Body.Ops, op)
		}
	}
	for i, in := range group.Body.Inputs {
		if slices.ContainsFunc(small.Body.Ops, func(op *ir.Op) bool { return slices.Contains(op.Operands, in) }) {
			small.Body.Inputs, small.Operands = append(small.Body.Inputs, in), append(small.Operands, group.Operands[i])
		}
	}
	dx := &ir.Value{Type: p.DX.Result().Type, Def: small}
	result := func(inner, v *ir.Value) {
		small.Body.Results = append(small.Body.Results, ir.Result{Name: v.Name, Value: inner})
		small.Results = append(small.Results, v)
	}
	result(p.DX.Result(), dx)
	outer[p.DX.Result()] = dx
	for i, r := range group.Body.Results {
		if slices.Contains(after, r.Value.Def) {
			outer[r.Value] = group.Results[i]
		} else {
			result(r.Value, group.Results[i])
		}
	}
	list := []*ir.Op{small}
	for _, op := range after {
		for _, v := range op.Results {
			if outer[v] == nil {
				outer[v] = &ir.Value{Type: v.Type}
			}
		}
		list = append(list, copied(op, group, outer))
	}
	return list
}
