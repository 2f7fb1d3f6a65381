package cpu

import (
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
)

// Three instructions of elementwise chains go by channel or by image. Their operands are images, channels last:
//
//	batch_norm(x, mean, var[, gamma, beta])   with constant eps; all but x are operands of one element a channel
//	slice(x)                                  the channels from a constant on; x is an operand with more of them
//	drop_path(x, p, seed, step)               with constant stream; all but x are operands of one element, the last two i64

func onImages(c plan.Instruction) bool {
	return c.Op == "batch_norm" || c.Op == "slice" || c.Op == "drop_path"
}

// readByChannel says whether an instruction reads operand i otherwise than as a tensor like the results.
func (c *checker) readByChannel(i int) bool {
	for _, in := range c.Code {
		for k, r := range in.Args {
			if r == i && (in.Op == "slice" || in.Op == "batch_norm" && k > 0) {
				return true
			}
		}
	}
	return false
}

// isSeed says whether operand i is read as the seed or the step of drop paths, and as nothing else.
func (c *checker) isSeed(i int, results []int) (seed bool) {
	for _, in := range c.Code {
		for k, r := range in.Args {
			if r != i {
				continue
			}
			if in.Op != "drop_path" || k < 2 {
				return false
			}
			seed = true
		}
	}
	return seed && !slices.Contains(results, i)
}

// units are the number of elements that parts have a multiple of, and that of a block: whole pixels where an instruction is on
// images, and such that an image has a multiple of them where a path drops some.
func (p *placer) units() (unit, block int) {
	blockSize := p.blockSize()
	if !slices.ContainsFunc(p.Code, onImages) {
		return 1, blockSize
	}
	if p.image(p.out[0]); p.err != nil {
		return 1, blockSize
	}
	channels := p.out[0].Shape[1]
	if !slices.ContainsFunc(p.Code, func(in plan.Instruction) bool { return in.Op == "drop_path" }) {
		return channels, max(channels, blockSize/channels*channels)
	}
	image := p.n / p.out[0].Shape[0]
	unit = channels
	for n := channels; n <= min(blockSize, image); n += channels {
		if image%n == 0 {
			unit = n
		}
	}
	return unit, unit
}

// operands requires that registers are operands.
func (p *placer) operands(op string, registers []int) {
	for _, r := range registers {
		if r >= len(p.in) {
			p.failf("%s reads register %d, wants one of the %d operands", op, r, len(p.in))
		}
	}
}

// joinTerms finds the terms of sums that need no pass of their own: a batch_norm that a drop_path or an addition alone
// reads, and a drop_path of such a one that an addition alone reads. Of the two terms of an addition it is the later one.
func (p *placer) joinTerms() {
	p.inside = slices.Repeat([]int{-1}, len(p.Code))
	if !slices.ContainsFunc(p.Code, func(c plan.Instruction) bool { return c.Op == "batch_norm" }) {
		return
	}
	readers := make([]int, len(p.in)+len(p.Code))
	for _, c := range p.Code {
		for _, r := range c.Args {
			readers[r]++
		}
	}
	for _, r := range p.results {
		readers[r]++
	}
	for j, c := range p.Code {
		if c.Op != "add" && c.Op != "drop_path" || len(c.Args) == 0 {
			continue
		}
		r := c.Args[0]
		if c.Op == "add" {
			r = max(r, c.Args[1])
		}
		i := r - len(p.in)
		if i >= 0 && readers[r] == 1 && (p.Code[i].Op == "batch_norm" || c.Op == "add" && p.Code[i].Op == "drop_path" && p.isInside(p.Code[i].Args[0])) {
			p.inside[i] = j
		}
	}
	for i := len(p.Code) - 1; i >= 0; i-- {
		j := p.inside[i]
		if j >= 0 && p.inside[j] >= 0 {
			j = p.inside[j]
		}
		for _, r := range p.Code[i].Args {
			p.lastUse[r] = max(p.lastUse[r], j)
		}
	}
}

// isInside says whether a register is the result of an instruction that another one does.
func (p *placer) isInside(register int) bool {
	i := register - len(p.in)
	return i >= 0 && p.inside[i] >= 0
}

// reads are the registers that an instruction reads, with those that it does.
func (p *placer) reads(i int) []int {
	own := p.Code[i].Args
	args := own[:len(own):len(own)]
	for _, r := range own {
		if p.isInside(r) {
			args = append(args, p.reads(r-len(p.in))...)
		}
	}
	return args
}

// term is a normalised tensor, of which a path may drop images.
type term struct {
	*normalisation
	x location
}

func (p *placer) norm(in plan.Instruction) term {
	n := &normalisation{eps: in.Constants[0]}
	if len(in.Args) != 3 && len(in.Args) != 5 {
		p.failf("batch_norm has %d registers, wants 3 or 5", len(in.Args))
	}
	p.operands("batch_norm", in.Args[min(1, len(in.Args)):])
	if p.err != nil {
		return term{}
	}
	channels := p.out[0].Shape[1]
	for i, to := range []*[]float32{&n.mean, &n.variance, &n.gamma, &n.beta} {
		if 1+i < len(in.Args) {
			t := p.operand(in.Args[1+i], plan.F32)
			p.vector(t, channels)
			*to = t.f32
		}
	}
	n.coefficients = p.shared(3 * channels)
	p.norms = append(p.norms, n)
	return term{n, p.locations[in.Args[0]]}
}

