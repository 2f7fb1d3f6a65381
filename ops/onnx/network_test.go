package onnx_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

const eps = 1e-5

// network writes small networks; its variables get values that do not depend on the batch.
type network struct {
	*ops.Builder
	random    *rand.Rand
	variables map[string][]float32
}

func newNetwork(program string) *network {
	return &network{ops.NewBuilder(ir.NewModule("test"), program), rand.New(rand.NewPCG(5, 0)), map[string][]float32{}}
}

// read declares a variable between low and high, and reads it.
func (n *network) read(name string, low, high float64, shape ...int) *ir.Value {
	t := ir.T(ir.F32, shape...)
	data := make([]float32, t.Elements())
	for i := range data {
		data[i] = float32(low + (high-low)*n.random.Float64())
	}
	n.variables[name] = data
	return n.Read(n.Declare(ir.Variable{Name: name, Type: t}))
}

func (n *network) conv(name string, x *ir.Value, outputs int, kernel [2]int, a ops.ConvAttrs) *ir.Value {
	return n.Conv2D(x, n.read(name+".weight", -0.5, 0.5, outputs, x.Type.Shape[1]/a.Groups, kernel[0], kernel[1]), a)
}

func (n *network) norm(name string, x *ir.Value, affine bool) *ir.Value {
	c := x.Type.Shape[1]
	mean, variance := n.read(name+".mean", -0.5, 0.5, c), n.read(name+".var", 0.2, 2, c)
	var parameters []*ir.Value
	if affine {
		parameters = []*ir.Value{n.read(name+".gamma", 0.5, 1.5, c), n.read(name+".beta", -0.5, 0.5, c)}
	}
	return n.BatchNorm(x, mean, variance, parameters, eps)
}

func (n *network) build(t *testing.T) *ir.Module {
	t.Helper()
	if _, err := n.Build(); err != nil {
		t.Fatal(err)
	}
	return n.Module
}

// cell is a network with one of every operation that has an ONNX form. Of its five norms after convolutions, four can
// fold: the result of "shared" is also added. Two follow no convolution.
func cell(batch int) *network {
	n := newNetwork("infer")
	x := n.Input("image", ir.T(ir.F32, batch, 3, 9, 7))
	n.At("stem", func() {
		x = n.Relu(n.norm("stem.bn", n.conv("stem", x, 8, [2]int{3, 3}, ops.Conv(1, 1)), true))
	})
	var dilated, reduced, pooled *ir.Value
	n.At("cell 0/edge 0→2/dil_conv_3x3", func() {
		a := ops.Conv(2, 2)
		a.Dilations, a.Groups = [2]int{2, 2}, 8
		dilated = n.norm("dil.bn", n.conv("dil.pointwise", n.conv("dil.depthwise", x, 8, [2]int{3, 3}, a), 8, [2]int{1, 1}, ops.Conv(1, 0)), false)
	})
	n.At("cell 0/edge 1→2/skip_connect", func() {
		shifted := n.Slice(x, []int{0, 0, 1, 1}, []int{batch, 8, 9, 7})
		second := ops.Conv(2, 0)
		second.Pads = [4]int{0, 0, 1, 1}
		joined := n.Concat(1, n.conv("reduce.conv_1", x, 4, [2]int{1, 1}, ops.Conv(2, 0)), n.conv("reduce.conv_2", shifted, 4, [2]int{1, 1}, second))
		reduced = n.norm("reduce.bn", joined, false)
	})
	n.At("cell 0/edge 0→3/pools", func() {
		including := ops.Pool(3, 2, 1)
		including.CountIncludePad = true
		pooled = n.Add(n.Add(n.MaxPool2D(x, ops.Pool(3, 2, 1)), n.AvgPool2D(x, ops.Pool(3, 2, 1))), n.AvgPool2D(x, including))
		pooled = n.norm("pool.bn", pooled, true)
	})
	x = n.Add(n.Add(dilated, reduced), pooled) // [batch,8,5,4]
	n.At("crossed", func() {
		row, column := ops.Conv(1, 0), ops.Conv(1, 0)
		row.Pads, column.Pads, column.Strides = [4]int{0, 3, 0, 3}, [4]int{3, 0, 3, 0}, [2]int{2, 1}
		x = n.norm("crossed.bn", n.conv("crossed.column", n.conv("crossed.row", x, 6, [2]int{1, 7}, row), 6, [2]int{7, 1}, column), true)
	})
	n.At("groups", func() {
		a := ops.Conv(1, 1)
		a.Groups = 2
		x = n.norm("groups.bn", n.conv("groups", x, 4, [2]int{3, 3}, a), false)
		shared := n.conv("shared", x, 4, [2]int{1, 1}, ops.Conv(1, 0))
		x = n.Add(shared, n.norm("shared.bn", shared, true)) // [batch,4,3,4]
	})
	n.At("arithmetic", func() {
		half := n.Constant(ir.T(ir.F32), 0.5)
		y := n.Sub(n.Sigmoid(x), n.Mul(n.Tanh(x), half))
		y = n.Div(n.Neg(n.Exp(y)), n.Sqrt(n.Log(n.Add(n.Exp(x), n.Constant(ir.T(ir.F32), 2)))))
		y = n.Reshape(n.Transpose(n.Reshape(y, batch, 4, 12), 0, 2, 1), batch*12, 4)
		y = n.MatMul(n.Softmax(y), n.read("mixing", -1, 1, 4, 4), false, false)
		x = n.Mul(x, n.Reshape(y, batch, 4, 3, 4))
	})
	var logits *ir.Value
	n.At("classifier", func() {
		features := n.Concat(1, n.ReduceMean(x, 2, 3), n.ReduceSum(x, 2, 3), n.ReduceMean(n.ReduceMean(x, 3), 2), n.Reshape(x, batch, 48))
		features = n.ReduceSum(n.Slice(features, []int{0, 0}, []int{batch, 60}))
		logits = n.Linear(features, n.read("classifier.weight", -0.3, 0.3, 10, 60), n.read("classifier.bias", -1, 1, 10))
	})
	n.Result("logits", logits)
	n.Result("probabilities", n.Softmax(logits))
	n.Result("scores", logits)
	n.Result("same image", n.Program.Inputs[0])
	return n
}

// reference runs the program in float64 on a random image.
func reference(t *testing.T, n *network, seed uint64) (inputs, results map[string]*ops.Tensor) {
	t.Helper()
	m := n.build(t)
	variables := ops.Variables(m)
	for name, value := range n.variables {
		for i, v := range value {
			variables[name].Data[i] = float64(v)
		}
	}
	random := rand.New(rand.NewPCG(seed, 1))
	inputs = map[string]*ops.Tensor{}
	for _, v := range m.Programs[0].Inputs {
		x := ops.NewTensor(v.Type)
		for i := range x.Data {
			x.Data[i] = float64(float32(random.NormFloat64()))
		}
		inputs[v.Name] = x
	}
	results, err := ops.Run(m.Programs[0], variables, inputs)
	if err != nil {
		t.Fatal(fmt.Errorf("reference: %w", err))
	}
	return inputs, results
}
