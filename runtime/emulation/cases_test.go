package emulation_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

func elementwiseCases() (list []kernelCase) {
	add := func(name string, in []ir.Type, fill fills, f func(b *ops.Builder, in []*ir.Value) *ir.Value) {
		list = append(list, kernelCase{name: name, in: in, fill: fill, build: one(f)})
	}
	positive := fills{0: between(0.2, 3), 1: between(0.2, 3)}
	for name, f := range map[string]func(*ops.Builder, *ir.Value) *ir.Value{
		"neg": (*ops.Builder).Neg, "exp": (*ops.Builder).Exp, "tanh": (*ops.Builder).Tanh, "sigmoid": (*ops.Builder).Sigmoid,
		"relu": (*ops.Builder).Relu, "log": (*ops.Builder).Log, "sqrt": (*ops.Builder).Sqrt,
	} {
		add(name, []ir.Type{f32(5, 7)}, positive, func(b *ops.Builder, in []*ir.Value) *ir.Value { return f(b, in[0]) })
	}
	for name, f := range map[string]func(*ops.Builder, *ir.Value, *ir.Value) *ir.Value{
		"add": (*ops.Builder).Add, "sub": (*ops.Builder).Sub, "mul": (*ops.Builder).Mul, "div": (*ops.Builder).Div, "relu_grad": (*ops.Builder).ReluGrad,
		"axpby": func(b *ops.Builder, x, y *ir.Value) *ir.Value { return b.Axpby(x, y, 1.5, -0.25) },
	} {
		g := func(b *ops.Builder, in []*ir.Value) *ir.Value { return f(b, in[0], in[1]) }
		add(name, []ir.Type{f32(2, 3, 4, 5), f32(2, 3, 4, 5)}, fills{1: positive[1]}, g)
		add(name+" scalar left", []ir.Type{f32(), f32(33)}, fills{1: positive[1]}, g)
		add(name+" scalar right", []ir.Type{f32(2, 3, 1, 1), f32()}, fills{1: positive[1]}, g)
	}
	add("chain", []ir.Type{f32(1000), f32(1000), f32()}, nil, func(b *ops.Builder, in []*ir.Value) *ir.Value {
		return b.Mul(b.Relu(b.Axpby(in[0], b.Constant(f32(1000), 0.5), 2, 1)), b.Add(in[1], in[2]))
	})
	for _, shape := range [][]int{{5, 36, 6, 5}, {9, 3, 4, 4}, {2, 300, 3, 3}, {40, 16, 8, 8}} {
		list = append(list, nodeCases(shape)...)
	}
	add("many blocks", []ir.Type{f32(300001)}, nil, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Neg(in[0]) })
	add("counter", []ir.Type{ir.T(ir.I64), ir.T(ir.I64)}, fills{0: whole(1 << 20), 1: whole(9)}, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Add(in[0], in[1]) })
	add("detach", []ir.Type{f32(6)}, nil, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Detach(b.Neg(in[0])) })
	add("constant", []ir.Type{}, nil, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Constant(f32(3, 5), 0.25) })
	add("cast", []ir.Type{ir.T(ir.I32, 9)}, fills{0: whole(99)}, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Cast(in[0], ir.F32) })
	add("cast down", []ir.Type{f32(9)}, nil, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Cast(in[0], ir.I64) })
	return list
}

