package onnx_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx"
	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
)

func export(t *testing.T, n *network, opt onnx.Options) *onnxpb.ModelProto {
	t.Helper()
	data, err := onnx.Export(n.build(t), n.Program.Name, n.variables, opt)
	if err != nil {
		t.Fatal(err)
	}
	model := &onnxpb.ModelProto{}
	if err := proto.Unmarshal(data, model); err != nil {
		t.Fatal(err)
	}
	checkGraph(t, model.Graph)
	return model
}

// checkGraph checks that every name is given once and before its use, and that initializers have all of their bytes.
func checkGraph(t *testing.T, g *onnxpb.GraphProto) {
	t.Helper()
	defined, nodes := map[string]bool{}, map[string]bool{}
	define := func(name string) {
		if name == "" || defined[name] {
			t.Errorf("value %q is defined twice or has no name", name)
		}
		defined[name] = true
	}
	for _, v := range g.Input {
		define(v.GetName())
	}
	sizes := map[onnxpb.TensorProto_DataType]int{onnxpb.TensorProto_FLOAT: 4, onnxpb.TensorProto_INT64: 8, onnxpb.TensorProto_DOUBLE: 8}
	for _, v := range g.Initializer {
		define(v.GetName())
		want := sizes[onnxpb.TensorProto_DataType(v.GetDataType())]
		for _, d := range v.Dims {
			want *= int(d)
		}
		if len(v.RawData) != want || want == 0 {
			t.Errorf("initializer %s %v: got %d bytes, want %d", v.GetName(), v.Dims, len(v.RawData), want)
		}
	}
	used := map[string]bool{}
	for _, n := range g.Node {
		if nodes[n.GetName()] {
			t.Errorf("node %q is there twice", n.GetName())
		}
		nodes[n.GetName()] = true
		for _, name := range n.Input {
			if !defined[name] {
				t.Errorf("node %s uses %q before its definition", n.GetName(), name)
			}
			used[name] = true
		}
		for _, a := range n.Attribute { // a loop's body sees what is around it
			for _, inner := range a.GetG().GetNode() {
				for _, name := range inner.Input {
					used[name] = true
				}
			}
		}
		for _, name := range n.Output {
			define(name)
		}
	}
	for _, v := range g.Initializer {
		if !used[v.GetName()] {
			t.Errorf("initializer %s has no use", v.GetName())
		}
	}
	described := map[string]bool{}
	for _, v := range append(slices.Clone(g.Output), g.ValueInfo...) {
		if !defined[v.GetName()] || described[v.GetName()] {
			t.Errorf("%q is described twice or not defined", v.GetName())
		}
		described[v.GetName()] = true
	}
}

func TestExport(t *testing.T) {
	n := cell(2)
	model := export(t, n, onnx.Options{Batch: "N", ProducerVersion: "1.2", Metadata: map[string]string{"genotype": "g", "classes": "10", "data set": "shapes"}})
	if model.GetIrVersion() != 8 || model.GetProducerName() != "dartsc" || model.GetProducerVersion() != "1.2" {
		t.Errorf("got IR version %d by %s %s", model.GetIrVersion(), model.GetProducerName(), model.GetProducerVersion())
	}
	if len(model.OpsetImport) != 1 || model.OpsetImport[0].GetDomain() != "" || model.OpsetImport[0].GetVersion() != 17 {
		t.Errorf("got opsets %v, want 17", model.OpsetImport)
	}
	var metadata []string
	for _, m := range model.MetadataProps {
		metadata = append(metadata, m.GetKey()+"="+m.GetValue())
	}
	if got, want := strings.Join(metadata, " "), "classes=10 data set=shapes genotype=g"; got != want {
		t.Errorf("metadata: got %s, want %s", got, want)
	}
	g := model.Graph
	if got, want := count(g, "BatchNormalization", "Conv", "Slice", "Concat", "GlobalAveragePool", "Identity"), []int{7, 9, 1, 2, 1, 6}; !slices.Equal(got, want) {
		t.Errorf("nodes: got %v, want %v", got, want)
	}
	var signature []string
	for _, v := range append(slices.Clone(g.Input), g.Output...) {
		signature = append(signature, describe(v))
	}
	want := "image[N,3,9,7] logits[N,10] probabilities[N,10] scores[N,10] same image[N,3,9,7]"
	if got := strings.Join(signature, " "); got != want {
		t.Errorf("signature:\n got %s\nwant %s", got, want)
	}
	if got, want := g.Node[0].GetName()+": "+strings.Join(g.Node[0].Input, " "), "stem/Conv: image stem.weight"; got != want {
		t.Errorf("first node: got %s, want %s", got, want)
	}
	weight := initializer(t, g, "stem.weight")
	if got, want := floats(weight), n.variables["stem.weight"]; !slices.Equal(got, want) || !slices.Equal(weight.Dims, []int64{8, 3, 3, 3}) {
		t.Errorf("stem.weight: got %v %v, want %v", weight.Dims, got, want)
	}
	for _, v := range g.ValueInfo {
		if strings.HasPrefix(v.GetName(), "crossed/") && !strings.Contains(describe(v), "[N,6,") {
			t.Errorf("got value %s, want a batch of N and 6 channels", describe(v))
		}
	}
}

