package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/dartsc/dartsc/internal/half"
)

// FromFloat64s makes an F64 tensor. A shape that does not fit the number of values is reported when it is encoded.
func FromFloat64s(name string, shape []int, values []float64) Tensor {
	data := make([]byte, 0, 8*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, math.Float64bits(v))
	}
	return Tensor{Name: name, DType: F64, Shape: slices.Clone(shape), Data: data}
}

// FromFloat32s makes an F32 tensor. A shape that does not fit the number of values is reported when it is encoded.
func FromFloat32s(name string, shape []int, values []float32) Tensor {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return Tensor{Name: name, DType: F32, Shape: slices.Clone(shape), Data: data}
}

// FromInt64s makes an I64 tensor. A shape that does not fit the number of values is reported when it is encoded.
func FromInt64s(name string, shape []int, values []int64) Tensor {
	data := make([]byte, 0, 8*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, uint64(v))
	}
	return Tensor{Name: name, DType: I64, Shape: slices.Clone(shape), Data: data}
}

// FromInt32s makes an I32 tensor. A shape that does not fit the number of values is reported when it is encoded.
func FromInt32s(name string, shape []int, values []int32) Tensor {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, uint32(v))
	}
	return Tensor{Name: name, DType: I32, Shape: slices.Clone(shape), Data: data}
}

// FromUint8s makes a U8 tensor. A shape that does not fit the number of values is reported when it is encoded.
func FromUint8s(name string, shape []int, values []uint8) Tensor {
	return Tensor{Name: name, DType: U8, Shape: slices.Clone(shape), Data: slices.Clone(values)}
}

// Float64s returns the values of a floating-point tensor; F32, F16 and BF16 widen exactly.
func (t Tensor) Float64s() ([]float64, error) {
	switch t.DType {
	case F64:
		return decode(t, F64, func(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) })
	case F32:
		return decode(t, F32, func(b []byte) float64 { return float64(float32FromBytes(b)) })
	case F16:
		return decode(t, F16, func(b []byte) float64 { return half.Float64(binary.LittleEndian.Uint16(b)) })
	case BF16:
		return decode(t, BF16, func(b []byte) float64 {
			return float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16))
		})
	}
	return nil, fmt.Errorf("tensor %q: has type %s, want F64, F32, F16 or BF16", t.Name, t.DType)
}

// Float32s returns the values of an F32 tensor.
func (t Tensor) Float32s() ([]float32, error) { return decode(t, F32, float32FromBytes) }

// Int64s returns the values of an I64 tensor.
func (t Tensor) Int64s() ([]int64, error) {
	return decode(t, I64, func(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) })
}

// Int32s returns the values of an I32 tensor.
func (t Tensor) Int32s() ([]int32, error) {
	return decode(t, I32, func(b []byte) int32 { return int32(binary.LittleEndian.Uint32(b)) })
}

// Uint8s returns the values of a U8 tensor; they are a copy.
func (t Tensor) Uint8s() ([]uint8, error) { return decode(t, U8, func(b []byte) uint8 { return b[0] }) }

func decode[T any](t Tensor, dtype string, value func([]byte) T) ([]T, error) {
	if t.DType != dtype {
		return nil, fmt.Errorf("tensor %q: has type %s, want %s", t.Name, t.DType, dtype)
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	size := elementSize[dtype]
	values := make([]T, len(t.Data)/size)
	for i := range values {
		values[i] = value(t.Data[i*size:])
	}
	return values, nil
}

func float32FromBytes(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }
