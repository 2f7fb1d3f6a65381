package cuda

import (
	"math"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

var convolutions = map[string]func(l *lowering, op *ir.Op) error{
	"conv2d": func(l *lowering, op *ir.Op) error {
		return l.convolution(op, op.Operands[0], prologue{})
	},
	"conv2d_input_grad": func(l *lowering, op *ir.Op) error {
		return l.inputGrad(op)
	},
	"conv2d_weight_grad": func(l *lowering, op *ir.Op) error {
		return l.weightGrad(op, op.Operands[0], prologue{})
	},
	"matmul": func(l *lowering, op *ir.Op) error {
		if biased := l.biased(op.Result()); biased != nil {
			return l.matmul(op, biased.Operands[1], biased.Result())
		}
		return l.matmul(op, nil, op.Result())
	},
}

// prologue is what happens to a convolution's input as it is loaded; see Prologue in kernels/common.cuh.
type prologue struct {
	kind       int
	statistics []*ir.Value // mean, variance and, with kind 3, gamma and beta
	eps        float64
}

// The kinds of prologues.
const (
	prologueRelu   = 1
	prologueNorm   = 2
	prologueAffine = 3
)

// prologueOf is a BatchNorm unless that is nil, and then a ReLU if rectified.
func prologueOf(norm *ir.Op, rectified bool) prologue {
	switch {
	case norm == nil && rectified:
		return prologue{kind: prologueRelu}
	case norm == nil:
		return prologue{}
	}
	p := prologue{kind: prologueNorm, statistics: norm.Operands[1:], eps: norm.Attrs.Float("eps")}
	if len(p.statistics) == 4 {
		p.kind = prologueAffine
	}
	return p
}

// prologueGroup lowers [batch_norm →] relu → convolution.
func prologueGroup(l *lowering, body *ir.Program) (bool, error) {
	var norm, relu, root *ir.Op
	for _, op := range body.Ops {
		switch {
		case op.Kind == "batch_norm" && norm == nil && relu == nil:
			norm = op
		case op.Kind == "relu" && relu == nil && root == nil:
			relu = op
		case (op.Kind == "conv2d" || op.Kind == "conv2d_weight_grad") && root == nil:
			root = op
		default:
			return false, nil
		}
	}
	if relu == nil || root == nil || root.Operands[0] != relu.Result() || root.Operands[1] == relu.Result() || len(body.Results) != 1 {
		return false, nil
	}
	x, p := relu.Operands[0], prologueOf(norm, true)
	if norm != nil {
		if x != norm.Result() {
			return false, nil
		}
		x = norm.Operands[0]
	}
	if root.Kind == "conv2d" {
		return true, l.convolution(root, x, p)
	}
	return true, l.weightGrad(root, x, p)
}

func (c *call) prologue(p prologue) {
	var tensors []int
	for _, v := range p.statistics {
		tensors = append(tensors, c.l.operand(v))
	}
	c.optional(4, tensors...)
	c.int("prologue", p.kind)
	c.float("eps", p.eps)
}

// shape are the fields that describe a convolution of x to y by weights w.
func (c *call) shape(op *ir.Op, x, w, y []int) (depthwise, grouped bool) {
	a := ops.ConvAttrsOf(op)
	c.int("h", x[2])
	c.int("w", x[3])
	c.int("c", x[1])
	c.int("oh", y[2])
	c.int("ow", y[3])
	c.int("kh", w[2])
	c.int("kw", w[3])
	c.int("sh", a.Strides[0])
	c.int("sw", a.Strides[1])
	c.int("dh", a.Dilations[0])
	c.int("dw", a.Dilations[1])
	c.int("ph", a.Pads[0])
	c.int("pw", a.Pads[1])
	depthwise = a.Groups == x[1] && a.Groups == w[0] && a.Groups > 1
	grouped = a.Groups > 1 && !depthwise
	if depthwise {
		c.int("n", x[0])
		return depthwise, grouped
	}
	c.int("images", x[0])
	c.bool("same", samePixels(a, w))
	c.int("o", w[0])
	if grouped {
		c.int("groups", a.Groups)
	}
	return depthwise, grouped
}

// convolution lowers conv2d of x, which is not the operand where a prologue comes first. A bias is a launch of its own.
func (l *lowering) convolution(op *ir.Op, x *ir.Value, p prologue) error {
	result := op.Result()
	if len(op.Operands) == 3 {
		result = &ir.Value{Type: result.Type}
	}
	xs, ws, ys := x.Type.Shape, op.Operands[1].Type.Shape, op.Result().Type.Shape
	in, filter, out := l.image(x), l.filter(op.Operands[1]), l.result(result, channelsLast)
	c := l.call("conv2d", "Convolution")
	depthwise, grouped := c.shape(op, xs, ws, ys)
	c.prologue(p)
	c.in(in, filter)
	c.out(out)
	c.image(out)
	switch {
	case depthwise:
		c.template = "Depthwise"
		v := pack(xs[1])
		c.int("V", v)
		c.loop(op.Result().Type.Elements() / v)
	case grouped:
		c.template = "Grouped"
		c.loop(op.Result().Type.Elements())
	case isPointwise(op, ws, ws[1]):
		c.pointwise(out, ys[0]*ys[2]*ys[3], ws[0], ws[1], true)
	default:
		c.product(ys[0]*ys[2]*ys[3], ws[0], ws[1]*ws[2]*ws[3], true, false, pack(ws[1]), pack(ws[0]))
	}
	c.emit()
	if len(op.Operands) == 3 {
		return losses["bias_add"](l, &ir.Op{Kind: "bias_add", Operands: []*ir.Value{result, op.Operands[2]}, Results: op.Results})
	}
	return nil
}

// inputGrad lowers conv2d_input_grad.
func (l *lowering) inputGrad(op *ir.Op) error {
	g, w := op.Operands[0], op.Operands[1]
	xs, ws, ys := op.Result().Type.Shape, w.Type.Shape, g.Type.Shape
	c := l.call("conv2d_input_grad", "ConvolutionInputGrad")
	depthwise, grouped := c.shape(op, xs, ws, ys)
	rows, apart := xs, pixelsApart(op, xs, ws, ys)
	if apart {
		rows = ys
	}
	if isPointwise(op, ws, ws[0]) {
		c.noEntry()
	}
	c.in(l.image(g), l.filter(w))
	dx := l.result(op.Result(), channelsLast)
	c.out(dx)
	c.image(dx)
	switch {
	case depthwise:
		c.template = "DepthwiseInputGrad"
		v := pack(xs[1])
		c.int("V", v)
		c.loop(op.Result().Type.Elements() / v)
	case grouped:
		c.template = "GroupedInputGrad"
		c.loop(op.Result().Type.Elements())
	case isPointwise(op, ws, ws[0]):
		c.pointwise(dx, xs[0]*xs[2]*xs[3], ws[1], ws[0], false)
	default:
		c.bool("apart", apart)
		c.product(rows[0]*rows[2]*rows[3], ws[1], ws[0]*ws[2]*ws[3], true, true, pack(ws[0]), pack(ws[0]))
	}
	c.emit()
	return nil
}

// weightGrad lowers conv2d_weight_grad of x.
func (l *lowering) weightGrad(op *ir.Op, x *ir.Value, p prologue) error {
	g := op.Operands[1]
	xs, ws, ys := x.Type.Shape, op.Result().Type.Shape, g.Type.Shape
	in, cotangent := l.image(x), l.image(g)
	if isPointwise(op, ws, ys[0]*ys[2]*ys[3]) {
		l.pointwiseWeightGrad(op, in, cotangent, p)
		return nil
	}
	c := l.call("conv2d_weight_grad", "ConvolutionWeightGrad")
	depthwise, grouped := c.shape(op, xs, ws, ys)
	c.prologue(p)
	c.in(in, cotangent)
	c.image(in)
	c.out(l.result(op.Result(), filters))
	pixels := ys[0] * ys[2] * ys[3]
	switch {
	case depthwise:
		c.template = "DepthwiseWeightGrad"
		c.columns(1, pixels, xs[1], 1, ws[2]*ws[3], fewestWideRows, plan.F32)
	case grouped:
		c.template = "GroupedWeightGrad"
		c.loop(op.Result().Type.Elements())
	default:
		c.product(ws[1]*ws[2]*ws[3], ws[0], pixels, false, false, pack(ws[1]), pack(ws[0]))
	}
	c.emit()
	return nil
}

// isPointwise says whether kernel Pointwise computes a convolution by weights w, or its way back, as sums of so many products.
func isPointwise(op *ir.Op, w []int, products int) bool {
	a := ops.ConvAttrsOf(op)
	return samePixels(a, w) && a.Groups == 1 && w[0]%4 == 0 && w[1]%4 == 0 && min(w[0], w[1]) >= fewestPointwise && products >= shortestPointwise
}

// samePixels says whether each result of a convolution by weights w is of the input's pixel in its own place.
func samePixels(a ops.ConvAttrs, w []int) bool {
	return w[2] == 1 && w[3] == 1 && a.Strides == [2]int{1, 1} && a.Pads == [4]int{}
}

// pixelsApart says whether a convolution of x to y by weights w reads one pixel of each stride, and x is of whole strides.
func pixelsApart(op *ir.Op, x, w, y []int) bool {
	a, skips := ops.ConvAttrsOf(op), false
	for i, stride := range a.Strides {
		if first := -a.Pads[i]; w[2+i] != 1 || x[2+i] != y[2+i]*stride || first < 0 || first >= stride {
			return false
		}
		skips = skips || stride > 1
	}
	return skips
}

// extents are the fields of an m by n product of depth k.
func (c *call) extents(m, n, k int) {
	c.int("m", m)
	c.int("n", n)
	c.int("k", k)
}

// pointwise divides image y, m rows of n results of k products each, into blocks of kernel Pointwise; turned says that the weights are [k][n] in memory.
func (c *call) pointwise(y, m, n, k int, turned bool) {
	parts := ceiling(n, mostPointwise)
	for parts < n/16 && parts*ceiling(m, pointwiseRows) < multiprocessors {
		parts++
	}
	bn := 8 * ceiling(ceiling(n, parts), 8)
	c.template = "Pointwise"
	c.extents(m, n, k)
	c.int("bn", bn)
	c.bool("turned", turned)
	c.bool("tf32", c.l.target.onTensorCores())
	c.shared = int(c.l.dtype(y).Size()) * (pointwiseRows + bn) * spread(pointwiseDepth)
	c.blocks, c.resident = ceiling(m, pointwiseRows)*ceiling(n, bn), 2
}

// pointwiseWeightGrad lowers the gradient of the weights as two launches: chunks of pixels, and their sum.
func (l *lowering) pointwiseWeightGrad(op *ir.Op, x, g int, p prologue) {
	w, shape := op.Result().Type.Shape, op.Operands[1].Type.Shape
	m, n, k := shape[0]*shape[2]*shape[3], w[0], w[1]
	c := l.call("conv2d_weight_grad", "PointwiseWeightGrad")
	c.prologue(p)
	c.in(x, g)
	c.image(x)
	bk, bn := 4*ceiling(ceiling(k, ceiling(k, mostOuter)), 4), 4*ceiling(ceiling(n, ceiling(n, mostPointwise)), 4)
	tiles := ceiling(k, bk) * ceiling(n, bn)
	chunks := max(1, min(ceiling(m, 2*outerRows), 2*multiprocessors/tiles))
	c.extents(m, n, k)
	c.int("bn", bn)
	c.int("bk", bk)
	c.int("chunks", chunks)
	c.bool("tf32", c.l.target.onTensorCores())
	partial := c.partial(true, chunks*k*n)
	c.shared = max(int(l.dtype(x).Size())*outerRows*(spread(bk)+spread(bn)), 4*outerFloats(bk, bn))
	c.blocks, c.resident = tiles*chunks, 2
	c.emit()
	l.addChunks(op.Result(), partial, chunks)
}

const (
	outerRows         = 64  // pixels that a block of PointwiseWeightGrad adds at a time
	mostOuter         = 96  // and rows of what it adds them to
	pointwiseRows     = 128 // of a block
	pointwiseDepth    = 32  // products that it adds at a time
	mostPointwise     = 48  // results in a row of a block: registers
	fewestPointwise   = 16  // channels
	shortestPointwise = 36  // products: shorter sums are added more exactly by Product
)

// product divides an m by n product of depth k into tiles and, where there are few of them, into splits: the fields of
// Product, scratch and counters. Along says whether neighbours of a and b in memory are neighbours along k, v how many are loaded at once.
func (c *call) product(m, n, k int, aAlongK, bAlongK bool, va, vb int) {
	bm, bn := tileOf(m, n, k)
	wide := 16 // columns of a tile on tensor cores, whose extents are powers of two
	for wide < min(n, 64) {
		wide *= 2
	}
	tf32 := c.l.target.onTensorCores() && m > tensorTile/wide/2
	if tf32 {
		bm, bn = tensorTile/wide, wide
	}
	groups := groupsOf(bm, bn)
	bk := 4 * groups
	for bk < 16 || bk%8 != 0 || bk < min(k, 64) && 2*bk*(bm+bn) <= mostStaged*threads {
		bk *= 2
	}
	tiles, steps := ceiling(m, bm)*ceiling(n, bn), ceiling(k, bk)
	splits := max(1, min(2*multiprocessors/tiles, steps/2))
	c.extents(m, n, k)
	c.int("bm", bm)
	c.int("bn", bn)
	c.int("bk", bk)
	c.int("splits", splits)
	c.bool("a_along_k", aAlongK)
	c.bool("b_along_k", bAlongK)
	c.int("va", va)
	c.int("vb", vb)
	if splits > 1 {
		c.out(c.l.scratch(plan.F32, splits*tiles*bm*bn))
	} else {
		c.arguments = append(c.arguments, plan.Argument{Kind: plan.ResultArgument}) // partial, which is not used
	}
	c.bool("tf32", tf32)
	c.shared = 4 * bk * (bm + 8 + bn + 8)
	if groups > 1 {
		c.shared = max(c.shared, 4*16*threads)
	}
	c.blocks = tiles * splits
	c.counters = tiles * (ceiling(splits, team) + 1)
}

const (
	tensorTile = 4096 // results of a tile on tensor cores
	mostStaged = 24   // factors that a thread has on their way: registers
	team       = 16   // splits that are added together; see Product
	shortest   = 512  // products that are worth dividing between blocks
)

// tileOf chooses the results of a block, each thread 4 by 4 of them, for the least time: of a multiprocessor's cycles, a product of
// a tile takes some for its threads' multiplications, used or not, and some to load a row and a column of factors.
func tileOf(m, n, k int) (bm, bn int) {
	best := math.Inf(1)
	for x := 4; x <= min(max(ceiling(n, 4)*4, 16), 128); x += 4 {
		for y := 4; y <= min(max(ceiling(m, 4)*4, 16), 256); y += 4 {
			groups := groupsOf(y, x)
			if groups == 0 || groups > 16 {
				continue
			}
			tiles := ceiling(m, y) * ceiling(n, x)
			rounds := float64(tiles) // of all multiprocessors, where products are too short to be divided
			if k <= shortest {
				rounds = multiprocessors * math.Ceil(rounds/multiprocessors)
			}
			if cost := rounds * (48/float64(groups) + float64(x+y)/8); cost < best {
				best, bm, bn = cost, y, x
			}
		}
	}
	return bm, bn
}

// groupsOf is how many groups of threads a tile has.
func groupsOf(bm, bn int) int { return threads / (bm / 4 * (bn / 4)) }
