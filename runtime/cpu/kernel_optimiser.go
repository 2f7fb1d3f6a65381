package cpu

import (
	"math"

	"github.com/dartsc/dartsc/compiler/plan"
)

// Updates of variables. Any result may be any operand of its size: an element is read from all operands before it is
// written to any result.

func init() {
	register("sgd", bindSGD)
	register("adam", bindAdam)
	register("global_norm", bindGlobalNorm)
	register("clip_scale", bindClipScale)
}

// update checks the tensors of an optimiser: operands and results of one shape and layout, then scalars.
func (c *checker) update(tensors, results int) (in, scalars, out [][]float32) {
	if c.err != nil {
		return nil, nil, nil
	}
	for i := range c.in {
		if i < tensors {
			in = append(in, c.operand(i, plan.F32).f32)
			c.like(c.in[i], c.in[0])
		} else {
			scalars = append(scalars, c.scalar(i, plan.F32).f32)
		}
	}
	for i := range results {
		out = append(out, c.result(i, plan.F32).f32)
		c.like(c.out[i], c.in[0])
	}
	return in, scalars, out
}

// sgd(w, g, velocity, rate, scale) → w', velocity': with d = scale·g + weight_decay·w, velocity' = momentum·velocity + d
// and w' = w - rate·velocity'.
func bindSGD(l *launch) (task, error) {
	c := check(l, 5, 5, 2)
	in, scalars, out := c.update(3, 2)
	momentum, decay := float32(c.floatParam("momentum")), float32(c.floatParam("weight_decay"))
	if c.err != nil {
		return task{}, c.err
	}
	return oneTask(blockParts(len(in[0]), func(from, to int) {
		s := sgdStep{rate: scalars[0][0], scale: scalars[1][0], momentum: momentum, decay: decay}
		vec.sgd(out[0][from:to], out[1][from:to], in[0][from:to], in[1][from:to], in[2][from:to], s)
	})), nil
}

// adam(p, g, m, v, rate, t) → p', m', v' at the t-th update, counted from 1, with weight decay added to the gradient.
func bindAdam(l *launch) (task, error) {
	c := check(l, 6, 6, 3)
	in, scalars, out := c.update(4, 3)
	beta1, beta2 := c.floatParam("beta1"), c.floatParam("beta2")
	eps, decay := float32(c.floatParam("eps")), float32(c.floatParam("weight_decay"))
	if c.err != nil {
		return task{}, c.err
	}
	keep1, take1, keep2, take2 := float32(beta1), float32(1-beta1), float32(beta2), float32(1-beta2)
	return oneTask(blockParts(len(in[0]), func(from, to int) {
		rate, t := float64(scalars[0][0]), float64(scalars[1][0])
		step := float32(rate / (1 - math.Pow(beta1, t)))
		root := float32(1 / math.Sqrt(1-math.Pow(beta2, t)))
		p, g, m, v := in[0][from:to], in[1][from:to], in[2][from:to], in[3][from:to]
		newP, newM, newV := out[0][from:to], out[1][from:to], out[2][from:to]
		g, m, v, newP, newM, newV = g[:len(p)], m[:len(p)], v[:len(p)], newP[:len(p)], newM[:len(p)], newV[:len(p)]
		for i, value := range p {
			gradient := g[i] + decay*value
			first := keep1*m[i] + take1*gradient
			second := keep2*v[i] + take2*gradient*gradient
			newM[i], newV[i] = first, second
			newP[i] = value - step*first/(float32(math.Sqrt(float64(second)))*root+eps)
		}
	})), nil
}

// global_norm(x…) → the Euclidean norm of all elements of all operands, summed in float64.
func bindGlobalNorm(l *launch) (task, error) {
	c := check(l, 1, anyNumber, 1)
	y, total := c.result(0, plan.F32), 0
	c.shape(y)
	if c.err != nil {
		return task{}, c.err
	}
	var all [][]float32
	for i := range l.in {
		all = append(all, c.operand(i, plan.F32).f32)
		total += len(all[i])
	}
	if c.err != nil {
		return task{}, c.err
	}
	// The operands stand one after the other; a part takes an equal share of their elements.
	shares := make([][][]float32, partsOf(total))
	for part := range shares {
		from, to := span(part, len(shares), total)
		for _, x := range all {
			if first, last := max(from, 0), min(to, len(x)); first < last {
				shares[part] = append(shares[part], x[first:last])
			}
			from, to = from-len(x), to-len(x)
		}
	}
	partial := make([]float64, len(shares))
	squares := func(part int, _ []float32) {
		sum := 0.0
		for _, x := range shares[part] {
			sum += sumSquares(x)
		}
		partial[part] = sum
	}
	finish := func(int, []float32) {
		sum := 0.0
		for _, v := range partial {
			sum += v
		}
		y.f32[0] = float32(math.Sqrt(sum))
	}
	return oneTask(phase{parts: len(shares), run: squares}, phase{parts: 1, run: finish}), nil
}

// clip_scale(norm) → min(1, max/(norm + 1e-6))
func bindClipScale(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	norm, y, most := c.scalar(0, plan.F32), c.result(0, plan.F32), c.floatParam("max")
	if c.err == nil {
		c.like(y, norm)
	}
	if c.err != nil {
		return task{}, c.err
	}
	return oneTask(phase{parts: 1, run: func(int, []float32) {
		y.f32[0] = float32(math.Min(1, most/(float64(norm.f32[0])+1e-6)))
	}}), nil
}
