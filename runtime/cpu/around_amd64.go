package cpu

// eachAround calls run for rows of pixels around which there are windows, as many as a call may take; at is their first
// element.
func (a *assembly) eachAround(channels, pixels, rows int, run func(at, rows int)) {
	if channels <= 0 || pixels < 2 {
		return
	}
	eachRows(rows, 1, a.atMost(9*pixels*channels), func(first, count int) { run(first*pixels*channels, count) })
}

func (a *assembly) sumAround(y []float32, x [3][]float32, share []float32, channels, pixels, rows int) {
	n := rows * pixels * channels
	_, _, _, _, _ = y[:n], x[0][:n], x[1][:n], x[2][:n], share[:pixels*channels]
	a = a.of(channels)
	a.eachAround(channels, pixels, rows, func(at, rows int) {
		a.sumAroundRows(&y[at], &x[0][at], &x[1][at], &x[2][at], &share[0], channels, pixels, rows)
	})
}

func (a *assembly) maxAround(y []float32, x [3][]float32, channels, pixels, rows int) {
	n := rows * pixels * channels
	_, _, _, _ = y[:n], x[0][:n], x[1][:n], x[2][:n]
	a = a.of(channels)
	a.eachAround(channels, pixels, rows, func(at, rows int) {
		a.maxAroundRows(&y[at], &x[0][at], &x[1][at], &x[2][at], channels, pixels, rows)
	})
}

func (a *assembly) maxAroundGrad(dx [3][]float32, g []float32, x [3][]float32, channels, pixels, rows int) {
	n := rows * pixels * channels
	_ = g[:n]
	for i := range x {
		_, _ = dx[i][:n], x[i][:n]
	}
	a.eachAround(channels, pixels, rows, func(at, rows int) {
		a.maxGradRows(&dx[0][at], &dx[1][at], &dx[2][at], &g[at], &x[0][at], &x[1][at], &x[2][at], channels, pixels, rows)
	})
}