// nodeCases are nodes of a derived network and parts of its way back: sums of normalised images, of which paths drop some, and what is
// left of some channels of a cotangent.
func nodeCases(shape []int) []kernelCase {
	n, c, h, w := shape[0], shape[1], shape[2], shape[3]
	x, channel, seed := f32(shape...), f32(c), ir.T(ir.I64)
	return []kernelCase{
		{
			name: fmt.Sprint("node ", shape), in: []ir.Type{x, x, channel, channel, channel, channel, f32(), seed, seed},
			fill: fills{3: between(0.2, 3), 6: between(0.3, 0.4), 7: whole(1 << 20), 8: whole(99)},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
				drop := func(x *ir.Value, stream int) *ir.Value { return b.DropPath(x, in[6], in[7], in[8], stream) }
				first := drop(b.BatchNorm(in[0], in[2], in[3], in[4:6], 1e-5), 3)
				return b.Add(first, drop(b.BatchNorm(in[1], in[2], in[3], nil, 1e-3), 8))
			}),
		},
		{
			name: fmt.Sprint("half a node ", shape), in: []ir.Type{x, x, channel, channel, f32()}, fill: fills{3: between(0.2, 3)},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
				return b.Mul(in[4], b.Add(in[1], b.BatchNorm(in[0], in[2], in[3], nil, 1e-5)))
			}),
		},
		{
			name: fmt.Sprint("parts of a cotangent ", shape), in: []ir.Type{f32(n, 3*c, h, w), x, f32(n, c+1, h, w)},
			build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
				part := b.Slice(in[0], []int{0, c, 0, 0}, []int{n, 2 * c, h, w})
				other := b.Slice(in[2], []int{0, 1, 0, 0}, []int{n, c + 1, h, w})
				return b.Add(b.ReluGrad(part, in[1]), b.Neg(other))
			}),
		},
	}
}

func moveCases() (list []kernelCase) {
	add := func(name string, in []ir.Type, f func(b *ops.Builder, in []*ir.Value) *ir.Value) {
		list = append(list, kernelCase{name: name, in: in, build: one(f)})
	}
	for _, s := range [][]int{{2, 3, 4, 5}, {1, 8, 3, 3}} {
		add(fmt.Sprint("slice ", s), []ir.Type{f32(s...)}, func(b *ops.Builder, in []*ir.Value) *ir.Value {
			return b.Slice(in[0], []int{0, 1, 1, 0}, []int{s[0], s[1], s[2], s[3] - 1})
		})
		add(fmt.Sprint("pad ", s), []ir.Type{f32(s...)}, func(b *ops.Builder, in []*ir.Value) *ir.Value {
			return b.Pad(in[0], []int{0, 1, 0, 2}, []int{1, 0, 3, 1})
		})
		add(fmt.Sprint("transpose ", s), []ir.Type{f32(s...)}, func(b *ops.Builder, in []*ir.Value) *ir.Value {
			return b.Transpose(in[0], 2, 0, 3, 1)
		})
		add(fmt.Sprint("reshape ", s), []ir.Type{f32(s...)}, func(b *ops.Builder, in []*ir.Value) *ir.Value {
			return b.Reshape(in[0], s[0], s[1]*s[2]*s[3])
		})
		add(fmt.Sprint("reshape to ", s), []ir.Type{f32(s[0]*s[1], s[2]*s[3])}, func(b *ops.Builder, in []*ir.Value) *ir.Value {
			return b.Reshape(in[0], s...)
		})
		add(fmt.Sprint("concat ", s), []ir.Type{f32(s...), f32(s[0], 4, s[2], s[3]), f32(s...)}, func(b *ops.Builder, in []*ir.Value) *ir.Value {
			return b.Concat(1, in...)
		})
	}
	add("concat rows", []ir.Type{f32(2, 6), f32(5, 6)}, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Concat(0, in...) })
	add("concat packs", []ir.Type{f32(2, 8, 3, 3), f32(2, 4, 3, 3)}, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Concat(1, in...) })
	add("broadcast", []ir.Type{f32(3, 4)}, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Broadcast(in[0], []int{3, 4, 5, 2}, 2, 3) })
	add("broadcast between", []ir.Type{f32(3)}, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Broadcast(in[0], []int{2, 3, 4}, 0, 2) })
	return list
}

func reduceCases() (list []kernelCase) {
	for _, c := range []struct{ shape, axes []int }{
		{[]int{2, 3, 4, 5}, []int{2, 3}}, {[]int{3, 8, 9, 7}, []int{2, 3}}, {[]int{2, 3, 4, 5}, []int{0, 1, 2, 3}}, {[]int{70, 10}, []int{0}}, {[]int{70, 10}, []int{1}},
		{[]int{5, 6, 7}, []int{0, 2}}, {[]int{2, 3, 4, 5}, []int{1}}, {[]int{2, 3, 4, 5}, []int{0, 3}}, {[]int{4, 1, 3}, []int{1}}, {[]int{6}, nil}, {[]int{100000}, []int{0}},
		{[]int{2, 600, 3, 3}, []int{0, 2, 3}},
	} {
		list = append(list, kernelCase{name: fmt.Sprint("reduce ", c.shape, c.axes), in: []ir.Type{f32(c.shape...)}, build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
			return []*ir.Value{b.ReduceSum(in[0], c.axes...), b.ReduceMean(in[0], c.axes...)}
		}})
	}
	return list
}

