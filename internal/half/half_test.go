package half

import (
	"math"
	"testing"
)

// TestRound: every half survives, and what lies between two goes to the nearer one, ties to the even one.
func TestRound(t *testing.T) {
	for h := range 1 << 16 {
		v := Float64(uint16(h))
		if math.IsNaN(v) {
			if got := Round(float32(v)); !math.IsNaN(Float64(got)) {
				t.Errorf("NaN becomes %#x", got)
			}
			continue
		}
		if got := Round(float32(v)); got != uint16(h) {
			t.Errorf("%#x = %v becomes %#x", h, v, got)
		}
		if h&0x7fff >= 0x7bff { // the last finite one and infinity
			continue
		}
		next := Float64(uint16(h + 1))
		middle := float32((v + next) / 2) // exact: one bit more than a half has
		even := uint16(h + h&1)
		below, above := math.Nextafter32(middle, float32(v)), math.Nextafter32(middle, float32(next))
		for x, want := range map[float32]uint16{middle: even, below: uint16(h), above: uint16(h + 1)} {
			if got := Round(x); got != want {
				t.Errorf("%v becomes %#x, want %#x", x, got, want)
			}
		}
	}
	for x, want := range map[float32]uint16{65519.996: 0x7bff, 65520: 0x7c00, -1e30: 0xfc00, float32(math.Inf(1)): 0x7c00, 1e-30: 0} {
		if got := Round(x); got != want {
			t.Errorf("%v becomes %#x, want %#x", x, got, want)
		}
	}
}
