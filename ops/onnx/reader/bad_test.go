package reader_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx"
	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
	"github.com/dartsc/dartsc/ops/onnx/reader"
)

const (
	float   = onnxpb.TensorProto_FLOAT
	integer = onnxpb.TensorProto_INT64
)

// model is a file of one convolution, conv, and a Relu, relu, from x [1,2,5,5] to y.
func model() *onnxpb.ModelProto {
	return &onnxpb.ModelProto{
		IrVersion:   proto.Int64(8),
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Domain: proto.String(""), Version: proto.Int64(17)}},
		Graph: &onnxpb.GraphProto{
			Name:        proto.String("g"),
			Input:       []*onnxpb.ValueInfoProto{valueInfo("x", float, 1, 2, 5, 5)},
			Output:      []*onnxpb.ValueInfoProto{{Name: proto.String("y")}},
			Initializer: []*onnxpb.TensorProto{{Name: proto.String("w"), Dims: []int64{3, 2, 1, 1}, DataType: proto.Int32(int32(float)), FloatData: []float32{1, 2, 3, 4, 5, 6}}},
			Node:        []*onnxpb.NodeProto{makeNode("conv", "Conv", "x w", "h"), makeNode("relu", "Relu", "h", "y")},
		},
	}
}

func valueInfo(name string, dtype onnxpb.TensorProto_DataType, shape ...int64) *onnxpb.ValueInfoProto {
	dims := &onnxpb.TensorShapeProto{}
	for _, d := range shape {
		dims.Dim = append(dims.Dim, &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d}})
	}
	tensor := &onnxpb.TypeProto_Tensor{ElemType: proto.Int32(int32(dtype)), Shape: dims}
	return &onnxpb.ValueInfoProto{Name: proto.String(name), Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{TensorType: tensor}}}
}

func makeNode(name, kind, inputs, outputs string, attrs ...*onnxpb.AttributeProto) *onnxpb.NodeProto {
	return &onnxpb.NodeProto{Name: proto.String(name), OpType: proto.String(kind), Input: strings.Split(inputs, " "), Output: strings.Split(outputs, " "), Attribute: attrs}
}

func intsAttr(name string, values ...int64) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: proto.String(name), Type: onnxpb.AttributeProto_INTS.Enum(), Ints: values}
}

// intConstant adds an integer initializer.
func intConstant(m *onnxpb.ModelProto, name string, values ...int64) {
	m.Graph.Initializer = append(m.Graph.Initializer, &onnxpb.TensorProto{
		Name: proto.String(name), Dims: []int64{int64(len(values))}, DataType: proto.Int32(int32(integer)), Int64Data: values,
	})
}