// convolutionCases are those of the search spaces and random ones; each is compared with its two gradients, and all of
// them with the prologues.
func convolutionCases() (list []kernelCase) {
	type shape struct {
		x, w []int
		a    ops.ConvAttrs
	}
	conv := func(n, c, h, w, o, k, stride, pad, dilation, groups int) shape {
		return shape{[]int{n, c, h, w}, []int{o, c / groups, k, k}, ops.ConvAttrs{
			Strides: [2]int{stride, stride}, Pads: [4]int{pad, pad, pad, pad}, Dilations: [2]int{dilation, dilation}, Groups: groups,
		}}
	}
	shapes := []shape{
		conv(2, 3, 8, 8, 12, 3, 1, 1, 1, 1), conv(2, 8, 7, 7, 8, 3, 1, 1, 1, 8), conv(2, 8, 9, 9, 8, 5, 2, 2, 1, 8), conv(1, 6, 9, 9, 6, 5, 1, 4, 2, 6),
		conv(2, 16, 6, 6, 16, 1, 1, 0, 1, 1), conv(3, 20, 5, 5, 40, 1, 2, 0, 1, 1), conv(2, 8, 5, 5, 12, 3, 1, 1, 1, 4), conv(4, 4, 16, 16, 5, 1, 1, 0, 1, 1),
		conv(1, 70, 5, 4, 90, 2, 1, 0, 1, 1), conv(2, 16, 20, 20, 16, 3, 1, 1, 1, 16),
	}
	crop := conv(2, 8, 6, 6, 4, 1, 2, 0, 1, 1)
	crop.a.Pads = [4]int{-1, -1, 0, 0} // FactorizedReduce's second branch
	wide := conv(2, 5, 7, 9, 5, 1, 1, 0, 1, 1)
	wide.w[3], wide.a.Pads = 7, [4]int{0, 3, 0, 3} // half of a 7x1, 1x7
	shapes = append(shapes, crop, wide, conv(3, 20, 6, 4, 40, 1, 2, 0, 1, 1), conv(2, 32, 9, 6, 16, 1, 3, 0, 1, 1))
	for _, channels := range [][2]int{{36, 108}, {100, 52}, {148, 20}, {64, 64}} { // single pixels, with each prologue
		shapes = append(shapes, conv(3, channels[0], 11, 9, channels[1], 1, 1, 0, 1, 1))
	}
	r := rand.New(rand.NewPCG(3, 4))
	for len(shapes) < 30 {
		groups := 1 + r.IntN(3)*r.IntN(2)
		s := shape{[]int{1 + r.IntN(3), groups * (1 + r.IntN(9)), 3 + r.IntN(9), 3 + r.IntN(9)}, nil, ops.ConvAttrs{
			Strides: [2]int{1 + r.IntN(2), 1 + r.IntN(2)}, Dilations: [2]int{1 + r.IntN(2), 1 + r.IntN(2)}, Groups: groups,
		}}
		s.w = []int{groups * (1 + r.IntN(9)), s.x[1] / groups, 1 + r.IntN(3), 1 + r.IntN(3)}
		for i := range s.a.Pads {
			s.a.Pads[i] = r.IntN(4) - 1
		}
		if s.x[2]+s.a.Pads[0]+s.a.Pads[2] > s.a.Dilations[0]*(s.w[2]-1) && s.x[3]+s.a.Pads[1]+s.a.Pads[3] > s.a.Dilations[1]*(s.w[3]-1) {
			shapes = append(shapes, s)
		}
	}
	for i, s := range shapes {
		c := s.x[1]
		list = append(list, kernelCase{
			name: fmt.Sprint("convolution ", s), in: []ir.Type{f32(s.x...), f32(s.w...), f32(c), f32(c), f32(c), f32(c), f32(s.w[0])}, fill: fills{3: between(0.2, 3)},
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				x, w := in[0], in[1]
				switch i % 4 {
				case 1:
					x = b.Relu(x)
				case 2:
					x = b.Relu(b.BatchNorm(x, in[2], in[3], nil, 1e-5))
				case 3:
					x = b.Relu(b.BatchNorm(x, in[2], in[3], in[4:6], 1e-3))
				}
				y := b.Conv2D(x, w, s.a)
				if i%5 < 2 {
					y = b.Conv2DBias(x, w, in[6], s.a)
				}
				g := b.Tanh(y)
				dx := b.Conv2DInputGrad(g, w, s.x, s.a)
				if i%3 == 0 {
					dx = b.Add(in[0], dx)
				}
				return []*ir.Value{y, dx, b.Conv2DWeightGrad(x, g, s.w, s.a)}
			},
		})
	}
	for _, c := range []struct{ m, n, k int }{{2, 3, 5}, {64, 10, 256}, {70, 33, 17}, {5, 200, 3000}, {64, 64, 9}, {70, 131, 300}, {100, 66, 40}, {1450, 1500, 8}} {
		list = append(list, kernelCase{name: fmt.Sprint("matmul ", c), in: []ir.Type{f32(c.m, c.k), f32(c.k, c.n), f32(c.k, c.m), f32(c.n, c.k), f32(c.n), f32(c.m, c.n)}, build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
			return []*ir.Value{
				b.BiasAdd(b.MatMul(in[0], in[1], false, false), in[4]), b.MatMul(in[2], in[1], true, false), b.MatMul(in[0], in[3], false, true), b.MatMul(in[2], in[3], true, true),
				b.Add(b.Tanh(in[5]), b.MatMul(in[0], in[1], false, false)),
			}
		}})
	}
	list = append(list, kernelCase{name: "bias_add of images", in: []ir.Type{f32(2, 3, 4, 5), f32(3)}, build: one(func(b *ops.Builder, in []*ir.Value) *ir.Value {
		return b.BiasAdd(in[0], in[1])
	})})
	return list
}

