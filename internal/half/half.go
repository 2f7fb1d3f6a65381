// Package half converts IEEE 754 binary16 numbers: 1 sign bit, 5 exponent bits with bias 15, 10 fraction bits.
package half

import "math"

// Float64 widens a half, exactly.
func Float64(h uint16) float64 {
	exponent, fraction := int(h>>10&0x1f), float64(h&0x3ff)
	var magnitude float64
	switch {
	case exponent == 0: // zero and the subnormal numbers
		magnitude = math.Ldexp(fraction, -24)
	case exponent < 0x1f:
		magnitude = math.Ldexp(fraction+1024, exponent-25)
	case fraction == 0:
		magnitude = math.Inf(1)
	default:
		return math.NaN()
	}
	if h&0x8000 != 0 {
		return math.Copysign(magnitude, -1)
	}
	return magnitude
}

// Round returns the half nearest to v, of two equally near the one whose last bit is 0; what is too large becomes
// infinite.
func Round(v float32) uint16 {
	const infinity, quiet = 0x7c00, 0x7e00
	bits := math.Float32bits(v)
	sign := uint16(bits >> 16 & 0x8000)
	magnitude := bits &^ (1 << 31)
	switch {
	case magnitude > 0x7f800000:
		return sign | quiet
	case magnitude >= 0x477ff000: // 65520, halfway between the largest half and the next power of two
		return sign | infinity
	case magnitude >= 0x38800000: // 2^-14, the smallest normal half
		odd := magnitude >> 13 & 1
		return sign | uint16((magnitude-(112<<23)+0xfff+odd)>>13)
	}
	// Subnormal: a multiple of 2^-24, which Float32 addition rounds to.
	return sign | uint16(math.Float32bits(math.Float32frombits(magnitude)+0.5)-math.Float32bits(0.5))
}
