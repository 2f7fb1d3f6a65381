package reader_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/owulveryck/onnx-go/backend/testbackend"
	_ "github.com/owulveryck/onnx-go/backend/testbackend/onnx" // registers the cases
	"google.golang.org/protobuf/proto"
	"gorgonia.org/tensor"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
	"github.com/dartsc/dartsc/ops/onnx/reader"
)

// TestConformance runs the conformance cases of ONNX that onnx-go brings along (opsets 9 and 10) in the reference
// interpreter. Every case of an operation that is read must pass, or be refused for the reason that stands in refused.
func TestConformance(t *testing.T) {
	passed, refusedCases, unknown := 0, 0, 0
	cases := testbackend.GetAllRegisteredTests()
	if len(cases) != 348 {
		t.Errorf("%d cases, want 348", len(cases))
	}
	sorted := make([]*testbackend.TestCase, 0, len(cases))
	for _, c := range cases {
		sorted = append(sorted, c())
	}
	slices.SortFunc(sorted, func(a, b *testbackend.TestCase) int { return cmp.Compare(a.Title, b.Title) })
	used := map[string]bool{}
	for _, c := range sorted {
		t.Run(c.Title, func(t *testing.T) {
			err := conforms(c)
			switch reason := refused[c.Title]; {
			case err != nil && strings.Contains(err.Error(), "operations are not supported"):
				unknown++
			case reason != "":
				used[c.Title] = true
				if refusedCases++; err == nil || !strings.Contains(err.Error(), reason) {
					t.Errorf("got error %v, want one with %q", err, reason)
				}
			case err != nil:
				t.Error(err)
			default:
				passed++
			}
		})
	}
	for title := range refused {
		if !used[title] {
			t.Errorf("there is no case %s, or its operation is unknown", title)
		}
	}
	t.Logf("%d cases pass, %d are refused, %d are of operations that are not read", passed, refusedCases, unknown)
	if passed < 138 {
		t.Errorf("only %d cases pass", passed)
	}
}

// refused are cases of operations that are read, in a form that is not.
var refused = map[string]string{
	"TestAveragepool1dDefault": "only two-dimensional poolings", "TestAveragepool3dDefault": "only two-dimensional poolings",
	"TestMaxpool1dDefault": "only two-dimensional poolings", "TestMaxpool3dDefault": "only two-dimensional poolings",
	"TestMaxpool2dDilations":                    "has dilations [2 2]",
	"TestMaxpoolWithArgmax2dPrecomputedPads":    `output "z" is used`,
	"TestMaxpoolWithArgmax2dPrecomputedStrides": "storage_order is 1",
	"TestMatmul3d":                              "want [...,M,K] and [K,N]", "TestMatmul4d": "want [...,M,K] and [K,N]",
	"TestGather0": "gathers 3 positions", "TestGather1": "gathers 3 positions",
	"TestConstantPad": "pads with 1.2, want 0", "TestEdgePad": `mode is "edge"`, "TestReflectPad": `mode is "reflect"`,
	"TestSliceNegSteps": "has steps [-1 -3 -2]",
	"TestReduceLogSum":  "the file is of opset 6",
	// A network computes something of its inputs.
	"TestConstant": "constants only", "TestConstantofshapeFloatOnes": "does not depend on the inputs",
	"TestConstantofshapeIntZeros": "does not depend on the inputs",
	"TestShape":                   "does not depend on the inputs", "TestShapeExample": "does not depend on the inputs",
}

// conforms runs one case.
func conforms(c *testbackend.TestCase) error {
	model := &onnxpb.ModelProto{}
	if err := proto.Unmarshal(c.ModelB, model); err != nil {
		return err
	}
	inputs := map[string]*ops.Tensor{}
	for i, in := range model.Graph.Input {
		data, ints := elements(c.Input[i])
		if in.Type.GetTensorType().GetElemType() == int32(onnxpb.TensorProto_INT64) && ints == nil { // two cases hold them as floats
			for _, v := range data {
				ints = append(ints, int64(v))
			}
		}
		if ints == nil {
			inputs[in.GetName()] = &ops.Tensor{Type: ir.T(ir.F32, c.Input[i].Shape()...), Data: data}
			continue
		}
		// Shapes, axes and the like must be known when a file is read.
		known := &onnxpb.TensorProto{Name: in.Name, DataType: proto.Int32(int32(onnxpb.TensorProto_INT64)), Int64Data: ints}
		for _, d := range c.Input[i].Shape() {
			known.Dims = append(known.Dims, int64(d))
		}
		model.Graph.Initializer = append(model.Graph.Initializer, known)
	}
	file, err := proto.Marshal(model)
	if err != nil {
		return err
	}
	network, err := reader.Read(file, reader.Options{})
	if err != nil {
		return err
	}
	variables := ops.Variables(network.Module)
	for name, v := range variables {
		for i, x := range network.Values[name] {
			v.Data[i] = float64(x)
		}
	}
	results, err := ops.Run(network.Module.Program(reader.Program), variables, inputs)
	if err != nil {
		return err
	}
	for i, out := range model.Graph.Output {
		if err := equal(results[out.GetName()], c.ExpectedOutput[i]); err != nil {
			return fmt.Errorf("output %s: %w", out.GetName(), err)
		}
	}
	return nil
}

// elements returns the elements of a case's tensor, as integers too where they are.
func elements(t tensor.Tensor) (floats []float64, ints []int64) {
	switch data := t.Data().(type) {
	case []float32:
		for _, v := range data {
			floats = append(floats, float64(v))
		}
	case float32:
		floats = []float64{float64(data)}
	case []float64:
		floats = data
	case []int64:
		ints = data
	case int64:
		ints = []int64{data}
	case []int32:
		for _, v := range data {
			ints = append(ints, int64(v))
		}
	}
	return floats, ints
}

func equal(got *ops.Tensor, expected tensor.Tensor) error {
	want, _ := elements(expected)
	if got == nil || !slices.Equal(got.Type.Shape, []int(expected.Shape())) || len(want) != len(got.Data) {
		return fmt.Errorf("got %v, want shape %v with %d elements", got, expected.Shape(), len(want))
	}
	for i := range want {
		if !(math.Abs(got.Data[i]-want[i]) <= 1e-5+1e-5*math.Abs(want[i])) {
			return fmt.Errorf("element %d: got %v, want %v", i, got.Data[i], want[i])
		}
	}
	return nil
}

// conformanceModels are the files of the cases that are small.
func conformanceModels() (files [][]byte) {
	for _, c := range testbackend.GetAllRegisteredTests() {
		if model := c().ModelB; len(model) < 4096 {
			files = append(files, model)
		}
	}
	return files
}