func normCases() (list []kernelCase) {
	for _, s := range [][]int{{2, 3, 5, 4}, {3, 8, 6, 6}, {1, 300, 2, 2}, {4, 6}, {2, 16, 40, 40}} {
		c := s[1]
		list = append(list, kernelCase{
			name: fmt.Sprint("batch_norm ", s), in: []ir.Type{f32(s...), f32(s...), f32(c), f32(c), f32(c), f32(c), f32(5)}, fill: fills{0: between(2, 5), 3: between(0.2, 3)},
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				x, g, mean, variance, affine := in[0], in[1], in[2], in[3], in[4:6]
				m, v := b.BatchStats(x)
				sum, sumX := b.BatchNormSums(g, x, mean, variance, 1e-5)
				return []*ir.Value{
					m, v, b.BatchNorm(x, mean, variance, nil, 1e-5), b.Relu(b.BatchNorm(x, mean, variance, affine, 1e-5)), sum, sumX,
					b.BatchNormInputGrad(g, x, mean, variance, mean, variance, nil, 1e-5),
					b.WeightedSum(in[6], []*ir.Value{b.BatchNormInputGrad(g, x, mean, variance, mean, variance, affine[:1], 1e-5)}, []int{3}),
				}
			},
		})
	}
	return list
}

func poolCases() (list []kernelCase) {
	for _, c := range []struct {
		x       []int
		a       ops.PoolAttrs
		include bool
	}{
		{[]int{2, 8, 7, 7}, ops.Pool(3, 1, 1), false}, {[]int{2, 3, 8, 6}, ops.Pool(3, 2, 1), true}, {[]int{1, 4, 9, 9}, ops.Pool(5, 3, 0), false}, {[]int{2, 5, 6, 6}, ops.Pool(2, 2, 0), true},
		{[]int{2, 40, 20, 20}, ops.Pool(3, 1, 1), false}, {[]int{1, 40, 21, 20}, ops.Pool(3, 2, 1), false},
		{[]int{8, 16, 32, 32}, ops.Pool(3, 1, 1), false}, {[]int{1, 4, 11, 300}, ops.Pool(7, 2, 3), false}, {[]int{1, 3, 13, 9}, ops.Pool(4, 3, 2), true},
		{[]int{2, 12, 10, 7}, ops.PoolAttrs{Kernel: [2]int{3, 2}, Strides: [2]int{1, 2}, Pads: [4]int{1, 0, 0, 1}}, false},
	} {
		c.a.CountIncludePad = c.include
		list = append(list, kernelCase{name: fmt.Sprint("pool ", c), in: []ir.Type{f32(c.x...)}, fill: fills{0: whole(6)}, build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
			most, mean := b.MaxPool2D(in[0], c.a), b.AvgPool2D(in[0], c.a)
			return []*ir.Value{most, mean, b.MaxPool2DGrad(b.Tanh(mean), in[0], c.a), b.AvgPool2DGrad(most, c.x, c.a)}
		}})
	}
	return list
}

