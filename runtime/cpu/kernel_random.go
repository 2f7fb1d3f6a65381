package cpu

import (
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/internal/philox"
)

func init() { register("drop_path", bindDropPath) }

// randomness is where an operation finds its random numbers: seed and step are read when it runs.
type randomness struct {
	seed, step []int64
	id         uint64
}

// randomness checks the operands seed and step, the first of them at the given position.
func (c *checker) randomness(at int) randomness {
	seed, step := c.scalar(at, plan.I64), c.scalar(at+1, plan.I64)
	return randomness{seed: seed.i64, step: step.i64, id: uint64(c.intParam("stream"))}
}

func (r *randomness) stream() philox.Stream {
	return philox.New(uint64(r.seed[0]), uint64(r.step[0]), r.id)
}

// drop_path(x [N,…], p, seed, step): each row is dropped with probability p, the others are divided by 1-p. The result
// may be x.
func bindDropPath(l *launch) (task, error) {
	c := check(l, 4, 4, 1)
	x, p, y := c.operand(0, plan.F32), c.scalar(1, plan.F32), c.result(0, plan.F32)
	random := c.randomness(2)
	rows := c.outermost(x)
	c.like(y, x)
	if c.err != nil {
		return task{}, c.err
	}
	size, d := len(x.f32)/rows, newDrops(p, random, rows)
	return task{phases: []phase{d.prepare(), rowParts(rows, size, func(first, last int) {
		for row := first; row < last; row++ {
			into := y.f32[row*size : (row+1)*size]
			if factor := d.factors[row]; factor == 0 {
				clear(into)
			} else {
				vec.scale(into, factor, x.f32[row*size:(row+1)*size])
			}
		}
	})}}, nil
}

// drops is what a path multiplies each image by: 0 where it drops it, else kept.
type drops struct {
	p       []float32
	random  randomness
	kept    float32
	factors []float32
}

func newDrops(p tensor, random randomness, images int) *drops {
	return &drops{p: p.f32, random: random, factors: make([]float32, images)}
}

// drops reads p, seed and step of a drop path from an operand on, where parameter drop names its stream; there is none
// otherwise.
func (c *checker) drops(at, images int) *drops {
	stream := optional(c, "drop", -1, "a whole number")
	if c.err != nil || stream < 0 {
		return nil
	}
	p, seed, step := c.scalar(at, plan.F32), c.scalar(at+1, plan.I64), c.scalar(at+2, plan.I64)
	return newDrops(p, randomness{seed.i64, step.i64, uint64(stream)}, images)
}

func (d *drops) fill() {
	keep, stream := 1-d.p[0], d.random.stream()
	d.kept = 1 / keep
	for image := range d.factors {
		d.factors[image] = 0
		if stream.Float32(uint64(image)) < keep {
			d.factors[image] = d.kept
		}
	}
}

// prepare is the phase that comes first.
func (d *drops) prepare() phase { return phase{1, func(int, []float32) { d.fill() }} }

// factor is what images are multiplied by that are kept: 1 without a drop path.
func (d *drops) factor() float32 {
	if d == nil {
		return 1
	}
	return d.kept
}

// outermost returns the size of the first axis, which must also be the outermost in memory.
func (c *checker) outermost(t tensor) int {
	if c.err == nil && (len(t.Shape) == 0 || t.Order != nil && t.Order[0] != 0) {
		c.failf("%s has shape %v and layout %v, wants a first axis that is outermost", t.name, t.Shape, t.Order)
	}
	if c.err != nil {
		return 1
	}
	return t.Shape[0]
}
