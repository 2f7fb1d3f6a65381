package cpu

import "github.com/dartsc/dartsc/compiler/plan"

// Two instructions of elementwise chains go by channel. Their operands are images, channels last:
//
//	batch_norm(x, mean, var[, gamma, beta])   with constant eps; all but x are operands of one element a channel
//	slice(x)                                  the channels from a constant on; x is an operand with more of them

func byChannel(c plan.Instruction) bool { return c.Op == "batch_norm" || c.Op == "slice" }

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

// unit is the number of elements that blocks have a multiple of: a pixel's channels, or 1.
func (p *placer) unit() int {
	for _, in := range p.Code {
		if byChannel(in) {
			p.image(p.out[0])
			if p.err == nil {
				return p.out[0].Shape[1]
			}
		}
	}
	return 1
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
	norms := p.norms
	if len(norms) == 0 {
		return nil
	}
	return []phase{{1, func(int, []float32) {
		for _, n := range norms {
			n.fill()
		}
	}}}
}

// channels are some of an image's.
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
