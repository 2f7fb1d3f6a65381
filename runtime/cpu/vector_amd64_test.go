//go:build linux

package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"unsafe"
)

// problem is a use of an entry of a set on random numbers: the same for every set that gets the same seed.
type problem struct {
	*rand.Rand
	*vector
	arena   *guarded
	results []any
}

// input is n random numbers that nothing readable follows, or precedes.
func (p *problem) input(n int) []float32 {
	x := p.arena.take(n, p.IntN(2) == 0)
	for i := range x {
		x[i] = float32(p.NormFloat64())
	}
	return x
}

// output is the same; it is compared in the end, gaps between rows too.
func (p *problem) output(n int) []float32 {
	y := p.input(n)
	p.results = append(p.results, y)
	return y
}

func (p *problem) sums(n int) []float64 {
	y := make([]float64, columnRoom(n))
	for i := range n {
		y[i] = p.NormFloat64()
	}
	p.results = append(p.results, y[:n])
	return y
}

// window is a window of random geometry and the sizes of its arrays.
func (p *problem) window() (s window, inputs, outputs int) {
	s = window{channels: 1 + p.IntN(40), pixels: 1 + p.IntN(21), rows: 1 + p.IntN(3), kh: 1 + p.IntN(7), kw: 1 + p.IntN(7), step: 1 + p.IntN(2), dilation: 1 + p.IntN(2)}
	if p.IntN(3) == 0 {
		s.channels = 16 * (1 + p.IntN(3))
	}
	if p.IntN(2) == 0 { // for most of these there are faster loops
		s.kh, s.kw = 3+2*p.IntN(2), 3+2*p.IntN(2)
	}
	s.line = s.span() + p.IntN(3)*s.channels
	s.xRow, s.yRow = (1+p.IntN(2))*s.line, s.pixels*s.channels+p.IntN(2)*s.channels
	return s, s.inputs(), s.outputs()
}

// around are the sizes of random rows, and of their elements.
func (p *problem) around() (channels, pixels, rows, n int) {
	channels, pixels, rows = 1+p.IntN(40), 2+p.IntN(12), 1+p.IntN(4)
	return channels, pixels, rows, channels * pixels * rows
}

func (p *problem) three(of func(n int) []float32, n int) [3][]float32 {
	return [3][]float32{of(n), of(n), of(n)}
}

// guarded is memory with pages around each array that may not be touched.
type guarded struct {
	data []byte
	used int
}

func newGuarded(t *testing.T) *guarded {
	data, err := syscall.Mmap(-1, 0, 1<<28, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { syscall.Munmap(data) })
	return &guarded{data: data}
}

// take returns n numbers at the start or at the end of readable pages.
func (g *guarded) take(n int, first bool) []float32 {
	if n == 0 {
		return nil
	}
	page := os.Getpagesize()
	size := (4*n + page - 1) / page * page
	pages := g.data[g.used+page:][:size]
	g.used += size + page
	if err := syscall.Mprotect(pages, syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		panic(err)
	}
	if !first {
		pages = pages[size-4*n:]
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(pages))), n)
}

func (g *guarded) free() {
	if g.used == 0 {
		return
	}
	if err := syscall.Mprotect(g.data[:g.used], syscall.PROT_NONE); err != nil {
		panic(err)
	}
	syscall.Madvise(g.data[:g.used], syscall.MADV_DONTNEED)
	g.used = 0
}

// ahead is memory that lies in the arena as all else does: nothing beyond it may be asked for, although that would do no harm.
func (p *problem) ahead() *ahead {
	if p.IntN(2) == 0 {
		return nil
	}
	next := &ahead{work: 1 + p.IntN(1<<14)}
	next.add(p.input(1 + p.IntN(500)))
	next.add(p.input(1 + p.IntN(2000)))
	return next
}

