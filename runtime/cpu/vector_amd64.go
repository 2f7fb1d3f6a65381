package cpu

import (
	"slices"

	"golang.org/x/sys/cpu"
)

// The assembly is generated: one file for each instruction set from the same kernels.
//
//go:generate go -C gen run . -isa avx512 -out ../vector_avx512_amd64.s -stubs ../vector_avx512_amd64.go -pkg cpu
//go:generate go -C gen run . -isa avx2 -out ../vector_avx2_amd64.s -stubs ../vector_avx2_amd64.go -pkg cpu

// processorSets are the sets beside the portable one that this processor runs, better ones later.
func processorSets() []vector {
	var sets []vector
	x := &cpu.X86
	if !x.HasAVX2 || !x.HasFMA || !x.HasBMI2 {
		return nil
	}
	sets = append(sets, avx2.vector("avx2"))
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL {
		sets = append(sets, avx512.vector("avx512"))
	}
	return sets
}

// assembly are the functions of an instruction set. Its methods, which a set of loops consists of, check the lengths of
// what they pass on, count in bytes, and keep calls short: assembly is not preempted.
type assembly struct {
	lanes  int
	narrow *assembly // for what has no more channels than its lanes; nil: none

	gemmTiles      func(c, a, b, next *float32, ldc, lda, panel, m, n, k, add, ahead int)
	outerTiles     func(c, a, b, next *float32, ldc, lda, ldb, m, k, n, ahead int)
	depthwiseRows  func(y, x, w, next *float32, channels, pixels, rows, kh, kw, step, tap, skip, xRow, yRow, yStep, wTap, line, kind, add, ahead int)
	maxPoolRows    func(y, x *float32, channels, pixels, rows, kh, kw, step, tap, skip, xRow, yRow, yStep int)
	scatterRow     func(x, g, w *float32, channels, pixels, kh, kw, step, tap, skip, wTap int)
	correlateRows  func(w, x, g *float32, channels, pixels, rows, kh, kw, step, tap, skip, xRow, yRow, line, kind int)
	maxGradRow     func(dx, dy, x *float32, channels, pixels, kh, kw, step, tap, skip int)
	sumAroundRows  func(y, above, here, below, share *float32, channels, pixels, rows int)
	maxAroundRows  func(y, above, here, below *float32, channels, pixels, rows int)
	maxGradRows    func(dAbove, dHere, dBelow, g, above, here, below *float32, channels, pixels, rows int)
	addRow, subRow assemblyRow
	maxRow         assemblyRow
	mulRow, divRow assemblyRow
	sqrtRow        assemblyRow
	reluRow        assemblyRow
	reluGradRow    assemblyRow
	expRow         assemblyRow
	sigmoidRow     assemblyRow
	tanhRow        assemblyRow
	scaleRow       assemblyRow
	axpyRow        assemblyRow
	axpbyRow       assemblyRow
	dotRow         func(x, y *float32, n int) float64
	sgdRow         func(newW, newVelocity, w, g, velocity *float32, n int, rate, scale, momentum, decay float32)
	sums           func(sum *float64, x *float32, n, rows int)
	moments        func(first, second *float64, x, center *float32, n, rows int)
	products       func(sum, product *float64, g, x, mean *float32, n, rows int)
	masked         func(sum, product *float64, g, x, mean, scale, beta *float32, n, rows int)
	normalizeRows  func(y, x, mean, scale, beta *float32, n, rows int)
	normalizeRelu  func(y, x, mean, scale, beta *float32, n, rows int)
	affineRows     func(y, g, x, mean, a, b, c *float32, n, rows int)
	highwayOf      func(y, gate, x, state, mixture *float32, n int)
	highwayProduct func(dGate, dX, gate, x, state, dy, mixture *float32, n int)
	highwayState   func(y, gate, dy, mixture *float32, n int)
	highwayWeight  func(sums *float64, gate, x, state, dy *float32, n int)
	copyRowsOf     func(y, x *float32, n, rows, yRow, xRow int)
	mixRows        func(y, x0, x1, x2, x3, mean0, mean1, mean2, mean3, factor0, factor1, factor2, factor3 *float32, n, rows int)
}

type assemblyRow func(dst, x, y *float32, n int, a, b float32)

