package onnx

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/dartsc/dartsc/internal/half"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
)

var dataTypes = map[ir.DType]onnxpb.TensorProto_DataType{
	ir.Bool: onnxpb.TensorProto_BOOL, ir.U8: onnxpb.TensorProto_UINT8, ir.I32: onnxpb.TensorProto_INT32, ir.I64: onnxpb.TensorProto_INT64,
	ir.BF16: onnxpb.TensorProto_BFLOAT16, ir.F32: onnxpb.TensorProto_FLOAT, ir.F64: onnxpb.TensorProto_DOUBLE,
}

// variable returns the name of a variable's initializer, writing it at the first use.
func (e *exporter) variable(v *ir.Variable) string {
	if name := e.initializers[v]; name != "" {
		return name
	}
	data := e.floats(v)
	if e.err != nil {
		return v.Name
	}
	name := e.weight(v.Name, v.Type, data)
	e.initializers[v] = name
	return name
}

// floats returns a copy of a variable's value.
func (e *exporter) floats(v *ir.Variable) []float64 {
	value, ok := e.variables[v.Name]
	switch {
	case !ok:
		e.fail(fmt.Errorf("variable %s has no value", v.Name))
	case v.Type.DType != ir.F32:
		e.fail(fmt.Errorf("variable %s is %s, only f32 is exported", v.Name, v.Type))
	case len(value) != v.Type.Elements():
		e.fail(fmt.Errorf("variable %s is %s, its value has %d elements", v.Name, v.Type, len(value)))
	}
	data := make([]float64, len(value))
	for i, f := range value {
		data[i] = float64(f)
	}
	return data
}

// weight adds a tensor of f32 under that name, or the next free one, which it returns: in half precision with a Cast
// behind it where that is asked for.
func (e *exporter) weight(name string, t ir.Type, data []float64) string {
	if !e.half || len(t.Shape) < 2 {
		return e.initializer(name, t, data)
	}
	raw := make([]byte, 0, 2*len(data))
	for i, v := range data {
		h := half.Round(float32(v))
		if math.IsInf(half.Float64(h), 0) && !math.IsInf(v, 0) {
			e.fail(fmt.Errorf("element %d of %s is %v, which half precision does not hold", i, name, v))
		}
		raw = binary.LittleEndian.AppendUint16(raw, h)
	}
	name = unique(e.used, name)
	stored := unique(e.used, name+".half")
	e.graph.Initializer = append(e.graph.Initializer, &onnxpb.TensorProto{
		Name: proto.String(stored), Dims: int64s(t.Shape), DataType: proto.Int32(int32(onnxpb.TensorProto_FLOAT16)), RawData: raw,
	})
	e.node("Cast", []string{stored}, []string{name}, ir.A("to", int(onnxpb.TensorProto_FLOAT)))
	return name
}

// initializer adds a tensor under that name, or the next free one, which it returns.
func (e *exporter) initializer(name string, t ir.Type, data []float64) string {
	raw, err := encode(t.DType, data)
	e.fail(err)
	name = unique(e.used, name)
	e.graph.Initializer = append(e.graph.Initializer, &onnxpb.TensorProto{
		Name: proto.String(name), Dims: int64s(t.Shape), DataType: proto.Int32(int32(dataTypes[t.DType])), RawData: raw,
	})
	return name
}

// encode gives the little-endian bytes of a tensor.
func encode(dtype ir.DType, data []float64) ([]byte, error) {
	raw := make([]byte, 0, len(data)*dtype.Size())
	for _, v := range data {
		switch dtype {
		case ir.Bool, ir.U8:
			raw = append(raw, byte(v))
		case ir.I32:
			raw = binary.LittleEndian.AppendUint32(raw, uint32(int32(v)))
		case ir.I64:
			raw = binary.LittleEndian.AppendUint64(raw, uint64(int64(v)))
		case ir.F32:
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(v)))
		case ir.F64:
			raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(v))
		default:
			return nil, fmt.Errorf("tensors of %s are not exported", dtype)
		}
	}
	return raw, nil
}

// valueInfo is the type of a value.
func (e *exporter) valueInfo(name string, v *ir.Value) *onnxpb.ValueInfoProto {
	shape := &onnxpb.TensorShapeProto{}
	for i, d := range v.Type.Shape {
		dim := &onnxpb.TensorShapeProto_Dimension{}
		if symbol, varies := e.symbolic(v, i); !varies {
			dim.Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: int64(d)}
		} else if symbol != "" {
			dim.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: symbol}
		} // or some function of symbols, which has no name
		shape.Dim = append(shape.Dim, dim)
	}
	tensor := &onnxpb.TypeProto_Tensor{ElemType: proto.Int32(int32(dataTypes[v.Type.DType])), Shape: shape}
	return &onnxpb.ValueInfoProto{Name: proto.String(name), Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{TensorType: tensor}}}
}

// attribute is a constant of a node.
func (e *exporter) attribute(a ir.Attr) *onnxpb.AttributeProto {
	out := &onnxpb.AttributeProto{Name: proto.String(a.Name)}
	switch v := a.Value.(type) {
	case int:
		out.Type, out.I = onnxpb.AttributeProto_INT.Enum(), proto.Int64(int64(v))
	case float64:
		out.Type, out.F = onnxpb.AttributeProto_FLOAT.Enum(), proto.Float32(float32(v))
	case string:
		out.Type, out.S = onnxpb.AttributeProto_STRING.Enum(), []byte(v)
	case []int:
		out.Type, out.Ints = onnxpb.AttributeProto_INTS.Enum(), int64s(v)
	default:
		e.fail(fmt.Errorf("attribute %s has type %T: want int, float64, string or []int", a.Name, v))
	}
	return out
}

func int64s(list []int) []int64 {
	out := make([]int64, len(list))
	for i, v := range list {
		out[i] = int64(v)
	}
	return out
}
