package cpu

import (
	"fmt"
	"math"
	"os"
	"strings"
)

// vector is the set of innermost loops that the hot kernels are made of. A set for an instruction set of the processor
// takes the place of the portable one; package tests hold each against the portable one. Sums add at most some hundred
// numbers in float32 in one chain, and do not depend on where tiles or vectors end.
//
// Rows are float32 in memory order.
type vector struct {
	name string

	// gemm computes c[i][j] = Σ a[i][l]·b[l][j] over m×n×k, or adds it to c. Rows of c and a are ldc and lda apart; b
	// comes from pack. Meanwhile it may bring nearer what is needed next.
	gemm func(c []float32, ldc int, a []float32, lda int, b []float32, m, n, k int, add bool, next *ahead)
	// pack brings the k×n matrix with element (l, j) at b[l·row + j·column] into the order of gemm; dst has
	// packed(k, n) elements.
	pack   func(dst, b []float32, row, column, k, n int)
	packed func(k, n int) int
	// outer adds Σ a[i][p]·b[i][q] over m rows to c[p][q], of k×n. Rows are ldc, lda and ldb apart. It, too, may bring nearer
	// what is needed next.
	outer func(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, k, n int, next *ahead)

	// Windows, see there: t goes over the taps of pixel p's window, c over channels.
	depthwise   func(y, x, w []float32, s window)  // y[p][c] = Σ w[t][c]·x[p+t][c], or added to y
	scatter     func(x, g, w []float32, s window)  // x[p+t][c] += w[t][c]·g[p][c], by rows
	correlate   func(w, x, g []float32, s window)  // w[t][c] += Σ g[p][c]·x[p+t][c] over p
	maxPool     func(y, x []float32, s window)     // y[p][c] = max x[p+t][c], NaN if one is
	maxPoolGrad func(dx, g, x []float32, s window) // dx[p+t][c] += g[p][c] at the first maximum of x, by rows

	// Rows of so many pixels without gaps, at least two, and 3×3 windows around each: x are the row above, the row and the
	// one below. Beside a row is what changes nothing. maxAroundGrad is nil in sets with too few registers.
	sumAround     func(y []float32, x [3][]float32, share []float32, channels, pixels, rows int) // y[p][c] = share[p][c]·Σ, of one row
	maxAround     func(y []float32, x [3][]float32, channels, pixels, rows int)                  // y[p][c] = max, NaN if one is
	maxAroundGrad func(dx [3][]float32, g []float32, x [3][]float32, channels, pixels, rows int) // dx += g[p][c] at the first maximum, by rows

	relu     func(y, x []float32)                      // max(x, 0)
	axpy     func(y []float32, a float32, x []float32) // y += a·x
	scale    func(y []float32, a float32, x []float32) // y = a·x
	dot      func(x, y []float32) float64              // Σ x·y
	add      func(y, x []float32)                      // y += x
	maximum  func(y, x []float32)                      // y = max(y, x), x where one is NaN
	multiply func(y []float32, a float32)              // y *= a
	sgd      func(newW, newVelocity, w, g, velocity []float32, s sgdStep)
	rows     map[string]rowFunc // in place of those of the table pointwise

	// Highway connections of a row: a gate, a candidate x, a state, a cotangent g.
	highway            func(y, gate, x, state []float32, m *gateMixture)            // y += all·state + σ(gate)·(mixed(x) - all·state)
	highwayProductGrad func(dGate, dX, gate, x, state, g []float32, m *gateMixture) // of gate and candidate
	highwayStateGrad   func(y, gate, g []float32, m *gateMixture)                   // y += all·g·(1 - σ(gate))
	highwayWeightGrad  func(sums []float64, gate, x, state, g []float32)            // sums += Σ g·(1 - σ(gate))·state, and Σ g·σ(gate)·activation(x) of each

	copyRows func(y []float32, yRow int, x []float32, xRow, n, rows int) // rows of n, that far apart

	// Columns of x, rows of len(c) channels without gaps, where c are the coefficients by channel. Sums have columnRoom.
	columnSums     func(sum []float64, x []float32, channels int)                  // sum += Σ x
	columnMoments  func(first, second []float64, x, center []float32)              // Σ x - center, Σ (x - center)²
	columnProducts func(sum, product []float64, g, x, center []float32)            // Σ g, Σ g·(x - center)
	maskedProducts func(sum, product []float64, g, x, mean, scale, beta []float32) // the same for what is left of g: zero where (x - mean)·scale + beta <= 0
	normalize      func(y, x, mean, scale, beta []float32, relu bool)              // y = (x - mean)·scale + beta; y may be x
	affine         func(y, g, x, mean, a, b, c []float32)                          // y = a·g + b·(x - mean) + c; y may be g or x
	mix            func(y []float32, x, mean, factor [4][]float32)                 // y += Σ factor·(x - mean) over four x
}

