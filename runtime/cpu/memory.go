package cpu

import (
	"unsafe"

	"github.com/dartsc/dartsc/compiler/plan"
)

// alignment of both spaces: a cache line, and the widest vector.
const alignment = 64

// aligned returns size bytes of ordinary memory that start at a cache line.
func aligned(size int) []byte {
	data := make([]byte, size+alignment)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(data))) % alignment
	return data[skip : int(skip)+size : int(skip)+size]
}

// view returns a tensor's memory as a slice of its type. The plan has been checked: the bytes are there and aligned.
func view[T any](space []byte, t plan.Tensor, offset int64) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(&space[offset])), t.Elements())
}

// view32 returns memory as float32.
func view32(data []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/4)
}

// wide64 and narrow64 see memory as numbers of the other size.
func wide64(data []float32) []float64 {
	return unsafe.Slice((*float64)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/2)
}

func narrow64(data []float64) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(data))), 2*len(data))
}
