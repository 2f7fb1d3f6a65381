// Package memory places buffers of known size and lifetime in one arena. It knows nothing of what is in them.
//
// Placing intervals of time and size without overlap is NP-hard (dynamic storage allocation); two good heuristics are
// tried and the smaller result taken. [LowerBound] is what no placement can go below.
package memory

import (
	"cmp"
	"slices"
)

// Alignment of every buffer in bytes: a cache line, and the width of an AVX-512 register.
const Alignment = 64

// Buffer is something that must be in memory from launch First to launch Last, both included.
type Buffer struct {
	Bytes       int64
	First, Last int
	Offset      int64 // the result
}

func aligned(n int64) int64 { return (n + Alignment - 1) &^ (Alignment - 1) }

// LowerBound is the largest sum of the aligned sizes of buffers alive at one time.
func LowerBound(buffers []Buffer) int64 {
	if len(buffers) == 0 {
		return 0
	}
	return slices.Max(inUse(buffers))
}

// inUse is how many bytes each launch needs.
func inUse(buffers []Buffer) []int64 {
	launches := 0
	for _, b := range buffers {
		launches = max(launches, b.Last+1)
	}
	bytes := make([]int64, launches+1) // first what is added at each
	for _, b := range buffers {
		bytes[b.First] += aligned(b.Bytes)
		bytes[b.Last+1] -= aligned(b.Bytes)
	}
	for i := range launches {
		bytes[i+1] += bytes[i]
	}
	return bytes[:launches]
}

// Place gives every buffer an offset and returns the size of the arena. A launch that writes over what others used has
// to wait for them: so memory rests for up to so many launches before it is used again, as far as the arena hardly
// grows by it. With 0 it is used again at once.
func Place(buffers []Buffer, rest int) int64 {
	bound := LowerBound(buffers)
	enough := bound + bound/50
	for ; rest > 0; rest /= 2 {
		longer := lengthen(buffers, rest, bound)
		if peak := placeTightly(longer, enough); peak <= enough {
			for i := range buffers {
				buffers[i].Offset = longer[i].Offset
			}
			return peak
		}
	}
	return placeTightly(buffers, enough)
}

// lengthen returns the buffers as if they lived up to so many launches longer, where that leaves the sum of all that are
// alive below the bound.
func lengthen(buffers []Buffer, launches int, bound int64) []Buffer {
	longer, bytes := slices.Clone(buffers), inUse(buffers)
	for i := range longer {
		b := &longer[i]
		for end := min(b.Last+launches, len(bytes)-1); b.Last < end && bytes[b.Last+1]+aligned(b.Bytes) <= bound; {
			b.Last++
			bytes[b.Last] += aligned(b.Bytes)
		}
	}
	return longer
}

// placeTightly takes the smaller of two placements, and only the first if that is small enough.
func placeTightly(buffers []Buffer, enough int64) int64 {
	inTime := slices.Clone(buffers)
	peakTime := placeInTime(inTime)
	if peakTime <= enough {
		copy(buffers, inTime)
		return peakTime
	}
	bySize := slices.Clone(buffers)
	if peakSize := placeBySize(bySize); peakSize < peakTime {
		copy(buffers, bySize)
		return peakSize
	}
	copy(buffers, inTime)
	return peakTime
}

// placeInTime allocates and frees in the order of the launches, each time in the smallest gap that is large enough.
// Forward and backward passes free in the reverse order in which they allocate, which suits it.
func placeInTime(buffers []Buffer) int64 {
	order := make([]int, len(buffers))
	for i := range order {
		order[i] = i
	}
	// Buffers that live longest go first among those born together: they end up below those that are freed soon.
	slices.SortFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(buffers[i].First, buffers[j].First), cmp.Compare(buffers[j].Last, buffers[i].Last), cmp.Compare(i, j))
	})
	ends := slices.Clone(order)
	slices.SortFunc(ends, func(i, j int) int {
		return cmp.Or(cmp.Compare(buffers[i].Last, buffers[j].Last), cmp.Compare(i, j))
	})
	var free gaps
	freed := 0
	for _, i := range order {
		b := &buffers[i]
		for ; freed < len(ends) && buffers[ends[freed]].Last < b.First; freed++ {
			dead := buffers[ends[freed]]
			free.release(dead.Offset, aligned(dead.Bytes))
		}
		b.Offset = free.take(aligned(b.Bytes))
	}
	return free.top
}

