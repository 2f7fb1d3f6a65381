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
//	yStep                   bytes between outputs of a row
//	wTap                    bytes between the weights of taps
//	line                    bytes between rows of taps
func (s *set) windows() {
	s.depthwise()
	s.maxPool()
	s.scatter()
	s.correlate()
	s.maxPoolGrad()
}

const (
	inputInts  = "channels, pixels, rows, kh, kw, step, tap, skip, xRow, yRow"
	windowInts = inputInts + ", yStep" // of kernels whose outputs may lie apart
)

func (s *set) depthwise() {
	s.function("depthwise", "y, x, w, next", windowInts+", wTap, line, kind, add, ahead", "computes y = Σ w·x over the taps of each window, or adds it to y where add is not zero. Meanwhile it asks for memory from next on, so many bytes further every time.")
	next := newAhead(s)
	weights, current := local("w"), GP64()
	g := newGather(s)
	g.start = func() { MOVQ(weights, current) }
	g.next = func() { ADDQ(argument("wTap"), current) }
	g.block = func() { ADDQ(U32(s.bytes()), weights) }
	var w reg.VecVirtual
	g.before = func(part bool) { w = s.loaded(at(current, nil, 0, 0), part) }
	g.each = func(sum reg.VecVirtual, x Mem, part bool) { s.fma(x, w, sum, part) }
	g.zero = s.zero
	g.first = func(y reg.GPVirtual, sums []reg.VecVirtual, part bool) {
		plain, from := s.mark("plain"), GP64()
		CMPQ(argument("add"), U32(0))
		JE(LabelRef(plain))
		MOVQ(y, from)
		for _, sum := range sums {
			s.load(at(from, nil, 0, 0), sum, part)
			ADDQ(argument("yStep"), from)
		}
		Label(plain)
	}
	g.special = func(g *gather, x reg.GPVirtual, sums []reg.VecVirtual, part bool, done string) {
		kind, pixel := GP64(), GP64()
		MOVQ(argument("channels"), pixel)
		SHLQ(U8(2), pixel)
		MOVQ(argument("kind"), kind)
		for i, shape := range slidingShapes {
			other := s.mark("kind")
			CMPQ(kind, U32(i+1))
			JNE(LabelRef(other))
			s.sliding(shape, x, pixel, weights, sums, next, part)
			JMP(LabelRef(done))
			Label(other)
		}
	}
	g.write()
}

// slidingShapes are the windows for which depthwise loads an element once for all taps of a row that it belongs to;
// vector_amd64.go has the same list. Parameter kind is the place in it, from 1 on, or 0 for others.
var slidingShapes = []slidingShape{{3, 1, 1}, {5, 1, 1}, {3, 1, 2}, {5, 1, 2}, {3, 2, 1}, {5, 2, 1}}

type slidingShape struct{ kw, step, dilation int }

// elements loads what so many neighbouring windows read by a row of taps, the first of it at x, and calls use for every
// window i and tap t that an element belongs to. It changes x.
func (shape slidingShape) elements(s *set, windows int, x reg.GPVirtual, near spaced, part bool, use func(v reg.VecVirtual, i, t int)) {
	// An element at j belongs to window i by tap t where i·step + t·dilation = j.
	for j := range (windows-1)*shape.step + (shape.kw-1)*shape.dilation + 1 {
		if j > 0 && j%4 == 0 {
			LEAQ(at(x, near.one, 4, 0), x)
		}
		var v reg.VecVirtual
		for i := range windows {
			if t := j - i*shape.step; t >= 0 && t%shape.dilation == 0 && t/shape.dilation < shape.kw {
				if v == nil {
					v = s.loaded(near.at(x, j%4), part)
				}
				use(v, i, t/shape.dilation)
			}
		}
	}
}

// sliding adds all taps of some neighbouring windows, the first of which is at x, to their sums. With every tap it asks for
// memory that is needed next.
func (s *set) sliding(shape slidingShape, x, pixel reg.GPVirtual, weights Op, sums []reg.VecVirtual, next ahead, part bool) {
	row, w, from, kh := GP64(), GP64(), GP64(), GP64()
	MOVQ(x, row)
	MOVQ(weights, w)
	MOVQ(argument("kh"), kh)
	near := newSpaced(pixel, 4)
	s.loop(kh, func() {
		next.fetch(shape.kw)
		var taps []reg.VecVirtual
		for range shape.kw {
			taps = append(taps, s.loaded(at(w, nil, 0, 0), part))
			ADDQ(argument("wTap"), w)
		}
		MOVQ(row, from)
		shape.elements(s, len(sums), from, near, part, func(v reg.VecVirtual, i, t int) { VFMADD231PS(v, taps[t], sums[i]) })
		ADDQ(argument("line"), row)
	})
}