// entries use every loop of a set once.
var entries = map[string]func(p *problem){
	"gemm": func(p *problem) {
		m, n, k := 1+p.IntN(40), 1+p.IntN(70), p.IntN(90)
		if p.IntN(4) == 0 {
			k = 100 + p.IntN(200)
		}
		lda, ldc := k+p.IntN(5), n+p.IntN(5)
		packed, b := make([]float32, p.packed(k, n)), p.input(k*n)
		row, column := n, 1
		if p.IntN(2) == 0 {
			row, column = 1, k
		}
		p.pack(packed, b, row, column, k, n)
		guardedB := p.arena.take(len(packed), p.IntN(2) == 0)
		copy(guardedB, packed)
		p.gemm(p.output((m-1)*ldc+n), ldc, p.input(max(0, (m-1)*lda+k)), lda, guardedB, m, n, k, p.IntN(2) == 0, p.ahead())
	},
	"outer": func(p *problem) {
		m, k, n := 1+p.IntN(150), 1+p.IntN(40), 1+p.IntN(70)
		lda, ldb, ldc := k+p.IntN(5), n+p.IntN(5), n+p.IntN(5)
		p.outer(p.output((k-1)*ldc+n), ldc, p.input((m-1)*lda+k), lda, p.input((m-1)*ldb+n), ldb, m, k, n, p.ahead())
	},
	"depthwise": func(p *problem) {
		s, inputs, _ := p.window()
		s.uniform, s.add = p.IntN(3) == 0, p.IntN(2) == 0
		s.next = p.ahead()
		if s.apart = p.IntN(2); s.apart > 0 {
			s.yRow += (s.pixels - 1) * s.channels
		}
		p.depthwise(p.output(s.outputs()), p.input(inputs), p.input(s.weights()), s)
	},
	"scatter": func(p *problem) {
		s, inputs, outputs := p.window()
		s.uniform = p.IntN(3) == 0
		p.scatter(p.output(inputs), p.input(outputs), p.input(s.weights()), s)
	},
	"correlate": func(p *problem) {
		s, inputs, outputs := p.window()
		p.correlate(p.output(s.weights()), p.input(inputs), p.input(outputs), s)
	},
	"max pool": func(p *problem) {
		s, inputs, outputs := p.window()
		p.maxPool(p.output(outputs), p.input(inputs), s)
	},
	"max pool grad": func(p *problem) {
		s, inputs, outputs := p.window()
		x := p.input(inputs)
		for i := range x { // few values: several maxima
			x[i] = float32(p.IntN(3))
		}
		p.maxPoolGrad(p.output(inputs), p.input(outputs), x, s)
	},
	"sum around": func(p *problem) {
		channels, pixels, rows, n := p.around()
		p.sumAround(p.output(n), p.three(p.input, n), p.input(channels*pixels), channels, pixels, rows)
	},
	"max around": func(p *problem) {
		channels, pixels, rows, n := p.around()
		p.maxAround(p.output(n), p.three(p.input, n), channels, pixels, rows)
	},
	"max around grad": func(p *problem) {
		if p.maxAroundGrad == nil {
			return
		}
		channels, pixels, rows, n := p.around()
		x := p.three(p.input, n)
		for k := range x { // few values: several maxima
			for i := range x[k] {
				x[k][i] = float32(p.IntN(3))
			}
		}
		p.maxAroundGrad(p.three(p.output, n), p.input(n), x, channels, pixels, rows)
	},
	"relu": func(p *problem) {
		n := 1 + p.IntN(200)
		p.relu(p.output(n), p.input(n))
	},
	"axpy": func(p *problem) {
		n := 1 + p.IntN(200)
		p.axpy(p.output(n), 1.5, p.input(n))
	},
	"scale": func(p *problem) {
		n := 1 + p.IntN(200)
		p.scale(p.output(n), 1.5, p.input(n))
	},
	"add": func(p *problem) {
		n := 1 + p.IntN(200)
		p.add(p.output(n), p.input(n))
	},
	"maximum": func(p *problem) {
		n := 1 + p.IntN(200)
		p.maximum(p.output(n), p.input(n))
	},
	"multiply": func(p *problem) { p.multiply(p.output(1+p.IntN(200)), 1.5) },
	"dot": func(p *problem) {
		n := p.IntN(2000)
		p.results = append(p.results, []float64{p.dot(p.input(n), p.input(n))})
	},
	"sgd": func(p *problem) {
		n := 1 + p.IntN(200)
		p.sgd(p.output(n), p.output(n), p.input(n), p.input(n), p.input(n), sgdStep{0.1, 0.5, 0.9, 0.01})
	},
	"rows": func(p *problem) {
		for _, name := range []string{"neg", "add", "sub", "mul", "div", "sqrt", "relu", "relu_grad", "axpby", "exp", "sigmoid", "tanh"} {
			f := p.rows[name]
			if f == nil {
				f = pointwise[name].run
			}
			n := 1 + p.IntN(200)
			x, y := p.input(n), p.input(n)
			if name == "sqrt" || name == "div" {
				for i := range y {
					x[i], y[i] = float32(math.Abs(float64(x[i]))), 1+float32(math.Abs(float64(y[i])))
				}
			}
			f(p.output(n), x, y, 0.5, -1.5)
		}
	},
	"highway": func(p *problem) {
		n := 1 + p.IntN(1500)
		m := &gateMixture{}
		for i := range m.exact {
			m.weights[i] = p.Float32()
			m.exact[i] = float64(m.weights[i])
		}
		p.highway(p.output(n), p.input(n), p.input(n), p.input(n), m)
		p.highwayProductGrad(p.output(n), p.output(n), p.input(n), p.input(n), p.input(n), p.input(n), m)
		p.highwayStateGrad(p.output(n), p.input(n), p.input(n), m)
		p.highwayWeightGrad(p.sums(5), p.input(n), p.input(n), p.input(n), p.input(n))
	},
	"copy rows": func(p *problem) {
		n, rows := 1+p.IntN(150), 1+p.IntN(150)
		xRow, yRow := n+p.IntN(20), n+p.IntN(20)
		p.copyRows(p.output((rows-1)*yRow+n), yRow, p.input((rows-1)*xRow+n), xRow, n, rows)
	},
	"columns": func(p *problem) {
		n, rows := 1+p.IntN(150), 1+p.IntN(150)
		p.columnSums(p.sums(n), p.input(n*rows), n)
		p.columnMoments(p.sums(n), p.sums(n), p.input(n*rows), p.input(n))
		p.columnProducts(p.sums(n), p.sums(n), p.input(n*rows), p.input(n*rows), p.input(n))
		p.maskedProducts(p.sums(n), p.sums(n), p.output(n*rows), p.input(n*rows), p.input(n), p.input(n), p.input(n))
		p.normalize(p.output(n*rows), p.input(n*rows), p.input(n), p.input(n), p.input(n), false)
		p.normalize(p.output(n*rows), p.input(n*rows), p.input(n), p.input(n), p.input(n), true)
		four := func(n int) [4][]float32 { return [4][]float32{p.input(n), p.input(n), p.input(n), p.input(n)} }
		p.mix(p.output(n*rows), four(n*rows), four(n), four(n))
		p.affine(p.output(n*rows), p.input(n*rows), p.input(n*rows), p.input(n), p.input(n), p.input(n), p.input(n))
	},
}

