package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// elementwise are the kernels on rows of n numbers. The result may lie where an operand lies.
func (s *set) elementwise() {
	type vec = reg.VecVirtual
	binary := func(op func(ops ...Op)) func(load func(int) vec, a, b vec) vec {
		return func(load func(int) vec, _, _ vec) vec {
			x, y := load(0), load(1)
			op(y, x, x)
			return x
		}
	}
	s.row("addRow", 2, 0, "computes x + y.", binary(VADDPS))
	s.row("subRow", 2, 0, "computes x - y.", binary(VSUBPS))
	s.row("mulRow", 2, 0, "computes x·y.", binary(VMULPS))
	s.row("divRow", 2, 0, "computes x/y.", binary(VDIVPS))
	s.row("sqrtRow", 1, 0, "computes √x.", func(load func(int) vec, _, _ vec) vec {
		x := load(0)
		VSQRTPS(x, x)
		return x
	})
	s.row("maxRow", 2, 0, "computes max(x, y), y where one is NaN.", binary(VMAXPS))
	// The second source of VMAXPS is what it gives where a number is NaN.
	s.row("reluRow", 1, 0, "computes max(x, 0), of NaN NaN.", func(load func(int) vec, _, _ vec) vec {
		x, zero := load(0), s.zeros(1)[0]
		VMAXPS(x, zero, x)
		return x
	})
	s.row("reluGradRow", 2, 0, "computes x where y > 0, else 0.", func(load func(int) vec, _, _ vec) vec {
		g, x, zero := load(0), load(1), s.zeros(1)[0]
		return s.only(s.where(less, zero, x), g)
	})
	s.row("scaleRow", 1, 1, "computes a·x.", func(load func(int) vec, a, _ vec) vec {
		x := load(0)
		VMULPS(a, x, x)
		return x
	})
	s.row("axpyRow", 2, 1, "computes a·x + y.", func(load func(int) vec, a, _ vec) vec {
		x, y := load(0), load(1)
		VFMADD231PS(a, x, y)
		return y
	})
	s.row("axpbyRow", 2, 2, "computes a·x + b·y.", func(load func(int) vec, a, b vec) vec {
		x, y := load(0), load(1)
		VMULPS(b, y, y)
		VFMADD231PS(a, x, y)
		return y
	})
	s.dot()
	s.sgd()
}

// row writes a kernel that computes each vector of the result from those of x and y, with constants a and b.
func (s *set) row(name string, operands, constants int, doc string, each func(load func(int) reg.VecVirtual, a, b reg.VecVirtual) reg.VecVirtual) {
	s.signature(name, "func(dst, x, y *float32, n int, a, b float32)", doc)
	pointers := []reg.GPVirtual{value("dst")}
	for _, p := range []string{"x", "y"}[:operands] {
		pointers = append(pointers, value(p))
	}
	c := make([]reg.VecVirtual, 2)
	for i, p := range []string{"a", "b"}[:constants] {
		c[i] = s.broadcast(argument(p))
	}
	s.rows(value("n"), pointers, func(displacement int, part bool) {
		load := func(i int) reg.VecVirtual { return s.loaded(at(pointers[1+i], nil, 0, displacement), part) }
		s.store(each(load, c[0], c[1]), at(pointers[0], nil, 0, displacement), part)
	})
	s.end()
}

// rows passes n elements: four vectors at a time, then single ones, then the rest.
func (s *set) rows(n reg.GPVirtual, pointers []reg.GPVirtual, vector func(displacement int, part bool)) {
	const unroll = 4
	for _, count := range []int{unroll, 1} {
		s.while(n, count*s.lanes, func() {
			for i := range count {
				vector(i*s.bytes(), false)
			}
			for _, p := range pointers {
				ADDQ(U32(count*s.bytes()), p)
			}
		})
	}
	s.unlessZero(n, func() {
		s.setMask(n)
		vector(0, true)
	})
}

// dotBlock products are added in float32, in four sums of so many lanes, before they go into float64.
const dotBlock = 256

