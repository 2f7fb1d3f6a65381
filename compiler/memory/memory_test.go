package memory

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func check(t *testing.T, buffers []Buffer, top int64) {
	t.Helper()
	for i, a := range buffers {
		if a.Offset%Alignment != 0 || a.Offset < 0 || a.Offset+a.Bytes > top {
			t.Fatalf("buffer %d at %d, %d bytes: outside the arena of %d or not aligned", i, a.Offset, a.Bytes, top)
		}
		for j, b := range buffers[:i] {
			together := a.First <= b.Last && b.First <= a.Last
			if together && a.Offset < b.Offset+b.Bytes && b.Offset < a.Offset+a.Bytes {
				t.Fatalf("buffers %d %+v and %d %+v overlap", i, a, j, b)
			}
		}
	}
}

func TestPlace(t *testing.T) {
	for _, c := range []struct {
		name    string
		buffers []Buffer
		want    int64
	}{
		{"nothing", nil, 0},
		{"one", []Buffer{{Bytes: 100, Last: 1}}, 128},
		{"one after the other", []Buffer{{Bytes: 64, First: 0, Last: 1}, {Bytes: 64, First: 2, Last: 3}}, 64},
		{"touching at one launch", []Buffer{{Bytes: 64, First: 0, Last: 2}, {Bytes: 64, First: 2, Last: 3}}, 128},
		{"forward and backward", []Buffer{
			{Bytes: 64, First: 0, Last: 7}, {Bytes: 128, First: 1, Last: 6}, {Bytes: 192, First: 2, Last: 5}, {Bytes: 256, First: 3, Last: 4},
		}, 640},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Place(c.buffers, 0)
			if got != c.want {
				t.Errorf("Place = %d bytes, want %d", got, c.want)
			}
			check(t, c.buffers, got)
		})
	}
}

func TestHeuristicsNeverOverlap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for trial := range 200 {
		buffers := make([]Buffer, 1+random.IntN(80))
		for i := range buffers {
			first := random.IntN(60)
			// Of all sizes, most of which are small beside the arena.
			buffers[i] = Buffer{Bytes: int64(1+random.IntN(1000)) << random.IntN(20), First: first, Last: first + random.IntN(20)}
		}
		atOnce := func(b []Buffer) int64 { return Place(b, 0) }
		rested := func(b []Buffer) int64 { return Place(b, 16) }
		for name, place := range map[string]func([]Buffer) int64{"in time": placeInTime, "by size": placeBySize, "best": atOnce, "rested": rested} {
			t.Run(fmt.Sprintf("%d/%s", trial, name), func(t *testing.T) {
				top := place(buffers)
				check(t, buffers, top)
				if bound := LowerBound(buffers); top < bound {
					t.Errorf("arena of %d bytes is below the lower bound %d: the bound is wrong", top, bound)
				}
			})
		}
	}
}

// Memory rests where there is enough of it, and only there.
func TestRest(t *testing.T) {
	for _, c := range []struct {
		name     string
		buffers  []Buffer
		rest     int
		bytes    int64
		together bool // whether the first two lie in the same place
	}{
		{"used at once", []Buffer{{Bytes: 64, Last: 1}, {Bytes: 64, First: 2, Last: 3}, {Bytes: 128, First: 4, Last: 4}}, 0, 128, true},
		{"rests", []Buffer{{Bytes: 64, Last: 1}, {Bytes: 64, First: 2, Last: 3}, {Bytes: 128, First: 4, Last: 4}}, 4, 128, false},
		{"long enough ago", []Buffer{{Bytes: 64, Last: 1}, {Bytes: 64, First: 6, Last: 7}, {Bytes: 128, First: 8, Last: 8}}, 4, 128, true},
		{"no room for it", []Buffer{{Bytes: 64, Last: 1}, {Bytes: 64, First: 2, Last: 3}}, 4, 64, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			lifetimes := []int{c.buffers[0].Last, c.buffers[1].Last}
			got := Place(c.buffers, c.rest)
			check(t, c.buffers, got)
			if got != c.bytes || (c.buffers[0].Offset == c.buffers[1].Offset) != c.together {
				t.Errorf("%d bytes, offsets %d and %d; want %d bytes, the same place: %t", got, c.buffers[0].Offset, c.buffers[1].Offset, c.bytes, c.together)
			}
			if c.buffers[0].Last != lifetimes[0] || c.buffers[1].Last != lifetimes[1] {
				t.Errorf("lifetimes have changed: %+v", c.buffers)
			}
		})
	}
}
