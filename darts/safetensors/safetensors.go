// Package safetensors reads and writes tensors in the safetensors layout: an 8-byte little-endian header length, a JSON
// header that names each tensor with its element type, shape and place, and the raw little-endian values.
//
// Reading is strict. A file is taken only if its header accounts for every byte after it, in order and without overlap,
// and no more memory is used than the bytes that are really there justify. Writing is deterministic: the same tensors in
// the same order give the same bytes. The package knows nothing of what the tensors mean.
package safetensors

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The element types with a name here are those that dartsc computes with; the others are carried as bytes.
const (
	F64  = "F64"
	F32  = "F32"
	F16  = "F16"
	BF16 = "BF16"
	I64  = "I64"
	I32  = "I32"
	I16  = "I16"
	I8   = "I8"
	U8   = "U8"
	Bool = "BOOL"
)

// elementSize is the width of each element type in bytes.
var elementSize = map[string]int{
	F64: 8, F32: 4, F16: 2, BF16: 2,
	I64: 8, I32: 4, I16: 2, I8: 1, "U64": 8, "U32": 4, "U16": 2, U8: 1, Bool: 1,
	"F8_E5M2": 1, "F8_E4M3": 1,
}

// Tensor is a named array: the values of Shape in row-major order, little-endian in Data. A scalar has an empty shape.
type Tensor struct {
	Name  string
	DType string
	Shape []int
	Data  []byte
}

// File is what a safetensors file holds.
type File struct {
	Metadata map[string]string // nil where the file has none
	Tensors  []Tensor          // in the order of their data

	index map[string]int
}

// Lookup finds a tensor by its name.
func (f *File) Lookup(name string) (Tensor, bool) {
	i, ok := f.index[name]
	if !ok {
		return Tensor{}, false
	}
	return f.Tensors[i], true
}

// Elements is the number of values that the shape asks for.
func (t Tensor) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// check holds a tensor's data against its type and shape.
func (t Tensor) check() error {
	want, err := byteLength(t.DType, t.Shape)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	if want != len(t.Data) {
		return fmt.Errorf("tensor %q: shape %s of %s is %d bytes, the data has %d", t.Name, shapeText(t.Shape), t.DType, want, len(t.Data))
	}
	return nil
}

// byteLength is the size of a tensor's data; a product that does not fit an int is an error, so that a header cannot
// wrap a huge shape round to a small size.
func byteLength(dtype string, shape []int) (int, error) {
	n, ok := elementSize[dtype]
	if !ok {
		return 0, fmt.Errorf("unknown element type %q", dtype)
	}
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %s has a negative dimension", shapeText(shape))
		}
		if d > 0 && n > math.MaxInt/d {
			return 0, fmt.Errorf("shape %s of %s is too large", shapeText(shape), dtype)
		}
		n *= d
	}
	return n, nil
}

func shapeText(shape []int) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, d := range shape {
		if i == 8 {
			b.WriteString(",…")
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(d))
	}
	b.WriteByte(']')
	return b.String()
}
