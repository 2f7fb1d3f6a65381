package cpu

import (
	"fmt"
	"testing"
)

// BenchmarkLoops reports GFLOP/s of the innermost loops of every set on one core, on what fits its caches.
func BenchmarkLoops(b *testing.B) {
	x, y, w := view32(aligned(1<<20)), view32(aligned(1<<20)), view32(aligned(1<<20))
	for i := range x {
		x[i], y[i], w[i] = float32(i%17)*0.1, 1, float32(i%13)*0.01
	}
	for _, set := range append([]vector{portable}, processorSets()...) {
		run := func(flops int, name string, use func()) {
			b.Run(set.name+"/"+name, func(b *testing.B) {
				for b.Loop() {
					use()
				}
				b.ReportMetric(float64(flops)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
		for _, c := range [][3]int{{1024, 16, 16}, {256, 32, 32}, {64, 64, 64}, {64, 256, 64}, {1024, 8, 8}, {1024, 36, 36}} {
			m, k, n := c[0], c[1], c[2]
			run(2*m*n*k, fmt.Sprintf("gemm/%dx%dx%d", m, n, k), func() { set.gemm(y, n, x, k, w, m, n, k, false, nil) })
			run(2*m*n*k, fmt.Sprintf("outer/%dx%dx%d", m, n, k), func() { set.outer(w, n, x, k, y, n, m, k, n, nil) })
		}
		for _, c := range []struct{ kernel, channels, pixels, step, dilation int }{
			{3, 16, 32, 1, 1}, {3, 64, 8, 1, 1}, {3, 16, 32, 1, 2}, {3, 32, 16, 2, 1}, {5, 16, 32, 1, 1}, {5, 32, 16, 1, 2}, {3, 8, 32, 1, 1},
		} {
			line := ((c.pixels-1)*c.step + (c.kernel-1)*c.dilation + 1) * c.channels
			s := window{channels: c.channels, pixels: c.pixels, rows: c.pixels, kh: c.kernel, kw: c.kernel, step: c.step, dilation: c.dilation,
				line: c.dilation * line, xRow: c.step * line, yRow: c.pixels * c.channels}
			flops, name := 2*s.rows*s.pixels*s.channels*s.kh*s.kw, fmt.Sprintf("%dx%d_c%d_w%d_s%d_d%d", s.kh, s.kw, s.channels, s.pixels, s.step, s.dilation)
			run(flops, "depthwise/"+name, func() { set.depthwise(y, x, w, s) })
			run(flops, "correlate/"+name, func() { set.correlate(w[:s.weights()], x, y, s) })
			run(flops, "scatter/"+name, func() { set.scatter(x, y, w, s) })
		}
		const n = 1 << 12
		run(n, "relu", func() { set.relu(y[:n], x) })
		run(2*n, "axpy", func() { set.axpy(y[:n], 0.5, x) })
		run(2*n, "dot", func() { set.dot(x[:n], y) })
		run(4*n, "normalize", func() { set.normalize(y[:n], x[:n], w[:16], w[16:32], w[32:48], true) })
		sums := make([]float64, 32)
		run(4*n, "columnProducts", func() { set.columnProducts(sums, sums[16:], y[:n], x[:n], w[:16]) })
	}
}
