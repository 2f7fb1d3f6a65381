package reader_test

import (
	"strings"
	"testing"

	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx/onnxtest"
	"github.com/dartsc/dartsc/ops/onnx/reader"
)

// TestConformance runs the conformance cases of ONNX in the reference interpreter. Every case of an operation that is
// read must pass, or be refused for the reason that stands in refused.
func TestConformance(t *testing.T) {
	passed, refusedCases, unknown := 0, 0, 0
	cases, err := onnxtest.Conformance()
	if err != nil || len(cases) != 348 {
		t.Fatalf("%d cases, want 348; error %v", len(cases), err)
	}
	used := map[string]bool{}
	for _, c := range cases {
		t.Run(c.Title, func(t *testing.T) {
			err := conforms(c)
			switch reason := refused[c.Title]; {
			case err != nil && strings.Contains(err.Error(), "unsupported operations"):
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
func conforms(c onnxtest.ConformanceCase) error {
	network, err := reader.Read(c.File, reader.Options{})
	if err != nil {
		return err
	}
	variables := ops.Variables(network.Module)
	for name, v := range variables {
		for i, x := range network.Values[name] {
			v.Data[i] = float64(x)
		}
	}
	results, err := ops.Run(network.Module.Program(reader.Program), variables, c.Inputs)
	if err != nil {
		return err
	}
	return c.Check(results)
}

// conformanceModels are the files of the cases that are small.
func conformanceModels(t testing.TB) (files [][]byte) {
	cases, err := onnxtest.Conformance()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if len(c.File) < 4096 {
			files = append(files, c.File)
		}
	}
	return files
}