func mixtureCases() (list []kernelCase) {
	for _, c := range []struct {
		x     []int
		terms int
		norms int // how many of the first terms are normalised
	}{{[]int{2, 8, 5, 5}, 7, 3}, {[]int{2, 3, 5, 4}, 2, 2}, {[]int{1, 4, 3, 3}, 1, 0}, {[]int{1, 4, 3, 3}, 90, 2}, {[]int{6}, 3, 0}, {[]int{2, 16, 30, 30}, 35, 20}} {
		in := []ir.Type{f32(14, 8)}
		fill := fills{}
		for range c.terms {
			in = append(in, f32(c.x...))
		}
		for range c.norms {
			fill[len(in)+1] = between(0.2, 3)
			in = append(in, f32(c.x[1]), f32(c.x[1]))
		}
		selected := make([]int, c.terms)
		for i := range selected {
			selected[i] = (5 * i) % 100
		}
		list = append(list, kernelCase{name: fmt.Sprint("mixture ", c), in: in, fill: fill, tolerance: 5e-6, build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
			terms := append([]*ir.Value{}, in[1:1+c.terms]...)
			dw := b.WeightedSumWeightGrad(b.Tanh(terms[0]), terms, selected, []int{14, 8})
			for i := range c.norms {
				at := 1 + c.terms + 2*i
				terms[i] = b.BatchNorm(terms[i], in[at], in[at+1], nil, 1e-5)
			}
			return []*ir.Value{b.WeightedSum(in[0], terms, selected), dw}
		}})
	}
	return list
}

func lossCases() (list []kernelCase) {
	for _, c := range []struct {
		rows, classes int
		smoothing     float64
		reduction     string
	}{{5, 3, 0, "mean"}, {300, 10, 0.1, "sum"}, {33, 100, 0.1, "mean"}, {70, 301, 0, "sum"}, {40, 1000, 0, "mean"}} {
		labels := func(r *rand.Rand) float64 { return float64(r.IntN(c.classes+1) - 1) }
		list = append(list, kernelCase{
			name: fmt.Sprint("loss ", c), in: []ir.Type{f32(c.rows, c.classes), ir.T(ir.I32, c.rows), f32(), f32(c.rows, c.classes)}, fill: fills{1: labels},
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				y := b.Softmax(in[0])
				return []*ir.Value{
					y, b.SoftmaxGrad(in[3], y), b.CrossEntropy(in[0], in[1], c.smoothing, c.reduction), b.CrossEntropyGrad(in[2], in[0], in[1], c.smoothing, c.reduction),
					b.Correct(in[0], in[1], 1), b.Correct(in[0], in[1], 2),
				}
			},
		})
	}
	return list
}

