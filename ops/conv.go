package ops

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/ir"
)

// Convolution in two dimensions: x [N,C,H,W], w [O,C/groups,KH,KW], and a bias [O] or none → y [N,O,H',W'], where
// H' = (H + top + bottom - dilation·(KH-1) - 1)/stride + 1. Pads are [top, left, bottom, right]; a negative pad crops,
// which is how FactorizedReduce's shifted branch becomes one convolution. Any kernel size, stride, dilation and number
// of groups. The two gradients are operations of their own and differentiable in turn (each is bilinear).

var convAttrs = []AttrDef{{"dilations", []int{}}, {"groups", 0}, {"pads", []int{}}, {"strides", []int{}}}

var convDefs = []*Def{
	{
		Kind: "conv2d", Operands: "x, w[, bias]", Attrs: convAttrs,
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantConv(op, 3); err != nil {
				return nil, err
			}
			x, w := op.Operands[0].Type, op.Operands[1].Type
			if len(op.Operands) == 3 {
				if err := wantType(op, 2, ir.T(x.DType, w.Shape[0])); err != nil {
					return nil, err
				}
			}
			out, err := convShape(x.Shape, w.Shape, ConvAttrsOf(op))
			return []ir.Type{{DType: x.DType, Shape: out}}, err
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			x, w, y := in[0], in[1], NewTensor(op.Results[0].Type)
			if len(in) == 3 {
				eachChannel(y.Type.Shape, func(i, c int) { y.Data[i] = in[2].Data[c] })
			}
			eachTap(x.Type.Shape, w.Type.Shape, y.Type.Shape, ConvAttrsOf(op), func(xi, wi, yi int) {
				y.Data[yi] += x.Data[xi] * w.Data[wi]
			})
			return []*Tensor{y}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			x, w, a := op.Operands[0], op.Operands[1], ConvAttrsOf(op)
			grads := values(b.Conv2DInputGrad(g[0], w, x.Type.Shape, a), b.Conv2DWeightGrad(x, g[0], w.Type.Shape, a))
			if len(op.Operands) == 3 {
				grads = append(grads, b.ReduceSum(g[0], 0, 2, 3))
			}
			return grads
		},
		FLOPs: func(op *ir.Op) float64 {
			y := op.Results[0].Type
			return convFLOPs(y, op.Operands[1].Type) + float64((len(op.Operands)-2)*y.Elements())
		},
		ONNX: func(e Exporter, op *ir.Op) error {
			a := ConvAttrsOf(op)
			for _, p := range a.Pads {
				if p < 0 {
					return fmt.Errorf("negative pads %v have no ONNX form: keep the slice that they came from", a.Pads)
				}
			}
			kernel := op.Operands[1].Type.Shape[2:]
			return onnxNode("Conv", ir.A("dilations", a.Dilations[:]), ir.A("group", a.Groups), ir.A("kernel_shape", kernel),
				ir.A("pads", a.Pads[:]), ir.A("strides", a.Strides[:]))(e, op)
		},
	},
	{
		// conv2d_input_grad(g, w): the cotangent of x.
		Kind: "conv2d_input_grad", Operands: "g, w", Attrs: append([]AttrDef{{"shape", []int{}}}, convAttrs...),
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantConv(op, 2), wantShape(op, ir.F32, 4)); err != nil {
				return nil, err
			}
			shape := op.Attrs.Ints("shape")
			return []ir.Type{{DType: op.Operands[0].Type.DType, Shape: shape}}, convFits(op, shape, op.Operands[1].Type.Shape, op.Operands[0].Type.Shape)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			g, w, x := in[0], in[1], NewTensor(op.Results[0].Type)
			eachTap(x.Type.Shape, w.Type.Shape, g.Type.Shape, ConvAttrsOf(op), func(xi, wi, yi int) {
				x.Data[xi] += g.Data[yi] * w.Data[wi]
			})
			return []*Tensor{x}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			y, w, a := op.Operands[0], op.Operands[1], ConvAttrsOf(op)
			return values(b.Conv2D(g[0], w, a), b.Conv2DWeightGrad(g[0], y, w.Type.Shape, a))
		},
		FLOPs:  func(op *ir.Op) float64 { return convFLOPs(op.Operands[0].Type, op.Operands[1].Type) },
		NoONNX: trainingOnly,
	},
	{
		// conv2d_weight_grad(x, g): the cotangent of w.
		Kind: "conv2d_weight_grad", Operands: "x, g", Attrs: append([]AttrDef{{"shape", []int{}}}, convAttrs...),
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantConv(op, 2), wantShape(op, ir.F32, 4)); err != nil {
				return nil, err
			}
			shape := op.Attrs.Ints("shape")
			return []ir.Type{{DType: op.Operands[0].Type.DType, Shape: shape}}, convFits(op, op.Operands[0].Type.Shape, shape, op.Operands[1].Type.Shape)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			x, g, w := in[0], in[1], NewTensor(op.Results[0].Type)
			eachTap(x.Type.Shape, w.Type.Shape, g.Type.Shape, ConvAttrsOf(op), func(xi, wi, yi int) {
				w.Data[wi] += x.Data[xi] * g.Data[yi]
			})
			return []*Tensor{w}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			x, y, a := op.Operands[0], op.Operands[1], ConvAttrsOf(op)
			return values(b.Conv2DInputGrad(y, g[0], x.Type.Shape, a), b.Conv2D(x, g[0], a))
		},
		FLOPs:  func(op *ir.Op) float64 { return convFLOPs(op.Operands[1].Type, op.Results[0].Type) },
		NoONNX: trainingOnly,
	},
}

