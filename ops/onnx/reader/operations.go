package reader

import "math"

// translation is how an operation of ONNX becomes one or several of the IR.
type translation struct {
	least, most int    // inputs
	attrs       string // the attributes it may have
	run         func(t *translator, n *node) ([]*value, error)
}

// many is no limit to the number of inputs.
const many = math.MaxInt

// operations are all operations that are read, by ONNX's name. It is filled by init, because translations ask for it
// in turn.
var operations map[string]translation

func init() {
	operations = map[string]translation{
		// convolution and normalisation
		"Conv":               {2, 3, "auto_pad dilations group kernel_shape pads strides", convolution},
		"BatchNormalization": {5, 5, "epsilon momentum spatial training_mode", batchNormalization},
		// pooling
		"MaxPool":           {1, 1, "auto_pad ceil_mode dilations kernel_shape pads storage_order strides", maxPool},
		"AveragePool":       {1, 1, "auto_pad ceil_mode count_include_pad dilations kernel_shape pads strides", averagePool},
		"GlobalAveragePool": {1, 1, "", globalAveragePool},
		"GlobalMaxPool":     {1, 1, "", globalMaxPool},
		// matrices
		"Gemm":   {2, 3, "alpha beta transA transB", gemm},
		"MatMul": {2, 2, "", matMul},
		// arithmetic
		"Add": {2, 2, "", arithmetic("add")}, "Sub": {2, 2, "", arithmetic("sub")},
		"Mul": {2, 2, "", arithmetic("mul")}, "Div": {2, 2, "", arithmetic("div")},
		"Sum":  {1, many, "", sum},
		"Relu": {1, 1, "", unary("relu")}, "Sigmoid": {1, 1, "", unary("sigmoid")}, "Tanh": {1, 1, "", unary("tanh")},
		"Exp": {1, 1, "", unary("exp")}, "Log": {1, 1, "", unary("log")}, "Sqrt": {1, 1, "", unary("sqrt")}, "Neg": {1, 1, "", unary("neg")},
		"LeakyRelu": {1, 1, "alpha", leakyRelu},
		"Clip":      {1, 3, "max min", clip},
		"Softmax":   {1, 1, "axis", softmax}, "LogSoftmax": {1, 1, "axis", logSoftmax},
		// reductions
		"ReduceMean": {1, 2, "axes keepdims noop_with_empty_axes", reduction("reduce_mean")},
		"ReduceSum":  {1, 2, "axes keepdims noop_with_empty_axes", reduction("reduce_sum")},
		// what only says something of training
		"Identity": {1, 1, "", identity},
		"Dropout":  {1, 3, "ratio seed", dropout},
		"Cast":     {1, 1, "saturate to", cast},
		// shape
		"Reshape": {2, 2, "allowzero", reshape}, "Flatten": {1, 1, "axis", flatten}, "Transpose": {1, 1, "perm", transpose},
		"Squeeze": {1, 2, "axes", squeeze}, "Unsqueeze": {1, 2, "axes", unsqueeze},
		"Concat": {1, many, "axis", concat}, "Split": {1, 2, "axis num_outputs split", split},
		"Slice":  {1, 5, "axes ends starts", slice},
		"Pad":    {1, 4, "mode pads value", pad},
		"Expand": {2, 2, "", expand},
		// what files compute shapes with
		"Shape":           {1, 1, "end start", shape},
		"Gather":          {2, 2, "axis", gather},
		"ConstantOfShape": {1, 1, "value", constantOfShape},
	}
}
