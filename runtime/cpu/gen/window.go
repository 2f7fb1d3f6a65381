package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Kernels on windows of images that lie channels last. The lanes of a vector are channels; a channel has nothing to do
// with the next, so that windows, taps and strides are only steps of pointers. The parameters of all:
//
//	channels, pixels, rows  of the output
//	kh, kw                  taps of a window
//	step, tap               bytes between windows of a row and between taps of a row
//	skip                    bytes from the end of one row of taps to the next
//	xRow, yRow              bytes between the windows of one row of outputs and the next, and between these
//	wTap                    bytes between the weights of taps
//	line                    bytes between rows of taps
func (s *set) windows() {
	s.depthwise()
	s.maxPool()
	s.scatter()
	s.correlate()
	s.maxPoolGrad()
}

const windowInts = "channels, pixels, rows, kh, kw, step, tap, skip, xRow, yRow"

func (s *set) depthwise() {
	s.function("depthwise", "y, x, w", windowInts+", wTap, line, kind", "computes y = Σ w·x over the taps of each window.")
	weights, current := local("w"), GP64()
	g := newGather(s)
	g.start = func() { MOVQ(weights, current) }
	g.next = func() { ADDQ(argument("wTap"), current) }
	g.block = func() { ADDQ(U32(s.bytes()), weights) }
	var w reg.VecVirtual
	g.before = func(part bool) { w = s.loaded(at(current, nil, 0, 0), part) }
	g.each = func(sum reg.VecVirtual, x Mem, part bool) { s.fma(x, w, sum, part) }
	g.zero = s.zero
	g.special = func(g *gather, x reg.GPVirtual, sums []reg.VecVirtual, done string) {
		kind, pixel := GP64(), GP64()
		MOVQ(argument("channels"), pixel)
		SHLQ(U8(2), pixel)
		MOVQ(argument("kind"), kind)
		for i, shape := range slidingShapes {
			next := s.mark("kind")
			CMPQ(kind, U32(i+1))
			JNE(LabelRef(next))
			s.sliding(shape, x, pixel, weights, sums)
			JMP(LabelRef(done))
			Label(next)
		}
	}
	g.write()
}

// slidingShapes are the windows for which depthwise loads an element once for all taps of a row that it belongs to;
// vector_amd64.go has the same list. Parameter kind is the place in it, from 1 on, or 0 for others.
var slidingShapes = []struct{ kw, step, dilation int }{{3, 1, 1}, {5, 1, 1}, {3, 1, 2}, {5, 1, 2}, {3, 2, 1}, {5, 2, 1}}

// sliding adds all taps of some neighbouring windows, the first of which is at x, to their sums.
func (s *set) sliding(shape struct{ kw, step, dilation int }, x, pixel reg.GPVirtual, weights Op, sums []reg.VecVirtual) {
	row, w, from, kh := GP64(), GP64(), GP64(), GP64()
	MOVQ(x, row)
	MOVQ(weights, w)
	MOVQ(argument("kh"), kh)
	three := GP64()
	LEAQ(at(pixel, pixel, 2, 0), three)
	near := spaced{one: pixel, three: three}
	s.loop(kh, func() {
		var taps []reg.VecVirtual
		for range shape.kw {
			taps = append(taps, s.loaded(at(w, nil, 0, 0), false))
			ADDQ(argument("wTap"), w)
		}
		MOVQ(row, from)
		// An element at j belongs to window i by tap t where i·step + t·dilation = j.
		for j := range (len(sums)-1)*shape.step + (shape.kw-1)*shape.dilation + 1 {
			if j > 0 && j%4 == 0 {
				LEAQ(at(from, pixel, 4, 0), from)
			}
			var v reg.VecVirtual
			for i, sum := range sums {
				if t := j - i*shape.step; t >= 0 && t%shape.dilation == 0 && t/shape.dilation < shape.kw {
					if v == nil {
						v = s.loaded(near.at(from, j%4), false)
					}
					VFMADD231PS(v, taps[t/shape.dilation], sum)
				}
			}
		}
		ADDQ(argument("line"), row)
	})
}

