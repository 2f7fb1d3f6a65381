package onnxtest

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/owulveryck/onnx-go/backend/testbackend"
	_ "github.com/owulveryck/onnx-go/backend/testbackend/onnx" // registers the cases
	"google.golang.org/protobuf/proto"
	"gorgonia.org/tensor"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
)

// ConformanceCase is one of ONNX's own conformance cases.
type ConformanceCase struct {
	Title string
	File  []byte
	Case
}

// Conformance returns the conformance cases of ONNX that onnx-go brings along (opsets 9 and 10), by title. Inputs that
// are shapes, axes and the like are constants of the file, for dartsc wants to know them when it reads it.
func Conformance() ([]ConformanceCase, error) {
	var cases []ConformanceCase
	for _, registered := range testbackend.GetAllRegisteredTests() {
		c, err := conformance(registered())
		if err != nil {
			return nil, err
		}
		cases = append(cases, c)
	}
	slices.SortFunc(cases, func(a, b ConformanceCase) int { return cmp.Compare(a.Title, b.Title) })
	return cases, nil
}

func conformance(registered *testbackend.TestCase) (ConformanceCase, error) {
	c := ConformanceCase{Title: registered.Title, Case: Case{Inputs: map[string]*ops.Tensor{}, Expected: map[string]*ops.Tensor{}}}
	model := &onnxpb.ModelProto{}
	if err := proto.Unmarshal(registered.ModelB, model); err != nil {
		return c, fmt.Errorf("%s: %w", c.Title, err)
	}
	for i, in := range model.Graph.Input {
		data, ints := elements(registered.Input[i])
		if in.Type.GetTensorType().GetElemType() == int32(onnxpb.TensorProto_INT64) && ints == nil { // two cases hold them as floats
			for _, v := range data {
				ints = append(ints, int64(v))
			}
		}
		if ints == nil {
			c.Inputs[in.GetName()] = &ops.Tensor{Type: ir.T(ir.F32, registered.Input[i].Shape()...), Data: data}
			continue
		}
		known := &onnxpb.TensorProto{Name: in.Name, DataType: proto.Int32(int32(onnxpb.TensorProto_INT64)), Int64Data: ints}
		for _, d := range registered.Input[i].Shape() {
			known.Dims = append(known.Dims, int64(d))
		}
		model.Graph.Initializer = append(model.Graph.Initializer, known)
	}
	for i, out := range model.Graph.Output {
		if i < len(registered.ExpectedOutput) {
			data, _ := elements(registered.ExpectedOutput[i])
			c.Expected[out.GetName()] = &ops.Tensor{Type: ir.T(ir.F32, registered.ExpectedOutput[i].Shape()...), Data: data}
		}
	}
	var err error
	c.File, err = proto.Marshal(model)
	return c, err
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

// Check compares the results of a case with what it expects.
func (c ConformanceCase) Check(results map[string]*ops.Tensor) error {
	for name, want := range c.Expected {
		got := results[name]
		if got == nil || !slices.Equal(got.Type.Shape, want.Type.Shape) || len(want.Data) != len(got.Data) {
			return fmt.Errorf("output %s: got %v, want shape %v with %d elements", name, got, want.Type.Shape, len(want.Data))
		}
		for i := range want.Data {
			if !(math.Abs(got.Data[i]-want.Data[i]) <= 1e-5+1e-5*math.Abs(want.Data[i])) {
				return fmt.Errorf("output %s, element %d: got %v, want %v", name, i, got.Data[i], want.Data[i])
			}
		}
	}
	return nil
}