// ConvAttrs are the constants of a convolution.
type ConvAttrs struct {
	Strides   [2]int
	Pads      [4]int // top, left, bottom, right
	Dilations [2]int
	Groups    int
}

// Conv returns the attributes of an ungrouped convolution with equal stride and pad in both dimensions.
func Conv(stride, pad int) ConvAttrs {
	return ConvAttrs{Strides: [2]int{stride, stride}, Pads: [4]int{pad, pad, pad, pad}, Dilations: [2]int{1, 1}, Groups: 1}
}

// ConvAttrsOf reads the attributes of a convolution or one of its gradients.
func ConvAttrsOf(op *ir.Op) ConvAttrs {
	a := ConvAttrs{Groups: op.Attrs.Int("groups")}
	copy(a.Strides[:], op.Attrs.Ints("strides"))
	copy(a.Pads[:], op.Attrs.Ints("pads"))
	copy(a.Dilations[:], op.Attrs.Ints("dilations"))
	return a
}

func (a ConvAttrs) list(more ...ir.Attr) []ir.Attr {
	return append(more, ir.A("strides", a.Strides[:]), ir.A("pads", a.Pads[:]), ir.A("dilations", a.Dilations[:]), ir.A("groups", a.Groups))
}

// wantConv checks what a convolution and its gradients share.
func wantConv(op *ir.Op, mostOperands int) error {
	return first(wantOperands(op, 2, mostOperands), wantRank(op, 0, 4), wantRank(op, 1, 4), wantFloat(op, 0, 1),
		wantInts(op, "strides", 2, 1), wantInts(op, "pads", 4, -attrLimit), wantInts(op, "dilations", 2, 1), wantInt(op, "groups", 1))
}

func convShape(x, w []int, a ConvAttrs) ([]int, error) {
	if x[1]%a.Groups != 0 || x[1]/a.Groups != w[1] {
		return nil, fmt.Errorf("input %v has %d channels, weights %v in %d groups want %d", x, x[1], w, a.Groups, w[1]*a.Groups)
	}
	if w[0]%a.Groups != 0 {
		return nil, fmt.Errorf("weights %v: %d outputs do not divide into %d groups", w, w[0], a.Groups)
	}
	out := []int{x[0], w[0], 0, 0}
	for i := range 2 {
		if max(x[2+i], w[2+i]) > attrLimit {
			return nil, fmt.Errorf("input %v and weights %v: want images of at most %d pixels a side", x, w, attrLimit)
		}
		span := x[2+i] + a.Pads[i] + a.Pads[2+i] - a.Dilations[i]*(w[2+i]-1) - 1
		if span < 0 {
			return nil, fmt.Errorf("input %v is too small for kernel %v with dilation %d and pads %v", x, w[2:], a.Dilations[i], a.Pads)
		}
		out[2+i] = span/a.Strides[i] + 1
	}
	return out, nil
}

func convFits(op *ir.Op, x, w, y []int) error {
	want, err := convShape(x, w, ConvAttrsOf(op))
	if err == nil && !slices.Equal(want, y) {
		err = fmt.Errorf("cotangent has shape %v, the convolution's result %v", y, want)
	}
	return err
}

func convFLOPs(y, w ir.Type) float64 {
	return 2 * float64(y.Elements()) * float64(w.Shape[1]*w.Shape[2]*w.Shape[3])
}

// eachTap calls f with the positions of every product of a convolution.
func eachTap(x, w, y []int, a ConvAttrs, f func(xi, wi, yi int)) {
	perGroup := w[0] / a.Groups
	yi := 0
	for n := range y[0] {
		for o := range y[1] {
			c0 := o / perGroup * w[1]
			for oh := range y[2] {
				for ow := range y[3] {
					for c := range w[1] {
						for kh := range w[2] {
							ih := oh*a.Strides[0] - a.Pads[0] + kh*a.Dilations[0]
							if ih < 0 || ih >= x[2] {
								continue
							}
							for kw := range w[3] {
								iw := ow*a.Strides[1] - a.Pads[1] + kw*a.Dilations[1]
								if iw < 0 || iw >= x[3] {
									continue
								}
								f(((n*x[1]+c0+c)*x[2]+ih)*x[3]+iw, ((o*w[1]+c)*w[2]+kh)*w[3]+kw, yi)
							}
						}
					}
					yi++
				}
			}
		}
	}
}

// Conv2D convolves x [N,C,H,W] with w [O,C/groups,KH,KW].
func (b *Builder) Conv2D(x, w *ir.Value, a ConvAttrs) *ir.Value {
	return b.one("conv2d", values(x, w), a.list()...)
}

// Conv2DBias is Conv2D plus a bias [O].
func (b *Builder) Conv2DBias(x, w, bias *ir.Value, a ConvAttrs) *ir.Value {
	return b.one("conv2d", values(x, w, bias), a.list()...)
}

// Conv2DInputGrad is the cotangent of a convolution's input, whose shape is given.
func (b *Builder) Conv2DInputGrad(g, w *ir.Value, shape []int, a ConvAttrs) *ir.Value {
	return b.one("conv2d_input_grad", values(g, w), a.list(ir.A("shape", shape))...)
}

// Conv2DWeightGrad is the cotangent of a convolution's weights, whose shape is given.
func (b *Builder) Conv2DWeightGrad(x, g *ir.Value, shape []int, a ConvAttrs) *ir.Value {
	return b.one("conv2d_weight_grad", values(x, g), a.list(ir.A("shape", shape))...)
}
