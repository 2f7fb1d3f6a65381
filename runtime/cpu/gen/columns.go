package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// columns are the kernels on matrices of n channels, so many rows, without gaps: what BatchNorm is made of. The lanes
// are channels.
func (s *set) columns() {
	type vec = reg.VecVirtual
	s.sums("columnSums", "sum *float64, x *float32, n, rows int", momentRows, []string{"x"}, nil, []string{"sum"},
		"adds Σ x over rows to sum. Sums have room for whole vectors of channels.",
		func(row columnRow, _, sums []vec) {
			VADDPS(row.load(0), sums[0], sums[0])
		})
	s.sums("columnMoments", "first, second *float64, x, center *float32, n, rows int", momentRows, []string{"x"}, []string{"center"}, []string{"first", "second"},
		"adds Σ x - center and Σ (x - center)² over rows. Sums have room for whole vectors of channels.",
		func(row columnRow, center, sums []vec) {
			x := row.load(0)
			VSUBPS(center[0], x, x)
			VADDPS(x, sums[0], sums[0])
			VFMADD231PS(x, x, sums[1])
		})
	s.sums("columnProducts", "sum, product *float64, dy, x, mean *float32, n, rows int", productRows, []string{"dy", "x"}, []string{"mean"}, []string{"sum", "product"},
		"adds Σ dy and Σ dy·(x - mean) over rows. Sums have room for whole vectors of channels.",
		func(row columnRow, mean, sums []vec) {
			g, x := row.load(0), row.load(1)
			VSUBPS(mean[0], x, x)
			VADDPS(g, sums[0], sums[0])
			VFMADD231PS(x, g, sums[1])
		})
	s.sums("maskedProducts", "sum, product *float64, dy, x, mean, scale, beta *float32, n, rows int", productRows, []string{"dy", "x"}, []string{"mean", "scale", "beta"}, []string{"sum", "product"},
		"makes dy zero unless (x - mean)·scale + beta > 0, and adds Σ dy and Σ dy·(x - mean) over rows. Sums have room for whole vectors of channels.",
		func(row columnRow, c, sums []vec) {
			g, x, y := row.load(0), row.load(1), s.vector()
			VSUBPS(c[0], x, x)
			VMOVAPS(x, y)
			VFMADD213PS(c[2], c[1], y)
			g = s.only(s.where(less, s.zeros(1)[0], y), g)
			row.store(0, g)
			VADDPS(g, sums[0], sums[0])
			VFMADD231PS(x, g, sums[1])
		})
	s.perChannel("normalize", "y, x, mean, scale, beta", []string{"x"}, []string{"mean", "scale", "beta"},
		"computes y = (x - mean)·scale + beta.", func(load func(int) vec, c []vec) vec {
			x := load(0)
			VSUBPS(c[0], x, x)
			VFMADD213PS(c[2], c[1], x)
			return x
		})
	s.perChannel("normalizeRelu", "y, x, mean, scale, beta", []string{"x"}, []string{"mean", "scale", "beta"},
		"computes y = max((x - mean)·scale + beta, 0).", func(load func(int) vec, c []vec) vec {
			x, zero := load(0), s.zeros(1)[0]
			VSUBPS(c[0], x, x)
			VFMADD213PS(c[2], c[1], x)
			VMAXPS(x, zero, x)
			return x
		})
	s.perChannel("affine", "y, dy, x, mean, a, b, c", []string{"dy", "x"}, []string{"mean", "a", "b", "c"},
		"computes y = a·dy + b·(x - mean) + c.", func(load func(int) vec, c []vec) vec {
			g, x := load(0), load(1)
			VSUBPS(c[0], x, x)
			VFMADD213PS(c[3], c[2], x)
			VFMADD231PS(c[1], g, x)
			return x
		})
	s.perChannel("mix", "y, x0, x1, x2, x3, mean0, mean1, mean2, mean3, factor0, factor1, factor2, factor3", []string{"y", "x0", "x1", "x2", "x3"},
		[]string{"mean0", "mean1", "mean2", "mean3", "factor0", "factor1", "factor2", "factor3"},
		"adds Σ factor·(x - mean) of four x to y.", func(load func(int) vec, c []vec) vec {
			sum := load(0)
			for i := range 4 {
				x := load(1 + i)
				VSUBPS(c[i], x, x)
				VFMADD231PS(c[4+i], x, sum)
			}
			return sum
		})
	s.copyRows()
}

