package reader

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/dartsc/dartsc/internal/half"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
)

// constant is a tensor of the file, or one computed from such, row-major: integers and booleans in ints, everything
// else as f32.
type constant struct {
	shape  []int
	floats []float32
	ints   []int64
	whole  bool // the elements are ints

	equal *bool // whether all elements are, once somebody has asked
}

// Limits of what a file may ask for.
const (
	largestRank     = 16
	largestConstant = 1 << 29 // elements of a tensor in the file
	largestComputed = 1 << 24 // elements of one made from others

	// mostComputed is how many times as many elements as largestComputed, and as the file holds, all those may have
	// together that are made from others or become variables.
	mostComputed = 4
)

func integers(values ...int) *constant {
	c := &constant{shape: []int{len(values)}, whole: true}
	for _, v := range values {
		c.ints = append(c.ints, int64(v))
	}
	return c
}

func (c *constant) elements() int { return product(c.shape) }

func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// at is an element as a number.
func (c *constant) at(i int) float64 {
	if c.whole {
		return float64(c.ints[i])
	}
	return float64(c.floats[i])
}

// splat returns the one value that all elements have.
func (c *constant) splat() (float64, bool) {
	if c.elements() == 0 {
		return 0, false
	}
	if c.equal == nil {
		equal := true
		for i := range c.elements() {
			if c.at(i) != c.at(0) {
				equal = false
				break
			}
		}
		c.equal = &equal
	}
	return c.at(0), *c.equal
}

// numbers returns the elements of a list of integers.
func (c *constant) numbers(what string) ([]int, error) {
	if !c.whole || len(c.shape) > 1 {
		return nil, fmt.Errorf("%s is a constant of shape %v, want a list of integers", what, c.shape)
	}
	return bounded(c.ints, what)
}

// tensorOf reads a tensor of the file. Half, bfloat and double become f32, smaller integers i64.
func tensorOf(t *onnxpb.TensorProto) (*constant, error) {
	dtype := onnxpb.TensorProto_DataType(t.GetDataType())
	if t.GetDataLocation() == onnxpb.TensorProto_EXTERNAL || len(t.ExternalData) > 0 {
		return nil, fmt.Errorf("its data is in another file: save the model as one file (onnx.save_model with save_as_external_data=False)")
	}
	if len(t.Dims) > largestRank {
		return nil, fmt.Errorf("has %d dimensions, want at most %d", len(t.Dims), largestRank)
	}
	c, n := &constant{shape: make([]int, len(t.Dims))}, 1
	for i, d := range t.Dims {
		if d < 0 || d > largestConstant || n > 0 && d > int64(largestConstant/n) {
			return nil, fmt.Errorf("has shape %v, want at most %d elements", t.Dims, largestConstant)
		}
		c.shape[i] = int(d)
		n *= int(d)
	}
	size := elementSizes[dtype]
	if size == 0 {
		return nil, fmt.Errorf("has element type %s: want floating-point numbers, integers or booleans", dtype)
	}
	if c.whole = !isFloat(dtype); c.whole {
		return c, c.readInts(t, dtype, size, n)
	}
	return c, c.readFloats(t, dtype, size, n)
}

var elementSizes = map[onnxpb.TensorProto_DataType]int{
	onnxpb.TensorProto_FLOAT: 4, onnxpb.TensorProto_DOUBLE: 8, onnxpb.TensorProto_FLOAT16: 2, onnxpb.TensorProto_BFLOAT16: 2,
	onnxpb.TensorProto_BOOL: 1, onnxpb.TensorProto_UINT8: 1, onnxpb.TensorProto_INT8: 1, onnxpb.TensorProto_UINT16: 2, onnxpb.TensorProto_INT16: 2,
	onnxpb.TensorProto_INT32: 4, onnxpb.TensorProto_UINT32: 4, onnxpb.TensorProto_INT64: 8, onnxpb.TensorProto_UINT64: 8,
}

func isFloat(dtype onnxpb.TensorProto_DataType) bool {
	switch dtype {
	case onnxpb.TensorProto_FLOAT, onnxpb.TensorProto_DOUBLE, onnxpb.TensorProto_FLOAT16, onnxpb.TensorProto_BFLOAT16:
		return true
	}
	return false
}