// maxPool keeps NaN: the second source of VMAXPS, here the maximum so far, is what it gives where either is NaN, so
// only a NaN in x needs care.
func (s *set) maxPool() {
	s.function("maxPool", "y, x", windowInts, "computes the maximum of each window, which is NaN if an element is.")
	g := newGather(s)
	g.each = func(sum reg.VecVirtual, x Mem, part bool) {
		v := s.loaded(x, part)
		VMAXPS(sum, v, sum)
		s.choose(s.where(unordered, v, v), v, sum)
	}
	g.zero = s.leastNumber()
	g.write()
}

// leastNumber returns what fills registers with minus infinity.
func (s *set) leastNumber() func(r reg.VecVirtual) {
	infinity := AllocLocal(8)
	MOVL(U32(0xff800000), infinity)
	return func(r reg.VecVirtual) { VBROADCASTSS(infinity, r) }
}

// gather is a kernel that computes every output pixel from its window, several pixels at a time.
type gather struct {
	*set
	zero               func(sum reg.VecVirtual)
	first              func(y reg.GPVirtual, sums []reg.VecVirtual, part bool)                         // before all taps of a group of pixels
	each               func(sum reg.VecVirtual, x Mem, part bool)                                      // a tap of a pixel
	before             func(part bool)                                                                 // a tap of all pixels
	start, next, block func()                                                                          // a group of pixels, a tap, a vector of channels
	special            func(g *gather, x reg.GPVirtual, sums []reg.VecVirtual, part bool, done string) // all taps of eight pixels, or none; nil: no such
}

