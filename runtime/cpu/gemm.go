package cpu

import "math"

// Portable matrix products in register tiles of 4×2: as many accumulators and operands as amd64 and arm64 have
// registers for.

// packed is the size of a packed matrix: its columns, each contiguous, their number rounded up to the tile's.
func packed(k, n int) int { return k * (n + n&1) }

func pack(dst, b []float32, row, column, k, n int) {
	for j := range n {
		d := dst[j*k : (j+1)*k]
		for l := range d {
			d[l] = b[l*row+j*column]
		}
	}
	if n&1 == 1 {
		clear(dst[n*k : (n+1)*k])
	}
}

func gemm(c []float32, ldc int, a []float32, lda int, b []float32, m, n, k int, add bool) {
	i := 0
	for ; i+4 <= m; i += 4 {
		a0, a1, a2, a3 := a[i*lda:][:k], a[(i+1)*lda:][:k], a[(i+2)*lda:][:k], a[(i+3)*lda:][:k]
		j := 0
		for ; j+2 <= n; j += 2 {
			tile(c[i*ldc+j:], ldc, a0, a1, a2, a3, b[j*k:][:k], b[(j+1)*k:][:k], add)
		}
		if j < n {
			column := b[j*k:][:k]
			put(&c[i*ldc+j], product(a0, column), add)
			put(&c[(i+1)*ldc+j], product(a1, column), add)
			put(&c[(i+2)*ldc+j], product(a2, column), add)
			put(&c[(i+3)*ldc+j], product(a3, column), add)
		}
	}
	for ; i < m; i++ {
		row := a[i*lda:][:k]
		for j := range n {
			put(&c[i*ldc+j], product(row, b[j*k:][:k]), add)
		}
	}
}

func put(c *float32, v float32, add bool) {
	if add {
		v += *c
	}
	*c = v
}

// product sums in the order of tile, so that a row's result does not depend on where tiles end.
func product(a, b []float32) float32 {
	b = b[:len(a)]
	var sum float32
	for l, v := range a {
		sum += v * b[l]
	}
	return sum
}

// tile computes 4 rows by 2 columns of a product.
func tile(c []float32, ldc int, a0, a1, a2, a3, b0, b1 []float32, add bool) {
	n := len(a0)
	a1, a2, a3, b0, b1 = a1[:n], a2[:n], a3[:n], b0[:n], b1[:n]
	var s00, s01, s10, s11, s20, s21, s30, s31 float32
	for l := range a0 {
		x, y := b0[l], b1[l]
		v := a0[l]
		s00 += v * x
		s01 += v * y
		v = a1[l]
		s10 += v * x
		s11 += v * y
		v = a2[l]
		s20 += v * x
		s21 += v * y
		v = a3[l]
		s30 += v * x
		s31 += v * y
	}
	c0, c1, c2, c3 := c[:2], c[ldc:][:2], c[2*ldc:][:2], c[3*ldc:][:2]
	if add {
		s00, s01, s10, s11 = s00+c0[0], s01+c0[1], s10+c1[0], s11+c1[1]
		s20, s21, s30, s31 = s20+c2[0], s21+c2[1], s30+c3[0], s31+c3[1]
	}
	c0[0], c0[1], c1[0], c1[1] = s00, s01, s10, s11
	c2[0], c2[1], c3[0], c3[1] = s20, s21, s30, s31
}

func outer(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, k, n int) {
	i := 0
	for ; i+4 <= k; i += 4 {
		j := 0
		for ; j+2 <= n; j += 2 {
			outerTile(c[i*ldc+j:], ldc, a[i:], lda, b[j:], ldb, m)
		}
		if j < n {
			for r := i; r < i+4; r++ {
				c[r*ldc+j] += stridedProduct(a[r:], lda, b[j:], ldb, m)
			}
		}
	}
	for ; i < k; i++ {
		for j := range n {
			c[i*ldc+j] += stridedProduct(a[i:], lda, b[j:], ldb, m)
		}
	}
}

func stridedProduct(a []float32, lda int, b []float32, ldb, m int) float32 {
	var sum float32
	for i := range m {
		sum += a[i*lda] * b[i*ldb]
	}
	return sum
}

// outerTile adds 4×2 elements of Σ aᵀ·b over m rows.
func outerTile(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m int) {
	var s00, s01, s10, s11, s20, s21, s30, s31 float32
	ai, bi := 0, 0
	for range m {
		av, bv := a[ai:ai+4:ai+4], b[bi:bi+2:bi+2]
		ai, bi = ai+lda, bi+ldb
		x, y := bv[0], bv[1]
		v := av[0]
		s00 += v * x
		s01 += v * y
		v = av[1]
		s10 += v * x
		s11 += v * y
		v = av[2]
		s20 += v * x
		s21 += v * y
		v = av[3]
		s30 += v * x
		s31 += v * y
	}
	c0, c1, c2, c3 := c[:2], c[ldc:][:2], c[2*ldc:][:2], c[3*ldc:][:2]
	c0[0], c0[1], c1[0], c1[1] = c0[0]+s00, c0[1]+s01, c1[0]+s10, c1[1]+s11
	c2[0], c2[1], c3[0], c3[1] = c2[0]+s20, c2[1]+s21, c3[0]+s30, c3[1]+s31
}

// positivePart is max(v, 0) without a branch, which random signs would make the processor guess wrong every other time.
func positivePart(v float32) float32 {
	b := math.Float32bits(v)
	return math.Float32frombits(b &^ uint32(int32(b)>>31))
}
