package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// set is an instruction set. Its methods are the vector operations that kernels are made of, on registers of so many
// float32 lanes; those with a parameter part use only the lanes of the mask, and give zeros in the others.
type set struct {
	suffix string // of the names of its functions
	lanes  int
	wide   bool // AVX-512: masks are registers of their own, and an operand from memory may be broadcast

	mask  Op // of the function that is being written, see setMask
	edge  Mem
	marks int
}

var sets = map[string]*set{
	"avx512": {suffix: "AVX512", lanes: 16, wide: true},
	"avx2":   {suffix: "AVX2", lanes: 8},
}

// function starts a function with the given signature, less its types: pointers to float32, then integers in bytes or
// counts, all named.
func (s *set) function(name, pointers, ints, doc string) {
	signature := ""
	if pointers != "" {
		signature = pointers + " *float32"
	}
	if ints != "" {
		signature += ", " + ints + " int"
	}
	s.signature(name, "func("+signature+")", doc)
}

func (s *set) signature(name, signature, doc string) {
	TEXT(name+s.suffix, attr.NOSPLIT, signature)
	Pragma("noescape")
	Doc(name + s.suffix + " " + doc)
}

// end returns from the function.
func (s *set) end() {
	VZEROUPPER()
	RET()
}

// bytes is the size of a vector.
func (s *set) bytes() int { return 4 * s.lanes }

func (s *set) vector() reg.VecVirtual {
	switch s.lanes {
	case 16:
		return ZMM()
	case 8:
		return YMM()
	}
	return XMM()
}

// zeros are so many registers with zeros.
func (s *set) zeros(n int) []reg.VecVirtual {
	all := make([]reg.VecVirtual, n)
	for i := range all {
		all[i] = s.vector()
		s.zero(all[i])
	}
	return all
}

func (s *set) zero(r reg.VecVirtual) { VXORPS(r, r, r) }

func (s *set) load(m Op, r reg.VecVirtual, part bool) {
	switch {
	case !part:
		VMOVUPS(m, r)
	case s.wide:
		VMOVUPS_Z(m, s.mask, r)
	default:
		VMASKMOVPS(m, s.mask, r)
	}
}

// loaded is a new register with what lies at m.
func (s *set) loaded(m Op, part bool) reg.VecVirtual {
	r := s.vector()
	s.load(m, r, part)
	return r
}

func (s *set) store(r reg.VecVirtual, m Op, part bool) {
	switch {
	case !part:
		VMOVUPS(r, m)
	case s.wide:
		VMOVUPS(r, s.mask, m)
	default:
		VMASKMOVPS(r, s.mask, m)
	}
}

// broadcast is a new register with the number at m in all lanes.
func (s *set) broadcast(m Op) reg.VecVirtual {
	r := s.vector()
	VBROADCASTSS(m, r)
	return r
}

// fma adds m·r to sum.
func (s *set) fma(m Op, r, sum reg.VecVirtual, part bool) {
	switch {
	case !part:
		VFMADD231PS(m, r, sum)
	case s.wide:
		VFMADD231PS(m, r, s.mask, sum)
	default:
		VFMADD231PS(s.loaded(m, true), r, sum)
	}
}

// add adds what lies at m to sum.
func (s *set) add(m Op, sum reg.VecVirtual, part bool) {
	switch {
	case !part:
		VADDPS(m, sum, sum)
	case s.wide:
		VADDPS(m, sum, s.mask, sum)
	default:
		VADDPS(s.loaded(m, true), sum, sum)
	}
}

// Predicates of VCMPPS that signal nothing.
const (
	less      = U8(0x11)
	unordered = U8(0x03)
	equal     = U8(0x00)
)

// where compares a and b by a predicate; the result selects lanes.
func (s *set) where(predicate U8, a, b reg.VecVirtual) Op {
	if s.wide {
		k := K()
		VCMPPS(predicate, b, a, k)
		return k
	}
	r := s.vector()
	VCMPPS(predicate, b, a, r)
	return r
}

// choose moves the selected lanes of from to to.
func (s *set) choose(selected Op, from, to reg.VecVirtual) {
	if s.wide {
		VMOVAPS(from, selected, to)
	} else {
		VBLENDVPS(selected, from, to, to)
	}
}

// only is a new register with the selected lanes of r, and zeros.
func (s *set) only(selected Op, r reg.VecVirtual) reg.VecVirtual {
	out := s.vector()
	if s.wide {
		VMOVAPS_Z(r, selected, out)
	} else {
		VANDPS(selected, r, out)
	}
	return out
}

// constants are the masks of AVX2, read at 4·(lanes-n) for n lanes.
func (s *set) constants() {
	if s.wide {
		return
	}
	s.edge = GLOBL("edge"+s.suffix, attr.RODATA|attr.NOPTR)
	for i := range 2 * s.lanes {
		v := U32(0)
		if i < s.lanes {
			v = 0xffffffff
		}
		DATA(4*i, v)
	}
}

