package plan

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// cells is a buffer of the arena.
func cells(from, to int) Buffer {
	return Buffer{Tensor: Tensor{DType: U8, Shape: []int{to - from}}, Offset: int64(from)}
}

func TestOrder(t *testing.T) {
	a, b, c, both := cells(0, 8), cells(8, 16), cells(16, 24), cells(0, 16)
	variable := a
	variable.Space = Variables
	work := func(reads, writes []Buffer) Access { return Access{reads, writes} }
	list := func(b ...Buffer) []Buffer { return b }
	for _, test := range []struct {
		name string
		work []Access
		want [][]int
	}{
		{"nothing", nil, [][]int{}},
		{"nothing in common", []Access{work(nil, list(a)), work(nil, list(b)), work(list(c), nil)}, [][]int{nil, nil, nil}},
		{"other spaces", []Access{work(nil, list(a)), work(nil, list(variable))}, [][]int{nil, nil}},
		{"a read waits for the write", []Access{work(nil, list(a)), work(list(a), list(b))}, [][]int{nil, {0}}},
		{"reads side by side", []Access{work(nil, list(a)), work(list(a), list(b)), work(list(a), list(c))}, [][]int{nil, {0}, {0}}},
		{"a write waits for reads", []Access{work(list(a), list(b)), work(list(a), list(c)), work(nil, list(a))}, [][]int{nil, nil, {0, 1}}},
		{"a write waits for a write", []Access{work(nil, list(a)), work(nil, list(a))}, [][]int{nil, {0}}},
		{"in place", []Access{work(list(a), list(a)), work(list(a), list(a))}, [][]int{nil, {0}}},
		{"parts of a buffer", []Access{work(nil, list(a)), work(nil, list(b)), work(list(both), list(c))}, [][]int{nil, nil, {0, 1}}},
		{"a buffer over parts", []Access{work(nil, list(both)), work(list(a), nil), work(list(b), nil), work(nil, list(cells(7, 9)))}, [][]int{nil, {0}, {0}, {1, 2}}},
		{"neighbours", []Access{work(nil, list(a)), work(list(b), list(c))}, [][]int{nil, nil}},
		{"what follows is left out", []Access{work(nil, list(a)), work(list(a), list(b)), work(list(a, b), list(c)), work(nil, list(a))}, [][]int{nil, {0}, {1}, {2}}},
	} {
		if got := Order(test.work); !slices.EqualFunc(got, test.want, slices.Equal) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// randomWork is work on few bytes, some of it in place.
func randomWork(r *rand.Rand, n int) []Access {
	buffers := func(most int) (list []Buffer) {
		for range r.IntN(most + 1) {
			from := r.IntN(40)
			b := cells(from, from+1+r.IntN(6))
			b.Space = Space(r.IntN(2))
			list = append(list, b)
		}
		return list
	}
	work := make([]Access, n)
	for i := range work {
		work[i] = Access{buffers(3), buffers(2)}
		if r.IntN(4) == 0 {
			work[i].Writes = append(work[i].Writes, work[i].Reads...)
		}
	}
	return work
}

// do does work in an order, each piece of which leaves what depends on all that it reads.
func do(work []Access, order []int) (memory [2][64]uint64) {
	for _, i := range order {
		value := uint64(i)
		for _, b := range work[i].Reads {
			for _, cell := range memory[b.Space][b.Offset : b.Offset+b.Bytes()] {
				value = (value ^ cell) * 0x9E3779B97F4A7C15
			}
		}
		for _, b := range work[i].Writes {
			for at := range b.Bytes() {
				memory[b.Space][b.Offset+at] = value + uint64(at)
			}
		}
	}
	return memory
}

// orderOf is an order that keeps to what Order says; choose picks from the work that may come next.
func orderOf(after [][]int, choose func(ready []int) int) (order []int) {
	done := make([]bool, len(after))
	for range after {
		var ready []int
		for i := range after {
			if !done[i] && !slices.ContainsFunc(after[i], func(j int) bool { return !done[j] }) {
				ready = append(ready, i)
			}
		}
		next := ready[choose(ready)]
		done[next] = true
		order = append(order, next)
	}
	return order
}

// Whichever order keeps to what Order says leaves the same memory.
func TestOrderLeavesTheSame(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		work := randomWork(r, 40)
		after := Order(work)
		want := do(work, orderOf(after, func([]int) int { return 0 }))
		for name, choose := range map[string]func(ready []int) int{
			"the last first": func(ready []int) int { return len(ready) - 1 },
			"any":            func(ready []int) int { return r.IntN(len(ready)) },
		} {
			if order := orderOf(after, choose); do(work, order) != want {
				t.Fatalf("seed %d, %s: order %v of %v leaves something else", seed, name, order, after)
			}
		}
	}
}

// Nothing is in a list that follows from the rest, or that has nothing to do with the work.
func TestOrderIsShort(t *testing.T) {
	conflict := func(a, b []Buffer) bool {
		return slices.ContainsFunc(a, func(x Buffer) bool {
			return slices.ContainsFunc(b, func(y Buffer) bool {
				return x.Space == y.Space && x.Offset < y.Offset+y.Bytes() && y.Offset < x.Offset+x.Bytes()
			})
		})
	}
	for seed := range uint64(20) {
		work := randomWork(rand.New(rand.NewPCG(seed, 2)), 60)
		after := Order(work)
		var before func(i, j int) bool // whether j comes before i
		before = func(i, j int) bool {
			return slices.ContainsFunc(after[i], func(k int) bool { return k == j || k > j && before(k, j) })
		}
		for i, list := range after {
			for _, j := range list {
				w, v := work[i], work[j]
				if !conflict(w.Writes, append(slices.Clone(v.Reads), v.Writes...)) && !conflict(w.Reads, v.Writes) {
					t.Errorf("seed %d: %d waits for %d without a reason", seed, i, j)
				}
				if slices.ContainsFunc(list, func(k int) bool { return k > j && before(k, j) }) {
					t.Errorf("seed %d: %d waits for %d, which follows from %v", seed, i, j, list)
				}
			}
		}
	}
}

func TestChains(t *testing.T) {
	after := [][]int{nil, nil, {0}, {0, 1}, {2, 3}, nil}
	got := Chains(after, []float64{1, 5, 2, 1, 4, 3})
	if want := []float64{7, 10, 6, 5, 4, 3}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
