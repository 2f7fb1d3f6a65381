package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Products of matrices in tiles of rows × vectors whose sums stay in registers. An element is one chain of fused
// multiply-adds whatever the tile, so its bits do not depend on where tiles end.

// gemm goes through rows of tiles; each passes all panels of b.
func (s *set) gemm() {
	s.function("gemm", "c, a, b, next", "ldc, lda, panel, m, n, k, add, ahead",
		"computes c = a·b, or adds it to c where add is not zero, for m×n×k. Panels of b, of one vector's columns, are so many bytes apart. Meanwhile it asks for memory from next on, so many bytes further every time.")
	pairs, single := []int{12, 4, 1}, []int{12, 4, 1}
	if !s.wide { // half of the registers
		pairs = []int{6, 2, 1}
	}
	t := gemmTile{set: s, bRow: s.bytes(), c: value("c"), a: value("a"), lda: newSpaced(value("lda"), 6), panel: value("panel"),
		cj: GP64(), bj: GP64(), n: GP64(), m: local("m"), ahead: newAhead(s)}
	wide, done := s.mark("wide"), s.mark("done")
	CMPQ(argument("n"), U32(s.lanes))
	JG(LabelRef(wide))
	for i, rows := range single {
		t.fetches = i == 0
		s.while(t.m, rows, func() { t.row(rows, 1) })
	}
	JMP(LabelRef(done))
	Label(wide)
	for i, rows := range pairs {
		t.fetches = i == 0
		s.while(t.m, rows, func() { t.row(rows, 2) })
	}
	Label(done)
	s.end()
}

// asksOfProduct is how often a tile of a product asks for memory with each of its k; vector_amd64.go has the same number.
const asksOfProduct = 2

type gemmTile struct {
	*set
	bRow        int // bytes of a row of a panel
	c, a, panel reg.GPVirtual
	lda         spaced
	cj, bj, n   reg.GPVirtual // of the tile; n columns are left
	m           Mem
	ahead       ahead
	fetches     bool // the highest tiles alone do
}

// row computes a row of tiles of at most so many vectors and moves c and a on.
func (t *gemmTile) row(rows, vectors int) {
	MOVQ(t.c, t.cj)
	MOVQ(argument("b"), t.bj)
	MOVQ(argument("n"), t.n)
	again, last, done := t.mark("columns"), t.mark("last"), t.mark("rowdone")
	Label(again)
	if vectors > 1 {
		CMPQ(t.n, U32(t.lanes))
		JLE(LabelRef(last))
		t.tile(rows, 2)
		LEAQ(at(t.bj, t.panel, 2, 0), t.bj)
		ADDQ(U32(2*t.bytes()), t.cj)
		SUBQ(U32(2*t.lanes), t.n)
		JG(LabelRef(again))
		JMP(LabelRef(done))
		Label(last)
		CMPQ(t.n, U32(0))
		JE(LabelRef(done))
		t.smallTile(t.n, done, func() { t.tile(rows, 1) })
	}
	t.tile(rows, 1)
	Label(done)
	// The next rows.
	step := GP64()
	IMUL3Q(U32(rows), t.lda.one, step)
	ADDQ(step, t.a)
	MOVQ(argument("ldc"), step)
	IMUL3Q(U32(rows), step, step)
	ADDQ(step, t.c)
}

// smallTile writes the tile for half or a quarter of a vector, which goes on at done, where that holds the columns that are
// left.
func (s *set) smallTile(n Op, done string, tile func()) {
	if !s.wide {
		return
	}
	for _, parts := range []int{4, 2} {
		more := s.mark("more")
		CMPQ(n, U32(s.lanes/parts))
		JG(LabelRef(more))
		s.inParts(parts, tile)
		JMP(LabelRef(done))
		Label(more)
	}
}

func (t *gemmTile) tile(rows, vectors int) {
	const near = 6 // rows that one pointer reaches
	sums := t.zeros(rows * vectors)
	a, b, k := []reg.GPVirtual{GP64()}, GP64(), GP64()
	MOVQ(t.a, a[0])
	if rows > near {
		a = append(a, GP64())
		LEAQ(at(t.a, t.lda.three, 2, 0), a[1])
	}
	MOVQ(t.bj, b)
	MOVQ(argument("k"), k)
	t.loop(k, func() {
		if t.fetches {
			t.ahead.fetch(asksOfProduct)
		}
		columns := []reg.VecVirtual{t.loaded(at(b, nil, 0, 0), false)}
		if vectors > 1 {
			columns = append(columns, t.loaded(at(b, t.panel, 1, 0), false))
		}
		for r := range rows {
			element := t.lda.at(a[r/near], r%near)
			if vectors == 1 && t.wide {
				VFMADD231PS_BCST(element, columns[0], sums[r])
				continue
			}
			x := t.broadcast(element)
			for v := range vectors {
				VFMADD231PS(x, columns[v], sums[r*vectors+v])
			}
		}
		for _, p := range a {
			ADDQ(U32(4), p)
		}
		ADDQ(U32(t.bRow), b)
	})
	plain := t.mark("plain")
	CMPQ(argument("add"), U32(0))
	JE(LabelRef(plain))
	t.result(t.n, t.cj, argument("ldc"), sums, vectors, t.add)
	Label(plain)
	t.result(t.n, t.cj, argument("ldc"), sums, vectors, func(m Op, r reg.VecVirtual, part bool) { t.store(r, m, part) })
}

