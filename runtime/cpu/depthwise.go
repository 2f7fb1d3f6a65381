package cpu

// Portable windows. Depthwise convolutions go channel by channel: a channel's weights stay in registers, and the
// pixels of a row, a few kilobytes, in the first cache.

func depthwise(y, x, w []float32, s window) {
	row := s.kw * s.tap()
	for r := range s.rows {
		out := y[r*s.yRow:][:(s.pixels-1)*s.outStep()+s.channels]
		for p := 0; p < len(out) && !s.add; p += s.outStep() {
			clear(out[p : p+s.channels])
		}
		for kh := range s.kh {
			depthwiseRow(out, x[r*s.xRow+kh*s.line:], w[kh*row:], s)
		}
	}
}

// depthwiseRow adds a row of taps.
func depthwiseRow(y, x, w []float32, s window) {
	c, next, out := s.channels, s.tap(), s.outStep()
	x = x[:s.span()]
	for ch := range c {
		switch {
		case s.kw == 3 && s.step == 1 && s.dilation == 1 && !s.uniform:
			depthwise3(y[ch:], x[ch:], w[ch], w[next+ch], w[2*next+ch], c, out)
		case s.kw == 3 && !s.uniform:
			w0, w1, w2, tap := w[ch], w[next+ch], w[2*next+ch], s.dilation*c
			x0, x1, x2 := x[ch:], x[ch+tap:], x[ch+2*tap:]
			for i, j := ch, 0; i < len(y); i, j = i+out, j+s.step*c {
				y[i] += w0*x0[j] + w1*x1[j] + w2*x2[j]
			}
		case s.kw == 5 && !s.uniform:
			tap := s.dilation * c
			w0, w1, w2, w3, w4 := w[ch], w[next+ch], w[2*next+ch], w[3*next+ch], w[4*next+ch]
			x0, x1, x2, x3, x4 := x[ch:], x[ch+tap:], x[ch+2*tap:], x[ch+3*tap:], x[ch+4*tap:]
			for i, j := ch, 0; i < len(y); i, j = i+out, j+s.step*c {
				y[i] += (w0*x0[j] + w1*x1[j]) + (w2*x2[j] + w3*x3[j]) + w4*x4[j]
			}
		default:
			for t := range s.kw {
				v, j := w[t*next+ch], t*s.dilation*c+ch
				for i := ch; i < len(y); i, j = i+out, j+s.step*c {
					y[i] += v * x[j]
				}
			}
		}
	}
}

// depthwise3 is one channel of a kernel's row of three neighbours: each input is loaded once.
func depthwise3(y, x []float32, w0, w1, w2 float32, c, out int) {
	v0, v1 := x[0], x[c]
	x = x[2*c:]
	for i, j := 0, 0; i < len(y) && j < len(x); i, j = i+out, j+c {
		v2 := x[j]
		y[i] += w0*v0 + w1*v1 + w2*v2
		v0, v1 = v1, v2
	}
}

func scatter(x, g, w []float32, s window) {
	c := s.channels
	for r := range s.rows {
		for t := range s.kh * s.kw {
			weights := w[t*s.tap():][:c]
			first := r*s.xRow + t/s.kw*s.line + t%s.kw*s.dilation*c
			for p := range s.pixels {
				from := g[r*s.yRow+p*c:][:len(weights)]
				to := x[first+p*s.step*c:][:len(weights)]
				for i, v := range weights {
					to[i] += v * from[i]
				}
			}
		}
	}
}

func correlate(w, x, g []float32, s window) {
	row := s.kw * s.channels
	for r := range s.rows {
		for kh := range s.kh {
			correlateRow(w[kh*row:(kh+1)*row], x[r*s.xRow+kh*s.line:][:s.span()], g[r*s.yRow:][:s.pixels*s.channels], s)
		}
	}
}

// correlateRow is one row of taps and one of outputs.
func correlateRow(w, x, g []float32, s window) {
	c := s.channels
	if s.kw == 3 && s.step == 1 && s.dilation == 1 {
		for ch := range c {
			s0, s1, s2 := correlate3(x[ch:], g[ch:], c)
			w[ch] += s0
			w[c+ch] += s1
			w[2*c+ch] += s2
		}
		return
	}
	for t := range s.kw {
		sums, from := w[t*c:(t+1)*c], x[t*s.dilation*c:]
		ch := 0
		for ; ch+4 <= c; ch += 4 {
			correlate4(sums[ch:], from[ch:], g[ch:], c, s.step*c)
		}
		for ; ch < c; ch++ {
			sums[ch] += stridedProduct(from[ch:], s.step*c, g[ch:], c, s.pixels)
		}
	}
}

// correlate3 is one channel of a kernel's row of three neighbours.
func correlate3(x, g []float32, c int) (s0, s1, s2 float32) {
	v0, v1 := x[0], x[c]
	x = x[2*c:]
	for i := 0; i < len(g) && i < len(x); i += c {
		v2, v := x[i], g[i]
		s0 += v * v0
		s1 += v * v1
		s2 += v * v2
		v0, v1 = v1, v2
	}
	return
}

// correlate4 adds four channels of one tap.
func correlate4(w, x, g []float32, c, step int) {
	var s0, s1, s2, s3 float32
	for i, j := 0, 0; i < len(g); i, j = i+c, j+step {
		gv, xv := g[i:i+4:i+4], x[j:j+4:j+4]
		s0 += gv[0] * xv[0]
		s1 += gv[1] * xv[1]
		s2 += gv[2] * xv[2]
		s3 += gv[3] * xv[3]
	}
	w = w[:4]
	w[0], w[1], w[2], w[3] = w[0]+s0, w[1]+s1, w[2]+s2, w[3]+s3
}

func maxPool(y, x []float32, s window) {
	c := s.channels
	for r := range s.rows {
		for p := range s.pixels {
			out, in := y[r*s.yRow+p*c:][:c], x[r*s.xRow+p*s.step*c:]
			copy(out, in)
			for t := range s.kh * s.kw {
				for i, v := range in[t/s.kw*s.line+t%s.kw*s.dilation*c:][:c] {
					out[i] = max(out[i], v)
				}
			}
		}
	}
}

func maxPoolGrad(dx, g, x []float32, s window) {
	c := s.channels
	for r := range s.rows {
		for p := range s.pixels {
			first := r*s.xRow + p*s.step*c
			for i, v := range g[r*s.yRow+p*c:][:c] {
				at := first + i
				best := x[at]
				for kh := range s.kh {
					position := first + kh*s.line + i
					for range s.kw {
						if x[position] > best {
							best, at = x[position], position
						}
						position += s.dilation * c
					}
				}
				dx[at] += v
			}
		}
	}
}
