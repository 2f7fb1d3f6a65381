package cpu

// Portable loops over the channels of pixels: what BatchNorm is made of.

// columnBlock is how many pixels are added in float32 before they go into float64.
const columnBlock = 16

func columnSums(sum []float64, x []float32, channels int) {
	n, rows := channels, len(x)/channels
	for c := range n {
		for from := 0; from < rows; from += columnBlock {
			sum[c] += float64(columnSum(x[from*n+c:], n, min(columnBlock, rows-from)))
		}
	}
}

// columnSum adds rows elements that lie n apart.
func columnSum(x []float32, n, rows int) float32 {
	var s0, s1, s2, s3 float32
	i := 0
	for ; rows >= 4; rows -= 4 {
		s0 += x[i]
		s1 += x[i+n]
		s2 += x[i+2*n]
		s3 += x[i+3*n]
		i += 4 * n
	}
	for ; rows > 0; rows-- {
		s0 += x[i]
		i += n
	}
	return (s0 + s1) + (s2 + s3)
}

func columnMoments(first, second []float64, x, center []float32) {
	n := len(center)
	rows := len(x) / n
	for c, center := range center {
		for from := 0; from < rows; from += columnBlock {
			d, s := columnMoment(x[from*n+c:], n, min(columnBlock, rows-from), center)
			first[c] += float64(d)
			second[c] += float64(s)
		}
	}
}

// columnMoment adds the differences to a centre and their squares.
func columnMoment(x []float32, n, rows int, center float32) (first, second float32) {
	var d0, d1, s0, s1 float32
	i := 0
	for ; rows >= 2; rows -= 2 {
		a, b := x[i]-center, x[i+n]-center
		d0 += a
		d1 += b
		s0 += a * a
		s1 += b * b
		i += 2 * n
	}
	if rows > 0 {
		a := x[i] - center
		d0 += a
		s0 += a * a
	}
	return d0 + d1, s0 + s1
}

func columnProducts(sum, product []float64, g, x, center []float32) {
	n := len(center)
	rows := len(x) / n
	for c, center := range center {
		for from := 0; from < rows; from += columnBlock {
			s, p := columnProduct(g[from*n+c:], x[from*n+c:], n, min(columnBlock, rows-from), center)
			sum[c] += float64(s)
			product[c] += float64(p)
		}
	}
}

// columnProduct adds g and g·(x - center) over rows that lie n apart.
func columnProduct(g, x []float32, n, rows int, center float32) (sum, product float32) {
	var s0, s1, p0, p1 float32
	i := 0
	for ; rows >= 2; rows -= 2 {
		a, b := g[i], g[i+n]
		s0 += a
		s1 += b
		p0 += a * (x[i] - center)
		p1 += b * (x[i+n] - center)
		i += 2 * n
	}
	if rows > 0 {
		s0 += g[i]
		p0 += g[i] * (x[i] - center)
	}
	return s0 + s1, p0 + p1
}

func maskedProducts(sum, product []float64, g, x, mean, scale, beta []float32) {
	n := len(mean)
	for i := 0; i+n <= len(x); i += n {
		for c, m := range mean {
			if !((x[i+c]-m)*scale[c]+beta[c] > 0) {
				g[i+c] = 0
			}
		}
	}
	columnProducts(sum, product, g, x, mean)
}

func normalize(y, x, mean, scale, beta []float32, relu bool) {
	scale, beta = scale[:len(mean)], beta[:len(mean)]
	for len(y) >= len(mean) && len(x) >= len(mean) {
		py, px := y[:len(mean)], x[:len(mean)]
		if relu {
			for i, m := range mean {
				py[i] = positivePart((px[i]-m)*scale[i] + beta[i])
			}
		} else {
			for i, m := range mean {
				py[i] = (px[i]-m)*scale[i] + beta[i]
			}
		}
		y, x = y[len(mean):], x[len(mean):]
	}
}

func affine(y, g, x, mean, a, b, c []float32) {
	a, b, c = a[:len(mean)], b[:len(mean)], c[:len(mean)]
	for len(y) >= len(mean) && len(g) >= len(mean) && len(x) >= len(mean) {
		py, pg, px := y[:len(mean)], g[:len(mean)], x[:len(mean)]
		for i, m := range mean {
			py[i] = a[i]*pg[i] + (b[i]*(px[i]-m) + c[i])
		}
		y, g, x = y[len(mean):], g[len(mean):], x[len(mean):]
	}
}

func mix(y []float32, x, mean, factor [4][]float32) {
	n := len(mean[0])
	for i := range y {
		c := i % n
		for k := range x {
			y[i] += factor[k][c] * (x[k][i] - mean[k][c])
		}
	}
}

func copyRows(y []float32, yRow int, x []float32, xRow, n, rows int) {
	for r := range rows {
		copy(y[r*yRow:][:n], x[r*xRow:][:n])
	}
}