func (s *set) dot() {
	s.signature("dot", "func(x, y *float32, n int) float64", "computes Σ x·y. Sums of a few products go into float64.")
	x, y, n := value("x"), value("y"), value("n")
	total := s.zeros(2)
	flush := func(sums []reg.VecVirtual) {
		for _, r := range sums[1:] {
			VADDPS(r, sums[0], sums[0])
		}
		for i, half := range s.doubles(sums[0]) {
			VADDPD(half, total[i], total[i])
		}
	}
	block := func(count, vectors int) { // count times so many vectors
		sums := s.zeros(vectors)
		for i := range count * vectors {
			s.fma(at(y, nil, 0, i*s.bytes()), s.loaded(at(x, nil, 0, i*s.bytes()), false), sums[i%vectors], false)
		}
		ADDQ(U32(count*vectors*s.bytes()), x)
		ADDQ(U32(count*vectors*s.bytes()), y)
		flush(sums)
	}
	s.while(n, dotBlock, func() { block(dotBlock/4/s.lanes, 4) })
	s.while(n, s.lanes, func() { block(1, 1) })
	s.unlessZero(n, func() {
		s.setMask(n)
		sums := s.zeros(1)
		s.fma(at(y, nil, 0, 0), s.loaded(at(x, nil, 0, 0), true), sums[0], true)
		flush(sums)
	})
	sum := s.total([2]reg.VecVirtual(total))
	result, _ := ReturnIndex(0).Resolve()
	VMOVSD(sum, result.Addr)
	s.end()
}

// total is the sum of all lanes of float64.
func (s *set) total(total [2]reg.VecVirtual) reg.Register {
	VADDPD(total[1], total[0], total[0])
	if s.wide {
		upper := YMM()
		VEXTRACTF64X4(U8(1), total[0], upper)
		VADDPD(upper, total[0].AsY(), total[0].AsY())
	}
	upper := XMM()
	VEXTRACTF128(U8(1), total[0].AsY(), upper)
	VADDPD(upper, total[0].AsX(), total[0].AsX())
	VSHUFPD(U8(1), total[0].AsX(), total[0].AsX(), upper)
	VADDSD(upper, total[0].AsX(), total[0].AsX())
	return total[0].AsX()
}

// doubles are the lanes of a register as float64, in two registers.
func (s *set) doubles(r reg.VecVirtual) [2]reg.VecVirtual {
	out := [2]reg.VecVirtual{s.vector(), s.vector()}
	switch s.lanes {
	case 16:
		upper := YMM()
		VEXTRACTF64X4(U8(1), r, upper)
		VCVTPS2PD(r.AsY(), out[0])
		VCVTPS2PD(upper, out[1])
	case 8:
		upper := XMM()
		VEXTRACTF128(U8(1), r, upper)
		VCVTPS2PD(r.AsX(), out[0])
		VCVTPS2PD(upper, out[1])
	default:
		upper := XMM()
		VMOVHLPS(r, r, upper)
		VCVTPS2PD(r, out[0])
		VCVTPS2PD(upper, out[1])
	}
	return out
}

func (s *set) sgd() {
	s.signature("sgd", "func(newW, newVelocity, w, dw, velocity *float32, n int, rate, scale, momentum, decay float32)",
		"computes velocity' = momentum·velocity + (scale·dw + decay·w) and w' = w - rate·velocity'.")
	var p []reg.GPVirtual
	for _, name := range []string{"newW", "newVelocity", "w", "dw", "velocity"} {
		p = append(p, value(name))
	}
	rate, scale := s.broadcast(argument("rate")), s.broadcast(argument("scale"))
	momentum, decay := s.broadcast(argument("momentum")), s.broadcast(argument("decay"))
	s.rows(value("n"), p, func(displacement int, part bool) {
		load := func(i int) reg.VecVirtual { return s.loaded(at(p[i], nil, 0, displacement), part) }
		w, g, velocity := load(2), load(3), load(4)
		VMULPS(scale, g, g)
		VFMADD231PS(decay, w, g)
		VFMADD231PS(momentum, velocity, g)
		VFNMADD231PS(rate, g, w)
		s.store(g, at(p[1], nil, 0, displacement), part)
		s.store(w, at(p[0], nil, 0, displacement), part)
	})
	s.end()
}
