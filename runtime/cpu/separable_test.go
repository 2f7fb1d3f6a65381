package cpu

import (
	"fmt"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

func init() {
	for i, c := range convCases() {
		if c.a.Groups != c.c || c.o != c.c {
			continue
		}
		for _, out := range []int{c.c, 1 + i%7} {
			separableCases(separableCase{convCase: c, out: out, number: i})
		}
	}
}

// separableCase is a depthwise convolution, followed by a pointwise one to so many channels.
type separableCase struct {
	convCase
	out, number int
}

func (c separableCase) z() operand {
	y := c.y()
	return image(y.Shape[0], c.out, y.Shape[2], y.Shape[3])
}
func (c separableCase) params(more plan.Params) plan.Params {
	p := plan.Params{"strides": c.a.Strides[:], "pads": c.a.Pads[:], "dilations": c.a.Dilations[:], "groups": c.a.Groups}
	for name, v := range more {
		p[name] = v
	}
	return p
}

// noPrologue is x as it is.
var noPrologue = struct {
	name     string
	operands func(channels int) []operand
	build    func(b *ops.Builder, x *ir.Value, more []*ir.Value) *ir.Value
}{"", func(int) []operand { return nil }, func(_ *ops.Builder, x *ir.Value, _ []*ir.Value) *ir.Value { return x }}

func separableCases(c separableCase) {
	all := append(prologues, noPrologue)
	for i, p := range all {
		more := p.operands(c.c)
		params := plan.Params{"prologue": p.name}
		if len(more) > 0 {
			params["eps"] = 1e-5
		}
		kernelCases = append(kernelCases, kernelCase{
			kernel: "separable", name: fmt.Sprintf("%s_%v_to_%d", p.name, c, c.out), params: c.params(params),
			operands: append([]operand{c.x(), c.k(), weights(c.out, c.c, 1, 1)}, more...), tolerance: 5e-5, // a mean may be near zero
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				z := b.Conv2D(b.Conv2D(p.build(b, in[0], in[3:]), in[1], c.a), in[2], attrs(1, 0, 1, 1))
				if (i+c.number)%2 == 0 {
					return []*ir.Value{z}
				}
				mean, variance := b.BatchStats(z)
				return []*ir.Value{z, mean, variance}
			},
		})
		g := separableGradCase{separableCase: c, prologue: i, masked: len(all)*c.number + i + c.out}
		kernelCases = append(kernelCases, g.kernel())
	}
}

// separableGradCase is the way back through one; masked is a number whose bits choose what belongs to it.
type separableGradCase struct {
	separableCase
	prologue, masked int
}

func (c separableGradCase) kernel() kernelCase {
	p := append(prologues, noPrologue)[c.prologue]
	has := func(bit int) bool { return c.masked*2654435761>>(bit+7)&1 == 1 }
	normalized, affine, scaled, accumulate, weighted := has(0), has(1), has(2), has(3), has(4)
	mask := has(5) && (p.name == "relu" || p.name == "batch_norm_relu")
	more := p.operands(c.c)
	sums := has(6) && len(more) > 0
	params := plan.Params{"prologue": p.name, "normalized": normalized, "accumulate": accumulate, "weights": weighted, "mask": mask, "sums": sums}
	if len(more) > 0 {
		params["eps"] = 1e-5
	}
	z, n := c.z(), c.out
	operands, inPlace := []operand{z, c.x(), c.k(), weights(c.out, c.c, 1, 1)}, []int(nil)
	if normalized {
		params["norm_eps"], params["affine"] = 2e-5, affine
		operands = append(operands, z, plain(n), positive(n), plain(n), plain(n))
		if affine {
			operands = append(operands, plain(n))
		}
		if scaled {
			params["scale"] = 2
			operands = append(operands, plain(2, 3))
		}
	}
	if fmt.Sprint(z.Shape) == fmt.Sprint(c.x().Shape) {
		inPlace = append(inPlace, 0)
		if normalized {
			inPlace = append(inPlace, 4)
		}
	}
	if accumulate {
		inPlace = append(inPlace, len(operands))
		operands = append(operands, c.x())
	}
	operands = append(operands, more...)
	orders := map[int]plan.Layout{}
	if weighted {
		orders[1], orders[2] = outputsLast, outputsLast
	}
	return kernelCase{
		kernel: "separable_grad", name: fmt.Sprintf("%s_%v_to_%d_%v", p.name, c.convCase, c.out, params), params: c.params(params), operands: operands, inPlace: inPlace,
		orders: orders, tolerance: 2e-5,
		build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
			g, x, depthwise, pointwise := in[0], in[1], in[2], in[3]
			statistics := in[len(in)-len(more):]
			next := 4
			if normalized {
				gamma := []*ir.Value(nil)
				if affine {
					gamma = in[9:10]
				}
				g = b.BatchNormInputGrad(g, in[4], in[5], in[6], in[7], in[8], gamma, 2e-5)
				next = 9 + len(gamma)
				if scaled {
					g = b.WeightedSum(in[next], []*ir.Value{g}, []int{2})
					next++
				}
			}
			in0 := p.build(b, x, statistics)
			between := b.Conv2D(in0, depthwise, c.a)
			dBetween := b.Conv2DInputGrad(g, pointwise, between.Type.Shape, attrs(1, 0, 1, 1))
			dx := b.Conv2DInputGrad(dBetween, depthwise, x.Type.Shape, c.a)
			if accumulate {
				dx = b.Add(dx, in[next])
			}
			if mask {
				y := x
				if len(more) > 0 {
					y = b.BatchNorm(x, statistics[0], statistics[1], statistics[2:], 1e-5)
				}
				dx = b.ReluGrad(dx, y)
			}
			results := []*ir.Value{dx}
			if weighted {
				results = append(results, b.Conv2DWeightGrad(in0, dBetween, depthwise.Type.Shape, c.a),
					b.Conv2DWeightGrad(between, g, pointwise.Type.Shape, attrs(1, 0, 1, 1)))
			}
			if sums {
				sum, sumX := b.BatchNormSums(dx, x, statistics[0], statistics[1], 1e-5)
				results = append(results, sum, sumX)
			}
			return results
		},
	}
}