// TestBadFiles: what cannot be read is refused by name.
func TestBadFiles(t *testing.T) {
	relu := func(m *onnxpb.ModelProto, kind, inputs string, attrs ...*onnxpb.AttributeProto) {
		m.Graph.Node[1] = makeNode("relu", kind, inputs, "y", attrs...)
	}
	weight := func(m *onnxpb.ModelProto) *onnxpb.TensorProto { return m.Graph.Initializer[0] }
	tests := []struct {
		name  string
		spoil func(m *onnxpb.ModelProto)
		want  string
	}{
		{"no graph", func(m *onnxpb.ModelProto) { m.Graph = nil }, "there is no graph with nodes in it"},
		{"no nodes", func(m *onnxpb.ModelProto) { m.Graph.Node = nil }, "there is no graph with nodes in it"},
		{"no outputs", func(m *onnxpb.ModelProto) { m.Graph.Output = nil }, "the graph has no outputs"},
		{"no opset", func(m *onnxpb.ModelProto) { m.OpsetImport = nil }, "the file says no opset"},
		{"opset of the future", func(m *onnxpb.ModelProto) { m.OpsetImport[0].Version = proto.Int64(99) }, "the file is of opset 99, opsets 7 to 21 are read"},
		{"unknown operations", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0].OpType = proto.String("If")
			m.Graph.Node[1].Domain = proto.String("com.example")
		}, `unsupported operations (2): node "conv" (If), node "relu" (Relu) of domain com.example`},
		{"cycle", func(m *onnxpb.ModelProto) { m.Graph.Node[0].Input[0] = "y" }, `node "conv" (Conv): its inputs depend on its outputs: the graph has a cycle`},
		{"missing input", func(m *onnxpb.ModelProto) { m.Graph.Node[1].Input[0] = "z" }, `node "relu" (Relu): input "z" is defined nowhere`},
		{"missing output", func(m *onnxpb.ModelProto) { m.Graph.Output[0].Name = proto.String("z") }, `output "z" is defined nowhere`},
		{"defined twice", func(m *onnxpb.ModelProto) { m.Graph.Node[1].Output[0] = "h" }, `node "relu" (Relu): output "h" is defined before`},
		{"output is a weight", func(m *onnxpb.ModelProto) { m.Graph.Output[0].Name = proto.String("w") }, "output w does not depend on the inputs"},
		{"too few inputs", func(m *onnxpb.ModelProto) { m.Graph.Node[0].Input = m.Graph.Node[0].Input[:1] }, `node "conv" (Conv): has 1 inputs, want 2 to 3`},
		{"input left out", func(m *onnxpb.ModelProto) { m.Graph.Node[0].Input[1] = "" }, `node "conv" (Conv): input 1 is left out`},
		{"no output", func(m *onnxpb.ModelProto) { m.Graph.Node[1].Output = nil }, `node "relu" (Relu): has no output`},
		{"unknown attribute", func(m *onnxpb.ModelProto) { relu(m, "Relu", "h", intsAttr("x", 1)) }, `node "relu" (Relu): attribute x is not known here`},
		{"attribute of another type", func(m *onnxpb.ModelProto) { m.Graph.Node[0].Attribute = []*onnxpb.AttributeProto{intsAttr("group", 1)} }, "attribute group is a []int64, want an integer"},
		{"graph in an attribute", func(m *onnxpb.ModelProto) {
			relu(m, "Relu", "h", &onnxpb.AttributeProto{Name: proto.String("g"), Type: onnxpb.AttributeProto_GRAPH.Enum(), G: &onnxpb.GraphProto{}})
		}, "attribute g is of type GRAPH, which is not read"},
		{"attribute without its tensor", func(m *onnxpb.ModelProto) {
			relu(m, "Relu", "h", &onnxpb.AttributeProto{Name: proto.String("t"), Type: onnxpb.AttributeProto_TENSOR.Enum()})
		}, "attribute t is of type TENSOR, which is not read"},
		{"data elsewhere", func(m *onnxpb.ModelProto) { weight(m).DataLocation = onnxpb.TensorProto_EXTERNAL.Enum() }, "initializer w: its data is in another file"},
		{"strings", func(m *onnxpb.ModelProto) { weight(m).DataType = proto.Int32(int32(onnxpb.TensorProto_STRING)) }, "initializer w: has element type STRING"},
		{"too few elements", func(m *onnxpb.ModelProto) { weight(m).FloatData = weight(m).FloatData[1:] }, "initializer w: has shape [3 2 1 1] and 5 elements, want 6"},
		{"too few bytes", func(m *onnxpb.ModelProto) { weight(m).RawData = make([]byte, 23) }, "initializer w: has shape [3 2 1 1] and 23 bytes, want 24"},
		{"huge tensor", func(m *onnxpb.ModelProto) { weight(m).Dims = []int64{1 << 40, 1 << 40} }, "initializer w: has shape [1099511627776 1099511627776], want at most"},
		{"negative dimension", func(m *onnxpb.ModelProto) { weight(m).Dims[0] = -3 }, "initializer w: has shape [-3 2 1 1]"},
		{"empty weights", func(m *onnxpb.ModelProto) { weight(m).Dims[0], weight(m).FloatData = 0, nil }, "dimension 0 is not positive"},
		{"weights that do not fit", func(m *onnxpb.ModelProto) { weight(m).Dims = []int64{2, 3, 1, 1} }, "input [1 2 5 5] has 2 channels"},
		{"integer input", func(m *onnxpb.ModelProto) { m.Graph.Input[0] = valueInfo("x", integer, 1, 2, 5, 5) }, "input x: is of element type INT64"},
		{"input without a shape", func(m *onnxpb.ModelProto) { m.Graph.Input[0].Type = nil }, "input x: the file does not say its shape"},
		{"open size", func(m *onnxpb.ModelProto) { m.Graph.Input[0] = valueInfo("x", float, 1, 2, 0, 5) }, "input x: dimension 2 (\"\") is open in the file"},
		{"huge input", func(m *onnxpb.ModelProto) { m.Graph.Input[0] = valueInfo("x", float, 1, 2, 1<<20, 1<<20) }, "input x: its result f32[1,2,1048576,1048576] has more than"},
		{"training", func(m *onnxpb.ModelProto) {
			intConstant(m, "ratio", 1)
			intConstant(m, "mode", 1)
			relu(m, "Dropout", "h ratio mode")
		}, `node "relu" (Dropout): is in training mode`},
		{"shape of the input's values", func(m *onnxpb.ModelProto) { relu(m, "Reshape", "h h") }, `the shape "h" depend on the network's inputs`},
		{"reshape to nothing", func(m *onnxpb.ModelProto) {
			intConstant(m, "shape", 0, math.MaxInt64, math.MaxInt64, -1)
			relu(m, "Reshape", "h shape")
		}, "does not fit [1 3 5 5]"},
		{"huge pad", func(m *onnxpb.ModelProto) {
			relu(m, "Pad", "h", intsAttr("pads", 0, 0, 0, 0, 0, 0, 1<<20, 1<<20))
		}, "has more than"},
		{"huge constant", func(m *onnxpb.ModelProto) {
			intConstant(m, "shape", 1<<20, 1<<20)
			relu(m, "ConstantOfShape", "shape")
		}, "want at most 16777216 elements"},
		{"many large constants", func(m *onnxpb.ModelProto) {
			intConstant(m, "shape", 1<<24)
			for i := range 5 {
				m.Graph.Node = append(m.Graph.Node, makeNode(fmt.Sprint("large", i), "ConstantOfShape", "shape", fmt.Sprint("large", i)))
			}
		}, `node "large4" (ConstantOfShape): constants that are made from others have too many elements in total`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := model()
			if _, err := read(t, m); err != nil {
				t.Fatal(err)
			}
			test.spoil(m)
			if n, err := read(t, m); n != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
	if _, err := reader.Read([]byte("not a file"), reader.Options{}); err == nil {
		t.Error("text is read")
	}
	content, err := proto.Marshal(model())
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(content) {
		if _, err := reader.Read(content[:n], reader.Options{}); err == nil {
			t.Errorf("the first %d of %d bytes are read", n, len(content))
		}
	}
	if _, err := reader.Read(content, reader.Options{Batch: 2}); err == nil || !strings.Contains(err.Error(), "the file is for a batch of 1 only, not for 2") {
		t.Errorf("another batch: got %v", err)
	}
}

