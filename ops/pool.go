package ops

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/ir"
)

// Pooling over windows of x [N,C,H,W] → [N,C,H',W'], H' = (H + top + bottom - kernel)/stride + 1. Average pooling
// divides by the number of elements inside the image (count_include_pad false, as the original) or by the window.

var poolAttrs = []AttrDef{{"kernel", []int{}}, {"pads", []int{}}, {"strides", []int{}}}

var poolDefs = []*Def{
	{
		Kind: "max_pool2d", Operands: "x", Attrs: poolAttrs,
		Infer: inferPool,
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			y := NewTensor(op.Results[0].Type)
			eachWindow(in[0].Type.Shape, y.Type.Shape, PoolAttrsOf(op), func(yi int, window []int) {
				y.Data[yi] = in[0].Data[argmax(in[0].Data, window)]
			})
			return []*Tensor{y}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			return values(b.MaxPool2DGrad(g[0], op.Operands[0], PoolAttrsOf(op)))
		},
		FLOPs: poolFLOPs,
		ONNX:  poolONNX("MaxPool"),
	},
	{
		// max_pool2d_grad(g, x): the cotangent goes to the first maximum of each window, in row-major order.
		Kind: "max_pool2d_grad", Operands: "g, x", Attrs: poolAttrs,
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 2, 2), wantPool(op), wantRank(op, 1, 4), wantFloat(op, 0, 1)); err != nil {
				return nil, err
			}
			x := op.Operands[1].Type
			return []ir.Type{x}, poolFits(op, x.Shape)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			g, x, dx := in[0], in[1], NewTensor(op.Results[0].Type)
			eachWindow(x.Type.Shape, g.Type.Shape, PoolAttrsOf(op), func(yi int, window []int) {
				dx.Data[argmax(x.Data, window)] += g.Data[yi]
			})
			return []*Tensor{dx}
		},
		NoGradient: "is itself a gradient; second derivatives are not needed (the unrolled step uses finite differences)",
		FLOPs:      poolFLOPs,
		NoONNX:     trainingOnly,
	},
	{
		Kind: "avg_pool2d", Operands: "x", Attrs: append([]AttrDef{{"count_include_pad", false}}, poolAttrs...),
		Infer: inferPool,
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			y, a := NewTensor(op.Results[0].Type), PoolAttrsOf(op)
			eachWindow(in[0].Type.Shape, y.Type.Shape, a, func(yi int, window []int) {
				for _, xi := range window {
					y.Data[yi] += in[0].Data[xi] / a.divisor(window)
				}
			})
			return []*Tensor{y}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			return values(b.AvgPool2DGrad(g[0], op.Operands[0].Type.Shape, PoolAttrsOf(op)))
		},
		FLOPs: poolFLOPs,
		ONNX: func(e Exporter, op *ir.Op) error {
			include := 0
			if PoolAttrsOf(op).CountIncludePad {
				include = 1
			}
			return poolONNX("AveragePool", ir.A("count_include_pad", include))(e, op)
		},
	},
	{
		Kind: "avg_pool2d_grad", Operands: "g", Attrs: append([]AttrDef{{"count_include_pad", false}, {"shape", []int{}}}, poolAttrs...),
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 1, 1), wantPool(op), wantShape(op, ir.F32, 4)); err != nil {
				return nil, err
			}
			shape := op.Attrs.Ints("shape")
			return []ir.Type{{DType: op.Operands[0].Type.DType, Shape: shape}}, poolFits(op, shape)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			dx, a := NewTensor(op.Results[0].Type), PoolAttrsOf(op)
			eachWindow(dx.Type.Shape, in[0].Type.Shape, a, func(yi int, window []int) {
				for _, xi := range window {
					dx.Data[xi] += in[0].Data[yi] / a.divisor(window)
				}
			})
			return []*Tensor{dx}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			return values(b.AvgPool2D(g[0], PoolAttrsOf(op)))
		},
		FLOPs:  poolFLOPs,
		NoONNX: trainingOnly,
	},
}

// PoolAttrs are the constants of a pooling.
type PoolAttrs struct {
	Kernel          [2]int
	Strides         [2]int
	Pads            [4]int // top, left, bottom, right
	CountIncludePad bool   // average pooling only
}

// Pool returns the attributes of a square window.
func Pool(kernel, stride, pad int) PoolAttrs {
	return PoolAttrs{Kernel: [2]int{kernel, kernel}, Strides: [2]int{stride, stride}, Pads: [4]int{pad, pad, pad, pad}}
}

// PoolAttrsOf reads the attributes of a pooling or its gradient.
func PoolAttrsOf(op *ir.Op) PoolAttrs {
	a := PoolAttrs{CountIncludePad: op.Attrs.Bool("count_include_pad")}
	copy(a.Kernel[:], op.Attrs.Ints("kernel"))
	copy(a.Strides[:], op.Attrs.Ints("strides"))
	copy(a.Pads[:], op.Attrs.Ints("pads"))
	return a
}