// copyRows copies rows of n channels that lie apart.
func (s *set) copyRows() {
	s.function("copyRows", "y, x", "n, rows, yRow, xRow", "copies rows of n numbers, which lie so many bytes apart.")
	blocks, p := []reg.GPVirtual{value("y"), value("x")}, []reg.GPVirtual{GP64(), GP64()}
	steps, rows := []reg.GPVirtual{value("yRow"), value("xRow")}, GP64()
	s.columnBlocks(local("n"), 0, func(vectors int) {
		for _, block := range blocks {
			ADDQ(U32(vectors*s.bytes()), block)
		}
	}, func(vectors int, part bool) {
		for i := range p {
			MOVQ(blocks[i], p[i])
		}
		MOVQ(argument("rows"), rows)
		s.loop(rows, func() {
			for v := range vectors {
				s.store(s.loaded(at(p[1], nil, 0, v*s.bytes()), part), at(p[0], nil, 0, v*s.bytes()), part)
			}
			for i := range p {
				ADDQ(steps[i], p[i])
			}
		})
	})
	s.end()
}

// columnRow is a vector of channels of a row: of each input what is there, and what is to be.
type columnRow struct {
	load  func(input int) reg.VecVirtual
	store func(input int, v reg.VecVirtual)
}

// How many rows are added in float32, in up to four chains, before they go into float64.
const (
	momentRows  = 64
	productRows = 16 // whose terms cancel, in a gradient
)

// sums writes a kernel that adds up to two sums over rows to float64: in float32 over so many rows at a time.
func (s *set) sums(name, parameters string, block int, inputs, coefficients, outputs []string, doc string, each func(row columnRow, c, sums []reg.VecVirtual)) {
	s.signature(name, "func("+parameters+")", doc)
	unroll := 4
	if !s.wide && len(coefficients) > 1 {
		unroll = 2 // half of the registers
	}
	var blocks, totals, pointers []reg.GPVirtual
	for _, in := range inputs {
		blocks = append(blocks, value(in))
		pointers = append(pointers, GP64())
	}
	for _, c := range coefficients {
		blocks = append(blocks, value(c))
	}
	for _, out := range outputs {
		totals = append(totals, value(out))
	}
	n, left, row, rows := local("n"), AllocLocal(8), GP64(), GP64()
	MOVQ(n, row)
	SHLQ(U8(2), row)
	s.columnBlocks(n, len(coefficients), func(vectors int) {
		for _, p := range blocks {
			ADDQ(U32(vectors*s.bytes()), p)
		}
		for _, p := range totals {
			ADDQ(U32(2*vectors*s.bytes()), p)
		}
	}, func(vectors int, part bool) {
		unroll := max(1, unroll/vectors)
		all := make([]reg.VecVirtual, unroll*vectors*len(outputs))
		for i := range all {
			all[i] = s.vector()
		}
		c := make([][]reg.VecVirtual, vectors)
		for v := range c {
			for _, block := range blocks[len(inputs):] {
				c[v] = append(c[v], s.loaded(at(block, nil, 0, v*s.bytes()), part))
			}
		}
		for i, p := range pointers {
			MOVQ(blocks[i], p)
		}
		move(argument("rows"), left)
		again, few := s.mark("rows"), s.mark("few")
		Label(again)
		MOVQ(U32(block), rows)
		CMPQ(left, U32(block))
		JGE(LabelRef(few))
		MOVQ(left, rows)
		Label(few)
		SUBQ(rows, left)
		for _, sum := range all {
			s.zero(sum)
		}
		for _, count := range []int{unroll, 1} {
			s.while(rows, count, func() {
				for i := range count {
					for v := range vectors {
						at := func(k int) Mem { return at(pointers[k], nil, 0, v*s.bytes()) }
						each(columnRow{
							load:  func(k int) reg.VecVirtual { return s.loaded(at(k), part) },
							store: func(k int, r reg.VecVirtual) { s.store(r, at(k), part) },
						}, c[v], all[(i*vectors+v)*len(outputs):][:len(outputs)])
					}
					for _, p := range pointers {
						ADDQ(row, p)
					}
				}
			})
		}
		for v := range vectors {
			for i, total := range totals {
				sum := all[v*len(outputs)+i]
				for k := 1; k < unroll; k++ {
					VADDPS(all[(k*vectors+v)*len(outputs)+i], sum, sum)
				}
				for k, half := range s.doubles(sum) {
					m := at(total, nil, 0, (2*v+k)*s.bytes())
					VADDPD(m, half, half)
					VMOVUPD(half, m)
				}
			}
		}
		CMPQ(left, U32(0))
		JNE(LabelRef(again))
	})
	s.end()
}