// fetchTile starts to bring a tile of c into the first cache, where it is wanted when its sums are done.
func (s *set) fetchTile(c reg.GPVirtual, ldc Op, rows, vectors int) {
	row := GP64()
	MOVQ(c, row)
	for r := range rows {
		for v := range vectors {
			PREFETCHT0(at(row, nil, 0, v*s.bytes()))
		}
		if r < rows-1 {
			ADDQ(ldc, row)
		}
	}
}

// result passes a tile of c, of whose columns n are left, together with its sums.
func (s *set) result(n, c reg.GPVirtual, ldc Op, sums []reg.VecVirtual, vectors int, do func(m Op, r reg.VecVirtual, part bool)) {
	part, done := s.mark("part"), s.mark("result")
	pass := func(part bool) {
		row := GP64()
		MOVQ(c, row)
		for i, r := range sums {
			do(at(row, nil, 0, i%vectors*s.bytes()), r, part && i%vectors == vectors-1)
			if i%vectors == vectors-1 && i < len(sums)-1 {
				ADDQ(ldc, row)
			}
		}
	}
	CMPQ(n, U32(vectors*s.lanes))
	JL(LabelRef(part))
	pass(false)
	JMP(LabelRef(done))
	Label(part)
	rest := GP64()
	LEAQ(at(n, nil, 0, -(vectors-1)*s.lanes), rest)
	s.setMask(rest)
	pass(true)
	Label(done)
}

// outer goes through columns of tiles: the vectors of b stay the same while a passes.
func (s *set) outer() {
	s.function("outer", "c, a, b, next", "ldc, lda, ldb, m, k, n, ahead",
		"adds aᵀ·b to c, of k×n, for a of m×k and b of m×n. Meanwhile it asks for memory from next on, so many bytes further every time.")
	pairs, single := []int{8, 4, 1}, []int{16, 4, 1}
	if !s.wide {
		pairs, single = []int{4, 1}, []int{8, 4, 1}
	}
	t := outerTile{set: s, c: value("c"), b: value("b"), lda: value("lda"), ldb: value("ldb"), ldc: value("ldc"),
		n: value("n"), cp: GP64(), ap: GP64(), k: AllocLocal(8), ahead: newAhead(s)}
	last, done := s.mark("last"), s.mark("done")
	again := s.mark("columns")
	Label(again)
	CMPQ(t.n, U32(s.lanes))
	JLE(LabelRef(last))
	t.column(pairs, 2)
	ADDQ(U32(2*s.bytes()), t.b)
	ADDQ(U32(2*s.bytes()), t.c)
	SUBQ(U32(2*s.lanes), t.n)
	JG(LabelRef(again))
	JMP(LabelRef(done))
	Label(last)
	CMPQ(t.n, U32(0))
	JE(LabelRef(done))
	t.smallTile(t.n, done, func() { t.column(single, 1) })
	t.column(single, 1)
	Label(done)
	s.end()
}

type outerTile struct {
	*set
	c, b, lda, ldb, ldc, n reg.GPVirtual
	cp, ap                 reg.GPVirtual // of the tile
	k                      Mem
	ahead                  ahead
}

// column computes a column of tiles of so many vectors.
func (t *outerTile) column(heights []int, vectors int) {
	MOVQ(t.c, t.cp)
	MOVQ(argument("a"), t.ap)
	move(argument("k"), t.k)
	for i, rows := range heights {
		t.while(t.k, rows, func() {
			t.tile(rows, vectors, i == 0)
			ADDQ(U32(4*rows), t.ap)
			step := GP64()
			IMUL3Q(U32(rows), t.ldc, step)
			ADDQ(step, t.cp)
		})
	}
}

func (t *outerTile) tile(rows, vectors int, highest bool) {
	t.fetchTile(t.cp, t.ldc, rows, vectors)
	sums := t.zeros(rows * vectors)
	pass := func(part bool) {
		a, b, m := GP64(), GP64(), GP64()
		MOVQ(t.ap, a)
		MOVQ(t.b, b)
		MOVQ(argument("m"), m)
		t.loop(m, func() {
			if highest {
				t.ahead.fetch(1)
			}
			var columns []reg.VecVirtual
			for v := range vectors {
				columns = append(columns, t.loaded(at(b, nil, 0, v*t.bytes()), part && v == vectors-1))
			}
			for r := range rows {
				element := at(a, nil, 0, 4*r)
				if vectors == 1 && t.wide {
					VFMADD231PS_BCST(element, columns[0], sums[r])
					continue
				}
				x := t.broadcast(element)
				for v := range vectors {
					VFMADD231PS(x, columns[v], sums[r*vectors+v])
				}
			}
			ADDQ(t.lda, a)
			ADDQ(t.ldb, b)
		})
	}
	part, done := t.mark("part"), t.mark("summed")
	CMPQ(t.n, U32(vectors*t.lanes))
	JL(LabelRef(part))
	pass(false)
	JMP(LabelRef(done))
	Label(part)
	rest := GP64()
	LEAQ(at(t.n, nil, 0, -(vectors-1)*t.lanes), rest)
	t.setMask(rest)
	pass(true)
	Label(done)
	t.result(t.n, t.cp, t.ldc, sums, vectors, func(m Op, r reg.VecVirtual, part bool) {
		t.add(m, r, part)
		t.store(r, m, part)
	})
}