// setMask selects the first n lanes for what follows, 0 < n < lanes.
func (s *set) setMask(n Op) {
	count := GP64()
	MOVQ(n, count)
	if s.wide {
		ones, k := GP64(), K()
		MOVQ(I32(-1), ones)
		BZHIQ(count, ones, ones)
		KMOVW(ones.As32(), k)
		s.mask = k
		return
	}
	table, m := GP64(), YMM()
	LEAQ(s.edge, table)
	NEGQ(count)
	VMOVUPS(Mem{Base: table, Index: count, Scale: 4, Disp: s.bytes()}, m)
	s.mask = m
}

// mark is a new label.
func (s *set) mark(name string) string {
	s.marks++
	return fmt.Sprintf("%s%d", name, s.marks)
}

// argument is a parameter of the function in memory.
func argument(name string) Mem {
	basic, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return basic.Addr
}

// value is a parameter in a register.
func value(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// local is a variable in memory that starts as a parameter: for what inner loops have no registers for.
func local(name string) Mem {
	m := AllocLocal(8)
	move(argument(name), m)
	return m
}

// move copies eight bytes between memory or registers.
func move(from, to Op) {
	if _, memory := from.(Mem); !memory {
		MOVQ(from, to)
		return
	}
	if _, memory := to.(Mem); !memory {
		MOVQ(from, to)
		return
	}
	r := GP64()
	MOVQ(from, r)
	MOVQ(r, to)
}

// increase adds a register, or what is in memory, to one that may be in memory too.
func increase(to, by Op) {
	if _, memory := by.(Mem); memory {
		if _, both := to.(Mem); both {
			r := GP64()
			MOVQ(by, r)
			by = r
		}
	}
	ADDQ(by, to)
}

// loop runs the body n times, n > 0, and leaves zero in n.
func (s *set) loop(n Op, body func()) {
	again := s.mark("loop")
	Label(again)
	body()
	DECQ(n)
	JNZ(LabelRef(again))
}

// while runs the body as long as n is at least so many, which it takes from n each time.
func (s *set) while(n Op, least int, body func()) {
	again, done := s.mark("while"), s.mark("done")
	Label(again)
	CMPQ(n, U32(least))
	JL(LabelRef(done))
	body()
	SUBQ(U32(least), n)
	JMP(LabelRef(again))
	Label(done)
}

// unlessZero skips the body if n is zero.
func (s *set) unlessZero(n Op, body func()) {
	done := s.mark("zero")
	CMPQ(n, U32(0))
	JE(LabelRef(done))
	body()
	Label(done)
}

// inVectors runs the body for every whole vector of n lanes, and for the rest; after each whole one, next must move
// the pointers on. It changes n.
func (s *set) inVectors(n Op, next func(), body func(part bool)) {
	s.while(n, s.lanes, func() {
		body(false)
		next()
	})
	s.unlessZero(n, func() {
		s.setMask(n)
		body(true)
	})
}

// inChannels is inVectors for what runs often with the rest, which is done in halves and quarters of vectors: they take as
// much less time on processors whose units are that wide, cross lines of the cache less often, and have no mask.
func (s *set) inChannels(n Op, next func(), body func(part bool)) {
	whole := func() {
		s.while(n, s.lanes, func() {
			body(false)
			next()
		})
	}
	whole()
	least := 1 // part of a vector
	for s.lanes/least > 4 {
		least *= 2
		s.inParts(least, whole)
	}
	if !s.wide { // no masks for less
		least = 1
	}
	s.unlessZero(n, func() {
		s.inParts(least, func() {
			s.setMask(n)
			body(true)
		})
	})
}

// inParts writes what the body does for vectors of so many times fewer lanes.
func (s *set) inParts(parts int, body func()) {
	s.lanes /= parts
	body()
	s.lanes *= parts
}

// at is an address: base + index·scale + displacement.
func at(base, index reg.Register, scale, displacement int) Mem {
	m := Mem{Base: base, Disp: displacement}
	if scale > 0 {
		m.Index, m.Scale = index, uint8(scale)
	}
	return m
}

// spaced are addresses that lie a distance apart, up to six of them: 3 and 5 hold that multiple of the distance, as
// far as they are needed.
type spaced struct{ one, three, five reg.GPVirtual }

// newSpaced makes the multiples for so many addresses.
func newSpaced(distance reg.GPVirtual, count int) spaced {
	d := spaced{one: distance}
	if count > 3 {
		d.three = GP64()
		LEAQ(at(distance, distance, 2, 0), d.three)
	}
	if count > 5 {
		d.five = GP64()
		LEAQ(at(distance, distance, 4, 0), d.five)
	}
	return d
}

func (d spaced) at(base reg.Register, i int) Mem {
	switch i {
	case 0:
		return at(base, nil, 0, 0)
	case 1, 2, 4:
		return at(base, d.one, i, 0)
	case 3:
		return at(base, d.three, 1, 0)
	case 5:
		return at(base, d.five, 1, 0)
	}
	panic(fmt.Sprintf("no address of number %d", i))
}
