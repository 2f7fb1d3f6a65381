package pass

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// network is a program on an image whose variables have values.
type network struct {
	*ops.Builder
	values Values
	random *rand.Rand
	x      *ir.Value
}

func newNetwork() *network {
	n := &network{ops.NewBuilder(ir.NewModule("fold"), "inference"), Values{}, rand.New(rand.NewPCG(1, 2)), nil}
	n.x = n.Input("x", ir.T(ir.F32, 2, 3, 5, 5))
	return n
}

func (n *network) read(name string, low, high float64, shape ...int) *ir.Value {
	v := n.Declare(ir.Variable{Name: name, Type: ir.T(ir.F32, shape...)})
	if n.values[name] == nil {
		for range v.Type.Elements() {
			n.values[name] = append(n.values[name], float32(low+(high-low)*n.random.Float64()))
		}
	}
	return n.Read(v)
}

func (n *network) conv(name string, x *ir.Value, outputs int) *ir.Value {
	return n.Conv2D(x, n.read(name, -1, 1, outputs, x.Type.Shape[1], 1, 1), ops.Conv(1, 0))
}

func (n *network) norm(name string, x *ir.Value) *ir.Value {
	c := x.Type.Shape[1]
	return n.BatchNorm(x, n.read(name+".mean", -1, 1, c), n.read(name+".var", 0.5, 2, c), []*ir.Value{n.read(name+".gamma", 0.5, 2, c), n.read(name+".beta", -1, 1, c)}, 1e-5)
}

// TestFold: what folds computes the same without BatchNorm, and what may not fold stays.
func TestFold(t *testing.T) {
	for _, test := range []struct {
		name             string
		build            func(n *network) *ir.Value
		norms, variables int // left
	}{
		{"convolution", func(n *network) *ir.Value { return n.norm("n", n.conv("w", n.x, 4)) }, 0, 2},
		{"without scale", func(n *network) *ir.Value {
			return n.BatchNorm(n.conv("w", n.x, 4), n.read("mean", -1, 1, 4), n.read("var", 1, 2, 4), nil, 1e-3)
		}, 0, 2},
		{"bias", func(n *network) *ir.Value {
			return n.norm("n", n.Conv2DBias(n.x, n.read("w", -1, 1, 4, 3, 1, 1), n.read("b", -1, 1, 4), ops.Conv(1, 0)))
		}, 0, 2},
		{"two in a row", func(n *network) *ir.Value { return n.norm("n", n.norm("m", n.conv("w", n.x, 4))) }, 0, 2},
		{"constants", func(n *network) *ir.Value {
			zero, one := n.Constant(ir.T(ir.F32, 4), 0), n.Constant(ir.T(ir.F32, 4), 1)
			return n.BatchNorm(n.conv("w", n.x, 4), zero, one, []*ir.Value{n.read("scale", 1, 2, 4), zero}, 0)
		}, 0, 2},
		{"concat", func(n *network) *ir.Value {
			return n.norm("n", n.Concat(1, n.conv("v", n.x, 1), n.conv("w", n.x, 4)))
		}, 0, 4},
		{"weights of two convolutions", func(n *network) *ir.Value {
			return n.Add(n.norm("n", n.conv("w", n.x, 4)), n.norm("m", n.conv("w", n.x, 4)))
		}, 0, 4},
		{"depthwise", func(n *network) *ir.Value {
			a := ops.Conv(1, 1)
			a.Groups = 3
			return n.norm("n", n.Conv2D(n.x, n.read("w", -1, 1, 3, 1, 3, 3), a))
		}, 0, 2},
		{"convolution with another user", func(n *network) *ir.Value {
			y := n.conv("w", n.x, 3)
			return n.Add(n.norm("n", y), y)
		}, 1, 5},
		{"concat with a pooling", func(n *network) *ir.Value {
			return n.norm("n", n.Concat(1, n.conv("w", n.x, 3), n.MaxPool2D(n.x, ops.Pool(3, 1, 1))))
		}, 1, 5},
		{"variable that a program assigns", func(n *network) *ir.Value {
			v := n.Declare(ir.Variable{Name: "w", Type: ir.T(ir.F32, 4, 3, 1, 1)})
			y := n.norm("n", n.conv("w", n.x, 4))
			n.Assign(v, n.Read(v))
			return y
		}, 1, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNetwork()
			n.Result("y", test.build(n))
			if _, err := n.Build(); err != nil {
				t.Fatal(err)
			}
			want := evaluate(t, n.Module, n.values)
			if err := Fold(n.values)(n.Module); err != nil {
				t.Fatal(err)
			}
			if err := ir.Verify(n.Module, ops.Rules); err != nil {
				t.Fatal(err)
			}
			norms := 0
			for _, op := range n.Module.Programs[0].Ops {
				if op.Kind == "batch_norm" {
					norms++
				}
			}
			if norms != test.norms || len(n.Module.Variables) != test.variables || len(n.values) != test.variables {
				t.Errorf("%d norms, %d variables and %d values are left, want %d norms and %d variables:\n%s", norms, len(n.Module.Variables), len(n.values), test.norms, test.variables, n.Module)
			}
			got := evaluate(t, n.Module, n.values)
			if d := got.Difference(want); !(d < 1e-6) {
				t.Errorf("the results differ by %g", d)
			}
		})
	}
}

// TestFoldKeepsBadVariance: a variance that has no inverse root is not folded into NaN weights.
func TestFoldKeepsBadVariance(t *testing.T) {
	n := newNetwork()
	n.Result("y", n.norm("n", n.conv("w", n.x, 4)))
	if _, err := n.Build(); err != nil {
		t.Fatal(err)
	}
	n.values["n.var"][2] = -1
	if err := Fold(n.values)(n.Module); err != nil {
		t.Fatal(err)
	}
	for name, list := range n.values {
		for _, v := range list {
			if math.IsNaN(float64(v)) {
				t.Errorf("variable %s holds NaN", name)
			}
		}
	}
}

func evaluate(t *testing.T, m *ir.Module, values Values) *ops.Tensor {
	t.Helper()
	variables := ops.Variables(m)
	for name, v := range variables {
		if len(values[name]) != len(v.Data) {
			t.Fatalf("variable %s has %d elements and %d values", name, len(v.Data), len(values[name]))
		}
		for i, x := range values[name] {
			v.Data[i] = float64(x)
		}
	}
	x, random := ops.NewTensor(m.Programs[0].Inputs[0].Type), rand.New(rand.NewPCG(3, 4))
	for i := range x.Data {
		x.Data[i] = random.NormFloat64()
	}
	results, err := ops.Run(m.Programs[0], variables, map[string]*ops.Tensor{"x": x})
	if err != nil {
		t.Fatal(err)
	}
	return results["y"]
}