func TestSetsAgainstPortable(t *testing.T) {
	arena := newGuarded(t)
	for _, set := range processorSets() {
		for name, use := range entries {
			t.Run(set.name+"/"+name, func(t *testing.T) {
				for seed := range uint64(100) {
					run := func(v *vector) []float64 {
						p := &problem{Rand: rand.New(rand.NewPCG(seed, 1)), vector: v, arena: arena}
						defer arena.free()
						use(p)
						var all []float64
						for _, r := range p.results {
							switch r := r.(type) {
							case []float32:
								all = append(all, convert[float64](r)...)
							case []float64:
								all = append(all, r...)
							}
						}
						return all
					}
					want, got := run(&portable), run(&set)
					for i := range got { // none where the set does not have the loop

						if !(math.Abs(got[i]-want[i]) <= 2e-5*(10+math.Abs(want[i]))) {
							t.Fatalf("seed %d, number %d of %d: got %v, want %v", seed, i, len(want), got[i], want[i])
						}
					}
				}
			})
		}
	}
}

// TestProductsAreTheSameAnywhere: an element of a product is the same bits whatever stands beside it.
func TestProductsAreTheSameAnywhere(t *testing.T) {
	for _, set := range append(processorSets(), portable) {
		const m, n, k = 31, 45, 133
		p := &problem{Rand: rand.New(rand.NewPCG(1, 2)), vector: &set, arena: newGuarded(t)}
		a, b, whole, part := p.input(m*k), p.input(k*n), p.input(m*n), p.input(m*n)
		product := func(c []float32, i, j, rows, columns int) {
			packed := make([]float32, p.packed(k, columns))
			p.pack(packed, b[j:], n, 1, k, columns)
			p.gemm(c[i*n+j:], n, a[i*k:], k, packed, rows, columns, k, false, nil)
		}
		product(whole, 0, 0, m, n)
		for i := 0; i < m; i += 5 {
			for j := 0; j < n; j += 7 {
				product(part, i, j, min(5, m-i), min(7, n-j))
			}
		}
		for i := range whole {
			if whole[i] != part[i] {
				t.Fatalf("%s: row %d column %d is %v in the whole product, %v in a part", set.name, i/n, i%n, whole[i], part[i])
			}
		}
	}
}