// window is how an output of rows × pixels × channels depends on its input: a pixel on kh×kw taps.
type window struct {
	channels, pixels, rows int
	kh, kw                 int
	step, dilation         int  // pixels of the input between windows of a row, and between taps of a row
	line                   int  // elements of the input between rows of taps
	xRow, yRow             int  // elements between rows: of windows in the input, of outputs
	uniform                bool // all taps have one weight a channel

	// Of depthwise alone:
	apart int    // pixels between outputs of a row beside the one that they take
	add   bool   // results are added to what is there
	next  *ahead // what it may bring nearer meanwhile
}

// span is the number of elements of the input that a row of taps of a row of outputs goes over.
func (s *window) span() int {
	return ((s.pixels-1)*s.step + (s.kw-1)*s.dilation + 1) * s.channels
}

// inputs and outputs are the elements that the whole goes over.
func (s *window) inputs() int  { return (s.rows-1)*s.xRow + (s.kh-1)*s.line + s.span() }
func (s *window) outputs() int { return (s.rows-1)*s.yRow + (s.pixels-1)*s.outStep() + s.channels }

// outStep is the number of elements between outputs of a row.
func (s *window) outStep() int { return (1 + s.apart) * s.channels }

// weights is the number of elements of w, and tap the distance of its taps.
func (s *window) weights() int { return (s.kh*s.kw-1)*s.tap() + s.channels }
func (s *window) tap() int {
	if s.uniform {
		return 0
	}
	return s.channels
}

// sgdStep are the constants of an update, see bindSGD.
type sgdStep struct{ rate, scale, momentum, decay float32 }

// columnRoom is the number of elements of sums over so many columns: whole vectors of any set.
func columnRoom(channels int) int { return (channels + 15) &^ 15 }

var portable = vector{
	name: "generic",
	gemm: gemm, pack: pack, packed: packed, outer: outer,
	depthwise: depthwise, scatter: scatter, correlate: correlate, maxPool: maxPool, maxPoolGrad: maxPoolGrad,
	sumAround: sumAround, maxAround: maxAround, maxAroundGrad: maxAroundGrad,
	relu: relu, axpy: axpy, scale: scale, dot: dot, add: addTo, maximum: maximum, multiply: multiply, sgd: sgd,
	highway: highwayRow, highwayProductGrad: highwayProductGradRow, highwayStateGrad: highwayStateGradRow, highwayWeightGrad: highwayWeightGradRow,
	columnSums: columnSums, columnMoments: columnMoments, columnProducts: columnProducts, maskedProducts: maskedProducts, normalize: normalize, affine: affine, mix: mix, copyRows: copyRows,
}

// Kernels names the set of innermost loops in use: generic, avx2 or avx512.
func Kernels() string { return vec.name }

// vec is the set in use; a choice that cannot be had is reported when a plan is loaded.
var vec, badChoice = choose(os.Getenv("DARTSC_CPU"), append([]vector{portable}, processorSets()...))

// choose returns the set of the given name, else the last.
func choose(name string, sets []vector) (vector, error) {
	var names []string
	for _, s := range sets {
		if s.name == name {
			return s, nil
		}
		names = append(names, s.name)
	}
	best := sets[len(sets)-1]
	if name != "" {
		return best, fmt.Errorf("DARTSC_CPU is %q: this build on this processor has %s", name, strings.Join(names, ", "))
	}
	return best, nil
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

func maximum(y, x []float32) {
	x = x[:len(y)]
	for i, v := range x {
		if !(y[i] > v) {
			y[i] = v
		}
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

func sgd(newW, newVelocity, w, g, velocity []float32, s sgdStep) {
	g, velocity, newW, newVelocity = g[:len(w)], velocity[:len(w)], newW[:len(w)], newVelocity[:len(w)]
	for i, v := range w {
		moved := s.momentum*velocity[i] + (s.scale*g[i] + s.decay*v)
		newVelocity[i] = moved
		newW[i] = v - s.rate*moved
	}
}
