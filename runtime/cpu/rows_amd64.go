package cpu

// The methods of assembly on rows and columns.

// mostElements is how many elements of a row a call may take.
const mostElements = mostWork

// row is a loop over a row of the length of dst.
func row(f assemblyRow) rowFunc {
	return func(dst, x, y []float32, a, b float32) {
		x, y = x[:len(dst)], y[:len(dst)]
		for from := 0; from < len(dst); from += mostElements {
			f(&dst[from], &x[from], &y[from], min(mostElements, len(dst)-from), a, b)
		}
	}
}

func (a *assembly) dot(x, y []float32) float64 {
	y = y[:len(x)]
	sum := 0.0
	for from := 0; from < len(x); from += mostElements {
		sum += a.dotRow(&x[from], &y[from], min(mostElements, len(x)-from))
	}
	return sum
}

func (a *assembly) sgd(newW, newVelocity, w, g, velocity []float32, s sgdStep) {
	n := len(w)
	newW, newVelocity, g, velocity = newW[:n], newVelocity[:n], g[:n], velocity[:n]
	for i := 0; i < n; i += mostElements {
		a.sgdRow(&newW[i], &newVelocity[i], &w[i], &g[i], &velocity[i], min(mostElements, n-i), s.rate, s.scale, s.momentum, s.decay)
	}
}

// eachRows calls run for the rows of channels that n elements are: at most so many at a time, from element at on.
func eachRows(n, channels, atMost int, run func(at, rows int)) {
	for rows, r := n/channels, 0; r < rows; r += atMost {
		run(r*channels, min(atMost, rows-r))
	}
}

func (a *assembly) columnSums(sum []float64, x []float32, channels int) {
	_ = sum[columnRoom(channels)-1]
	a = a.of(channels)
	eachRows(len(x), channels, rowsToSum(channels), func(at, rows int) { a.sums(&sum[0], &x[at], channels, rows) })
}

func (a *assembly) columnMoments(first, second []float64, x, center []float32) {
	n := len(center)
	_, _ = first[columnRoom(n)-1], second[columnRoom(n)-1]
	a = a.of(n)
	eachRows(len(x), n, rowsToSum(n), func(at, rows int) { a.moments(&first[0], &second[0], &x[at], &center[0], n, rows) })
}

func (a *assembly) columnProducts(sum, product []float64, g, x, center []float32) {
	n := len(center)
	_, _, g = sum[columnRoom(n)-1], product[columnRoom(n)-1], g[:len(x)]
	a = a.of(n)
	eachRows(len(x), n, rowsToSum(n), func(at, rows int) { a.products(&sum[0], &product[0], &g[at], &x[at], &center[0], n, rows) })
}

func (a *assembly) maskedProducts(sum, product []float64, g, x, mean, scale, beta []float32) {
	n := len(mean)
	_, _, g, scale, beta = sum[columnRoom(n)-1], product[columnRoom(n)-1], g[:len(x)], scale[:n], beta[:n]
	a = a.of(n)
	eachRows(len(x), n, rowsToSum(n), func(at, rows int) {
		a.masked(&sum[0], &product[0], &g[at], &x[at], &mean[0], &scale[0], &beta[0], n, rows)
	})
}

// rowsInCache is how many rows of so many channels stay in the first cache while a vector of channels after the other
// passes them.
func rowsInCache(channels int) int { return max(1, 1<<12/channels) }

// rowsToSum is the same in whole blocks that are added in float32, so that sums do not depend on it.
func rowsToSum(channels int) int {
	const block = 64 // momentRows of gen, a multiple of productRows
	return max(1, rowsInCache(channels)/block) * block
}

func (a *assembly) normalize(y, x, mean, scale, beta []float32, relu bool) {
	n := len(mean)
	x, scale, beta = x[:len(y)], scale[:n], beta[:n]
	f := a.of(n).normalizeRows
	if relu {
		f = a.of(n).normalizeRelu
	}
	eachRows(len(y), n, rowsInCache(n), func(at, rows int) { f(&y[at], &x[at], &mean[0], &scale[0], &beta[0], n, rows) })
}

func (a *assembly) affine(y, g, x, mean, p, q, c []float32) {
	n := len(mean)
	g, x, p, q, c = g[:len(y)], x[:len(y)], p[:n], q[:n], c[:n]
	f := a.of(n).affineRows
	eachRows(len(y), n, rowsInCache(n), func(at, rows int) {
		f(&y[at], &g[at], &x[at], &mean[0], &p[0], &q[0], &c[0], n, rows)
	})
}

func (a *assembly) mix(y []float32, x, mean, factor [4][]float32) {
	n := len(mean[0])
	for k := range x {
		_, _, _ = x[k][:len(y)], mean[k][:n], factor[k][:n]
	}
	f := a.of(n).mixRows
	eachRows(len(y), n, rowsInCache(n), func(at, rows int) {
		f(&y[at], &x[0][at], &x[1][at], &x[2][at], &x[3][at], &mean[0][0], &mean[1][0], &mean[2][0], &mean[3][0],
			&factor[0][0], &factor[1][0], &factor[2][0], &factor[3][0], n, rows)
	})
}

func (a *assembly) copyRows(y []float32, yRow int, x []float32, xRow, n, rows int) {
	if n <= 0 || rows <= 0 {
		return
	}
	_, _ = y[(rows-1)*yRow+n-1], x[(rows-1)*xRow+n-1]
	f := a.of(n).copyRowsOf
	eachRows(rows, 1, rowsInCache(n), func(r, count int) { f(&y[r*yRow], &x[r*xRow], n, count, 4*yRow, 4*xRow) })
}

// highwayElements is how many elements of a row a call takes: their sums are in one float32 chain a lane.
const highwayElements = 1 << 10

func (a *assembly) highway(y, gate, x, state []float32, m *gateMixture) {
	n := len(y)
	gate, x, state = gate[:n], x[:n], state[:n]
	eachRows(n, 1, highwayElements, func(at, count int) {
		a.highwayOf(&y[at], &gate[at], &x[at], &state[at], &m.weights[0], count)
	})
}

func (a *assembly) highwayProductGrad(dGate, dX, gate, x, state, g []float32, m *gateMixture) {
	n := len(dGate)
	dX, gate, x, state, g = dX[:n], gate[:n], x[:n], state[:n], g[:n]
	eachRows(n, 1, highwayElements, func(at, count int) {
		a.highwayProduct(&dGate[at], &dX[at], &gate[at], &x[at], &state[at], &g[at], &m.weights[0], count)
	})
}

func (a *assembly) highwayStateGrad(y, gate, g []float32, m *gateMixture) {
	n := len(y)
	gate, g = gate[:n], g[:n]
	eachRows(n, 1, highwayElements, func(at, count int) { a.highwayState(&y[at], &gate[at], &g[at], &m.weights[0], count) })
}

func (a *assembly) highwayWeightGrad(sums []float64, gate, x, state, g []float32) {
	n := len(g)
	gate, x, state, _ = gate[:n], x[:n], state[:n], sums[mixIdentity]
	eachRows(n, 1, highwayElements, func(at, count int) { a.highwayWeight(&sums[0], &gate[at], &x[at], &state[at], &g[at], count) })
}
