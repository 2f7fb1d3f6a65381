package onnx_test

import (
	"slices"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx"
	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
	"github.com/dartsc/dartsc/ops/onnx/onnxtest"
)

var loopAxes = map[string][]string{"x": {"T", "N"}, "h": {"N"}}

// loops is a network of two loops, one of them in reverse with nothing carried, whose nodes are those of a supernet.
func loops(steps, batch int) *network {
	n := newNetwork("infer")
	x, h := n.Input("x", ir.T(ir.F32, steps, batch, 4)), n.Input("h", ir.T(ir.F32, batch, 3))
	w := n.read("w", -1, 1, 4, 12)
	edges, shares := n.Softmax(n.read("edges", -1, 1, 3, 5)), n.read("shares", -1, 1, 2)
	one := n.Constant(ir.T(ir.F32, 1, 1), 1)
	length := n.Constant(ir.T(ir.I64), float64(steps))
	n.At("forwards", func() {
		last, outputs := n.Scan(length, steps, []*ir.Value{h}, []*ir.Value{x}, false, func(b *ops.Builder, in ir.LoopBody) (next, outputs []*ir.Value) {
			h, p := in.Carried[0], b.MatMul(in.Stacked[0], w, false, false)
			s := b.Highway(one, []*ir.Value{p}, []*ir.Value{h}, ops.HighwayAttrs{Activations: "tanh", Edges: []int{0}, Blocks: []int{1}})
			mixed := b.Highway(edges, []*ir.Value{p, p}, []*ir.Value{h, s}, ops.HighwayAttrs{
				Activations: "none,tanh,relu,sigmoid,identity", Edges: []int{2, 0}, Blocks: []int{0, 1}})
			next = []*ir.Value{b.WeightedSum(shares, []*ir.Value{mixed, h, s}, []int{1, 0, 1})}
			return next, []*ir.Value{b.Log(b.Softmax(next[0])), h, w}
		})
		n.Result("last", last[0])
		n.Result("logs", outputs[0])
		n.Result("before", outputs[1])
		n.At("backwards", func() {
			_, sums := n.Scan(length, steps, nil, []*ir.Value{outputs[1], x}, true, func(b *ops.Builder, in ir.LoopBody) (next, outputs []*ir.Value) {
				return nil, []*ir.Value{b.Concat(1, b.Relu(in.Stacked[0]), in.Stacked[1])}
			})
			n.Result("joined", sums[0])
		})
	})
	return n
}

func TestLoopsInRuntime(t *testing.T) {
	onnxtest.Require(t)
	exported := loops(3, 2)
	model, err := onnx.Export(exported.build(t), "infer", exported.variables, onnx.Options{Axes: loopAxes})
	if err != nil {
		t.Fatal(err)
	}
	var cases []onnxtest.Case
	for _, size := range [][2]int{{1, 1}, {5, 3}} {
		inputs, results := reference(t, loops(size[0], size[1]), 1)
		cases = append(cases, onnxtest.Case{Inputs: inputs, Expected: results})
	}
	onnxtest.Compare(t, model, 1e-5, cases...)
}

// TestLoops: what a body reads of the program is not in it, names are the whole file's, and nothing is there that has no
// use.
func TestLoops(t *testing.T) {
	g := export(t, loops(3, 2), onnx.Options{Axes: loopAxes}).Graph
	if got, want := count(g, "Scan", "Softmax", "LogSoftmax", "Identity"), []int{2, 1, 0, 0}; !slices.Equal(got, want) {
		t.Errorf("nodes: got %v, want %v", got, want)
	}
	for i, want := range []string{"last[N,3]", "logs[T,N,3]", "before[T,N,3]", "joined[T,N,7]"} {
		if got := describe(g.Output[i]); got != want {
			t.Errorf("result %d: got %s, want %s", i, got, want)
		}
	}
	for _, node := range g.Node {
		if node.GetOpType() != "Scan" {
			continue
		}
		body := node.Attribute[0].GetG()
		if got := count(body, "Softmax", "Log"); !slices.Equal(got, []int{0, 0}) {
			t.Errorf("%s: softmax and logarithm are %v nodes, want LogSoftmax alone", node.GetName(), got)
		}
		for _, inner := range body.Node {
			for _, name := range inner.Output {
				if slices.ContainsFunc(g.Node, func(n *onnxpb.NodeProto) bool { return slices.Contains(n.Output, name) }) {
					t.Errorf("%s: value %s has the name of one of the program", node.GetName(), name)
				}
			}
		}
	}
}

