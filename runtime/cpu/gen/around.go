package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Kernels on 3×3 windows around every pixel of a row, which read an element once: what has been made of a column of three
// stays in registers for the three windows that it is in. Columns beside the row hold a number that changes nothing.
// Rows have so many pixels, at least two, without gaps; the pointers are those of the row above, the row and the one below.
func (s *set) around() {
	s.sumAround()
	s.maxAround()
	if s.wide { // it takes 25 registers
		s.maxAroundGrad()
	}
}

// sumAround adds in the order of rows, as the loops for other windows do: sums of columns would be fewer additions, but
// others, for which a ReLU at its kink falls to the other side.
func (s *set) sumAround() {
	s.function("sumAround", "y, above, here, below, share", "channels, pixels, rows", "computes the sums around every pixel, each times its share.")
	s.eachAround([]string{"y", "above", "here", "below"}, []string{"share"}, func(p []reg.GPVirtual, pixel reg.GPVirtual, part bool) slide {
		return slide{registers: 3,
			beside: func(column []reg.VecVirtual) {
				for _, r := range column {
					s.zero(r)
				}
			},
			next: func(column []reg.VecVirtual) {
				for i, r := range column {
					s.load(at(p[1+i], nil, 0, 0), r, part)
				}
				advance(pixel, p[1:4]...)
			},
			each: func(left, here, right []reg.VecVirtual) {
				sum := s.vector()
				VADDPS(here[0], left[0], sum)
				VADDPS(right[0], sum, sum)
				for i := 1; i < 3; i++ {
					for _, column := range [][]reg.VecVirtual{left, here, right} {
						VADDPS(column[i], sum, sum)
					}
				}
				VMULPS(s.loaded(at(p[4], nil, 0, 0), part), sum, sum)
				s.store(sum, at(p[0], nil, 0, 0), part)
				advance(pixel, p[0], p[4])
			},
		}
	})
}

func (s *set) maxAround() {
	s.function("maxAround", "y, above, here, below", "channels, pixels, rows", "computes the maxima around every pixel, NaN where an element is.")
	least := s.leastNumber()
	join := func(v, most reg.VecVirtual) { // see maxPool
		VMAXPS(most, v, most)
		s.choose(s.where(unordered, v, v), v, most)
	}
	s.eachAround([]string{"y", "above", "here", "below"}, nil, func(p []reg.GPVirtual, pixel reg.GPVirtual, part bool) slide {
		return slide{registers: 1,
			beside: func(column []reg.VecVirtual) { least(column[0]) },
			next: func(column []reg.VecVirtual) {
				s.load(at(p[1], nil, 0, 0), column[0], part)
				for _, row := range p[2:4] {
					join(s.loaded(at(row, nil, 0, 0), part), column[0])
				}
				advance(pixel, p[1:4]...)
			},
			each: func(left, here, right []reg.VecVirtual) {
				most := s.vector()
				VMOVAPS(left[0], most)
				join(here[0], most)
				join(right[0], most)
				s.store(most, at(p[0], nil, 0, 0), part)
				advance(pixel, p[0])
			},
		}
	})
}

// maxAroundGrad keeps of every column its elements, its maximum, and what has been added to its elements so far. The first
// element that is the maximum gets dy, which is zero for those after it.
func (s *set) maxAroundGrad() {
	s.function("maxAroundGrad", "dAbove, dHere, dBelow, dy, above, here, below", "channels, pixels, rows",
		"adds dy to the rows of dx at the first maximum around every pixel of x, a row of numbers.")
	least := s.leastNumber()
	s.eachAround([]string{"dAbove", "dHere", "dBelow", "dy", "above", "here", "below"}, nil, func(p []reg.GPVirtual, pixel reg.GPVirtual, part bool) slide {
		const x, most, dx, all = 0, 3, 4, 7
		sums := p[:3]
		zero := s.zeros(1)[0]
		ahead := []reg.GPVirtual{GP64(), GP64(), GP64()} // sums of the next column
		return slide{registers: all,
			begin: func() {
				for i, row := range sums {
					MOVQ(row, ahead[i])
				}
			},
			beside: func(column []reg.VecVirtual) {
				for _, r := range column[:dx] {
					least(r)
				}
			},
			next: func(column []reg.VecVirtual) {
				for i := range 3 {
					s.load(at(p[4+i], nil, 0, 0), column[x+i], part)
					s.load(at(ahead[i], nil, 0, 0), column[dx+i], part)
				}
				VMAXPS(column[x], column[x+1], column[most])
				VMAXPS(column[most], column[x+2], column[most])
				advance(pixel, append(ahead, p[4:]...)...)
			},
			each: func(left, here, right []reg.VecVirtual) {
				best, g := s.vector(), s.loaded(at(p[3], nil, 0, 0), part)
				VMAXPS(left[most], here[most], best)
				VMAXPS(best, right[most], best)
				for i := range 3 {
					for _, column := range [][]reg.VecVirtual{left, here, right} {
						found := s.where(equal, best, column[x+i])
						VADDPS(g, column[dx+i], found, column[dx+i])
						s.choose(found, zero, g)
					}
				}
				advance(pixel, p[3])
			},
			done: func(column []reg.VecVirtual) {
				for i, row := range sums {
					s.store(column[dx+i], at(row, nil, 0, 0), part)
				}
				advance(pixel, sums...)
			},
		}
	})
}

