package runtime

import (
	"fmt"
	"unsafe"

	"github.com/dartsc/dartsc/compiler/plan"
)

// data is a caller's slice as bytes, with its element type.
type data struct {
	dtype    plan.DType
	elements int
	bytes    []byte
}

// dataOf looks into a caller's slice.
func dataOf(slice any) (data, error) {
	switch s := slice.(type) {
	case []float32:
		return data{plan.F32, len(s), bytesOf(s)}, nil
	case []int64:
		return data{plan.I64, len(s), bytesOf(s)}, nil
	case []int32:
		return data{plan.I32, len(s), bytesOf(s)}, nil
	case []uint8:
		return data{plan.U8, len(s), s}, nil
	}
	return data{}, fmt.Errorf("is a %T: want []float32, []int64, []int32 or []uint8", slice)
}

// dataFor is dataOf for a slice that must fit a tensor.
func dataFor(t *plan.Tensor, slice any) (data, error) {
	d, err := dataOf(slice)
	if err != nil {
		return d, err
	}
	if d.dtype != t.DType || d.elements != t.Elements() {
		return d, fmt.Errorf("is %d elements of %s: want %d of %s, shape %v", d.elements, d.dtype, t.Elements(), t.DType, t.Shape)
	}
	return d, nil
}

func bytesOf[T any](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	var element T
	return unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*int(unsafe.Sizeof(element)))
}

func sliceOf[T any](b []byte) []T {
	var element T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(element)))
}

// rowMajor says whether the memory order of a tensor is its logical order.
func rowMajor(t *plan.Tensor) bool {
	last := -1 // dimensions of one element may stand anywhere
	for _, axis := range t.Order {
		if t.Shape[axis] == 1 {
			continue
		}
		if axis < last {
			return false
		}
		last = axis
	}
	return true
}

// arrange copies a tensor between logical row-major order and the order in memory. Both are 8-byte aligned.
func arrange(t *plan.Tensor, memory, logical []byte, toMemory bool) {
	switch t.DType.Size() {
	case 1:
		permute(t, memory, logical, toMemory)
	case 2:
		permute(t, sliceOf[uint16](memory), sliceOf[uint16](logical), toMemory)
	case 4:
		permute(t, sliceOf[uint32](memory), sliceOf[uint32](logical), toMemory)
	case 8:
		permute(t, sliceOf[uint64](memory), sliceOf[uint64](logical), toMemory)
	}
}

// maxRank is the most dimensions that a plan gives a tensor.
const maxRank = 16

// permute walks memory in order and keeps the logical position beside it.
func permute[T any](t *plan.Tensor, memory, logical []T, toMemory bool) {
	var size, stride, index [maxRank]int
	distance := 1
	rank := len(t.Shape)
	var logicalStride [maxRank]int
	for axis := rank - 1; axis >= 0; axis-- {
		logicalStride[axis] = distance
		distance *= t.Shape[axis]
	}
	for i, axis := range t.Order {
		size[i], stride[i] = t.Shape[axis], logicalStride[axis]
	}
	position := 0
	for i := range memory {
		if toMemory {
			memory[i] = logical[position]
		} else {
			logical[position] = memory[i]
		}
		for d := rank - 1; d >= 0; d-- {
			position += stride[d]
			if index[d]++; index[d] < size[d] {
				break
			}
			position -= size[d] * stride[d]
			index[d] = 0
		}
	}
}