func read(t *testing.T, m *onnxpb.ModelProto) (*reader.Network, error) {
	t.Helper()
	content, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return reader.Read(content, reader.Options{})
}

// TestElementTypes: weights of every type become the same f32.
func TestElementTypes(t *testing.T) {
	for dtype, raw := range map[onnxpb.TensorProto_DataType]string{
		onnxpb.TensorProto_FLOAT16:  "\x00\x3c\x00\xbc\x00\x40\x00\x38\x00\x00\x00\x44",
		onnxpb.TensorProto_BFLOAT16: "\x80\x3f\x80\xbf\x00\x40\x00\x3f\x00\x00\x80\x40",
	} {
		m := model()
		w := m.Graph.Initializer[0]
		w.DataType, w.FloatData, w.RawData = proto.Int32(int32(dtype)), nil, []byte(raw)
		n, err := read(t, m)
		if err != nil {
			t.Fatal(err)
		}
		want := []float32{1, -1, 2, 0.5, 0, 4}
		for i, v := range n.Values["w"] {
			if v != want[i] {
				t.Errorf("%s: got %v, want %v", dtype, n.Values["w"], want)
				break
			}
		}
	}
}

// TestShapesAreComputed: a file that computes the shape of its Reshape, as PyTorch writes view(x.size(0), -1), in an
// order that is not that of the data, and with an operation of two equal inputs.
func TestShapesAreComputed(t *testing.T) {
	m := model()
	intConstant(m, "zero", 0)
	intConstant(m, "rest", -1)
	m.Graph.Initializer[1].Dims = nil // a scalar
	m.Graph.Node = []*onnxpb.NodeProto{
		makeNode("view", "Reshape", "h target", "flat"), makeNode("twice", "Mul", "flat flat", "y"),
		makeNode("join", "Concat", "size rest", "target", &onnxpb.AttributeProto{Name: proto.String("axis"), I: proto.Int64(0)}),
		makeNode("row", "Unsqueeze", "one zeros", "size"), makeNode("pick", "Gather", "dims zero", "one"), makeNode("ask", "Shape", "h", "dims"),
		makeNode("conv", "Conv", "x w", "h"),
	}
	intConstant(m, "zeros", 0)
	n, err := read(t, m)
	if err != nil {
		t.Fatal(err)
	}
	program := n.Module.Program(reader.Program)
	if got := program.Results[0].Value.Type.String(); got != "f32[1,75]" {
		t.Errorf("result %s, want f32[1,75]", got)
	}
	if got := len(program.Ops); got != 4 { // read, conv2d, reshape, mul
		t.Errorf("%d operations, want 4:\n%s", got, n.Module)
	}
}

// FuzzRead: no content makes the reader panic, hang, or stumble; what it accepts is a program that verifies.
func FuzzRead(f *testing.F) {
	m, values := exported(f, 1)
	for _, fold := range []bool{false, true} {
		content, err := onnx.Export(m, "infer", values, onnx.Options{FoldBatchNorm: fold})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	content, err := proto.Marshal(model())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	for _, c := range conformanceModels(f) {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		n, err := reader.Read(content, reader.Options{})
		if err != nil {
			if strings.Contains(err.Error(), "the translation failed") || strings.Contains(err.Error(), "onnx-go cannot decode the graph: runtime error") {
				t.Error(err)
			}
			return
		}
		for name, v := range ops.Variables(n.Module) {
			if len(n.Values[name]) != len(v.Data) {
				t.Errorf("variable %s has %d elements, its value %d", name, len(v.Data), len(n.Values[name]))
			}
		}
	})
}