// maxPool keeps NaN: the second source of VMAXPS, here the maximum so far, is what it gives where either is NaN, so
// only a NaN in x needs care.
func (s *set) maxPool() {
	s.function("maxPool", "y, x", windowInts, "computes the maximum of each window, which is NaN if an element is.")
	infinity := AllocLocal(8)
	MOVL(U32(0xff800000), infinity)
	g := newGather(s)
	g.each = func(sum reg.VecVirtual, x Mem, part bool) {
		v := s.loaded(x, part)
		VMAXPS(sum, v, sum)
		s.choose(s.where(unordered, v, v), v, sum)
	}
	g.zero = func(r reg.VecVirtual) { VBROADCASTSS(infinity, r) }
	g.write()
}

// gather is a kernel that computes every output pixel from its window, several pixels at a time.
type gather struct {
	*set
	zero               func(sum reg.VecVirtual)
	each               func(sum reg.VecVirtual, x Mem, part bool)                           // a tap of a pixel
	before             func(part bool)                                                      // a tap of all pixels
	start, next, block func()                                                               // a group of pixels, a tap, a vector of channels
	special            func(g *gather, x reg.GPVirtual, sums []reg.VecVirtual, done string) // all taps of eight pixels, or none; nil: no such
}

func newGather(s *set) *gather {
	nothing := func() {}
	return &gather{set: s, before: func(bool) {}, start: nothing, next: nothing, block: nothing}
}

func (g *gather) write() {
	xBlock, yBlock, channels := local("x"), local("y"), local("channels")
	xRow, yRow, rows := AllocLocal(8), AllocLocal(8), AllocLocal(8)
	x, y, pixels := GP64(), GP64(), GP64()
	step, tap := newSpaced(value("step"), 4), value("tap")
	group := func(count int, part bool) {
		var sums []reg.VecVirtual
		for range count {
			sum := g.vector()
			g.zero(sum)
			sums = append(sums, sum)
		}
		done := g.mark("taps")
		if g.special != nil && count == 8 && !part {
			g.special(g, x, sums, done)
		}
		from := []reg.GPVirtual{GP64()}
		MOVQ(x, from[0])
		if count > 4 {
			from = append(from, GP64())
			LEAQ(at(x, step.one, 4, 0), from[1])
		}
		g.start()
		kh, kw := GP64(), GP64()
		MOVQ(argument("kh"), kh)
		g.loop(kh, func() {
			MOVQ(argument("kw"), kw)
			g.loop(kw, func() {
				g.before(part)
				for i, sum := range sums {
					g.each(sum, step.at(from[i/4], i%4), part)
				}
				for _, p := range from {
					ADDQ(tap, p)
				}
				g.next()
			})
			for _, p := range from {
				ADDQ(argument("skip"), p)
			}
		})
		Label(done)
		pixel := GP64()
		MOVQ(argument("channels"), pixel)
		SHLQ(U8(2), pixel)
		for _, sum := range sums {
			g.store(sum, at(y, nil, 0, 0), part)
			ADDQ(pixel, y)
		}
		LEAQ(at(x, step.one, count, 0), x)
	}
	g.inVectors(channels, func() {
		ADDQ(U32(g.bytes()), xBlock)
		ADDQ(U32(g.bytes()), yBlock)
		g.block()
	}, func(part bool) {
		move(xBlock, xRow)
		move(yBlock, yRow)
		move(argument("rows"), rows)
		g.loop(rows, func() {
			MOVQ(xRow, x)
			MOVQ(yRow, y)
			MOVQ(argument("pixels"), pixels)
			for _, count := range []int{8, 4, 1} {
				g.while(pixels, count, func() { group(count, part) })
			}
			increase(xRow, argument("xRow"))
			increase(yRow, argument("yRow"))
		})
	})
	g.end()
}