// gaps is the free memory below top, in order of offsets, neighbours joined.
type gaps struct {
	list []gap
	top  int64
}

type gap struct{ from, to int64 }

func (g *gaps) take(bytes int64) int64 {
	best := -1
	for i, f := range g.list {
		if size := f.to - f.from; size >= bytes && (best < 0 || size < g.list[best].to-g.list[best].from) {
			best = i
		}
	}
	if best < 0 {
		from := g.top
		if n := len(g.list); n > 0 && g.list[n-1].to == g.top { // the last gap grows
			from = g.list[n-1].from
			g.list = g.list[:n-1]
		}
		g.top = from + bytes
		return from
	}
	from := g.list[best].from
	g.list[best].from += bytes
	if g.list[best].from == g.list[best].to {
		g.list = slices.Delete(g.list, best, best+1)
	}
	return from
}

func (g *gaps) release(from, bytes int64) {
	to := from + bytes
	i, _ := slices.BinarySearchFunc(g.list, from, func(f gap, at int64) int { return cmp.Compare(f.from, at) })
	if i > 0 && g.list[i-1].to == from {
		i--
		g.list[i].to = to
	} else {
		g.list = slices.Insert(g.list, i, gap{from, to})
	}
	if i+1 < len(g.list) && g.list[i+1].from == to {
		g.list[i].to = g.list[i+1].to
		g.list = slices.Delete(g.list, i+1, i+2)
	}
}

// smallPart is the part of the arena up to which a buffer is small.
const smallPart = 1 << 16

// placeBySize places the largest buffers first, each at the lowest offset where it meets no placed buffer that lives at
// the same time. To look for it takes a time that grows with the number of those that are placed; most buffers of a
// supernet are small, and all small ones together a hundredth of it. So these are placed in time, at the bottom, and the
// others above them.
func placeBySize(buffers []Buffer) int64 {
	var small, large []int
	atMost := LowerBound(buffers) / smallPart
	for i, b := range buffers {
		if b.Bytes <= atMost {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	bottom := make([]Buffer, len(small))
	for k, i := range small {
		bottom[k] = buffers[i]
	}
	top := placeInTime(bottom)
	for k, i := range small {
		buffers[i].Offset = bottom[k].Offset
	}
	return max(top, placeAbove(buffers, large, ends(bottom, len(inUse(buffers)))))
}

// ends is where the memory of placed buffers ends at each launch.
func ends(placed []Buffer, launches int) []int64 {
	at := make([]int64, launches)
	for _, b := range placed {
		for t := b.First; t <= b.Last; t++ {
			at[t] = max(at[t], b.Offset+aligned(b.Bytes))
		}
	}
	return at
}

// placeAbove places some of the buffers, the largest first, above an offset that depends on the launch.
func placeAbove(buffers []Buffer, some []int, bottom []int64) (top int64) {
	slices.SortFunc(some, func(i, j int) int {
		return cmp.Or(cmp.Compare(buffers[j].Bytes, buffers[i].Bytes), cmp.Compare(buffers[j].Last-buffers[j].First, buffers[i].Last-buffers[i].First), cmp.Compare(i, j))
	})
	var placed []int // by offset
	for _, i := range some {
		b := &buffers[i]
		size, at := aligned(b.Bytes), slices.Max(bottom[b.First:b.Last+1])
		for _, j := range placed {
			p := &buffers[j]
			if p.Last < b.First || p.First > b.Last {
				continue
			}
			if p.Offset >= at+size {
				break
			}
			at = max(at, p.Offset+aligned(p.Bytes))
		}
		b.Offset = at
		top = max(top, at+size)
		k, _ := slices.BinarySearchFunc(placed, at, func(j int, at int64) int { return cmp.Compare(buffers[j].Offset, at) })
		placed = slices.Insert(placed, k, i)
	}
	return top
}