// rawData checks that the bytes of a tensor are there, or that its list of so many elements is.
func rawData(t *onnxpb.TensorProto, size, n, listed int) ([]byte, error) {
	raw := t.GetRawData()
	switch {
	case len(raw) == n*size:
		return raw, nil
	case len(raw) == 0 && listed == n:
		return nil, nil
	case len(raw) > 0:
		return nil, fmt.Errorf("has shape %v and %d bytes, want %d", t.Dims, len(raw), n*size)
	}
	return nil, fmt.Errorf("has shape %v and %d elements, want %d", t.Dims, listed, n)
}

func (c *constant) readFloats(t *onnxpb.TensorProto, dtype onnxpb.TensorProto_DataType, size, n int) error {
	listed := map[onnxpb.TensorProto_DataType]int{
		onnxpb.TensorProto_FLOAT: len(t.FloatData), onnxpb.TensorProto_DOUBLE: len(t.DoubleData),
		onnxpb.TensorProto_FLOAT16: len(t.Int32Data), onnxpb.TensorProto_BFLOAT16: len(t.Int32Data),
	}[dtype]
	raw, err := rawData(t, size, n, listed)
	if err != nil {
		return err
	}
	c.floats = make([]float32, n)
	for i := range c.floats {
		switch dtype {
		case onnxpb.TensorProto_FLOAT:
			if raw == nil {
				c.floats[i] = t.FloatData[i]
			} else {
				c.floats[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
			}
		case onnxpb.TensorProto_DOUBLE:
			if raw == nil {
				c.floats[i] = float32(t.DoubleData[i])
			} else {
				c.floats[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:])))
			}
		default:
			var bits uint16
			if raw == nil {
				bits = uint16(t.Int32Data[i])
			} else {
				bits = binary.LittleEndian.Uint16(raw[2*i:])
			}
			if dtype == onnxpb.TensorProto_BFLOAT16 {
				c.floats[i] = math.Float32frombits(uint32(bits) << 16)
			} else {
				c.floats[i] = float32(half.Float64(bits))
			}
		}
	}
	return nil
}

func (c *constant) readInts(t *onnxpb.TensorProto, dtype onnxpb.TensorProto_DataType, size, n int) error {
	listed := len(t.Int32Data)
	switch dtype {
	case onnxpb.TensorProto_INT64:
		listed = len(t.Int64Data)
	case onnxpb.TensorProto_UINT32, onnxpb.TensorProto_UINT64:
		listed = len(t.Uint64Data)
	}
	raw, err := rawData(t, size, n, listed)
	if err != nil {
		return err
	}
	c.ints = make([]int64, n)
	for i := range c.ints {
		switch {
		case raw != nil:
			c.ints[i] = intAt(raw[i*size:], dtype)
		case dtype == onnxpb.TensorProto_INT64:
			c.ints[i] = t.Int64Data[i]
		case dtype == onnxpb.TensorProto_UINT32, dtype == onnxpb.TensorProto_UINT64:
			c.ints[i] = int64(t.Uint64Data[i])
		default:
			c.ints[i] = int64(t.Int32Data[i])
		}
	}
	return nil
}

func intAt(raw []byte, dtype onnxpb.TensorProto_DataType) int64 {
	switch dtype {
	case onnxpb.TensorProto_INT8:
		return int64(int8(raw[0]))
	case onnxpb.TensorProto_UINT16:
		return int64(binary.LittleEndian.Uint16(raw))
	case onnxpb.TensorProto_INT16:
		return int64(int16(binary.LittleEndian.Uint16(raw)))
	case onnxpb.TensorProto_INT32:
		return int64(int32(binary.LittleEndian.Uint32(raw)))
	case onnxpb.TensorProto_UINT32:
		return int64(binary.LittleEndian.Uint32(raw))
	case onnxpb.TensorProto_INT64, onnxpb.TensorProto_UINT64:
		return int64(binary.LittleEndian.Uint64(raw))
	}
	return int64(raw[0])
}

// shortest is the number that was meant by a float32: 1e-5, and not the nearest float32 to it.
func shortest(v float32) float64 {
	out, err := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
	if err != nil {
		return float64(v)
	}
	return out
}

// irType is the type of the constant as a value.
func (c *constant) irType() ir.Type { return ir.Type{DType: ir.F32, Shape: c.shape} }