func TestExportIsRepeatable(t *testing.T) {
	opt := onnx.Options{FoldBatchNorm: true, Metadata: map[string]string{"a": "1", "b": "2", "c": "3"}}
	n := cell(2)
	m := n.build(t)
	first, err := onnx.Export(m, "infer", n.variables, opt)
	if err != nil {
		t.Fatal(err)
	}
	again, err := onnx.Export(m, "infer", n.variables, opt)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, again) {
		t.Error("two exports of the same module differ")
	}
	// Another batch changes nothing in the file.
	other := cell(5)
	if again, err = onnx.Export(other.build(t), "infer", other.variables, opt); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, again) {
		t.Error("the file depends on the batch that the program was built for")
	}
}

func TestFoldBatchNorm(t *testing.T) {
	g := export(t, cell(2), onnx.Options{FoldBatchNorm: true}).Graph
	if got, want := count(g, "BatchNormalization", "Conv"), []int{3, 9}; !slices.Equal(got, want) {
		t.Errorf("nodes: got %v, want %v", got, want)
	}

	// By hand: gamma/sqrt(var+eps) = 6/sqrt(4) = 3 for the first output and 1/sqrt(1) = 1 for the second.
	n := newNetwork("infer")
	x := n.conv("c", n.Input("x", ir.T(ir.F32, 2, 1, 1, 1)), 2, [2]int{1, 1}, ops.Conv(1, 0))
	var parameters []*ir.Value
	for _, name := range []string{"mean", "var", "gamma", "beta"} {
		parameters = append(parameters, n.read(name, 0, 1, 2))
	}
	n.Result("y", n.BatchNorm(x, parameters[0], parameters[1], parameters[2:], 0.5))
	n.variables = map[string][]float32{"c.weight": {10, 20}, "mean": {1, 2}, "var": {3.5, 0.5}, "gamma": {6, 1}, "beta": {100, 200}}
	g = export(t, n, onnx.Options{FoldBatchNorm: true}).Graph
	if len(g.Node) != 1 || strings.Join(g.Node[0].Input, " ") != "x c.weight c.bias" || g.Node[0].Output[0] != "y" {
		t.Fatalf("got nodes %v, want one Conv of x, c.weight and c.bias", g.Node)
	}
	if got, want := floats(initializer(t, g, "c.weight")), []float32{30, 20}; !slices.Equal(got, want) {
		t.Errorf("weights: got %v, want %v", got, want)
	}
	if got, want := floats(initializer(t, g, "c.bias")), []float32{97, 198}; !slices.Equal(got, want) {
		t.Errorf("bias: got %v, want %v", got, want)
	}
}

// TestNames: what clashes inside the file gets another name; inputs and results keep theirs.
func TestNames(t *testing.T) {
	n := newNetwork("infer")
	x := n.Input("relu", ir.T(ir.F32, 2, 3))
	y := n.Add(n.Relu(x), n.read("y", 0, 1))
	n.Result("y", n.Add(n.Relu(y), n.read("y", 0, 1)))
	g := export(t, n, onnx.Options{}).Graph
	if got, want := g.Initializer[0].GetName(), "y_1"; got != want || len(g.Initializer) != 1 {
		t.Errorf("got %d initializers, the first %s, want one %s", len(g.Initializer), got, want)
	}
	if got, want := g.Node[0].Output[0], "relu_1"; got != want {
		t.Errorf("got first value %s, want %s", got, want)
	}
}

