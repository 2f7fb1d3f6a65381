package main

import (
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// exponential are the kernels on rows that are made of the exponential function, which is 2ⁿ·e^r with n the nearest
// integer to x/ln 2 and e^r by its Taylor series, |r| ≤ ln 2/2. Errors are a few units in the last place.
func (t *numbers) exponential() {
	type vec = reg.VecVirtual
	s := t.set
	s.row("expRow", 1, 1, "computes exp(x + a).", func(load func(int) vec, a, _ vec) vec {
		x := load(0)
		VADDPS(a, x, x)
		return t.exp(x)
	})
	s.row("sigmoidRow", 1, 0, "computes 1/(1+exp(-x)).", func(load func(int) vec, _, _ vec) vec {
		x, negative := load(0), s.zeros(1)[0]
		VSUBPS(x, negative, negative)
		y := t.exp(negative)
		VADDPS(t.number(1), y, y)
		one := t.number(1)
		VDIVPS(y, one, one)
		return one
	})
	s.row("tanhRow", 1, 0, "computes tanh x: by its series near 0, and else as ±(1 - 2/(exp(2|x|)+1)).", func(load func(int) vec, _, _ vec) vec {
		x := load(0)
		return t.tanh(x)
	})
}

// constants of these kernels, which are broadcast where they are used: there are more of them than registers.
var exponentialNumbers = []float32{
	1, 2, 0.5, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, // of the exponential's series
	89, -104, decayEnd, 1 / math.Ln2, magic, ln2High, ln2Low,
	-1.0 / 3, 2.0 / 15, -17.0 / 315, 62.0 / 2835, -1382.0 / 155925, near, float32(math.Copysign(0, -1)), // of tanh
}

const (
	decayEnd = -86
	magic    = 1.5 * (1 << 23) // added, it leaves the nearest integer in the lowest bits
	ln2High  = 0.693359375     // ln 2 in two parts, the first of few bits
	ln2Low   = -2.12194440e-4
	near     = 0.35 // where the series of tanh ends
)

// numbers is the table of the constants.
type numbers struct {
	*set
	table Mem
}

func (s *set) numbers() *numbers {
	t := &numbers{s, GLOBL("numbers"+s.suffix, attr.RODATA|attr.NOPTR)}
	for i, v := range exponentialNumbers {
		DATA(4*i, U32(math.Float32bits(v)))
	}
	return t
}

// number is a new register with a constant in all lanes.
func (t *numbers) number(v float32) reg.VecVirtual {
	for i, known := range exponentialNumbers {
		if math.Float32bits(known) == math.Float32bits(v) {
			return t.broadcast(t.table.Offset(4 * i))
		}
	}
	panic("gen: a number that is not in the table")
}

// exp changes x. Its scale 2ⁿ is two factors, so that it reaches infinity and the subnormal numbers.
func (t *numbers) exp(x reg.VecVirtual) reg.VecVirtual {
	// Where x is NaN, these give their second source.
	VMINPS(x, t.number(89), x)
	VMAXPS(x, t.number(-104), x)
	y, n, shift := t.series(x)
	half := t.vector()
	VPSUBD(shift, n, n) // the integer, since both have one exponent
	VPSRAD(U8(1), n, half)
	VPSUBD(half, n, n)
	for _, part := range []reg.VecVirtual{half, n} {
		VPSLLD(U8(23), part, part)
		one := t.number(1)
		VPADDD(one, part, part) // the bits of 1 and an exponent more
		VMULPS(part, y, y)
	}
	return y
}

// series changes x to r. It returns e^r, and the integer n as the lowest bits of a number, and that number for n = 0.
func (t *numbers) series(x reg.VecVirtual) (y, n, shift reg.VecVirtual) {
	n, shift = t.number(1/math.Ln2), t.number(magic)
	VFMADD213PS(shift, x, n) // x/ln 2 + magic
	whole := t.vector()
	VSUBPS(shift, n, whole)
	VFNMADD231PS(t.number(ln2High), whole, x)
	VFNMADD231PS(t.number(ln2Low), whole, x)
	y = t.number(1.0 / 5040)
	for _, c := range []float32{1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1, 1} {
		VFMADD213PS(t.number(c), x, y)
	}
	return y, n, shift
}

func (t *numbers) tanh(x reg.VecVirtual) reg.VecVirtual {
	double := t.vector()
	VANDNPS(x, t.number(float32(math.Copysign(0, -1))), double)
	VADDPS(double, double, double) // 2|x|
	y := t.exp(double)
	VADDPS(t.number(1), y, y)
	two := t.number(2)
	VDIVPS(y, two, two)
	far := t.number(1)
	VSUBPS(two, far, far)
	return t.nearTanh(x, far)
}

// nearTanh returns tanh x given tanh |x| where x is not near 0. It changes that.
func (t *numbers) nearTanh(x, far reg.VecVirtual) reg.VecVirtual {
	minus, size := t.number(float32(math.Copysign(0, -1))), t.vector()
	VANDNPS(x, minus, size) // |x|
	sign := t.vector()
	VANDPS(minus, x, sign)
	VORPS(sign, far, far)
	square := t.vector()
	VMULPS(x, x, square)
	series := t.number(-1382.0 / 155925)
	for _, c := range []float32{62.0 / 2835, -17.0 / 315, 2.0 / 15, -1.0 / 3} {
		VFMADD213PS(t.number(c), square, series)
	}
	VMULPS(square, series, series)
	VFMADD213PS(x, x, series) // x³·series + x
	t.choose(t.where(less, size, t.number(near)), series, far)
	return far
}
