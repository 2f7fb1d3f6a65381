package cpu

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// convCase is a convolution: sizes and attributes.
type convCase struct {
	n, c, h, w, o, kh, kw int
	a                     ops.ConvAttrs
}

func (c convCase) String() string {
	return fmt.Sprintf("%dx%dx%dx%d_o%d_k%dx%d_s%v_p%v_d%v_g%d",
		c.n, c.c, c.h, c.w, c.o, c.kh, c.kw, c.a.Strides, c.a.Pads, c.a.Dilations, c.a.Groups)
}

func attrs(stride, pad, dilation, groups int) ops.ConvAttrs {
	return ops.ConvAttrs{Strides: [2]int{stride, stride}, Pads: [4]int{pad, pad, pad, pad}, Dilations: [2]int{dilation, dilation}, Groups: groups}
}

// convCases are the convolutions of DARTS, the corners of the kernels, and some at random.
func convCases() []convCase {
	cases := []convCase{
		{2, 6, 9, 7, 6, 3, 3, attrs(1, 1, 1, 6)},   // sep_conv_3x3
		{2, 6, 9, 7, 6, 5, 5, attrs(2, 2, 1, 6)},   // sep_conv_5x5, stride 2
		{2, 5, 9, 8, 5, 3, 3, attrs(1, 2, 2, 5)},   // dil_conv_3x3
		{2, 5, 9, 8, 5, 5, 5, attrs(2, 4, 2, 5)},   // dil_conv_5x5, stride 2
		{1, 3, 12, 12, 3, 7, 7, attrs(1, 3, 1, 3)}, // sep_conv_7x7
		{2, 8, 6, 5, 12, 1, 1, attrs(1, 0, 1, 1)},  // pointwise
		{3, 7, 9, 7, 5, 1, 1, attrs(2, 0, 1, 1)},   // FactorizedReduce
		{3, 7, 9, 7, 5, 1, 1, ops.ConvAttrs{Strides: [2]int{2, 2}, Pads: [4]int{-1, -1, 0, 0}, Dilations: [2]int{1, 1}, Groups: 1}},
		{2, 6, 9, 7, 6, 3, 3, ops.ConvAttrs{Strides: [2]int{2, 2}, Pads: [4]int{-2, 1, 1, -1}, Dilations: [2]int{1, 1}, Groups: 6}},
		{2, 3, 11, 10, 16, 3, 3, attrs(1, 1, 1, 1)}, // stem
		{2, 3, 11, 10, 8, 3, 3, attrs(2, 1, 1, 1)},
		{2, 4, 8, 9, 6, 1, 7, ops.ConvAttrs{Strides: [2]int{1, 2}, Pads: [4]int{0, 3, 0, 3}, Dilations: [2]int{1, 1}, Groups: 1}}, // conv_7x1_1x7
		{2, 4, 8, 9, 6, 7, 1, ops.ConvAttrs{Strides: [2]int{2, 1}, Pads: [4]int{3, 0, 3, 0}, Dilations: [2]int{1, 1}, Groups: 1}},
		{2, 6, 8, 9, 9, 3, 2, attrs(1, 1, 1, 3)},      // groups
		{2, 4, 8, 9, 8, 3, 3, attrs(2, 1, 2, 4)},      // two outputs a channel
		{1, 2, 5, 5, 3, 2, 2, attrs(3, 0, 1, 1)},      // gaps between windows
		{1, 2, 4, 4, 2, 3, 3, attrs(1, 4, 1, 2)},      // pads beyond the kernel
		{1, 1, 1, 1, 1, 1, 1, attrs(1, 0, 1, 1)},      // one element
		{1, 16, 33, 31, 16, 3, 3, attrs(1, 1, 1, 16)}, // one image in several parts
		{1, 16, 33, 31, 10, 3, 3, attrs(2, 1, 1, 1)},
		{9, 16, 16, 16, 16, 1, 1, attrs(1, 0, 1, 1)}, // many parts
	}
	r := rand.New(rand.NewPCG(2, 3))
	for len(cases) < 70 {
		groups := []int{1, 1, 2, 3}[r.IntN(4)]
		c := convCase{
			n: 1 + r.IntN(3), c: groups * (1 + r.IntN(4)), h: 1 + r.IntN(12), w: 1 + r.IntN(12), o: groups * (1 + r.IntN(5)), kh: 1 + r.IntN(4), kw: 1 + r.IntN(4),
			a: ops.ConvAttrs{
				Strides: [2]int{1 + r.IntN(3), 1 + r.IntN(3)}, Dilations: [2]int{1 + r.IntN(2), 1 + r.IntN(3)},
				Pads: [4]int{r.IntN(6) - 2, r.IntN(6) - 2, r.IntN(6) - 2, r.IntN(6) - 2}, Groups: groups,
			},
		}
		if r.IntN(3) == 0 {
			c.o, c.a.Groups = c.c, c.c // depthwise
		}
		if shape := c.result(); shape[2] > 0 && shape[3] > 0 {
			cases = append(cases, c)
		}
	}
	return cases
}