var avx2 = &assembly{
	lanes: 8, gemmTiles: gemmAVX2, outerTiles: outerAVX2,
	depthwiseRows: depthwiseAVX2, maxPoolRows: maxPoolAVX2, scatterRow: scatterAVX2, correlateRows: correlateAVX2, maxGradRow: maxPoolGradAVX2,
	sumAroundRows: sumAroundAVX2, maxAroundRows: maxAroundAVX2,
	addRow: addRowAVX2, maxRow: maxRowAVX2, subRow: subRowAVX2, mulRow: mulRowAVX2, divRow: divRowAVX2, sqrtRow: sqrtRowAVX2, reluRow: reluRowAVX2,
	reluGradRow: reluGradRowAVX2, expRow: expRowAVX2, sigmoidRow: sigmoidRowAVX2, tanhRow: tanhRowAVX2, scaleRow: scaleRowAVX2, axpyRow: axpyRowAVX2, axpbyRow: axpbyRowAVX2, dotRow: dotAVX2, sgdRow: sgdAVX2,
	sums: columnSumsAVX2, moments: columnMomentsAVX2, products: columnProductsAVX2, masked: maskedProductsAVX2,
	normalizeRows: normalizeAVX2, normalizeRelu: normalizeReluAVX2, affineRows: affineAVX2, mixRows: mixAVX2, copyRowsOf: copyRowsAVX2,
	highwayOf: highwayAVX2, highwayProduct: highwayProductGradAVX2, highwayState: highwayStateGradAVX2, highwayWeight: highwayWeightGradAVX2,
}

var avx512 = &assembly{
	lanes: 16, narrow: avx2, gemmTiles: gemmAVX512, outerTiles: outerAVX512,
	depthwiseRows: depthwiseAVX512, maxPoolRows: maxPoolAVX512, scatterRow: scatterAVX512, correlateRows: correlateAVX512, maxGradRow: maxPoolGradAVX512,
	sumAroundRows: sumAroundAVX512, maxAroundRows: maxAroundAVX512, maxGradRows: maxAroundGradAVX512,
	addRow: addRowAVX512, maxRow: maxRowAVX512, subRow: subRowAVX512, mulRow: mulRowAVX512, divRow: divRowAVX512, sqrtRow: sqrtRowAVX512, reluRow: reluRowAVX512,
	reluGradRow: reluGradRowAVX512, expRow: expRowAVX512, sigmoidRow: sigmoidRowAVX512, tanhRow: tanhRowAVX512, scaleRow: scaleRowAVX512, axpyRow: axpyRowAVX512, axpbyRow: axpbyRowAVX512, dotRow: dotAVX512, sgdRow: sgdAVX512,
	sums: columnSumsAVX512, moments: columnMomentsAVX512, products: columnProductsAVX512, masked: maskedProductsAVX512,
	normalizeRows: normalizeAVX512, normalizeRelu: normalizeReluAVX512, affineRows: affineAVX512, mixRows: mixAVX512, copyRowsOf: copyRowsAVX512,
	highwayOf: highwayAVX512, highwayProduct: highwayProductGradAVX512, highwayState: highwayStateGradAVX512, highwayWeight: highwayWeightGradAVX512,
}

// vector is the set of loops that these functions make.
func (a *assembly) vector(name string) vector {
	relu, scale, add, axpy, maximum := row(a.reluRow), row(a.scaleRow), row(a.addRow), row(a.axpyRow), row(a.maxRow)
	v := vector{
		name: name,
		gemm: a.gemm, pack: a.pack, packed: a.packed, outer: a.outer,
		depthwise: a.depthwise, scatter: a.scatter, correlate: a.correlate, maxPool: a.maxPool, maxPoolGrad: a.maxPoolGrad,
		sumAround: a.sumAround, maxAround: a.maxAround,
		relu:       func(y, x []float32) { relu(y, x, x, 0, 0) },
		axpy:       func(y []float32, a float32, x []float32) { axpy(y, x, y, a, 0) },
		scale:      func(y []float32, a float32, x []float32) { scale(y, x, x, a, 0) },
		add:        func(y, x []float32) { add(y, y, x, 0, 0) },
		maximum:    func(y, x []float32) { maximum(y, y, x, 0, 0) },
		multiply:   func(y []float32, a float32) { scale(y, y, y, a, 0) },
		dot:        a.dot,
		sgd:        a.sgd,
		columnSums: a.columnSums, columnMoments: a.columnMoments, columnProducts: a.columnProducts, maskedProducts: a.maskedProducts,
		normalize: a.normalize, affine: a.affine, mix: a.mix, copyRows: a.copyRows,
		highway: a.highway, highwayProductGrad: a.highwayProductGrad, highwayStateGrad: a.highwayStateGrad, highwayWeightGrad: a.highwayWeightGrad,
		rows: map[string]rowFunc{
			"add": add, "sub": row(a.subRow), "mul": row(a.mulRow), "div": row(a.divRow), "sqrt": row(a.sqrtRow),
			"exp": row(a.expRow), "sigmoid": row(a.sigmoidRow), "tanh": row(a.tanhRow),
			"relu": relu, "relu_grad": row(a.reluGradRow), "axpby": row(a.axpbyRow),
		},
	}
	if a.maxGradRows != nil {
		v.maxAroundGrad = a.maxAroundGrad
	}
	return v
}

