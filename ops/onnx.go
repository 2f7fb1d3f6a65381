package ops

import "github.com/dartsc/dartsc/ir"

// ONNXFunc writes an operation as ONNX nodes (opset 17).
type ONNXFunc func(e Exporter, op *ir.Op) error

// Exporter is what an entry of the table needs to write itself as ONNX. Package ops/onnx implements it.
type Exporter interface {
	// Name returns the ONNX name of a value.
	Name(v *ir.Value) string
	// Source returns the value of the program that an input of a loop's body stands for, or the value itself.
	Source(v *ir.Value) *ir.Value
	// Constant adds an initializer and returns its name.
	Constant(t ir.Type, data []float64) string
	// Node adds a node whose outputs are the given values.
	Node(opType string, inputs []string, outputs []*ir.Value, attrs ...ir.Attr)
}

// onnxNode writes an operation as the one ONNX node of that type, operands in order.
func onnxNode(opType string, attrs ...ir.Attr) ONNXFunc {
	return func(e Exporter, op *ir.Op) error {
		inputs := make([]string, len(op.Operands))
		for i, v := range op.Operands {
			inputs[i] = e.Name(v)
		}
		e.Node(opType, inputs, op.Results, attrs...)
		return nil
	}
}

// onnxNamed returns what writes a node of one result of a type, and gives the result's name.
func onnxNamed(e Exporter, t ir.Type) func(opType string, inputs ...string) string {
	return func(opType string, inputs ...string) string {
		v := &ir.Value{Type: t}
		e.Node(opType, inputs, values(v))
		return e.Name(v)
	}
}

// onnxSum makes the result of an operation the sum of terms.
func onnxSum(e Exporter, terms []string, op *ir.Op) error {
	opType := "Sum"
	if len(terms) == 1 {
		opType = "Identity"
	}
	e.Node(opType, terms, op.Results)
	return nil
}

// onnxInts adds a list of integers as an initializer.
func onnxInts(e Exporter, list []int) string {
	data := make([]float64, len(list))
	for i, v := range list {
		data[i] = float64(v)
	}
	return e.Constant(ir.T(ir.I64, len(list)), data)
}

// Most operations of a training step have no place in an exported network.
const trainingOnly = "appears only in training programs, which are not exported"
