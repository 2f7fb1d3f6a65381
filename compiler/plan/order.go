package plan

import (
	"cmp"
	"math"
	"slices"
)

// Access is the memory that a piece of work reads and writes.
type Access struct{ Reads, Writes []Buffer }

// Access is what a launch of the program reads and writes in step t of its loop; outside of loops t is 0.
func (p *Program) Access(l *Launch, t int) Access {
	at := func(list []int) []Buffer {
		buffers := make([]Buffer, len(list))
		for i, index := range list {
			buffers[i] = p.Buffers[index].At(t)
		}
		return buffers
	}
	return Access{at(l.Operands), at(l.Results)}
}

// Order returns for each piece of work the earlier ones that it has to wait for, in ascending order: those that wrote what
// it reads or writes, and those that read what it writes, as buffers share memory. In whichever order the work is done that
// keeps to it, or side by side, memory holds the same afterwards as if it had been done in the order of the list. What
// follows from the rest is left out: each list is the shortest that there is.
func Order(work []Access) [][]int {
	m := newMemory()
	after := make([][]int, len(work))
	before := make([]set, len(work))
	for i, w := range work {
		after[i], before[i] = reduce(m.conflicts(i, w), i, before)
	}
	return after
}

// Chains returns for each piece of work the time of the longest chain of work that begins with it, each of which waits for the one before: took is what
// each takes, after what Order returns.
func Chains(after [][]int, took []float64) []float64 {
	chains := make([]float64, len(after))
	for i := len(after) - 1; i >= 0; i-- { // chains[i] is what follows it until now
		chains[i] += took[i]
		for _, a := range after[i] {
			chains[a] = max(chains[a], chains[i])
		}
	}
	return chains
}

// memory knows who touched it last. The segments of a space cover it without gaps, in ascending order.
type memory [Variables + 1][]segment

// segment is memory that the same work has touched.
type segment struct {
	from, to int64
	writer   int   // who wrote it last, or -1
	readers  []int // who has read it since
}

func newMemory() *memory {
	var m memory
	for space := range m {
		m[space] = []segment{{0, math.MaxInt64, -1, nil}}
	}
	return &m
}

// conflicts returns what work i has to wait for, some of it more than once, and notes what the work touches.
func (m *memory) conflicts(i int, w Access) (list []int) {
	for _, b := range w.Reads {
		first, end := m.find(b)
		for at := first; at < end; at++ {
			s := &m[b.Space][at]
			list = append(list, s.writer)
			s.readers = append(slices.Clip(s.readers), i)
		}
	}
	for _, b := range w.Writes {
		first, end := m.find(b)
		for _, s := range m[b.Space][first:end] {
			list = append(append(list, s.writer), s.readers...)
		}
		m[b.Space] = slices.Replace(m[b.Space], first, end, segment{b.Offset, b.Offset + b.Bytes(), i, nil})
	}
	return list
}

// find returns the segments of a buffer, from the first to before the end, once they begin and end where it does.
func (m *memory) find(b Buffer) (first, end int) {
	return m.cut(b.Space, b.Offset), m.cut(b.Space, b.Offset+b.Bytes())
}

// cut returns the segment that begins at an offset, and makes it where there is none.
func (m *memory) cut(space Space, offset int64) int {
	at, found := slices.BinarySearchFunc(m[space], offset, func(s segment, offset int64) int { return cmp.Compare(s.from, offset) })
	if !found {
		rest := m[space][at-1]
		rest.from = offset
		m[space][at-1].to = offset
		m[space] = slices.Insert(m[space], at, rest)
	}
	return at
}

// set is a set of work, a bit for each.
type set []uint64

func (s set) has(i int) bool { return s[i/64]>>(i%64)&1 != 0 }
func (s set) add(i int)      { s[i/64] |= 1 << (i % 64) }

// reduce leaves out of what work i waits for itself and what others of the list wait for anyway; it returns the rest, and
// all that is done before the work.
func reduce(list []int, i int, before []set) (after []int, all set) {
	slices.Sort(list)
	all = make(set, i/64+1)
	for _, j := range slices.Backward(slices.Compact(list)) {
		if j < 0 || j >= i || all.has(j) {
			continue
		}
		after = append(after, j)
		all.add(j)
		for word, bits := range before[j] {
			all[word] |= bits
		}
	}
	slices.Reverse(after)
	return after, all
}