// scatter goes by taps: a tap of one window and that of the next are different pixels, so several go at a time.
func (s *set) scatter() {
	s.function("scatter", "x, dy, w", "channels, pixels, kh, kw, step, tap, skip, wTap", "adds w·dy to the taps of each window of a row.")
	xBlock, gBlock, wBlock, channels := local("x"), local("dy"), local("w"), local("channels")
	step, pixel := newSpaced(value("step"), 4), GP64()
	MOVQ(argument("channels"), pixel)
	SHLQ(U8(2), pixel)
	row := newSpaced(pixel, 4)
	xTap, wTap, kh, kw := GP64(), GP64(), GP64(), GP64()
	s.inVectors(channels, func() {
		for _, p := range []Mem{xBlock, gBlock, wBlock} {
			ADDQ(U32(s.bytes()), p)
		}
	}, func(part bool) {
		MOVQ(xBlock, xTap)
		MOVQ(wBlock, wTap)
		MOVQ(argument("kh"), kh)
		s.loop(kh, func() {
			MOVQ(argument("kw"), kw)
			s.loop(kw, func() {
				w := s.loaded(at(wTap, nil, 0, 0), part)
				x, g, pixels := GP64(), GP64(), GP64()
				MOVQ(xTap, x)
				MOVQ(gBlock, g)
				MOVQ(argument("pixels"), pixels)
				for _, count := range []int{4, 1} {
					s.while(pixels, count, func() {
						var sums []reg.VecVirtual
						for i := range count {
							sums = append(sums, s.loaded(step.at(x, i), part))
							s.fma(row.at(g, i), w, sums[i], part)
						}
						for i, sum := range sums {
							s.store(sum, step.at(x, i), part)
						}
						LEAQ(at(x, step.one, count, 0), x)
						LEAQ(at(g, pixel, count, 0), g)
					})
				}
				ADDQ(argument("tap"), xTap)
				ADDQ(argument("wTap"), wTap)
			})
			ADDQ(argument("skip"), xTap)
		})
	})
	s.end()
}

// correlate keeps the sums of several taps of a row in registers, for every few pixels their own: one chain of
// additions would wait for itself.
func (s *set) correlate() {
	s.function("correlate", "w, x, dy", windowInts+", line", "adds Σ dy·x over windows to the weights w of each tap.")
	xBlock, gBlock, wBlock, channels := local("x"), local("dy"), local("w"), local("channels")
	xTap, wTap, kh, kw := AllocLocal(8), AllocLocal(8), AllocLocal(8), AllocLocal(8)
	step, pixel := value("step"), GP64()
	MOVQ(argument("channels"), pixel)
	SHLQ(U8(2), pixel)
	tap := newSpaced(value("tap"), 4)
	x, g, pixels := GP64(), GP64(), GP64()
	taps := func(count, unroll int, part bool) {
		sums := s.zeros(count * unroll)
		xRow, gRow, rows := GP64(), GP64(), GP64()
		MOVQ(xTap, xRow)
		MOVQ(gBlock, gRow)
		MOVQ(argument("rows"), rows)
		s.loop(rows, func() {
			MOVQ(xRow, x)
			MOVQ(gRow, g)
			MOVQ(argument("pixels"), pixels)
			for _, n := range []int{unroll, 1} {
				s.while(pixels, n, func() {
					for i := range n {
						v := s.loaded(at(g, nil, 0, 0), part)
						for t := range count {
							s.fma(tap.at(x, t), v, sums[i*count+t], part)
						}
						ADDQ(pixel, g)
						ADDQ(step, x)
					}
				})
			}
			ADDQ(argument("xRow"), xRow)
			ADDQ(argument("yRow"), gRow)
		})
		w := GP64()
		MOVQ(wTap, w)
		for t := range count {
			for i := 1; i < unroll; i++ {
				VADDPS(sums[i*count+t], sums[t], sums[t])
			}
			s.add(at(w, nil, 0, 0), sums[t], part)
			s.store(sums[t], at(w, nil, 0, 0), part)
			ADDQ(pixel, w)
		}
		MOVQ(w, wTap)
		next := GP64()
		IMUL3Q(U32(count), tap.one, next)
		ADDQ(next, xTap)
	}
	s.inVectors(channels, func() {
		for _, p := range []Mem{xBlock, gBlock, wBlock} {
			ADDQ(U32(s.bytes()), p)
		}
	}, func(part bool) {
		done := s.mark("block")
		if !part {
			other := s.mark("other")
			CMPQ(argument("kh"), U32(3))
			JNE(LabelRef(other))
			CMPQ(argument("kw"), U32(3))
			JNE(LabelRef(other))
			s.square(3, tap, step, pixel, xBlock, gBlock, wBlock)
			JMP(LabelRef(done))
			Label(other)
		}
		move(xBlock, xTap)
		move(wBlock, wTap)
		move(argument("kh"), kh)
		s.loop(kh, func() {
			move(argument("kw"), kw)
			five := 2
			if s.wide {
				five = 4
			}
			s.while(kw, 5, func() { taps(5, five, part) })
			s.while(kw, 3, func() { taps(3, 4, part) })
			s.while(kw, 1, func() { taps(1, 4, part) })
			increase(xTap, argument("skip"))
		})
		Label(done)
	})
	s.end()
}