func imageCases() (list []kernelCase) {
	seeds := []ir.Type{ir.T(ir.I64), ir.T(ir.I64)}
	pixels := fills{0: whole(256), 1: whole(1 << 20), 2: whole(99)}
	images := append([]ir.Type{ir.T(ir.U8, 5, 8, 6, 3)}, seeds...)
	add := func(name string, in []ir.Type, fill fills, f func(b *ops.Builder, in []*ir.Value) *ir.Value) {
		list = append(list, kernelCase{name: name, in: in, fill: fill, build: one(f)})
	}
	add("take_images", []ir.Type{ir.T(ir.U8, 7, 4, 5, 3), ir.T(ir.I32, 9)}, fills{0: whole(256), 1: word}, func(b *ops.Builder, in []*ir.Value) *ir.Value {
		return b.TakeImages(in[0], in[1])
	})
	add("random_crop", images, pixels, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.RandomCrop(in[0], in[1], in[2], 4, 7) })
	add("random_flip", images, pixels, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.RandomFlip(in[0], in[1], in[2], 3) })
	add("normalize_image", images[:1], pixels, func(b *ops.Builder, in []*ir.Value) *ir.Value {
		return b.NormalizeImage(in[0], []float64{0.5, 0.4, 0.3}, []float64{0.2, 0.3, 0.25})
	})
	add("cutout", append([]ir.Type{f32(6, 3, 9, 8)}, seeds...), fills{1: whole(1 << 20), 2: whole(99)}, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.Cutout(in[0], in[1], in[2], 4, 11) })
	add("drop_path", append([]ir.Type{f32(9, 3, 4, 4), f32()}, seeds...), fills{1: between(0.3, 0.4), 2: whole(1 << 20), 3: whole(99)}, func(b *ops.Builder, in []*ir.Value) *ir.Value {
		return b.DropPath(in[0], in[1], in[2], in[3], 5)
	})
	add("global_norm", []ir.Type{f32(3, 4), f32(5000), f32()}, nil, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.GlobalNorm(in...) })
	add("clip_scale", []ir.Type{f32()}, fills{0: between(1, 9)}, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.ClipScale(in[0], 0.5) })
	add("global_norm of many", many(500, f32(3, 2)), nil, func(b *ops.Builder, in []*ir.Value) *ir.Value { return b.GlobalNorm(in...) })
	return list
}

func many(n int, t ir.Type) []ir.Type {
	list := make([]ir.Type, n)
	for i := range list {
		list[i] = t
	}
	return list
}

// separableCases are separable convolutions with their way back, of all kinds that search spaces have and random ones.
func separableCases() (list []kernelCase) {
	for i, s := range separableShapes() {
		x, dw, pw, a, one := s.parts()
		channels := []ir.Type{f32(s.c), f32(s.c), f32(s.c), f32(s.c), f32(s.o), f32(s.o), f32(s.o), f32(s.o), f32(s.o), f32(7)}
		list = append(list, kernelCase{
			name: fmt.Sprint("separable ", s), in: append([]ir.Type{f32(x...), f32(dw...), f32(pw...), f32(x...)}, channels...), fill: fills{5: between(0.2, 3), 9: between(0.2, 3)}, tolerance: 1e-5,
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				before := in[0]
				switch i % 3 {
				case 1:
					before = b.BatchNorm(in[0], in[4], in[5], nil, 1e-3)
				case 2:
					before = b.BatchNorm(in[0], in[4], in[5], in[6:8], 1e-3)
				}
				relu := b.Relu(before)
				between := b.Conv2D(relu, in[1], a)
				z := b.Conv2D(between, in[2], one)
				mean, variance := b.BatchStats(z)
				g := b.Tanh(z)
				var gamma []*ir.Value
				if i%2 == 1 {
					gamma = in[12:13]
				}
				dz := b.BatchNormInputGrad(g, z, in[8], in[9], in[10], in[11], gamma, 1e-5)
				if i%5 < 3 {
					dz = b.WeightedSum(in[13], []*ir.Value{dz}, []int{3})
				}
				dBetween := b.Conv2DInputGrad(dz, in[2], between.Type.Shape, one)
				dx := b.Conv2DInputGrad(dBetween, in[1], x, a)
				results := []*ir.Value{z, mean, variance}
				if i%4 != 3 {
					results = append(results, b.Conv2DWeightGrad(relu, dBetween, dw, a), b.Conv2DWeightGrad(between, dz, pw, one))
				}
				if i%3 == 0 && i%2 == 0 {
					dx = b.Add(in[3], dx)
				}
				dx = b.ReluGrad(dx, before)
				if i%3 > 0 {
					sum, sumX := b.BatchNormSums(dx, in[0], in[4], in[5], 1e-3)
					results = append(results, sum, sumX)
				}
				return append(results, dx)
			},
		})
	}
	return list
}