func newGather(s *set) *gather {
	nothing := func() {}
	return &gather{set: s, first: func(reg.GPVirtual, []reg.VecVirtual, bool) {}, before: func(bool) {}, start: nothing, next: nothing, block: nothing}
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
		g.first(y, sums, part)
		done := g.mark("taps")
		if g.special != nil && count == 8 {
			g.special(g, x, sums, part, done)
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
		for _, sum := range sums {
			g.store(sum, at(y, nil, 0, 0), part)
			ADDQ(argument("yStep"), y)
		}
		LEAQ(at(x, step.one, count, 0), x)
	}
	g.inChannels(channels, func() {
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
	s.inChannels(channels, func() {
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
	s.function("correlate", "w, x, dy", inputInts+", line, kind", "adds Σ dy·x over windows to the weights w of each tap.")
	c := correlation{set: s, xTap: AllocLocal(8), wTap: AllocLocal(8), step: value("step"), pixel: GP64(), tap: newSpaced(value("tap"), 4),
		x: GP64(), g: GP64(), pixels: GP64(), gBlock: local("dy")}
	xBlock, wBlock, channels, kh, kw := local("x"), local("w"), local("channels"), AllocLocal(8), AllocLocal(8)
	MOVQ(argument("channels"), c.pixel)
	SHLQ(U8(2), c.pixel)
	s.inChannels(channels, func() {
		for _, p := range []Mem{xBlock, c.gBlock, wBlock} {
			ADDQ(U32(s.bytes()), p)
		}
	}, func(part bool) {
		move(xBlock, c.xTap)
		move(wBlock, c.wTap)
		move(argument("kh"), kh)
		done := s.mark("block")
		for i, shape := range slidingShapes {
			next := s.mark("kind")
			CMPQ(argument("kind"), U32(i+1))
			JNE(LabelRef(next))
			s.loop(kh, func() {
				c.sliding(shape, part)
				c.next(shape.kw)
				increase(c.xTap, argument("skip"))
			})
			JMP(LabelRef(done))
			Label(next)
		}
		s.loop(kh, func() {
			move(argument("kw"), kw)
			for _, count := range []int{3, 1} {
				s.while(kw, count, func() {
					c.taps(count, part)
					c.next(count)
				})
			}
			increase(c.xTap, argument("skip"))
		})
		Label(done)
	})
	s.end()
}

// correlation is the state of correlate.
type correlation struct {
	*set
	xTap, wTap, gBlock Mem // of the next tap, and of the vector of channels
	step, pixel        reg.GPVirtual
	tap                spaced
	x, g, pixels       reg.GPVirtual // within a row
}

// eachRow passes the rows of outputs.
func (c *correlation) eachRow(row func()) {
	xRow, gRow, rows := GP64(), AllocLocal(8), AllocLocal(8)
	MOVQ(c.xTap, xRow)
	move(c.gBlock, gRow)
	move(argument("rows"), rows)
	c.loop(rows, func() {
		MOVQ(xRow, c.x)
		MOVQ(gRow, c.g)
		MOVQ(argument("pixels"), c.pixels)
		row()
		ADDQ(argument("xRow"), xRow)
		increase(gRow, argument("yRow"))
	})
}

// one adds a pixel to the sums of some taps.
func (c *correlation) one(sums []reg.VecVirtual, part bool) {
	v := c.loaded(at(c.g, nil, 0, 0), part)
	for t, sum := range sums {
		c.fma(c.tap.at(c.x, t), v, sum, part)
	}
	ADDQ(c.pixel, c.g)
	ADDQ(c.step, c.x)
}

// taps adds to the weights of so many taps of a row.
func (c *correlation) taps(count int, part bool) {
	const unroll = 4
	sums := c.zeros(count * unroll)
	c.eachRow(func() {
		for _, n := range []int{unroll, 1} {
			c.while(c.pixels, n, func() {
				for i := range n {
					c.one(sums[i*count:(i+1)*count], part)
				}
			})
		}
	})
	c.store(sums, count, part)
}

// sliding adds to the weights of a row of taps, and loads an element once for all that it belongs to. The more pixels at
// a time, the fewer loads; they take turns at the sums.
func (c *correlation) sliding(shape slidingShape, part bool) {
	chains, groups := 4, []int{8, 4}
	if !c.wide { // half of the registers
		chains = 12/shape.kw - 1
		groups = []int{chains}
	}
	sums := c.zeros(shape.kw * chains)
	near := newSpaced(c.pixel, 4)
	c.eachRow(func() {
		for _, pixels := range groups {
			c.while(c.pixels, pixels, func() {
				var g []reg.VecVirtual
				for i := range pixels {
					if i > 0 && i%4 == 0 {
						LEAQ(at(c.g, c.pixel, 4, 0), c.g)
					}
					g = append(g, c.loaded(near.at(c.g, i%4), part))
				}
				from := GP64()
				MOVQ(c.x, from)
				shape.elements(c.set, pixels, from, near, part, func(v reg.VecVirtual, i, t int) {
					VFMADD231PS(v, g[i], sums[i%chains*shape.kw+t])
				})
				for range (pixels-1)%4 + 1 {
					ADDQ(c.pixel, c.g)
				}
				for range pixels {
					ADDQ(c.step, c.x)
				}
			})
		}
		c.while(c.pixels, 1, func() { c.one(sums[:shape.kw], part) })
	})
	c.store(sums, shape.kw, part)
}

// store adds the sums of so many taps to their weights.
func (c *correlation) store(sums []reg.VecVirtual, count int, part bool) {
	w := GP64()
	MOVQ(c.wTap, w)
	for t, sum := range sums[:count] {
		for i := t + count; i < len(sums); i += count {
			VADDPS(sums[i], sum, sum)
		}
		c.add(at(w, nil, 0, 0), sum, part)
		c.set.store(sum, at(w, nil, 0, 0), part)
		ADDQ(c.pixel, w)
	}
	MOVQ(w, c.wTap)
}

// next goes to the taps after so many.
func (c *correlation) next(count int) {
	next := GP64()
	IMUL3Q(U32(count), c.tap.one, next)
	ADDQ(next, c.xTap)
}

// maxPoolGrad looks for the first maximum of a window, as a number of a tap in each lane, and then adds to that tap.
func (s *set) maxPoolGrad() {
	s.function("maxPoolGrad", "dx, dy, x", "channels, pixels, kh, kw, step, tap, skip", "adds dy to dx at the first maximum of each window of a row of x.")
	number := AllocLocal(8)
	MOVL(U32(0x3f800000), number)
	channels, xBlock, dxBlock, dyBlock := local("channels"), local("x"), local("dx"), local("dy")
	x, dx, dy, pixels, tap, skip := GP64(), GP64(), GP64(), GP64(), value("tap"), value("skip")
	p, kh, kw := GP64(), GP64(), GP64()
	var one, count reg.VecVirtual
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
	s.inChannels(channels, func() {
		for _, p := range []Mem{xBlock, dxBlock, dyBlock} {
			ADDQ(U32(s.bytes()), p)
		}
	}, func(part bool) {
		one, count = s.broadcast(number), s.vector()
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
