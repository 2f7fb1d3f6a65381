package cpu

// Portable rows of depthwise convolutions. They go channel by channel: a channel's weights stay in registers, and the
// pixels of a row, a few kilobytes, in the first cache.

func depthwise(y, x, w []float32, s rowShape) {
	c := s.channels
	y, x, w = y[:s.pixels*c], x[:s.span()], w[:s.taps*c]
	for ch := range c {
		switch {
		case s.taps == 3 && s.step == 1 && s.dilation == 1:
			depthwise3(y[ch:], x[ch:], w[ch], w[c+ch], w[2*c+ch], c)
		case s.taps == 3:
			w0, w1, w2, tap := w[ch], w[c+ch], w[2*c+ch], s.dilation*c
			x0, x1, x2 := x[ch:], x[ch+tap:], x[ch+2*tap:]
			for i, j := ch, 0; i < len(y); i, j = i+c, j+s.step*c {
				y[i] += w0*x0[j] + w1*x1[j] + w2*x2[j]
			}
		case s.taps == 5:
			tap := s.dilation * c
			w0, w1, w2, w3, w4 := w[ch], w[c+ch], w[2*c+ch], w[3*c+ch], w[4*c+ch]
			x0, x1, x2, x3, x4 := x[ch:], x[ch+tap:], x[ch+2*tap:], x[ch+3*tap:], x[ch+4*tap:]
			for i, j := ch, 0; i < len(y); i, j = i+c, j+s.step*c {
				y[i] += (w0*x0[j] + w1*x1[j]) + (w2*x2[j] + w3*x3[j]) + w4*x4[j]
			}
		default:
			for t := range s.taps {
				v, j := w[t*c+ch], t*s.dilation*c+ch
				for i := ch; i < len(y); i, j = i+c, j+s.step*c {
					y[i] += v * x[j]
				}
			}
		}
	}
}

// depthwise3 is one channel of a kernel's row of three neighbours: each input is loaded once.
func depthwise3(y, x []float32, w0, w1, w2 float32, c int) {
	v0, v1 := x[0], x[c]
	x = x[2*c:]
	for i := 0; i < len(y) && i < len(x); i += c {
		v2 := x[i]
		y[i] += w0*v0 + w1*v1 + w2*v2
		v0, v1 = v1, v2
	}
}

func scatter(x, g, w []float32, s rowShape) {
	c := s.channels
	x, g, w = x[:s.span()], g[:s.pixels*c], w[:s.taps*c]
	for t := range s.taps {
		weights := w[t*c : (t+1)*c]
		for p := range s.pixels {
			from := g[p*c:][:len(weights)]
			to := x[(p*s.step+t*s.dilation)*c:][:len(weights)]
			for i, v := range weights {
				to[i] += v * from[i]
			}
		}
	}
}

func correlate(w, x, g []float32, s rowShape) {
	c := s.channels
	g, x, w = g[:s.pixels*c], x[:s.span()], w[:s.taps*c]
	if s.taps == 3 && s.step == 1 && s.dilation == 1 {
		for ch := range c {
			s0, s1, s2 := correlate3(x[ch:], g[ch:], c)
			w[ch] += s0
			w[c+ch] += s1
			w[2*c+ch] += s2
		}
		return
	}
	for t := range s.taps {
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
