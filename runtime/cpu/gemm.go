package cpu

// Portable matrix products in register tiles. The tiles are as large as Go's compiler keeps in the registers of amd64:
// with one row more it spills an accumulator, which costs half the speed.

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

// gemm goes by tiles of 3×2. Rows and columns that the last tiles have too many are computed and left out, so that an
// element is the same sum wherever tiles end.
func gemm(c []float32, ldc int, a []float32, lda int, b []float32, m, n, k int, add bool, _ *ahead) {
	for i := 0; i < m; i += 3 {
		rows := min(3, m-i)
		row, d1, d2 := a[i*lda:], min(1, rows-1)*lda, (rows-1)*lda
		for j := 0; j < n; j += 2 {
			s00, s01, s10, s11, s20, s21 := tile(row, d1, d2, b[j*k:(j+2)*k])
			columns := min(2, n-j)
			put(c[i*ldc+j:][:columns], s00, s01, add)
			if rows > 1 {
				put(c[(i+1)*ldc+j:][:columns], s10, s11, add)
			}
			if rows > 2 {
				put(c[(i+2)*ldc+j:][:columns], s20, s21, add)
			}
		}
	}
}

// put stores one or two elements of a row, or adds them.
func put(c []float32, v, w float32, add bool) {
	if add {
		v += c[0]
	}
	c[0] = v
	if len(c) > 1 {
		if add {
			w += c[1]
		}
		c[1] = w
	}
}

// gemmBlock is how many products are added in float32 before they go into a float64. Long sums lose accuracy otherwise,
// which a BatchNorm over few values (an auxiliary head on a small batch) makes a hundred times worse.
const gemmBlock = 24

// tile multiplies three rows, at 0, d1 and d2 of a, with the two columns of b.
func tile(a []float32, d1, d2 int, b []float32) (s00, s01, s10, s11, s20, s21 float32) {
	k := len(b) / 2
	a0, a1, a2, b0, b1 := a[:k], a[d1:][:k], a[d2:][:k], b[:k], b[k:][:k]
	if k <= gemmBlock {
		return tileBlock(a0, a1, a2, b0, b1)
	}
	var t00, t01, t10, t11, t20, t21 float64
	for from := 0; from < k; from += gemmBlock {
		to := min(from+gemmBlock, k)
		s00, s01, s10, s11, s20, s21 = tileBlock(a0[from:to], a1[from:to], a2[from:to], b0[from:to], b1[from:to])
		t00, t01, t10 = t00+float64(s00), t01+float64(s01), t10+float64(s10)
		t11, t20, t21 = t11+float64(s11), t20+float64(s20), t21+float64(s21)
	}
	return float32(t00), float32(t01), float32(t10), float32(t11), float32(t20), float32(t21)
}

func tileBlock(a0, a1, a2, b0, b1 []float32) (s00, s01, s10, s11, s20, s21 float32) {
	k := len(b0)
	a0, a1, a2, b1 = a0[:k], a1[:k], a2[:k], b1[:k]
	for l, x := range b0 {
		y := b1[l]
		v := a0[l]
		s00 += v * x
		s01 += v * y
		v = a1[l]
		s10 += v * x
		s11 += v * y
		v = a2[l]
		s20 += v * x
		s21 += v * y
	}
	return
}

func outer(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, k, n int, _ *ahead) {
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
		bv := b[bi : bi+2 : bi+2]
		x, y := bv[0], bv[1]
		// Four single elements: their bounds checks keep the compiler from moving all products to the front, for which
		// it has no registers.
		v := a[ai]
		s00 += v * x
		s01 += v * y
		v = a[ai+1]
		s10 += v * x
		s11 += v * y
		v = a[ai+2]
		s20 += v * x
		s21 += v * y
		v = a[ai+3]
		s30 += v * x
		s31 += v * y
		ai, bi = ai+lda, bi+ldb
	}
	c0, c1, c2, c3 := c[:2], c[ldc:][:2], c[2*ldc:][:2], c[3*ldc:][:2]
	c0[0], c0[1], c1[0], c1[1] = c0[0]+s00, c0[1]+s01, c1[0]+s10, c1[1]+s11
	c2[0], c2[1], c3[0], c3[1] = c2[0]+s20, c2[1]+s21, c3[0]+s30, c3[1]+s31
}