// columnBlocks is inChannels for kernels that pass all rows once for each block of channels: with enough registers for
// the coefficients, of four or two vectors, so that rows of so many channels are read line by line, as memory likes it.
func (s *set) columnBlocks(n Op, coefficients int, next func(vectors int), body func(vectors int, part bool)) {
	if s.wide {
		for _, vectors := range []int{4, 2} {
			if vectors*coefficients > 16 {
				continue
			}
			s.while(n, vectors*s.lanes, func() {
				body(vectors, false)
				next(vectors)
			})
		}
	}
	s.inChannels(n, func() { next(1) }, func(part bool) { body(1, part) })
}

// perChannel writes a kernel that computes every row of y from rows with coefficients by channel.
func (s *set) perChannel(name, pointers string, inputs, coefficients []string, doc string,
	each func(load func(int) reg.VecVirtual, c []reg.VecVirtual) reg.VecVirtual) {
	s.function(name, pointers, "n, rows", doc)
	blocks, of := []reg.GPVirtual{value("y")}, make([]int, len(inputs)) // the block of an input
	for i, in := range inputs {
		if in != "y" {
			of[i], blocks = len(blocks), append(blocks, value(in))
		}
	}
	var offset, row, rows, p = GP64(), GP64(), GP64(), make([]reg.GPVirtual, len(blocks))
	for i := range p {
		p[i] = GP64()
	}
	n := local("n")
	MOVQ(n, row)
	SHLQ(U8(2), row)
	XORQ(offset, offset)
	s.columnBlocks(n, len(coefficients), func(vectors int) { ADDQ(U32(vectors*s.bytes()), offset) }, func(vectors int, part bool) {
		c := make([][]reg.VecVirtual, vectors)
		for _, name := range coefficients {
			from := GP64()
			MOVQ(argument(name), from)
			for v := range c {
				c[v] = append(c[v], s.loaded(at(from, offset, 1, v*s.bytes()), part))
			}
		}
		for i := range p {
			LEAQ(at(blocks[i], offset, 1, 0), p[i])
		}
		MOVQ(argument("rows"), rows)
		for _, count := range []int{4 / vectors, 1} {
			s.while(rows, count, func() {
				for range count {
					for v := range vectors {
						load := func(i int) reg.VecVirtual { return s.loaded(at(p[of[i]], nil, 0, v*s.bytes()), part) }
						s.store(each(load, c[v]), at(p[0], nil, 0, v*s.bytes()), part)
					}
					for _, pointer := range p {
						ADDQ(row, pointer)
					}
				}
			})
		}
	})
	s.end()
}