// separableShape is n images of c channels, o of results.
type separableShape struct {
	n, c, h, w, o, k, stride, dilation, pad int
}

// parts are the shapes of images and filters, and the two convolutions.
func (s separableShape) parts() (x, dw, pw []int, depthwise, pointwise ops.ConvAttrs) {
	depthwise = ops.ConvAttrs{Strides: [2]int{s.stride, s.stride}, Pads: [4]int{s.pad, s.pad, s.pad, s.pad}, Dilations: [2]int{s.dilation, s.dilation}, Groups: s.c}
	pointwise = ops.ConvAttrs{Strides: [2]int{1, 1}, Dilations: [2]int{1, 1}, Groups: 1}
	return []int{s.n, s.c, s.h, s.w}, []int{s.c, 1, s.k, s.k}, []int{s.o, s.c, 1, 1}, depthwise, pointwise
}

func separableShapes() []separableShape {
	shapes := []separableShape{
		{2, 16, 12, 12, 16, 3, 1, 1, 1}, {2, 8, 9, 7, 8, 5, 1, 1, 2}, {2, 8, 8, 8, 12, 3, 1, 2, 2}, {1, 16, 10, 11, 16, 5, 1, 2, 4}, {2, 8, 8, 8, 8, 3, 2, 1, 1},
		{2, 16, 9, 9, 16, 5, 2, 1, 2}, {1, 32, 7, 9, 32, 3, 2, 2, 2}, {2, 12, 8, 8, 12, 5, 2, 2, 4}, {3, 36, 6, 5, 36, 3, 1, 1, 1}, {1, 68, 5, 5, 72, 3, 1, 1, 1}, {1, 4, 3, 40, 4, 3, 1, 1, 1},
		{1, 148, 4, 4, 144, 5, 1, 1, 2}, {2, 6, 5, 5, 8, 3, 1, 1, 1},
		{2, 16, 32, 32, 16, 5, 1, 1, 2}, {1, 32, 16, 16, 32, 3, 1, 1, 1}, {2, 32, 16, 16, 32, 5, 1, 2, 4}, {2, 64, 8, 8, 64, 5, 1, 1, 2}, {1, 16, 32, 32, 32, 3, 2, 1, 1}, // as in a search
		{1, 32, 32, 32, 32, 5, 2, 2, 4}, {2, 64, 16, 16, 64, 5, 2, 1, 2}, {2, 8, 10, 9, 8, 3, 3, 1, 1}, {1, 16, 11, 13, 16, 5, 3, 2, 3},
		// Two or three tiles a block, each of which is asked for while the one before is made.
		{530, 8, 4, 4, 8, 3, 1, 1, 1}, {530, 8, 4, 3, 12, 5, 1, 1, 2}, {530, 8, 4, 4, 8, 3, 2, 1, 1}, {600, 8, 3, 5, 8, 5, 2, 2, 4},
		{265, 64, 8, 8, 64, 3, 1, 2, 2},
	}
	r := rand.New(rand.NewPCG(5, 6))
	for len(shapes) < 36 {
		s := separableShape{1 + r.IntN(3), 4 * (1 + r.IntN(9)), 3 + r.IntN(12), 3 + r.IntN(12), 4 * (1 + r.IntN(9)), 1 + 2*r.IntN(3), 1 + r.IntN(3), 1 + r.IntN(3), r.IntN(4)}
		if span := s.dilation*(s.k-1) - 2*s.pad; span < s.h && span < s.w && s.pad <= s.dilation*(s.k-1) {
			shapes = append(shapes, s)
		}
	}
	return append(shapes, separableShape{1, 128, 4, 4, 192, 3, 1, 1, 1}, separableShape{1, 192, 4, 5, 128, 3, 1, 1, 1}) // filters that stay in memory
}