// advance moves pointers on by a distance.
func advance(by reg.GPVirtual, pointers ...reg.GPVirtual) {
	for _, p := range pointers {
		ADDQ(by, p)
	}
}

// slide passes the columns of a row of three pixels' height.
type slide struct {
	registers int                                      // of a column
	begin     func()                                   // a row; nil: nothing
	beside    func(column []reg.VecVirtual)            // makes a column that is none
	next      func(column []reg.VecVirtual)            // loads one
	each      func(left, here, right []reg.VecVirtual) // is for a pixel
	done      func(column []reg.VecVirtual)            // is for a column that no further pixel needs; nil: nothing
}

// eachAround passes rows of pixels for each vector of channels. The pointers of repeated are the same for all rows.
func (s *set) eachAround(rowPointers, repeated []string, begin func(p []reg.GPVirtual, pixel reg.GPVirtual, part bool) slide) {
	var blocks []Mem
	for _, name := range append(rowPointers, repeated...) {
		blocks = append(blocks, local(name))
	}
	channels, done, rows, line, pixel, pixels := local("channels"), AllocLocal(8), AllocLocal(8), AllocLocal(8), GP64(), GP64()
	MOVQ(argument("channels"), pixel)
	SHLQ(U8(2), pixel)
	MOVQ(pixel, pixels)
	IMULQ(argument("pixels"), pixels)
	MOVQ(pixels, line)
	s.inChannels(channels, func() {
		for _, b := range blocks {
			ADDQ(U32(s.bytes()), b)
		}
	}, func(part bool) {
		p := make([]reg.GPVirtual, len(blocks))
		for i := range p {
			p[i] = GP64()
		}
		move(U32(0), done)
		move(argument("rows"), rows)
		s.loop(rows, func() {
			for i, b := range blocks {
				MOVQ(b, p[i])
				if i < len(rowPointers) {
					ADDQ(done, p[i])
				}
			}
			s.slide(begin(p, pixel, part), pixels)
			increase(done, line)
		})
	})
	s.end()
}

// slide writes the passage of a row. It uses pixels as a counter.
func (s *set) slide(w slide, pixels reg.GPVirtual) {
	nothing := func([]reg.VecVirtual) {}
	if w.done == nil {
		w.done = nothing
	}
	if w.begin != nil {
		w.begin()
	}
	columns := make([][]reg.VecVirtual, 3)
	for i := range columns {
		for range w.registers {
			columns[i] = append(columns[i], s.vector())
		}
	}
	step := func(i int, next, done func([]reg.VecVirtual)) {
		left, here, right := columns[i%3], columns[(i+1)%3], columns[(i+2)%3]
		next(right)
		w.each(left, here, right)
		done(left)
	}
	shift := func() {
		for i := range 2 {
			for k, r := range columns[i+1] {
				VMOVAPS(r, columns[i][k])
			}
		}
	}
	w.beside(columns[0])
	w.next(columns[1])
	step(0, w.next, nothing)
	shift()
	MOVQ(argument("pixels"), pixels)
	SUBQ(U32(2), pixels)
	for _, count := range []int{3, 1} {
		s.while(pixels, count, func() {
			for i := range count {
				step(i, w.next, w.done)
			}
			if count == 1 {
				shift()
			}
		})
	}
	step(0, w.beside, w.done)
	w.done(columns[1])
}
