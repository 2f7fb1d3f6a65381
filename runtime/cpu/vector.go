package cpu

import "math"

// vector is the set of innermost loops that the hot kernels are made of. A set for an instruction set of the processor
// takes the place of the portable one; package tests hold each against the portable one.
//
// Rows are float32 in memory order. A depthwise row is pixels of so many channels: element p·channels + c.
type vector struct {
	// gemm computes c[i][j] = Σ a[i][l]·b[l][j] over m×n×k, or adds it to c. Rows of c and a are ldc and lda apart; b
	// comes from pack.
	gemm func(c []float32, ldc int, a []float32, lda int, b []float32, m, n, k int, add bool)
	// pack brings the k×n matrix with element (l, j) at b[l·row + j·column] into the order of gemm; dst has
	// packed(k, n) elements.
	pack   func(dst, b []float32, row, column, k, n int)
	packed func(k, n int) int
	// outer adds Σ a[i][p]·b[i][q] over m rows to c[p][q], of k×n. Rows are ldc, lda and ldb apart.
	outer func(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, k, n int)

	// depthwise adds Σ w[t][c]·x[p·step + t·dilation][c] over taps to y[p][c] for every output pixel.
	depthwise func(y, x, w []float32, s rowShape)
	// scatter is its transpose: it adds w[t][c]·g[p][c] to x[p·step + t·dilation][c].
	scatter func(x, g, w []float32, s rowShape)
	// correlate adds Σ g[p][c]·x[p·step + t·dilation][c] over pixels to w[t][c].
	correlate func(w, x, g []float32, s rowShape)

	relu     func(y, x []float32)                      // max(x, 0)
	axpy     func(y []float32, a float32, x []float32) // y += a·x
	scale    func(y []float32, a float32, x []float32) // y = a·x
	dot      func(x, y []float32) float64              // Σ x·y
	add      func(y, x []float32)                      // y += x
	multiply func(y []float32, a float32)              // y *= a
}

// rowShape is the shape of a depthwise row: pixels of the output (or cotangent) row, taps of the kernel's row.
type rowShape struct {
	channels, pixels, taps, step, dilation int
}

// span is the number of elements of the input row that the output row depends on.
func (s rowShape) span() int { return s.pixelSpan() * s.channels }

func (s rowShape) pixelSpan() int { return (s.pixels-1)*s.step + (s.taps-1)*s.dilation + 1 }

// vec is the set in use.
var vec = portable

var portable = vector{
	gemm: gemm, pack: pack, packed: packed, outer: outer,
	depthwise: depthwise, scatter: scatter, correlate: correlate,
	relu: relu, axpy: axpy, scale: scale, dot: dot, add: addTo, multiply: multiply,
}

func axpy(y []float32, a float32, x []float32) {
	x = x[:len(y)]
	for len(y) >= 4 && len(x) >= 4 {
		y[0] += a * x[0]
		y[1] += a * x[1]
		y[2] += a * x[2]
		y[3] += a * x[3]
		y, x = y[4:], x[4:]
	}
	for i := range y {
		y[i] += a * x[i]
	}
}

func scale(y []float32, a float32, x []float32) {
	x = x[:len(y)]
	for i := range y {
		y[i] = a * x[i]
	}
}

func multiply(y []float32, a float32) {
	for i := range y {
		y[i] *= a
	}
}

func addTo(y, x []float32) {
	x = x[:len(y)]
	for len(y) >= 4 && len(x) >= 4 {
		y[0] += x[0]
		y[1] += x[1]
		y[2] += x[2]
		y[3] += x[3]
		y, x = y[4:], x[4:]
	}
	for i := range y {
		y[i] += x[i]
	}
}

// dotBlock products are added in float32 before they go into a float64.
const dotBlock = 256

func dot(x, y []float32) float64 {
	sum := 0.0
	y = y[:len(x)]
	for len(x) > 0 {
		n := min(dotBlock, len(x))
		bx, by := x[:n], y[:n]
		x, y = x[n:], y[n:]
		var s0, s1, s2, s3 float32
		for len(bx) >= 4 && len(by) >= 4 {
			s0 += bx[0] * by[0]
			s1 += bx[1] * by[1]
			s2 += bx[2] * by[2]
			s3 += bx[3] * by[3]
			bx, by = bx[4:], by[4:]
		}
		for i := range bx {
			s0 += bx[i] * by[i]
		}
		sum += float64((s0 + s1) + (s2 + s3))
	}
	return sum
}

func relu(y, x []float32) {
	x = x[:len(y)]
	for i := range y {
		y[i] = positivePart(x[i])
	}
}

// positivePart is max(v, 0); NaN stays NaN. It selects bits, which compiles to a conditional move: a branch on random
// signs would be mispredicted every other time.
func positivePart(v float32) float32 {
	const sign, infinity = 1 << 31, 0x7f800000
	bits := math.Float32bits(v)
	if bits-sign <= infinity { // negative, and no NaN
		bits = 0
	}
	return math.Float32frombits(bits)
}
