package cpu

import (
	"math"

	"github.com/dartsc/dartsc/compiler/plan"
)

// What BatchNorm needs of whole tensors, taken unit by unit (an image, or some rows), so that kernels which make or read
// them for other reasons can do it while they are in the cache. The results are those of the units in their order.

// moments are mean and variance of every channel of what the units of a launch make.
type moments struct {
	channels, units int
	mean, variance  []float32
	workspace       func() []float64 // by unit: mean, squared differences to it, differences to a centre, and that
}

// moments gathers the statistics of so many units.
func (l *launch) moments(units, channels int, mean, variance []float32) *moments {
	return &moments{channels, units, mean, variance, l.shared64(4 * units * columnRoom(channels))}
}

// of returns the rooms of a unit.
func (m *moments) of(unit int) (mean, square, sum, center []float64) {
	room := columnRoom(m.channels)
	all := m.workspace()[4*unit*room:][:4*room]
	return all[:room], all[room : 2*room], all[2*room : 3*room], all[3*room:]
}

// add takes pixels of a unit, piece by piece. The differences are to the mean of the first piece, so that a mean far from
// zero costs no digits; end corrects them for it.
func (m *moments) add(unit int, x []float32, first bool) {
	n := m.channels
	mean, square, sum, room := m.of(unit)
	center := narrow64(room)[:n]
	if first {
		clear(mean)
		clear(sum)
		clear(square)
		vec.columnSums(mean, x, n)
		for c := range center {
			center[c] = float32(mean[c] / float64(len(x)/n))
		}
	}
	vec.columnMoments(sum, square, x, center)
}

// end is for a unit of which so many pixels have been added.
func (m *moments) end(unit, pixels int) {
	mean, square, sum, room := m.of(unit)
	for c, center := range narrow64(room)[:m.channels] {
		mean[c] = float64(center) + sum[c]/float64(pixels)
		square[c] = max(0, square[c]-sum[c]*sum[c]/float64(pixels))
	}
}

// merge is the phase that writes the result; count is the number of pixels of a unit.
func (m *moments) merge(count func(unit int) int) phase {
	// Chan, Golub and LeVeque 1979: moments of a union from those of its parts, which move the mean by a share of the
	// difference.
	total, shares, spreads := 0.0, make([]float64, m.units), make([]float64, m.units)
	for unit := range m.units {
		more := float64(count(unit))
		shares[unit], spreads[unit] = more/(total+more), total*more/(total+more)
		total += more
	}
	return phase{1, func(int, []float32) {
		_, _, mean, square := m.of(0) // which is done with what lies there
		mean, square = mean[:m.channels], square[:m.channels]
		clear(mean)
		clear(square)
		for unit, share := range shares {
			means, squares, _, _ := m.of(unit)
			for c, v := range means[:len(mean)] {
				d := v - mean[c]
				square[c] += squares[c] + d*d*spreads[unit]
				mean[c] += d * share
			}
		}
		for c, v := range mean {
			m.mean[c], m.variance[c] = float32(v), float32(square[c]/total)
		}
	}}
}

// products are Σg and Σg·x̂ of every channel, where x̂ is x normalised.
type products struct {
	units          int
	mean, variance []float32
	eps            float64
	sum, sumX      []float32
	workspace      func() []float64 // by unit: Σg, Σg·(x - mean)
	drop           *drops           // nil: none; of images, of which those that are left are added
}

// products gathers the sums of so many units.
func (l *launch) products(units int, mean, variance []float32, eps float64, sum, sumX []float32) *products {
	return &products{units, mean, variance, eps, sum, sumX, l.shared64(2 * units * columnRoom(len(sum))), nil}
}

// add takes pixels of a unit, piece by piece.
func (p *products) add(unit int, g, x []float32, first bool) {
	sum, product := p.of(unit, first)
	vec.columnProducts(sum, product, g, x, p.mean)
}

// addMasked is add for what it leaves of g: the gradient of ReLU, of which x normalised is the operand.
func (p *products) addMasked(unit int, g, x []float32, norm *normalisation, first bool) {
	sum, product := p.of(unit, first)
	all, c := norm.coefficients(), len(norm.mean)
	vec.maskedProducts(sum, product, g, x, all[:c], all[c:2*c], all[2*c:3*c])
}

// of returns the sums of a unit, which start as zero.
func (p *products) of(unit int, first bool) (sum, product []float64) {
	room := columnRoom(len(p.sum))
	all := p.workspace()[2*unit*room:][:2*room]
	if first {
		clear(all)
	}
	return all[:room], all[room:]
}