// of is the set for so many channels or columns.
func (a *assembly) of(n int) *assembly {
	if a.narrow != nil && n <= a.narrow.lanes {
		return a.narrow
	}
	return a
}

// mostWork is the number of vectors, or of multiply-adds of vectors, that a call may take: some ten microseconds.
const mostWork = 1 << 16

// atMost is how many rows of so much work each a call may take.
func (a *assembly) atMost(elements int) int { return max(1, mostWork*a.lanes/max(1, elements)) }

// How many products are added in one float32 chain; blocks are added to the result. Longer ones show in second-order
// steps, where a ReLU near its kink at w ± εv falls to the other side.
const (
	productBlock   = 24
	outerBlock     = 32
	correlateBlock = 64 // pixels
)

// rowsOfProduct is how many rows of a and c stay in the first cache while the blocks of a product pass them: a multiple of
// the rows of the highest tile.
func rowsOfProduct(k, n int) int {
	const tile, inCache = 12, 1 << 12
	return max(1, inCache/(k+n)/tile) * tile
}

func (a *assembly) packed(k, n int) int {
	lanes := a.of(n).lanes
	return k * ((n + lanes - 1) / lanes * lanes)
}

// pack brings b into panels of one vector's columns, row by row.
func (a *assembly) pack(dst, b []float32, row, column, k, n int) {
	lanes := a.of(n).lanes
	for j := 0; k > 0 && j < n; j += lanes {
		columns := min(lanes, n-j)
		panel := dst[j*k:][:k*lanes]
		if columns < lanes {
			clear(panel)
		}
		if column == 1 {
			a.copyRows(panel, lanes, b[j:], row, columns, k)
			continue
		}
		for l := range k {
			to, from := panel[l*lanes:], b[l*row+j*column:]
			for i := range columns {
				to[i] = from[i*column]
			}
		}
	}
}

func (a *assembly) gemm(c []float32, ldc int, x []float32, lda int, b []float32, m, n, k int, add bool, next *ahead) {
	a = a.of(n)
	if m <= 0 || n <= 0 || k <= 0 {
		for i := 0; i < m && !add; i++ {
			clear(c[i*ldc:][:n])
		}
		return
	}
	_, _, _ = c[(m-1)*ldc+n-1], x[(m-1)*lda+k-1], b[a.packed(k, n)-1]
	rows := rowsOfProduct(k, n)
	for i := 0; i < m; i += rows {
		for l := 0; l < k; l += productBlock {
			more := 0
			if add || l > 0 {
				more = 1
			}
			depth := min(productBlock, k-l)
			near, step := next.during(min(rows, m-i)*n*depth, a.tiles(min(rows, m-i), n)*depth*asksOfProduct)
			a.gemmTiles(&c[i*ldc], &x[i*lda+l], &b[l*a.lanes], near, 4*ldc, 4*lda, 4*k*a.lanes, min(rows, m-i), n, depth, more, step)
		}
	}
}

// asksOfProduct is how often a product asks for memory in a tile, for each of its depth; gen has the same number.
const asksOfProduct = 2

// tiles is how many of the highest tiles a product has.
func (a *assembly) tiles(m, n int) int {
	height, width := 12, 2*a.lanes
	if a.lanes == 8 && n > a.lanes {
		height = 6
	}
	return m / height * ((n + width - 1) / width)
}

func (a *assembly) outer(c []float32, ldc int, x []float32, lda int, b []float32, ldb, m, k, n int, next *ahead) {
	a = a.of(n)
	if m <= 0 || n <= 0 || k <= 0 {
		return
	}
	_, _, _ = c[(k-1)*ldc+n-1], x[(m-1)*lda+k-1], b[(m-1)*ldb+n-1]
	height := a.atMost(n * outerBlock)
	for i := 0; i < m; i += outerBlock {
		for p := 0; p < k; p += height {
			rows, columns := min(outerBlock, m-i), min(height, k-p)
			near, step := next.during(rows*columns*n, a.highestOuter(columns, n)*rows)
			a.outerTiles(&c[p*ldc], &x[i*lda+p], &b[i*ldb], near, 4*ldc, 4*lda, 4*ldb, rows, columns, n, step)
		}
	}
}

// highestOuter is how many of the highest tiles a sum of outer products has.
func (a *assembly) highestOuter(k, n int) int {
	single, pair := 16, 8
	if a.lanes == 8 {
		single, pair = 8, 4
	}
	tiles := n / (2 * a.lanes) * (k / pair)
	switch rest := n % (2 * a.lanes); {
	case rest > a.lanes:
		tiles += k / pair
	case rest > 0:
		tiles += k / single
	}
	return tiles
}

