package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// ahead asks for memory that something else needs next, some with every turn of a loop that computes: the reads are on their
// way in the time that the sums take. The function has parameters next, an address, and step, how many bytes that moves on
// every time; a line that is asked for twice is no work.
type ahead struct {
	*set
	next, step Mem
}

func newAhead(s *set) ahead { return ahead{s, local("next"), argument("ahead")} }

// fetch is a turn, which asks so many times.
func (a ahead) fetch(times int) {
	p := GP64()
	MOVQ(a.next, p)
	for range times {
		PREFETCHT0(at(p, nil, 0, 0))
		ADDQ(a.step, p)
	}
	MOVQ(p, a.next)
}
