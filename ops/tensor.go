package ops

import (
	"fmt"
	"math"

	"github.com/dartsc/dartsc/ir"
)

// Tensor is a value of the reference interpreter: row-major in the order of its shape, every element type held in
// float64 (integers are exact up to 2^53).
type Tensor struct {
	Type ir.Type
	Data []float64
}

// NewTensor returns a tensor of zeros.
func NewTensor(t ir.Type) *Tensor {
	return &Tensor{Type: t, Data: make([]float64, t.Elements())}
}

// FromSlice wraps data, which must have as many elements as the type.
func FromSlice(t ir.Type, data []float64) (*Tensor, error) {
	if len(data) != t.Elements() {
		return nil, fmt.Errorf("%d elements for a value of type %s", len(data), t)
	}
	return &Tensor{Type: t, Data: data}, nil
}

// Scalar returns a tensor of rank 0.
func Scalar(dtype ir.DType, v float64) *Tensor {
	return &Tensor{Type: ir.T(dtype), Data: []float64{v}}
}

// Clone copies the tensor.
func (t *Tensor) Clone() *Tensor {
	return &Tensor{Type: t.Type, Data: append([]float64(nil), t.Data...)}
}

// Difference is the largest difference of two tensors of one shape, relative to the largest element of want; NaN where
// either has one.
func (t *Tensor) Difference(want *Tensor) float64 {
	most, scale := 0.0, 1e-30
	for i, w := range want.Data {
		most, scale = max(most, math.Abs(t.Data[i]-w)), max(scale, math.Abs(w))
	}
	return most / scale
}

// strides are the row-major distances of neighbours along each dimension.
func strides(shape []int) []int {
	s := make([]int, len(shape))
	n := 1
	for i := len(shape) - 1; i >= 0; i-- {
		s[i] = n
		n *= shape[i]
	}
	return s
}

// each calls f with every index of the shape, in row-major order; the slice is reused.
func each(shape []int, f func(position int, index []int)) {
	index := make([]int, len(shape))
	total := 1
	for _, d := range shape {
		total *= d
	}
	for p := range total {
		f(p, index)
		for i := len(shape) - 1; i >= 0; i-- {
			if index[i]++; index[i] < shape[i] {
				break
			}
			index[i] = 0
		}
	}
}

func dot(index, strides []int) int {
	sum := 0
	for i, v := range index {
		sum += v * strides[i]
	}
	return sum
}
