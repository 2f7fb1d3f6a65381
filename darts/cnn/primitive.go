package cnn

import (
	"fmt"

	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// PrimitiveOp is one primitive of the search space on x [N,C,H,W] → [N,C,⌈H/stride⌉,⌈W/stride⌉] (cnn/operations.py of
// the original). Name is the prefix of its variables. Affine gives its BatchNorms a scale and a shift; NormPool
// follows a pooling by a BatchNorm, as mixed operations do and derived networks do not.
type PrimitiveOp struct {
	Name      string
	Primitive space.Primitive
	Stride    int
	Affine    bool
	NormPool  bool
}

// Build appends the primitive.
func (p PrimitiveOp) Build(s *Scope, x *ir.Value) (y *ir.Value) {
	s.Builder.At(string(p.Primitive), func() { y = p.build(s, x) })
	return y
}

func (p PrimitiveOp) build(s *Scope, x *ir.Value) *ir.Value {
	b := s.Builder
	switch p.Primitive {
	case space.None:
		n, c, h, w := dims(x)
		return b.Constant(ir.T(x.Type.DType, n, c, ceil(h, p.Stride), ceil(w, p.Stride)), 0)
	case space.MaxPool3x3:
		return p.normPool(s, b.MaxPool2D(x, ops.Pool(3, p.Stride, 1)))
	case space.AvgPool3x3:
		return p.normPool(s, b.AvgPool2D(x, ops.Pool(3, p.Stride, 1)))
	case space.SkipConnect:
		if p.Stride == 1 {
			return x
		}
		return factorizedReduce(s, p.Name, x, channels(x), p.Affine)
	case space.SepConv3x3:
		return p.separable(s, x, 3)
	case space.SepConv5x5:
		return p.separable(s, x, 5)
	case space.SepConv7x7:
		return p.separable(s, x, 7)
	case space.DilConv3x3:
		return p.depthwiseSeparable(s, x, 1, 3, p.Stride, 2)
	case space.DilConv5x5:
		return p.depthwiseSeparable(s, x, 1, 5, p.Stride, 2)
	case space.Conv7x1x1x7:
		return p.crossed(s, x)
	}
	b.Fail(fmt.Errorf("unknown primitive %q", p.Primitive))
	return x
}

func (p PrimitiveOp) normPool(s *Scope, x *ir.Value) *ir.Value {
	if !p.NormPool {
		return x
	}
	return s.norm(p.Name+".1", x, p.Affine)
}

// separable is SepConv: two depthwise separable convolutions, the stride in the first.
func (p PrimitiveOp) separable(s *Scope, x *ir.Value, kernel int) *ir.Value {
	return p.depthwiseSeparable(s, p.depthwiseSeparable(s, x, 1, kernel, p.Stride, 1), 5, kernel, 1, 1)
}

// depthwiseSeparable is ReLU, a depthwise and a pointwise convolution, and BatchNorm; first is the number of its first
// weight in the original's nn.Sequential.
func (p PrimitiveOp) depthwiseSeparable(s *Scope, x *ir.Value, first, kernel, stride, dilation int) *ir.Value {
	c := channels(x)
	depthwise := ops.Conv(stride, dilation*(kernel-1)/2)
	depthwise.Dilations, depthwise.Groups = [2]int{dilation, dilation}, c
	name := func(i int) string { return fmt.Sprintf("%s.op.%d", p.Name, first+i) }
	y := s.conv(name(0), s.Builder.Relu(x), c, [2]int{kernel, kernel}, depthwise)
	y = s.conv(name(1), y, c, [2]int{1, 1}, ops.Conv(1, 0))
	return s.norm(name(2), y, p.Affine)
}

// crossed is conv_7x1_1x7: a row of seven, then a column of seven.
func (p PrimitiveOp) crossed(s *Scope, x *ir.Value) *ir.Value {
	c := channels(x)
	row, column := ops.Conv(1, 0), ops.Conv(1, 0)
	row.Strides, row.Pads = [2]int{1, p.Stride}, [4]int{0, 3, 0, 3}
	column.Strides, column.Pads = [2]int{p.Stride, 1}, [4]int{3, 0, 3, 0}
	y := s.conv(p.Name+".1", s.Builder.Relu(x), c, [2]int{1, 7}, row)
	y = s.conv(p.Name+".2", y, c, [2]int{7, 1}, column)
	return s.norm(p.Name+".3", y, p.Affine)
}

// factorizedReduce halves the image: two pointwise convolutions of stride 2, the second on the image shifted by one
// pixel, joined. An odd image is continued by zeros for the second, so that both halves have the same size (the
// original fails there).
func factorizedReduce(s *Scope, name string, x *ir.Value, outputs int, affine bool) *ir.Value {
	b := s.Builder
	n, c, h, w := dims(x)
	if outputs%2 != 0 {
		b.Fail(fmt.Errorf("%s: %d channels cannot be made of two halves: use an even number of channels", name, outputs))
		return x
	}
	if h < 2 || w < 2 {
		b.Fail(fmt.Errorf("%s: input %s is too small to reduce", name, x.Type))
		return x
	}
	x = b.Relu(x)
	shifted := b.Slice(x, []int{0, 0, 1, 1}, []int{n, c, h, w})
	second := ops.Conv(2, 0)
	second.Pads = [4]int{0, 0, h % 2, w % 2}
	y := b.Concat(1,
		s.conv(name+".conv_1", x, outputs/2, [2]int{1, 1}, ops.Conv(2, 0)),
		s.conv(name+".conv_2", shifted, outputs/2, [2]int{1, 1}, second))
	return s.norm(name+".bn", y, affine)
}

// reluConvBN is the preprocessing of a cell's input: ReLU, a pointwise convolution and BatchNorm.
func reluConvBN(s *Scope, name string, x *ir.Value, outputs int, affine bool) *ir.Value {
	y := s.conv(name+".op.1", s.Builder.Relu(x), outputs, [2]int{1, 1}, ops.Conv(1, 0))
	return s.norm(name+".op.2", y, affine)
}

func dims(x *ir.Value) (n, c, h, w int) {
	if len(x.Type.Shape) != 4 {
		return 1, 1, 1, 1 // an earlier error made x; it is reported by the builder
	}
	return x.Type.Shape[0], x.Type.Shape[1], x.Type.Shape[2], x.Type.Shape[3]
}

func ceil(n, d int) int { return (n + d - 1) / d }

func channels(x *ir.Value) int {
	_, c, _, _ := dims(x)
	return c
}