// dropped is the term of a drop_path whose batch_norm it does.
func (p *placer) dropped(in plan.Instruction) term {
	drop := p.path(in)
	t := p.norm(p.Code[in.Args[0]-len(p.in)])
	if p.err == nil {
		t.drop = drop
	}
	return t
}

// normalize is the step of a batch_norm.
func (p *placer) normalize(in plan.Instruction) step {
	t := p.norm(in)
	return step{run: func(dst, x, _ []float32, _, _ float32) { t.apply(dst, x, false) }, x: t.x, y: t.x}
}

// addTerm is the step of an addition to a term.
func (p *placer) addTerm(in plan.Instruction) step {
	at, other := in.Args[0], in.Args[1]
	if !p.isInside(at) {
		at, other = other, at
	}
	t, s := term{}, step{y: p.locations[other], a: 1}
	if c := p.Code[at-len(p.in)]; c.Op == "drop_path" {
		t = p.dropped(c)
	} else {
		t = p.norm(c)
	}
	if p.err != nil {
		return step{}
	}
	s.x = t.x
	if t.drop != nil {
		s.factor = t.drop.factors
	}
	c := len(t.mean)
	one := p.repeated(1, c)
	s.run = func(dst, x, sum []float32, factor, _ float32) {
		if factor == 0 {
			copy(dst, sum) // nothing moves where they are the same
			return
		}
		all := t.coefficients()
		vec.affine(dst, sum, x, all[:c], one, all[c:2*c], all[2*c:3*c])
	}
	return s
}

// prepare is what must run before the first block.
func (p *placer) prepare() []phase {
	norms, paths := p.norms, p.paths
	if len(norms)+len(paths) == 0 {
		return nil
	}
	return []phase{{1, func(int, []float32) {
		for _, d := range paths {
			d.fill()
		}
		for _, n := range norms { // which know of their paths
			n.fill()
		}
	}}}
}

// path reads the registers of a drop_path.
func (p *placer) path(in plan.Instruction) *drops {
	if len(in.Args) != 4 {
		p.failf("drop_path has %d registers, wants 4", len(in.Args))
	}
	p.operands("drop_path", in.Args[min(1, len(in.Args)):])
	if p.err != nil {
		return nil
	}
	probability, seed, at := p.scalar(in.Args[1], plan.F32), p.scalar(in.Args[2], plan.I64), p.scalar(in.Args[3], plan.I64)
	d := newDrops(probability, randomness{seed.i64, at.i64, uint64(in.Constants[0])}, p.out[0].Shape[0])
	p.paths = append(p.paths, d)
	return d
}

// drop is the step of a drop_path. Blocks are parts of an image.
func (p *placer) drop(in plan.Instruction) step {
	var s step
	apply := func(dst, x []float32, factor float32) { vec.scale(dst, factor, x) }
	var d *drops
	if p.isInside(in.Args[0]) {
		t := p.dropped(in)
		d, s.x = t.drop, t.x
		apply = func(dst, x []float32, _ float32) { t.apply(dst, x, false) }
	} else {
		d, s.x = p.path(in), p.locations[in.Args[0]]
	}
	if p.err != nil {
		return step{}
	}
	s.y, s.factor = s.x, d.factors
	s.run = func(dst, x, _ []float32, factor, _ float32) {
		if factor == 0 {
			clear(dst)
			return
		}
		apply(dst, x, factor)
	}
	return s
}

// channels are some of an image's. Images that have one for count elements of the results are of 1.
type channels struct{ from, count, of int }

// rows begins at those of the pixel that element number i of them belongs to.
func (c channels) rows(image []float32, i int) []float32 { return image[i/c.count*c.of+c.from:] }

// slice is the step of a slice.
func (p *placer) slice(in plan.Instruction) step {
	if len(in.Args) != 1 {
		p.failf("slice has %d registers, wants 1", len(in.Args))
	}
	p.operands("slice", in.Args)
	if p.err != nil {
		return step{}
	}
	t := p.operand(in.Args[0], plan.F32)
	p.image(t)
	if p.err != nil {
		return step{}
	}
	like, c := p.out[0].Shape, channels{from: int(in.Constants[0]), count: p.out[0].Shape[1], of: t.Shape[1]}
	p.shape(t, like[0], c.of, like[2], like[3])
	if p.err == nil && (c.from < 0 || c.from+c.count > c.of) {
		p.failf("slice takes channels %d to %d of %s, which has %d", c.from, c.from+c.count, t.name, c.of)
	}
	x := location{memory: t.f32, channels: c}
	return step{run: func(dst, x, _ []float32, _, _ float32) {
		vec.copyRows(dst, c.count, x, c.of, c.count, len(dst)/c.count)
	}, x: x, y: x}
}
