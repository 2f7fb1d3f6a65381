package cost

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/dartsc/dartsc/compiler/plan"
)

// TestSideBySide: launches of the parts of a device that are given, over memory of their own but for what they read.
func TestSideBySide(t *testing.T) {
	type launch struct {
		seconds float64
		blocks  int
		reads   []int
	}
	for _, c := range []struct {
		name     string
		launches []launch
		want     Beside
	}{
		{"one", []launch{{2, 4, nil}}, Beside{2, 2, 1}},
		{"halves of the device", []launch{{2, 5, nil}, {3, 5, nil}}, Beside{3, 3, 1}},
		{"all of it each", []launch{{2, 10, nil}, {3, 40, nil}}, Beside{5, 3, 1}},
		{"a chain, and what runs beside it", []launch{{1, 5, nil}, {1, 5, []int{0}}, {2, 5, nil}, {1, 5, []int{1, 2}}}, Beside{3, 3, 3}},
		{"the longest chain first", []launch{{1, 10, nil}, {1, 10, nil}, {5, 1, []int{1}}}, Beside{6, 6, 2}},
		{"what is free is less than what it could use", []launch{{4, 5, nil}, {2, 10, nil}}, Beside{4, 4, 1}},
		{"and then more", []launch{{4, 8, nil}, {2, 10, nil}}, Beside{5.2, 4, 1}},
		{"none", nil, Beside{}},
	} {
		p, launches := &plan.Program{}, []Launch{}
		for i, l := range c.launches {
			p.Buffers = append(p.Buffers, plan.Buffer{Tensor: plan.Tensor{DType: plan.F32, Shape: []int{4}}, Offset: int64(16 * i)})
			p.Launches = append(p.Launches, plan.Launch{Operands: l.reads, Results: []int{i}, Device: &plan.DeviceLaunch{Grid: [3]int{l.blocks, 1, 1}}})
			launches = append(launches, Launch{Times: Times{Predicted: l.seconds}})
		}
		if got := SideBySide(p, launches, 10); math.Abs(got.Seconds-c.want.Seconds) > 1e-9 || got.Chain != c.want.Chain || got.Launches != c.want.Launches {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestSideBySideBounds: no program takes less than its longest chain or than its work, nor more than one launch after the other.
func TestSideBySideBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		p, launches, work, all := &plan.Program{}, []Launch{}, 0.0, 0.0
		for i := range 1 + r.IntN(40) {
			var reads []int
			for range r.IntN(3) {
				if i > 0 {
					reads = append(reads, r.IntN(i))
				}
			}
			p.Buffers = append(p.Buffers, plan.Buffer{Tensor: plan.Tensor{DType: plan.F32, Shape: []int{4}}, Offset: int64(16 * i)})
			blocks, seconds := 1+r.IntN(20), r.Float64()
			p.Launches = append(p.Launches, plan.Launch{Operands: reads, Results: []int{i}, Device: &plan.DeviceLaunch{Grid: [3]int{blocks, 1, 1}}})
			launches = append(launches, Launch{Times: Times{Predicted: seconds}})
			work, all = work+seconds*min(1, float64(blocks)/10), all+seconds
		}
		if got := SideBySide(p, launches, 10); got.Seconds < max(got.Chain, work)-1e-9 || got.Seconds > all+1e-9 {
			t.Fatalf("%d launches: %+v, of %g s one after the other and %g s of the whole device", len(launches), got, all, work)
		}
	}
}