func TestSetsKeepNaN(t *testing.T) {
	nan := float32(math.NaN())
	for _, set := range append(processorSets(), portable) {
		for at := range 9 {
			x, y := make([]float32, 9*3), make([]float32, 3)
			x[3*at+1] = nan
			set.maxPool(y, x, window{channels: 3, pixels: 1, rows: 1, kh: 3, kw: 3, step: 1, dilation: 1, line: 9})
			if y[0] != 0 || y[1] == y[1] || y[2] != 0 {
				t.Errorf("%s: maximum of zeros, and NaN in channel 1 at %d, is %v", set.name, at, y)
			}
			around := make([]float32, 9)
			set.maxAround(around, [3][]float32{x[:9], x[9:18], x[18:]}, 3, 3, 1)
			if around[3] != 0 || around[4] == around[4] || around[5] != 0 {
				t.Errorf("%s: maximum around a pixel, of zeros, and NaN in channel 1 at %d, is %v", set.name, at, around)
			}
		}
		y := make([]float32, 2)
		set.relu(y, []float32{nan, -1})
		if y[0] == y[0] || y[1] != 0 {
			t.Errorf("%s: relu of NaN, -1 is %v", set.name, y)
		}
		y = []float32{nan, 1}
		if set.maximum(y, []float32{-1, nan}); y[0] != -1 || y[1] == y[1] {
			t.Errorf("%s: maximum of NaN, 1 and -1, NaN is %v", set.name, y)
		}
		f := set.rows["relu_grad"]
		if f == nil {
			f = reluGradRow
		}
		f(y, []float32{5, 5}, []float32{nan, 1}, 0, 0)
		if y[0] != 0 || y[1] != 5 {
			t.Errorf("%s: relu_grad of 5 at NaN, 1 is %v", set.name, y)
		}
	}
}

// TestExponentials goes over the whole range of what is made of the exponential function, to the ends and beyond.
func TestExponentials(t *testing.T) {
	infinity := float32(math.Inf(1))
	for name, exact := range map[string]func(x float64) float64{
		"exp": math.Exp, "sigmoid": func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }, "tanh": math.Tanh,
	} {
		for _, set := range processorSets() {
			var x []float32
			for v := float32(-110); v < 95; v += 0.0137 {
				x = append(x, v, v/300)
			}
			x = append(x, 0, infinity, -infinity, float32(math.NaN()))
			y := make([]float32, len(x))
			set.rows[name](y, x, x, 0, 0)
			for i, v := range x {
				want, got := exact(float64(v)), float64(y[i])
				// What is subnormal may be zero.
				if got == float64(float32(want)) || want != want && got != got || math.Abs(got-want) <= 4e-7*math.Abs(want)+0x1p-126 {
					continue
				}
				t.Errorf("%s: %s of %v is %v, want %v", set.name, name, v, got, want)
			}
		}
	}
}