// merge is the phase that writes the results.
func (p *products) merge() phase {
	return phase{1, func(int, []float32) {
		sum, product := p.of(0, false)
		sum, product = sum[:len(p.sum)], product[:len(p.sum)]
		for unit := 1; unit < p.units; unit++ {
			more, moreX := p.of(unit, false)
			for c := range sum {
				sum[c] += more[c]
				product[c] += moreX[c]
			}
		}
		factor := float64(p.drop.factor())
		for c, v := range sum {
			p.sum[c], p.sumX[c] = float32(v*factor), float32(product[c]*factor/math.Sqrt(float64(p.variance[c])+p.eps))
		}
	}}
}

// normGradient is BatchNorm's way back, dx = a·g + b·(x - mean) + c with coefficients by channel, times a weight.
type normGradient struct {
	channel      [5][]float32 // mean, var, Σg, Σg·x̂, gamma or nil
	eps, count   float64      // pixels of the whole tensor
	weight       *float32
	drop         *drops           // nil: none; of images of g
	coefficients func() []float32 // mean, a, b, c
}

// normGradient reads mean, var, Σg, Σg·x̂[, gamma] from the operands [at, end).
func (c *checker) normGradient(at, end, rows, channels int, eps float64, weight *float32) *normGradient {
	g := &normGradient{eps: eps, count: float64(rows), weight: weight, coefficients: c.shared(4 * channels)}
	for i := at; i < end; i++ {
		t := c.operand(i, plan.F32)
		c.vector(t, channels)
		if c.err == nil {
			g.channel[i-at] = t.f32
		}
	}
	return g
}

func (g *normGradient) prepare() phase {
	return phase{1, func(int, []float32) {
		all, factor, n := g.coefficients(), float64(*g.weight), len(g.channel[0])
		copy(all[:n], g.channel[0])
		if g.drop != nil {
			g.drop.fill()
		}
		kept := float64(g.drop.factor())
		for i := range n {
			inverse := 1 / math.Sqrt(float64(g.channel[1][i])+g.eps)
			a := inverse * factor
			if gamma := g.channel[4]; gamma != nil {
				a *= float64(gamma[i])
			}
			all[n+i] = float32(a * kept)
			all[2*n+i] = float32(-a * inverse * float64(g.channel[3][i]) / g.count)
			all[3*n+i] = float32(-a * float64(g.channel[2][i]) / g.count)
		}
	}}
}

// apply is for whole pixels; dx may be g or x.
func (g *normGradient) apply(dx, dy, x []float32) {
	all, n := g.coefficients(), len(g.channel[0])
	vec.affine(dx, dy, x, all[:n], all[n:2*n], all[2*n:3*n], all[3*n:4*n])
}

// applyTo is apply for pixels of an image, of which g may be dropped.
func (g *normGradient) applyTo(image int, dx, dy, x []float32) {
	if g.drop == nil || g.drop.factors[image] != 0 {
		g.apply(dx, dy, x)
		return
	}
	all, n := g.coefficients(), len(g.channel[0])
	vec.normalize(dx, x, all[:n], all[2*n:3*n], all[3*n:4*n], false)
}

// fewRows is up to how many rows BatchNorm and its gradient are worked out in float64: what is left of a cotangent when
// its mean and its part along x are taken out may be much smaller than these.
const fewRows = 16

func (n *normalisation) applyToFew(y, x []float32, relu bool) {
	for i := range y {
		c := i % len(n.mean)
		v := (float64(x[i]) - float64(n.mean[c])) / math.Sqrt(float64(n.variance[c])+n.eps)
		if n.gamma != nil {
			v = v*float64(n.gamma[c]) + float64(n.beta[c])
		}
		if y[i] = float32(v); relu {
			y[i] = positivePart(y[i])
		}
	}
}

func (g *normGradient) applyToFew(dx, dy, x []float32) {
	channel, n := &g.channel, len(g.channel[0])
	for i := range dx {
		c := i % n
		inverse := 1 / math.Sqrt(float64(channel[1][c])+g.eps)
		a := inverse * float64(*g.weight)
		if channel[4] != nil {
			a *= float64(channel[4][c])
		}
		normal := (float64(x[i]) - float64(channel[0][c])) * inverse
		dx[i] = float32(a * (float64(dy[i]) - (float64(channel[2][c])+normal*float64(channel[3][c]))/g.count))
	}
}