// square adds to the weights of all taps of a small window at once: each has one sum, and there are enough of them.
func (s *set) square(side int, tap spaced, step, pixel reg.GPVirtual, xBlock, gBlock, wBlock Mem) {
	sums := s.zeros(side * side)
	xRow, gRow, rows, pixels := AllocLocal(8), AllocLocal(8), AllocLocal(8), GP64()
	move(xBlock, xRow)
	move(gBlock, gRow)
	move(argument("rows"), rows)
	g, x := GP64(), make([]reg.GPVirtual, side)
	s.loop(rows, func() {
		for i := range x {
			x[i] = GP64()
			if i == 0 {
				MOVQ(xRow, x[0])
			} else {
				MOVQ(x[i-1], x[i])
				ADDQ(argument("line"), x[i])
			}
		}
		MOVQ(gRow, g)
		MOVQ(argument("pixels"), pixels)
		s.loop(pixels, func() {
			v := s.loaded(at(g, nil, 0, 0), false)
			for t, sum := range sums {
				VFMADD231PS(tap.at(x[t/side], t%side), v, sum)
			}
			for _, p := range x {
				ADDQ(step, p)
			}
			ADDQ(pixel, g)
		})
		increase(xRow, argument("xRow"))
		increase(gRow, argument("yRow"))
	})
	w := GP64()
	MOVQ(wBlock, w)
	for _, sum := range sums {
		s.add(at(w, nil, 0, 0), sum, false)
		s.store(sum, at(w, nil, 0, 0), false)
		ADDQ(pixel, w)
	}
}

// maxPoolGrad looks for the first maximum of a window, as a number of a tap in each lane, and then adds to that tap.
func (s *set) maxPoolGrad() {
	s.function("maxPoolGrad", "dx, dy, x", "channels, pixels, kh, kw, step, tap, skip", "adds dy to dx at the first maximum of each window of a row of x.")
	number := AllocLocal(8)
	MOVL(U32(0x3f800000), number)
	one := s.broadcast(number)
	channels, xBlock, dxBlock, dyBlock := local("channels"), local("x"), local("dx"), local("dy")
	x, dx, dy, pixels, tap, skip := GP64(), GP64(), GP64(), GP64(), value("tap"), value("skip")
	p, kh, kw := GP64(), GP64(), GP64()
	count := s.vector()
	window := func(from reg.GPVirtual, each func()) {
		s.zero(count)
		MOVQ(from, p)
		MOVQ(argument("kh"), kh)
		s.loop(kh, func() {
			MOVQ(argument("kw"), kw)
			s.loop(kw, func() {
				each()
				VADDPS(one, count, count)
				ADDQ(tap, p)
			})
			ADDQ(skip, p)
		})
	}
	s.inVectors(channels, func() {
		for _, p := range []Mem{xBlock, dxBlock, dyBlock} {
			ADDQ(U32(s.bytes()), p)
		}
	}, func(part bool) {
		MOVQ(xBlock, x)
		MOVQ(dxBlock, dx)
		MOVQ(dyBlock, dy)
		MOVQ(argument("pixels"), pixels)
		s.loop(pixels, func() {
			best, place := s.loaded(at(x, nil, 0, 0), part), s.vector()
			s.zero(place)
			window(x, func() {
				v := s.loaded(at(p, nil, 0, 0), part)
				larger := s.where(less, best, v)
				s.choose(larger, v, best)
				s.choose(larger, count, place)
			})
			g := s.loaded(at(dy, nil, 0, 0), part)
			window(dx, func() {
				sum := s.only(s.where(equal, count, place), g)
				s.add(at(p, nil, 0, 0), sum, part)
				s.store(sum, at(p, nil, 0, 0), part)
			})
			ADDQ(argument("step"), x)
			ADDQ(argument("step"), dx)
			pixel := GP64()
			MOVQ(argument("channels"), pixel)
			LEAQ(at(dy, pixel, 4, 0), dy)
		})
	})
	s.end()
}
