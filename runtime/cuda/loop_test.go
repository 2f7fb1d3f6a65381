//go:build cuda && linux && cgo && (amd64 || arm64)

package cuda

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dartsc/dartsc/compiler/plan"
)

// room is how many steps the loop of recurrence has room for.
const room = 5

// recurrence is a plan whose program "sum" starts from w, and in each step doubles it, adds that step's x, and keeps it as y.
func recurrence(reverse bool) *plan.Plan {
	p := example()
	step := p.Programs[0]
	vector := step.Buffers[0].Tensor
	stacked := plan.Tensor{DType: plan.F32, Shape: []int{room, n}}
	part := int64(4 * n)
	launch := func(like plan.Launch, to, from int, factor float64) plan.Launch {
		d := *like.Device
		d.Arguments = slices.Clone(d.Arguments)
		d.Arguments[3].Number = factor
		like.Operands, like.Results, like.Device = []int{from}, []int{to}, &d
		return like
	}
	scale, accumulate := step.Launches[0], step.Launches[1]
	step.Inputs = []plan.Port{{Name: "length", Buffer: 0}, {Name: "x", Buffer: 1}}
	step.Results = []plan.Port{{Name: "y", Buffer: 2}}
	step.Buffers = []plan.Buffer{
		{Tensor: plan.Tensor{DType: plan.I64}},
		{Tensor: stacked, Offset: 1 << 10}, {Tensor: stacked, Offset: 2 << 10},
		{Tensor: vector, Space: plan.Variables, Offset: 256},
		{Tensor: vector, Offset: 1 << 10, Stride: part}, {Tensor: vector, Offset: 2 << 10, Stride: part},
	}
	step.Launches = []plan.Launch{{
		Kernel: plan.Scan, Scope: "cell", Operands: []int{0, 3, 1}, Results: []int{3, 2},
		Loop: &plan.Loop{Steps: room, Reverse: reverse, Carried: 1, Launches: []plan.Launch{
			launch(accumulate, 3, 3, 1), launch(accumulate, 3, 4, 1), launch(scale, 5, 3, 1),
		}},
	}}
	return p
}

// sums is what the program leaves in w, and as y.
func sums(w, x []float32, steps int, reverse bool) []float32 {
	y := make([]float32, room*n)
	for s := range steps {
		t := s
		if reverse {
			t = steps - 1 - s
		}
		for i := range w {
			w[i] = 2*w[i] + x[t*n+i]
			y[t*n+i] = w[i]
		}
	}
	return y
}

func TestLoop(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		s, err := open(t, recurrence(reverse))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		w, x, y := ramp(1), make([]float32, room*n), make([]float32, room*n)
		for i := range x {
			x[i] = float32(i)
		}
		if err := s.Set("w", w); err != nil {
			t.Fatal(err)
		}
		length := make([]int64, 1)
		inputs, results := map[string]any{"length": length, "x": x}, map[string]any{"y": y}
		for _, steps := range []int{room, 2, 0, 1, 3, 2} {
			length[0] = int64(steps)
			if err := s.Run(t.Context(), "step", inputs, results); err != nil {
				t.Fatal(err)
			}
			want := sums(w, x, steps, reverse)
			if !slices.Equal(y, want) {
				t.Errorf("reverse %v, %d steps: y is %v, want %v", reverse, steps, y, want)
			}
			got := make([]float32, n)
			if err := s.Get("w", got); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, w) {
				t.Errorf("reverse %v, %d steps: w is %v, want %v", reverse, steps, got, w)
			}
		}
		for _, steps := range []int64{-1, room + 1} {
			length[0] = steps
			err := s.Run(t.Context(), "step", inputs, nil)
			if want := fmt.Sprintf("program step: scan at cell is to take %d steps, has room for 0 to %d", steps, room); err == nil || err.Error() != want {
				t.Errorf("%d steps: error %v, want %q", steps, err, want)
			}
		}
	}
}

// A number of steps that has occurred costs no graph, and no allocation.
func TestLoopKeepsGraphs(t *testing.T) {
	log := logCalls(t)
	s, err := open(t, recurrence(false))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := count(log.take(), "cuGraphAddKernelNode"); got != 3*room+1 {
		t.Errorf("loading adds %d launches to graphs, want those of %d steps and of program large", got, room)
	}
	length := []int64{0}
	inputs := map[string]any{"length": length, "x": make([]float32, room*n)}
	run := func() {
		if err := s.Run(t.Context(), "step", inputs, nil); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct{ steps, launches, clears, graphs int }{{2, 6, 1, 1}, {room, 0, 0, 0}, {0, 0, 1, 1}, {2, 0, 0, 0}, {0, 0, 0, 0}} {
		length[0] = int64(c.steps)
		run()
		lines := log.take()
		for call, want := range map[string]int{"cuGraphAddKernelNode": c.launches, "cuGraphAddMemsetNode": c.clears, "cuGraphInstantiate": c.graphs, "cuGraphLaunch": 1} {
			if got := count(lines, call); got != want {
				t.Errorf("%d steps: %d calls of %s, want %d", c.steps, got, call, want)
			}
		}
	}
	t.Setenv("FAKE_CUDA_LOG", "")
	if allocations := testing.AllocsPerRun(100, run); allocations != 0 {
		t.Errorf("a step allocates %v times", allocations)
	}
}

// A profile hears of every launch in every step, and of the loop where memory is cleared.
func TestLoopProfile(t *testing.T) {
	s, err := open(t, recurrence(false))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var heard []int
	s.SetProfile(func(_ string, launch int, _ time.Duration) { heard = append(heard, launch) })
	if err := s.Run(t.Context(), "step", map[string]any{"length": []int64{2}, "x": make([]float32, room*n)}, nil); err != nil {
		t.Fatal(err)
	}
	if want := []int{0, 1, 2, 3, 1, 2, 3}; !slices.Equal(heard, want) {
		t.Errorf("heard of launches %v, want %v", heard, want)
	}
}

func TestLoopFault(t *testing.T) {
	needFake(t)
	t.Setenv("FAKE_CUDA_FAIL", "cuGraphAddKernelNode:5:701")
	_, err := open(t, recurrence(false))
	if want := "program step: launch 2 (axpy at cell 0): result 701"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
}
