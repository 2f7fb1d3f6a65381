package cpu

import (
	"fmt"
	"maps"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Every depthwise convolution of convCases, to as many channels and to another number, with every prologue; on the way
// back, what belongs to it is drawn by a number.
func init() {
	for i, c := range convCases() {
		if c.a.Groups != c.c || c.o != c.c {
			continue
		}
		for k, out := range []int{c.c, 1 + i%7} {
			s := separableCase{c, out}
			for j, p := range append(prologues, prologueCase{name: ""}) {
				draw := (8*i + 4*k + j) * 2654435761 >> 7
				bit := func(n int) bool { return draw>>n&1 == 1 }
				kernelCases = append(kernelCases, s.forward(p, bit(0), false), s.forward(p, c.n > 1 && bit(1), true), s.back(p, wayBack{
					normalized: bit(0), affine: bit(1), scaled: bit(2), accumulate: bit(3), weights: bit(4), mask: bit(5), sums: bit(6), dropped: bit(7) || c.n > 2,
				}))
			}
		}
	}
}

// separableCase is a depthwise convolution, followed by a pointwise one to so many channels.
type separableCase struct {
	convCase
	out int
}

func (c separableCase) z() operand {
	y := c.y()
	return image(y.Shape[0], c.out, y.Shape[2], y.Shape[3])
}

func (c separableCase) filters() []operand {
	return []operand{c.k(), weights(c.out, c.c, 1, 1)}
}

func (c separableCase) name(p prologueCase) string {
	return fmt.Sprintf("%s_%v_to_%d", p.name, c, c.out)
}

func (c separableCase) params(p prologueCase) plan.Params {
	params := plan.Params{"strides": c.a.Strides[:], "pads": c.a.Pads[:], "dilations": c.a.Dilations[:], "groups": c.a.Groups, "prologue": p.name}
	if len(p.of(c.c)) > 0 {
		params["eps"] = 1e-5
	}
	return params
}

func (c separableCase) forward(p prologueCase, statistics, biased bool) kernelCase {
	var bias []operand
	if biased {
		bias = []operand{plain(c.out)}
	}
	return kernelCase{
		kernel: "separable", name: fmt.Sprint(c.name(p), " biased=", biased), params: c.params(p),
		operands:  slices.Concat([]operand{c.x()}, c.filters(), bias, p.of(c.c)),
		tolerance: 5e-5, // a mean may be near zero
		build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
			between := b.Conv2D(p.apply(b, in[0], in[3+len(bias):]), in[1], c.a)
			z := b.Conv2D(between, in[2], attrs(1, 0, 1, 1))
			if biased {
				z = b.Conv2DBias(between, in[2], in[3], attrs(1, 0, 1, 1))
			}
			if !statistics {
				return []*ir.Value{z}
			}
			mean, variance := b.BatchStats(z)
			return []*ir.Value{z, mean, variance}
		},
	}
}

// wayBack is what belongs to a way back, where it can.
type wayBack struct {
	normalized, affine, scaled, accumulate, weights, mask, sums, dropped bool
}

func (c separableCase) back(p prologueCase, has wayBack) kernelCase {
	has.mask = has.mask && p.relu()
	reads := has.mask || has.weights // x
	if !reads {
		p = prologueCase{}
	}
	statistics := p.of(c.c)
	has.sums = has.sums && len(statistics) > 0
	has.dropped = has.dropped && has.normalized
	params := c.params(p)
	maps.Copy(params, plan.Params{"normalized": has.normalized, "accumulate": has.accumulate, "weights": has.weights, "mask": has.mask, "sums": has.sums})
	z, n := c.z(), c.out
	operands, inPlace := []operand{z}, []int(nil)
	same := slices.Equal(z.Shape, c.x().Shape)
	if same {
		inPlace = append(inPlace, 0)
	}
	if has.dropped {
		params["drop"] = droppedStream
		operands = append(operands, dropOperands()...)
	}
	if reads {
		operands = append(operands, c.x())
	}
	operands = append(operands, c.filters()...)
	if has.normalized {
		if same {
			inPlace = append(inPlace, len(operands))
		}
		params["norm_eps"], params["affine"] = 2e-5, has.affine
		operands = append(operands, z, plain(n), positive(n), plain(n), plain(n))
		if has.affine {
			operands = append(operands, plain(n))
		}
		if has.scaled {
			params["scale"] = 2
			operands = append(operands, plain(2, 3))
		}
	}
	if has.accumulate {
		inPlace = append(inPlace, len(operands))
		operands = append(operands, c.x())
	}
	operands = append(operands, statistics...)
	orders := map[int]plan.Layout{}
	if has.weights {
		orders[1], orders[2] = outputsLast, outputsLast
	}
	return kernelCase{
		kernel: "separable_grad", name: fmt.Sprintf("%s_%+v", c.name(p), has), params: params, operands: operands, inPlace: inPlace,
		orders: orders, tolerance: 2e-5,
		build: func(b *ops.Builder, in []*ir.Value) []*ir.Value { return c.gradient(b, in, p, has, reads) },
	}
}

const droppedStream = 11

// dropOperands are the probability, the seed and the step of a drop path that drops some of few images.
func dropOperands() []operand {
	return []operand{filled(ir.F32, 0.4), integers(ir.I64, 1<<20), integers(ir.I64, 99)}
}

// gradient is the meaning of a way back.
func (c separableCase) gradient(b *ops.Builder, in []*ir.Value, p prologueCase, has wayBack, reads bool) []*ir.Value {
	statistics := in[len(in)-len(p.of(c.c)):]
	take := func() *ir.Value {
		v := in[0]
		in = in[1:]
		return v
	}
	g, x := take(), (*ir.Value)(nil)
	if has.dropped {
		g = b.DropPath(g, take(), take(), take(), droppedStream)
	}
	if reads {
		x = take()
	}
	depthwise, pointwise := take(), take()
	if has.normalized {
		z, gamma := in[:5], []*ir.Value(nil)
		if in = in[5:]; has.affine {
			gamma = []*ir.Value{take()}
		}
		g = b.BatchNormInputGrad(g, z[0], z[1], z[2], z[3], z[4], gamma, 2e-5)
		if has.scaled {
			g = b.WeightedSum(take(), []*ir.Value{g}, []int{2})
		}
	}
	between := b.Conv2DInputGrad(g, pointwise, c.y().Shape, attrs(1, 0, 1, 1))
	dx := b.Conv2DInputGrad(between, depthwise, c.x().Shape, c.a)
	if has.accumulate {
		dx = b.Add(dx, take())
	}
	if has.mask {
		y := x
		if len(statistics) > 0 {
			y = b.BatchNorm(x, statistics[0], statistics[1], statistics[2:], 1e-5)
		}
		dx = b.ReluGrad(dx, y)
	}
	results := []*ir.Value{dx}
	if has.weights {
		read := p.apply(b, x, statistics)
		results = append(results, b.Conv2DWeightGrad(read, between, depthwise.Type.Shape, c.a),
			b.Conv2DWeightGrad(b.Conv2D(read, depthwise, c.a), g, pointwise.Type.Shape, attrs(1, 0, 1, 1)))
	}
	if has.sums {
		sum, sumX := b.BatchNormSums(dx, x, statistics[0], statistics[1], 1e-5)
		results = append(results, sum, sumX)
	}
	return results
}