func TestLoopErrors(t *testing.T) {
	f32 := func(shape ...int) ir.Type { return ir.T(ir.F32, shape...) }
	same := func(b *ops.Builder, in ir.LoopBody) (next, outputs []*ir.Value) { return in.Carried, in.Stacked }
	tests := []struct {
		name  string
		axes  map[string][]string
		build func(n *network)
		want  string
	}{
		{"length of its own", nil, func(n *network) {
			n.Scan(n.Input("length", ir.T(ir.I64)), 2, nil, []*ir.Value{n.Input("x", f32(2, 3))}, false, same)
		}, "scan: runs over a length of its own: an exported loop runs over all of its 2 steps"},
		{"nothing stacked", nil, func(n *network) {
			n.Scan(n.Constant(ir.T(ir.I64), 2), 2, []*ir.Value{n.Input("x", f32(2, 3))}, nil, false, same)
		}, "scan: has no stacked value, of which a Scan would know how many steps to make"},
		{"operation without a form", nil, func(n *network) {
			n.Scan(n.Constant(ir.T(ir.I64), 2), 2, nil, []*ir.Value{n.Input("x", f32(2, 3))}, false, func(b *ops.Builder, in ir.LoopBody) (next, outputs []*ir.Value) {
				return nil, []*ir.Value{b.Axpby(in.Stacked[0], in.Stacked[0], 1, 2)}
			})
		}, "scan: axpby: has no ONNX form: appears only in training programs, which are not exported"},
		{"body of one batch", map[string][]string{"x": {"", "N"}}, func(n *network) {
			n.Scan(n.Constant(ir.T(ir.I64), 4), 4, nil, []*ir.Value{n.Input("x", f32(4, 2, 3))}, false, func(b *ops.Builder, in ir.LoopBody) (next, outputs []*ir.Value) {
				return nil, []*ir.Value{b.Add(in.Stacked[0], b.Constant(f32(2, 3), 1))}
			})
		}, "add: fits no N but the program's 2: operands are f32[3,3] and f32[2,3], want equal shapes or a scalar"},
		{"carried value of another size", map[string][]string{"x": {"", "N"}}, func(n *network) {
			n.Scan(n.Constant(ir.T(ir.I64), 4), 4, []*ir.Value{n.Constant(f32(2), 0)}, []*ir.Value{n.Input("x", f32(4, 2))}, false, func(b *ops.Builder, in ir.LoopBody) (next, outputs []*ir.Value) {
				return in.Stacked, nil
			})
		}, "scan: fits no N but the program's 2: carried value 0 is f32[2] and becomes f32[3]"},
		{"sizes that differ", map[string][]string{"x": {"N"}, "y": {"N"}}, func(n *network) {
			n.Add(n.ReduceSum(n.Input("x", f32(2)), 0), n.ReduceSum(n.Input("y", f32(3)), 0))
		}, "input y is f32[3], axis 0 of it is a N, which is 2 elsewhere"},
		{"too many axes", map[string][]string{"x": {"N", "T"}}, func(n *network) { n.Relu(n.Input("x", f32(2))) },
			"input x is f32[2], and 2 axes of it have names"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := newNetwork("infer")
			test.build(n)
			data, err := onnx.Export(n.build(t), "infer", n.variables, onnx.Options{Axes: test.axes})
			if want := "export ONNX: program infer: " + test.want; data != nil || err == nil || err.Error() != want {
				t.Errorf("\n got %v\nwant %s", err, want)
			}
		})
	}
}
