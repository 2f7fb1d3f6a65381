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
	size := len(x.f32) / rows
	return oneTask(rowParts(rows, size, func(first, last int) {
		keep, stream := 1-p.f32[0], random.stream()
		for row := first; row < last; row++ {
			into, from := y.f32[row*size:(row+1)*size], x.f32[row*size:(row+1)*size]
			if !(stream.Float32(uint64(row)) < keep) {
				clear(into)
				continue
			}
			for i, v := range from {
				into[i] = v / keep
			}
		}
	})), nil
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