// result is the shape of the convolution's result.
func (c convCase) result() []int {
	size := func(i, in, kernel int) int {
		return outputSize(in+c.a.Pads[i]+c.a.Pads[2+i], kernel, c.a.Strides[i], c.a.Dilations[i])
	}
	return []int{c.n, c.o, size(0, c.h, c.kh), size(1, c.w, c.kw)}
}

func (c convCase) x() operand { return image(c.n, c.c, c.h, c.w) }
func (c convCase) y() operand { s := c.result(); return image(s[0], s[1], s[2], s[3]) }
func (c convCase) k() operand { return weights(c.o, c.c/c.a.Groups, c.kh, c.kw) }

func init() {
	for i, c := range convCases() {
		a := c.a
		kernelCases = append(kernelCases,
			kernelCase{
				kernel: "conv2d", name: c.String(), operands: []operand{c.x(), c.k()},
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value { return []*ir.Value{b.Conv2D(in[0], in[1], a)} },
			},
			kernelCase{
				kernel: "conv2d", name: "bias_" + c.String(), operands: []operand{c.x(), c.k(), plain(c.o)},
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return []*ir.Value{b.Conv2DBias(in[0], in[1], in[2], a)}
				},
			},
			kernelCase{
				kernel: "conv2d_input_grad", name: c.String(), operands: []operand{c.y(), c.k()},
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return []*ir.Value{b.Conv2DInputGrad(in[0], in[1], c.x().Shape, a)}
				},
			},
			kernelCase{
				kernel: "conv2d_weight_grad", name: c.String(), operands: []operand{c.x(), c.y()},
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return []*ir.Value{b.Conv2DWeightGrad(in[0], in[1], c.k().Shape, a)}
				},
				orders: map[int]plan.Layout{0: outputsLast},
			})
		if i < 12 || i%5 == 0 {
			for _, p := range prologues {
				prologueCases(c, p)
			}
			if c.c > 1 {
				partCases(c)
			}
		}
	}
}

