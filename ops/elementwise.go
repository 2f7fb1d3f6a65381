package ops

import (
	"fmt"
	"math"
	"slices"

	"github.com/dartsc/dartsc/ir"
)

// Elementwise operations take operands of one type; binary ones also take a scalar in place of either operand.

var elementwiseDefs = []*Def{
	unary("neg", func(x float64) float64 { return -x }, "Neg", func(b *Builder, op *ir.Op, g *ir.Value) *ir.Value { return b.Neg(g) }),
	unary("exp", math.Exp, "Exp", func(b *Builder, op *ir.Op, g *ir.Value) *ir.Value { return b.Mul(g, op.Result()) }),
	unary("log", math.Log, "Log", func(b *Builder, op *ir.Op, g *ir.Value) *ir.Value { return b.Div(g, op.Operands[0]) }),
	unary("sqrt", math.Sqrt, "Sqrt", func(b *Builder, op *ir.Op, g *ir.Value) *ir.Value {
		return b.Div(b.Axpby(g, g, 0.5, 0), op.Result())
	}),
	unary("tanh", math.Tanh, "Tanh", func(b *Builder, op *ir.Op, g *ir.Value) *ir.Value {
		return b.Sub(g, b.Mul(g, b.Mul(op.Result(), op.Result())))
	}),
	unary("sigmoid", func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }, "Sigmoid", func(b *Builder, op *ir.Op, g *ir.Value) *ir.Value {
		y := op.Result()
		return b.Mul(g, b.Sub(y, b.Mul(y, y)))
	}),
	unary("relu", func(x float64) float64 { return math.Max(x, 0) }, "Relu", func(b *Builder, op *ir.Op, g *ir.Value) *ir.Value {
		return b.ReluGrad(g, op.Operands[0])
	}),

	binary("add", func(x, y float64) float64 { return x + y }, "Add", func(b *Builder, op *ir.Op, g *ir.Value) []*ir.Value {
		return values(g, g)
	}),
	binary("sub", func(x, y float64) float64 { return x - y }, "Sub", func(b *Builder, op *ir.Op, g *ir.Value) []*ir.Value {
		return values(g, b.Neg(g))
	}),
	binary("mul", func(x, y float64) float64 { return x * y }, "Mul", func(b *Builder, op *ir.Op, g *ir.Value) []*ir.Value {
		return values(b.Mul(g, op.Operands[1]), b.Mul(g, op.Operands[0]))
	}),
	binary("div", func(x, y float64) float64 { return x / y }, "Div", func(b *Builder, op *ir.Op, g *ir.Value) []*ir.Value {
		gx := b.Div(g, op.Operands[1])
		return values(gx, b.Neg(b.Mul(gx, op.Result())))
	}),
	// relu_grad(g, x) is g where x > 0 and 0 elsewhere; relu's output serves as x as well as its input.
	binary("relu_grad", func(g, x float64) float64 {
		if x > 0 {
			return g
		}
		return 0
	}, "", func(b *Builder, op *ir.Op, g *ir.Value) []*ir.Value {
		return values(b.ReluGrad(g, op.Operands[1]), nil)
	}),
	axpbyDef, castDef,
	{
		// detach(x) is x, but no gradient flows through it.
		Kind: "detach", Operands: "x",
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantOperands(op, 1, 1); err != nil {
				return nil, err
			}
			return []ir.Type{op.Operands[0].Type}, nil
		},
		Eval:     func(op *ir.Op, in []*Tensor) []*Tensor { return []*Tensor{in[0].Clone()} },
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value { return values(nil) },
		FLOPs:    noFLOPs,
		ONNX:     onnxNode("Identity"),
	},
}

// axpby(x, y) = a x + b y with constants a and b.
var axpbyDef = &Def{
	Kind: "axpby", Operands: "x, y", Attrs: []AttrDef{{"a", 0.0}, {"b", 0.0}}, Pointwise: true,
	Infer: inferBinary,
	Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
		x, y := op.Attrs.Float("a"), op.Attrs.Float("b")
		return evalBinary(op, in, func(u, v float64) float64 { return x*u + y*v })
	},
	Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
		scale := func(name string, operand int) *ir.Value {
			return b.reduceLike(b.Axpby(g[0], g[0], op.Attrs.Float(name), 0), op.Operands[operand].Type)
		}
		return values(scale("a", 0), scale("b", 1))
	},
	FLOPs:  perElement(3),
	NoONNX: trainingOnly,
}

// cast changes the element type.
var castDef = &Def{
	Kind: "cast", Operands: "x", Attrs: []AttrDef{{"to", ""}},
	Infer: func(op *ir.Op) ([]ir.Type, error) {
		if err := wantOperands(op, 1, 1); err != nil {
			return nil, err
		}
		to, err := ir.ParseDType(op.Attrs.Text("to"))
		return []ir.Type{{DType: to, Shape: op.Operands[0].Type.Shape}}, err
	},
	Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
		out := NewTensor(op.Results[0].Type)
		for i, v := range in[0].Data {
			if !out.Type.DType.Float() {
				v = math.Trunc(v)
			}
			out.Data[i] = v
		}
		return []*Tensor{out}
	},
	Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
		if !op.Operands[0].Type.DType.Float() {
			return values(nil)
		}
		return values(b.Cast(g[0], op.Operands[0].Type.DType))
	},
	FLOPs:  noFLOPs,
	NoONNX: trainingOnly,
}