// check looks at the last elements that a window reaches; false says that there is nothing to do.
func (s *window) check(x, y, w []float32) bool {
	if s.channels <= 0 || s.pixels <= 0 || s.rows <= 0 || s.kh <= 0 || s.kw <= 0 {
		return false
	}
	_, _, _ = x[s.inputs()-1], y[s.outputs()-1], w[s.weights()-1]
	return true
}

// Distances in bytes.
func (s *window) stepBytes() int { return 4 * s.step * s.channels }
func (s *window) tapBytes() int  { return 4 * s.dilation * s.channels }
func (s *window) skipBytes() int { return 4 * (s.line - s.kw*s.dilation*s.channels) }
func (s *window) outBytes() int  { return 4 * s.outStep() }

// eachRows calls run for so many rows at a time: x and y are their first elements.
func (s *window) eachRows(atMost int, run func(x, y, rows int)) {
	for r := 0; r < s.rows; r += atMost {
		run(r*s.xRow, r*s.yRow, min(atMost, s.rows-r))
	}
}

func (s *window) work() int { return s.pixels * s.channels * s.kh * s.kw }

// slidingShapes are the windows, by taps of a row, step and dilation, for which there is a faster loop; gen has the same
// list.
var slidingShapes = [][3]int{{3, 1, 1}, {5, 1, 1}, {3, 1, 2}, {5, 1, 2}, {3, 2, 1}, {5, 2, 1}}

// kind is the place of a window in this list, from 1 on, or 0.
func (s *window) kind() int {
	return 1 + slices.Index(slidingShapes, [3]int{s.kw, s.step, s.dilation})
}

func (a *assembly) depthwise(y, x, w []float32, s window) {
	if !s.check(x, y, w) {
		return
	}
	a = a.of(s.channels)
	add := 0
	if s.add {
		add = 1
	}
	s.eachRows(a.atMost(s.work()), func(xAt, yAt, rows int) {
		near, step := s.next.during(rows*s.work(), a.asks(&s, rows))
		a.depthwiseRows(&y[yAt], &x[xAt], &w[0], near, s.channels, s.pixels, rows, s.kh, s.kw, s.stepBytes(), s.tapBytes(), s.skipBytes(), 4*s.xRow, 4*s.yRow, s.outBytes(), 4*s.tap(), 4*s.line, s.kind(), add, step)
	})
}

// asks is how often so many rows of windows ask for memory: once for each tap of eight pixels.
func (a *assembly) asks(s *window, rows int) int {
	if s.kind() == 0 {
		return 0
	}
	return rows * (s.pixels / 8) * ((s.channels + a.lanes - 1) / a.lanes) * s.kh * s.kw
}

func (a *assembly) maxPool(y, x []float32, s window) {
	if s.uniform = true; !s.check(x, y, y) {
		return
	}
	a = a.of(s.channels)
	s.eachRows(a.atMost(s.work()), func(xAt, yAt, rows int) {
		a.maxPoolRows(&y[yAt], &x[xAt], s.channels, s.pixels, rows, s.kh, s.kw, s.stepBytes(), s.tapBytes(), s.skipBytes(), 4*s.xRow, 4*s.yRow, s.outBytes())
	})
}

func (a *assembly) scatter(x, g, w []float32, s window) {
	if !s.check(x, g, w) {
		return
	}
	a = a.of(s.channels)
	s.eachRows(1, func(xAt, gAt, _ int) {
		a.scatterRow(&x[xAt], &g[gAt], &w[0], s.channels, s.pixels, s.kh, s.kw, s.stepBytes(), s.tapBytes(), s.skipBytes(), 4*s.tap())
	})
}

func (a *assembly) correlate(w, x, g []float32, s window) {
	if !s.check(x, g, w) {
		return
	}
	a = a.of(s.channels)
	s.eachRows(min(a.atMost(s.work()), max(1, correlateBlock/s.pixels)), func(xAt, gAt, rows int) {
		a.correlateRows(&w[0], &x[xAt], &g[gAt], s.channels, s.pixels, rows, s.kh, s.kw, s.stepBytes(), s.tapBytes(), s.skipBytes(), 4*s.xRow, 4*s.yRow, 4*s.line, s.kind())
	})
}

func (a *assembly) maxPoolGrad(dx, g, x []float32, s window) {
	if s.uniform = true; !s.check(x, g, g) || !s.check(dx, g, g) {
		return
	}
	a = a.of(s.channels)
	s.eachRows(1, func(xAt, gAt, _ int) {
		a.maxGradRow(&dx[xAt], &g[gAt], &x[xAt], s.channels, s.pixels, s.kh, s.kw, s.stepBytes(), s.tapBytes(), s.skipBytes())
	})
}
