package cpu

import (
	"fmt"
	"math"
	"testing"
)

func TestPositivePart(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range []struct{ in, want float32 }{{0, 0}, {1.5, 1.5}, {-1.5, 0}, {inf, inf}, {-inf, 0}, {nan, nan}, {math.Float32frombits(math.Float32bits(nan) | 1<<31), nan}} {
		if got := positivePart(c.in); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("positivePart(%v): got %v, want %v", c.in, got, c.want)
		}
	}
	if bits := math.Float32bits(positivePart(math.Float32frombits(1 << 31))); bits != 0 {
		t.Errorf("positivePart(-0): got bits %x, want 0", bits)
	}
}