func unary(kind string, f func(float64) float64, onnx string, gradient func(*Builder, *ir.Op, *ir.Value) *ir.Value) *Def {
	return &Def{
		Kind: kind, Operands: "x", Pointwise: true,
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantOperands(op, 1, 1); err != nil {
				return nil, err
			}
			return []ir.Type{op.Operands[0].Type}, wantFloat(op, 0)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out := NewTensor(op.Results[0].Type)
			for i, v := range in[0].Data {
				out.Data[i] = f(v)
			}
			return []*Tensor{out}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			return values(gradient(b, op, g[0]))
		},
		FLOPs: perElement(1),
		ONNX:  onnxNode(onnx),
	}
}

func binary(kind string, f func(x, y float64) float64, onnx string, gradient func(*Builder, *ir.Op, *ir.Value) []*ir.Value) *Def {
	def := &Def{
		Kind: kind, Operands: "x, y", Pointwise: true,
		Infer: inferBinary,
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			return evalBinary(op, in, f)
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			cotangents := gradient(b, op, g[0])
			for i, c := range cotangents {
				if c != nil {
					cotangents[i] = b.reduceLike(c, op.Operands[i].Type)
				}
			}
			return cotangents
		},
		FLOPs: perElement(1),
	}
	if onnx == "" {
		def.NoONNX = trainingOnly
	} else {
		def.ONNX = onnxNode(onnx)
	}
	return def
}

func inferBinary(op *ir.Op) ([]ir.Type, error) {
	if err := wantOperands(op, 2, 2); err != nil {
		return nil, err
	}
	x, y := op.Operands[0].Type, op.Operands[1].Type
	switch {
	case x.DType != y.DType:
		return nil, fmt.Errorf("operands are %s and %s, want one element type", x, y)
	case x.DType == ir.Bool || x.DType == ir.U8:
		return nil, fmt.Errorf("operands are %s and %s, want a type with a sign", x, y)
	case !x.DType.Float() && !slices.Contains([]string{"add", "sub", "mul"}, op.Kind):
		return nil, fmt.Errorf("operands are %s and %s, want a floating-point type", x, y)
	case x.Equal(y), isScalar(y):
		return []ir.Type{x}, nil
	case isScalar(x):
		return []ir.Type{y}, nil
	}
	return nil, fmt.Errorf("operands are %s and %s, want equal shapes or a scalar", x, y)
}

func evalBinary(op *ir.Op, in []*Tensor, f func(x, y float64) float64) []*Tensor {
	out := NewTensor(op.Results[0].Type)
	x, y := broadcastScalar(in[0], len(out.Data)), broadcastScalar(in[1], len(out.Data))
	for i := range out.Data {
		out.Data[i] = f(x(i), y(i))
	}
	return []*Tensor{out}
}

func broadcastScalar(t *Tensor, n int) func(int) float64 {
	if len(t.Data) == 1 && n != 1 {
		return func(int) float64 { return t.Data[0] }
	}
	return func(i int) float64 { return t.Data[i] }
}

// reduceLike sums a cotangent to the type of the operand, where a scalar was spread over a tensor.
func (b *Builder) reduceLike(g *ir.Value, t ir.Type) *ir.Value {
	if isScalar(t) && !isScalar(g.Type) {
		axes := make([]int, len(g.Type.Shape))
		for i := range axes {
			axes[i] = i
		}
		return b.ReduceSum(g, axes...)
	}
	return g
}

// Neg returns -x.
func (b *Builder) Neg(x *ir.Value) *ir.Value { return b.one("neg", values(x)) }

// Exp returns e to the power of x.
func (b *Builder) Exp(x *ir.Value) *ir.Value { return b.one("exp", values(x)) }

// Log returns the natural logarithm.
func (b *Builder) Log(x *ir.Value) *ir.Value { return b.one("log", values(x)) }

// Sqrt returns the square root.
func (b *Builder) Sqrt(x *ir.Value) *ir.Value { return b.one("sqrt", values(x)) }

// Tanh returns the hyperbolic tangent.
func (b *Builder) Tanh(x *ir.Value) *ir.Value { return b.one("tanh", values(x)) }

// Sigmoid returns 1/(1+exp(-x)).
func (b *Builder) Sigmoid(x *ir.Value) *ir.Value { return b.one("sigmoid", values(x)) }

// Relu returns max(x, 0).
func (b *Builder) Relu(x *ir.Value) *ir.Value { return b.one("relu", values(x)) }

// ReluGrad returns g where x > 0, and 0 elsewhere.
func (b *Builder) ReluGrad(g, x *ir.Value) *ir.Value { return b.one("relu_grad", values(g, x)) }

// Add returns x + y.
func (b *Builder) Add(x, y *ir.Value) *ir.Value { return b.one("add", values(x, y)) }

// Sub returns x - y.
func (b *Builder) Sub(x, y *ir.Value) *ir.Value { return b.one("sub", values(x, y)) }

// Mul returns x y.
func (b *Builder) Mul(x, y *ir.Value) *ir.Value { return b.one("mul", values(x, y)) }

// Div returns x / y.
func (b *Builder) Div(x, y *ir.Value) *ir.Value { return b.one("div", values(x, y)) }

// Axpby returns a x + b y.
func (b *Builder) Axpby(x, y *ir.Value, a, c float64) *ir.Value {
	return b.one("axpby", values(x, y), ir.A("a", a), ir.A("b", c))
}

// Detach returns x as a constant of differentiation.
func (b *Builder) Detach(x *ir.Value) *ir.Value { return b.one("detach", values(x)) }

// Cast changes the element type; floats are cut towards zero.
func (b *Builder) Cast(x *ir.Value, to ir.DType) *ir.Value {
	return b.one("cast", values(x), ir.A("to", to.String()))
}