// partCases are convolutions of an image that lies in two or three tensors, the last of one channel, with and without ReLU.
func partCases(c convCase) {
	sizes := []int{c.c - 1, 1}
	if c.c > 2 {
		sizes = []int{c.c / 2, c.c - c.c/2 - 1, 1}
	}
	for _, relu := range []bool{false, true} {
		params := plan.Params{"parts": len(sizes)}
		if relu {
			params["prologue"] = "relu"
		}
		whole := func(b *ops.Builder, first *ir.Value, others []*ir.Value) *ir.Value {
			x := b.Concat(1, append([]*ir.Value{first}, others...)...)
			if relu {
				x = b.Relu(x)
			}
			return x
		}
		with := func(second ...operand) []operand {
			all := append([]operand{image(c.n, sizes[0], c.h, c.w)}, second...)
			for _, n := range sizes[1:] {
				all = append(all, image(c.n, n, c.h, c.w))
			}
			return all
		}
		name := fmt.Sprintf("parts%v_%v_%s", sizes, relu, c)
		kernelCases = append(kernelCases,
			kernelCase{
				kernel: "conv2d", name: name, params: params, operands: with(c.k()),
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return []*ir.Value{b.Conv2D(whole(b, in[0], in[2:]), in[1], c.a)}
				},
			},
			kernelCase{
				kernel: "conv2d", name: "bias_" + name, params: params, operands: with(c.k(), plain(c.o)),
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return []*ir.Value{b.Conv2DBias(whole(b, in[0], in[3:]), in[1], in[2], c.a)}
				},
			},
			kernelCase{
				kernel: "conv2d_weight_grad", name: name, params: params, operands: with(c.y()),
				build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
					return []*ir.Value{b.Conv2DWeightGrad(whole(b, in[0], in[2:]), in[1], c.k().Shape, c.a)}
				},
				orders: map[int]plan.Layout{0: outputsLast},
			})
	}
}

// prologueCase is a prologue of a convolution: operations on x with further operands, statistics and the like.
type prologueCase struct {
	name     string
	operands func(channels int) []operand                                  // nil: none
	build    func(b *ops.Builder, x *ir.Value, more []*ir.Value) *ir.Value // nil: x as it is
}

func (p prologueCase) relu() bool { return strings.Contains(p.name, "relu") }

func (p prologueCase) of(channels int) []operand {
	if p.operands == nil {
		return nil
	}
	return p.operands(channels)
}

func (p prologueCase) apply(b *ops.Builder, x *ir.Value, more []*ir.Value) *ir.Value {
	if p.build == nil {
		return x
	}
	return p.build(b, x, more)
}

var prologues = []prologueCase{
	{"relu", nil, func(b *ops.Builder, x *ir.Value, _ []*ir.Value) *ir.Value { return b.Relu(x) }},
	{"batch_norm", func(n int) []operand { return []operand{plain(n), positive(n)} },
		func(b *ops.Builder, x *ir.Value, m []*ir.Value) *ir.Value {
			return b.BatchNorm(x, m[0], m[1], nil, 1e-5)
		}},
	{"batch_norm_relu", func(n int) []operand { return []operand{plain(n), positive(n), plain(n), plain(n)} },
		func(b *ops.Builder, x *ir.Value, m []*ir.Value) *ir.Value {
			return b.Relu(b.BatchNorm(x, m[0], m[1], m[2:], 1e-5))
		}},
}

func prologueCases(c convCase, p prologueCase) {
	name, more, build := p.name, p.of(c.c), p.apply
	params := plan.Params{"prologue": name}
	if len(more) > 0 {
		params["eps"] = 1e-5
	}
	kernelCases = append(kernelCases,
		kernelCase{
			kernel: "conv2d", name: name + "_" + c.String(), params: params, operands: append([]operand{c.x(), c.k()}, more...),
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				return []*ir.Value{b.Conv2D(build(b, in[0], in[2:]), in[1], c.a)}
			},
		},
		kernelCase{
			kernel: "conv2d", name: name + "_bias_" + c.String(), params: params, operands: append([]operand{c.x(), c.k(), plain(c.o)}, more...),
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				return []*ir.Value{b.Conv2DBias(build(b, in[0], in[3:]), in[1], in[2], c.a)}
			},
		},
		kernelCase{
			kernel: "conv2d_weight_grad", name: name + "_" + c.String(), params: params, operands: append([]operand{c.x(), c.y()}, more...),
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				return []*ir.Value{b.Conv2DWeightGrad(build(b, in[0], in[2:]), in[1], c.k().Shape, c.a)}
			},
			orders: map[int]plan.Layout{0: outputsLast},
		})
}