func (a PoolAttrs) list(more ...ir.Attr) []ir.Attr {
	return append(more, ir.A("kernel", a.Kernel[:]), ir.A("strides", a.Strides[:]), ir.A("pads", a.Pads[:]))
}

func (a PoolAttrs) divisor(window []int) float64 {
	if a.CountIncludePad {
		return float64(a.Kernel[0] * a.Kernel[1])
	}
	return float64(len(window))
}

// wantPool checks what the poolings and their gradients share.
func wantPool(op *ir.Op) error {
	return first(wantRank(op, 0, 4), wantFloat(op, 0),
		wantInts(op, "kernel", 2, 1), wantInts(op, "strides", 2, 1), wantInts(op, "pads", 4, 0))
}

func inferPool(op *ir.Op) ([]ir.Type, error) {
	if err := first(wantOperands(op, 1, 1), wantPool(op)); err != nil {
		return nil, err
	}
	x := op.Operands[0].Type
	shape, err := poolShape(x.Shape, PoolAttrsOf(op))
	return []ir.Type{{DType: x.DType, Shape: shape}}, err
}

func poolShape(x []int, a PoolAttrs) ([]int, error) {
	out := []int{x[0], x[1], 0, 0}
	for i := range 2 {
		if a.Pads[i] >= a.Kernel[i] || a.Pads[2+i] >= a.Kernel[i] {
			return nil, fmt.Errorf("pads %v must be smaller than the kernel %v, or a window holds no element", a.Pads, a.Kernel)
		}
		if x[2+i] > attrLimit {
			return nil, fmt.Errorf("input %v: want images of at most %d pixels a side", x, attrLimit)
		}
		span := x[2+i] + a.Pads[i] + a.Pads[2+i] - a.Kernel[i]
		if span < 0 {
			return nil, fmt.Errorf("input %v is too small for a window of %v", x, a.Kernel)
		}
		out[2+i] = span/a.Strides[i] + 1
	}
	return out, nil
}

func poolFits(op *ir.Op, x []int) error {
	want, err := poolShape(x, PoolAttrsOf(op))
	if err == nil && !slices.Equal(want, op.Operands[0].Type.Shape) {
		err = fmt.Errorf("cotangent has shape %v, the pooling's result %v", op.Operands[0].Type.Shape, want)
	}
	return err
}

// poolFLOPs counts one operation for every element of every window; windows are the smaller of operand and result.
func poolFLOPs(op *ir.Op) float64 {
	a := PoolAttrsOf(op)
	n := min(op.Operands[0].Type.Elements(), op.Results[0].Type.Elements())
	return float64(n) * float64(a.Kernel[0]) * float64(a.Kernel[1])
}

func poolONNX(opType string, more ...ir.Attr) ONNXFunc {
	return func(e Exporter, op *ir.Op) error {
		a := PoolAttrsOf(op)
		e.Node(opType, []string{e.Name(op.Operands[0])}, op.Results,
			append(more, ir.A("kernel_shape", a.Kernel[:]), ir.A("pads", a.Pads[:]), ir.A("strides", a.Strides[:]))...)
		return nil
	}
}

// eachWindow calls f with the position of every output element and those of the input elements in its window.
func eachWindow(x, y []int, a PoolAttrs, f func(yi int, window []int)) {
	var window []int
	yi := 0
	for plane := range y[0] * y[1] {
		for oh := range y[2] {
			for ow := range y[3] {
				window = window[:0]
				top, left := oh*a.Strides[0]-a.Pads[0], ow*a.Strides[1]-a.Pads[1]
				for ih := max(top, 0); ih < min(top+a.Kernel[0], x[2]); ih++ {
					for iw := max(left, 0); iw < min(left+a.Kernel[1], x[3]); iw++ {
						window = append(window, (plane*x[2]+ih)*x[3]+iw)
					}
				}
				f(yi, window)
				yi++
			}
		}
	}
}

func argmax(data []float64, positions []int) int {
	best := positions[0]
	for _, p := range positions[1:] {
		if data[p] > data[best] {
			best = p
		}
	}
	return best
}

// MaxPool2D takes the maximum of each window.
func (b *Builder) MaxPool2D(x *ir.Value, a PoolAttrs) *ir.Value {
	return b.one("max_pool2d", values(x), a.list()...)
}

// MaxPool2DGrad is the cotangent of x under max_pool2d.
func (b *Builder) MaxPool2DGrad(g, x *ir.Value, a PoolAttrs) *ir.Value {
	return b.one("max_pool2d_grad", values(g, x), a.list()...)
}

// AvgPool2D takes the mean of each window.
func (b *Builder) AvgPool2D(x *ir.Value, a PoolAttrs) *ir.Value {
	return b.one("avg_pool2d", values(x), a.list(ir.A("count_include_pad", a.CountIncludePad))...)
}

// AvgPool2DGrad is the cotangent of an input of the given shape under avg_pool2d.
func (b *Builder) AvgPool2DGrad(g *ir.Value, shape []int, a PoolAttrs) *ir.Value {
	return b.one("avg_pool2d_grad", values(g), a.list(ir.A("count_include_pad", a.CountIncludePad), ir.A("shape", shape))...)
}
