package ir

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// DType is the element type of a value.
type DType uint8

// The element types. Invalid is the type of what a builder returns after an error.
const (
	Invalid DType = iota
	Bool
	U8
	I32
	I64
	BF16
	F32
	F64
)

var dtypes = [...]struct {
	name string
	size int
}{Invalid: {"invalid", 0}, Bool: {"bool", 1}, U8: {"u8", 1}, I32: {"i32", 4}, I64: {"i64", 8}, BF16: {"bf16", 2}, F32: {"f32", 4}, F64: {"f64", 8}}

// String returns the name of the type in the text form.
func (d DType) String() string {
	if int(d) < len(dtypes) {
		return dtypes[d].name
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// Size is the number of bytes of one element.
func (d DType) Size() int { return dtypes[d].size }

// Float says whether the type is a floating-point type.
func (d DType) Float() bool { return d == BF16 || d == F32 || d == F64 }

// ParseDType is the inverse of String.
func ParseDType(name string) (DType, error) {
	for d := Bool; int(d) < len(dtypes); d++ {
		if dtypes[d].name == name {
			return d, nil
		}
	}
	return Invalid, fmt.Errorf("unknown element type %q: want bool, u8, i32, i64, bf16, f32 or f64", name)
}

// Type is an element type and a static shape. A scalar has an empty shape.
type Type struct {
	DType DType
	Shape []int
}

// T returns the type with the given shape.
func T(dtype DType, shape ...int) Type { return Type{DType: dtype, Shape: shape} }

// Elements is the number of elements.
func (t Type) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Bytes is the number of bytes of a dense value of this type.
func (t Type) Bytes() int { return t.Elements() * t.DType.Size() }

// Equal says whether both types have the same element type and shape.
func (t Type) Equal(u Type) bool { return t.DType == u.DType && slices.Equal(t.Shape, u.Shape) }

// String returns the text form, for example f32[64,16,32,32].
func (t Type) String() string {
	var b strings.Builder
	b.WriteString(t.DType.String())
	b.WriteByte('[')
	for i, d := range t.Shape {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(d))
	}
	b.WriteByte(']')
	return b.String()
}

// Check reports what is wrong with a type: every dimension must be positive, and the value must fit in memory.
func (t Type) Check() error {
	if t.DType == Invalid || int(t.DType) >= len(dtypes) {
		return fmt.Errorf("invalid element type")
	}
	bytes := t.DType.Size()
	for _, d := range t.Shape {
		if d <= 0 {
			return fmt.Errorf("type %s: dimension %d is not positive", t, d)
		}
		if bytes > math.MaxInt/4/d {
			return fmt.Errorf("type %s is too large to address", t)
		}
		bytes *= d
	}
	return nil
}
