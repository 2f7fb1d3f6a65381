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

// normalize is the step of a batch_norm.
func (p *placer) normalize(in plan.Instruction) step {
	n := &normalisation{eps: in.Constants[0]}
	if len(in.Args) != 3 && len(in.Args) != 5 {
		p.failf("batch_norm has %d registers, wants 3 or 5", len(in.Args))
	}
	p.operands("batch_norm", in.Args[min(1, len(in.Args)):])
	if p.err != nil {
		return step{}
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
	x := p.locations[in.Args[0]]
	return step{run: func(dst, x, _ []float32, _, _ float32) { n.apply(dst, x, false) }, x: x, y: x}
}

// prepare is what must run before the first block.
func (p *placer) prepare() []phase {
	norms, drops := p.norms, p.drops
	if len(norms)+len(drops) == 0 {
		return nil
	}
	return []phase{{1, func(int, []float32) {
		for _, n := range norms {
			n.fill()
		}
		for _, d := range drops {
			d.fill()
		}
	}}}
}

// drops is what a path multiplies each image by, 0 where it drops it.
type drops struct {
	p       []float32
	random  randomness
	factors []float32
}

func (d *drops) fill() {
	keep, stream := 1-d.p[0], d.random.stream()
	for image := range d.factors {
		d.factors[image] = 0
		if stream.Float32(uint64(image)) < keep {
			d.factors[image] = 1 / keep
		}
	}
}

// drop is the step of a drop_path. Blocks are parts of an image.
func (p *placer) drop(in plan.Instruction) step {
	if len(in.Args) != 4 {
		p.failf("drop_path has %d registers, wants 4", len(in.Args))
	}
	p.operands("drop_path", in.Args[min(1, len(in.Args)):])
	if p.err != nil {
		return step{}
	}
	probability, seed, at := p.scalar(in.Args[1], plan.F32), p.scalar(in.Args[2], plan.I64), p.scalar(in.Args[3], plan.I64)
	images := p.out[0].Shape[0]
	d := &drops{p: probability.f32, random: randomness{seed.i64, at.i64, uint64(in.Constants[0])}, factors: make([]float32, images)}
	p.drops = append(p.drops, d)
	factor := location{memory: d.factors, channels: channels{count: p.n / images, of: 1}}
	return step{run: func(dst, x, factor []float32, _, _ float32) {
		if factor[0] == 0 {
			clear(dst)
			return
		}
		vec.scale(dst, factor[0], x)
	}, x: p.locations[in.Args[0]], y: factor}
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