// TestHighwayRange goes over the whole range of gates and candidates: gates that are shut or open, activations at their
// ends, and what is no number.
func TestHighwayRange(t *testing.T) {
	var gate, x []float32
	for v := float32(-110); v < 110; v += 0.37 {
		gate, x = append(gate, v, v/30), append(x, 3*v/100, v)
	}
	n := len(gate)
	state, g := make([]float32, n), make([]float32, n)
	for i := range state {
		state[i], g[i] = 0.5, 1
	}
	m := &gateMixture{exact: [5]float64{1, 0.125, 0.25, 0.5, 0.125}, weights: [5]float32{1, 0.125, 0.25, 0.5, 0.125}}
	for _, set := range processorSets() {
		outputs := func(set *vector, gate, x []float32) [4][]float32 {
			y := [4][]float32{make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)}
			set.highway(y[0], gate, x, state, m)
			set.highwayProductGrad(y[1], y[2], gate, x, state, g, m)
			set.highwayStateGrad(y[3], gate, g, m)
			return y
		}
		got, want := outputs(&set, gate, x), outputs(&portable, gate, x)
		for k := range got {
			for i, w := range want[k] {
				if !(math.Abs(float64(got[k][i]-w)) <= 1e-6*(1+math.Abs(float64(w)))) {
					t.Errorf("%s: result %d at gate %v, candidate %v is %v, want %v", set.name, k, gate[i], x[i], got[k][i], w)
				}
			}
		}
		gate[7], x[9] = float32(math.NaN()), float32(math.NaN())
		got = outputs(&set, gate, x)
		gate[7], x[9] = 0, 0
		for k := range got {
			if v := got[k][7]; v == v {
				t.Errorf("%s: result %d of a gate that is no number is %v", set.name, k, v)
			}
			if v := got[k][9]; v == v && k < 3 {
				t.Errorf("%s: result %d of a candidate that is no number is %v", set.name, k, v)
			}
		}
	}
}

func TestShortArraysPanic(t *testing.T) {
	for _, set := range processorSets() {
		for name, use := range map[string]func(x []float32){
			"gemm":  func(x []float32) { set.gemm(x, 4, make([]float32, 64), 4, make([]float32, 64), 4, 4, 4, false, nil) },
			"outer": func(x []float32) { set.outer(make([]float32, 64), 4, x, 4, make([]float32, 64), 4, 4, 4, 4, nil) },
			"depthwise": func(x []float32) {
				set.depthwise(make([]float32, 64), x, make([]float32, 64), window{channels: 4, pixels: 4, rows: 1, kh: 1, kw: 1, step: 1, dilation: 1})
			},
			"add":    func(x []float32) { set.add(make([]float32, 16), x) },
			"affine": func(x []float32) { set.affine(make([]float32, 16), x, x, x, x, x, x) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: %s takes an array that is too short", set.name, name)
					}
				}()
				use(make([]float32, 15)[:15:15])
			}()
		}
	}
}

func TestChoose(t *testing.T) {
	sets := []vector{{name: "generic"}, {name: "avx2"}}
	for _, c := range []struct{ name, want, err string }{
		{"", "avx2", ""},
		{"generic", "generic", ""},
		{"avx512", "avx2", `DARTSC_CPU is "avx512": this build on this processor has generic, avx2`},
	} {
		got, err := choose(c.name, sets)
		if got.name != c.want || (err == nil) != (c.err == "") || err != nil && fmt.Sprint(err) != c.err {
			t.Errorf("choose(%q): got %s and %v, want %s and %q", c.name, got.name, err, c.want, c.err)
		}
	}
}