func TestExportErrors(t *testing.T) {
	f32 := func(shape ...int) ir.Type { return ir.T(ir.F32, shape...) }
	tests := []struct {
		name  string
		build func(n *network)
		want  string
	}{
		{"no ONNX form", func(n *network) {
			n.At("head", func() { n.BatchNormTrain(n.Input("x", f32(2, 3)), nil, eps) })
		}, "head: batch_norm_train: has no ONNX form: appears only in training programs, which are not exported"},
		{"assignment", func(n *network) {
			v := n.Declare(ir.Variable{Name: "w", Type: f32()})
			n.Assign(v, n.Input("x", f32()))
		}, "assign: assigns variable w: an exported program must not change its variables"},
		{"fusion", func(n *network) {
			body := ops.NewBuilder(n.Module, "body")
			body.Result("y", body.Relu(body.Input("x", f32(2))))
			n.Fuse(body.Program, []*ir.Value{n.Input("x", f32(2))})
		}, "fusion: is a fusion: export the program before it is compiled"},
		{"missing variable", func(n *network) {
			n.Result("y", n.Add(n.Input("x", f32(2)), n.read("w", 0, 1)))
			delete(n.variables, "w")
		}, "add: variable w has no value"},
		{"missing variable as result", func(n *network) {
			n.Result("y", n.read("w", 0, 1))
			delete(n.variables, "w")
		}, "variable w has no value"},
		{"size of a variable", func(n *network) {
			n.Result("y", n.Add(n.Input("x", f32(2)), n.read("w", 0, 1)))
			n.variables["w"] = []float32{1, 2}
		}, "add: variable w is f32[], its value has 2 elements"},
		{"type of a variable", func(n *network) {
			v := n.Declare(ir.Variable{Name: "w", Type: ir.T(ir.F64, 2)})
			n.variables["w"] = []float32{1, 2}
			n.Relu(n.Read(v))
		}, "relu: variable w is f64[2], only f32 is exported"},
		{"variance", func(n *network) {
			x := n.norm("bn", n.conv("c", n.Input("x", f32(2, 1, 1, 1)), 1, [2]int{1, 1}, ops.Conv(1, 0)), false)
			n.variables["bn.var"] = []float32{-1}
			n.Result("y", x)
		}, "batch_norm: variance -1 of channel 0 in variable bn.var is not positive"},
		{"negative pads", func(n *network) {
			a := ops.Conv(2, 0)
			a.Pads = [4]int{-1, -1, 1, 1}
			n.conv("c", n.Input("x", f32(2, 1, 4, 4)), 1, [2]int{1, 1}, a)
		}, "conv2d: negative pads [-1 -1 1 1] have no ONNX form: keep the slice that they came from"},
		{"constant of the size of the batch", func(n *network) {
			n.At("none", func() { n.Add(n.Input("x", f32(2, 3)), n.Constant(f32(2, 3), 0)) })
		}, "none: add: fits no batch but the program's 2: operands are f32[3,3] and f32[2,3], want equal shapes or a scalar"},
		{"reshape across the batch", func(n *network) { n.Reshape(n.Input("x", f32(2, 3)), 1, 6) },
			"reshape: fits no batch but the program's 2: the elements of f32[3,3] do not divide into rows of 6"},
		{"input without a name", func(n *network) { n.Relu(n.Input("", f32(2))) }, "input without a name"},
		{"input and result", func(n *network) { n.Result("x", n.Relu(n.Input("x", f32(2)))) },
			`result "x": an input or a result of that name is there already`},
		{"bf16", func(n *network) { n.Relu(n.Constant(ir.T(ir.BF16, 2), 1)) }, "constant: tensors of bf16 are not exported"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := newNetwork("infer")
			test.build(n)
			data, err := onnx.Export(n.build(t), "infer", n.variables, onnx.Options{FoldBatchNorm: true})
			if want := "export ONNX: program infer: " + test.want; data != nil || err == nil || err.Error() != want {
				t.Errorf("\n got %v\nwant %s", err, want)
			}
		})
	}
	n := cell(1)
	_, err := onnx.Export(n.build(t), "train", n.variables, onnx.Options{})
	if want := `export ONNX: module test has no program "train"`; err == nil || err.Error() != want {
		t.Errorf("\n got %v\nwant %s", err, want)
	}
	n.Module.Programs[0].Ops = n.Module.Programs[0].Ops[1:]
	if _, err := onnx.Export(n.Module, "infer", n.variables, onnx.Options{}); err == nil || !strings.Contains(err.Error(), "used before its definition") {
		t.Errorf("broken module: got %v", err)
	}
}

func count(g *onnxpb.GraphProto, opTypes ...string) []int {
	counts := make([]int, len(opTypes))
	for _, n := range g.Node {
		if i := slices.Index(opTypes, n.GetOpType()); i >= 0 {
			counts[i]++
		}
	}
	return counts
}

func describe(v *onnxpb.ValueInfoProto) string {
	dims := make([]string, 0, 4)
	for _, d := range v.Type.GetTensorType().Shape.Dim {
		if name := d.GetDimParam(); name != "" {
			dims = append(dims, name)
		} else {
			dims = append(dims, strconv.FormatInt(d.GetDimValue(), 10))
		}
	}
	return v.GetName() + "[" + strings.Join(dims, ",") + "]"
}

func initializer(t *testing.T, g *onnxpb.GraphProto, name string) *onnxpb.TensorProto {
	t.Helper()
	for _, v := range g.Initializer {
		if v.GetName() == name {
			return v
		}
	}
	t.Fatalf("no initializer %s", name)
	return nil
}

func floats(v *onnxpb.TensorProto) []float32 {
	var out []float32
	for i := 0; i < len(v.RawData); i += 4 {
		out = append(out, math.Float32frombits(binary.LittleEndian.Uint32(v.RawData[i:])))
	}
	return out
}
