package cost

import (
	"math"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
	"github.com/dartsc/dartsc/runtime/roofline"
)

// products is a program of two equal matrix products, a copy and an addition.
func products() *plan.Plan {
	square := plan.Tensor{DType: plan.F32, Shape: []int{64, 64}}
	matmul := plan.Launch{Kernel: "matmul", Operands: []int{0, 0}, Results: []int{1}, Params: plan.Params{"transpose_a": false, "transpose_b": false}, FLOPs: 2 * 64 * 64 * 64, Bytes: 2 * 64 * 64 * 4}
	again := matmul
	again.Operands, again.Results = []int{1, 1}, []int{2}
	return &plan.Plan{
		Name: "products", Target: "cpu", ArenaBytes: 4 * 16384,
		Programs: []*plan.Program{{
			Name: "main", PeakBytes: 4 * 16384,
			Inputs:  []plan.Port{{Name: "x", Buffer: 0}},
			Results: []plan.Port{{Name: "y", Buffer: 3}},
			Buffers: []plan.Buffer{{Tensor: square}, {Tensor: square, Offset: 16384}, {Tensor: square, Offset: 2 * 16384}, {Tensor: square, Offset: 3 * 16384}},
			Launches: []plan.Launch{matmul, again,
				{Kernel: "copy", Operands: []int{2}, Results: []int{3}, Phase: "end", Scope: "there", Bytes: 32768},
				{Kernel: "elementwise", Operands: []int{3, 0}, Results: []int{3}, FLOPs: 4096, Bytes: 1,
					Code: []plan.Instruction{{Op: "add", Args: []int{0, 1}}}, Params: plan.Params{"results": []int{2}}}},
		}},
	}
}

var slow = roofline.Roofline{
	All:    roofline.Speeds{GFLOPS: 1, Levels: []roofline.Level{{Name: "DRAM", Read: 1, Update: 0.5}}},
	Launch: 10,
}

func TestPredict(t *testing.T) {
	launches := Predict(products().Programs[0], slow)
	for i, want := range []struct {
		bound, shape string
		roofline     float64
	}{
		{ByCompute, "f32[64,64] f32[64,64] → f32[64,64] transpose_a=false transpose_b=false", 524288e-9},
		{ByCompute, "f32[64,64] f32[64,64] → f32[64,64] transpose_a=false transpose_b=false", 524288e-9},
		{ByMemory, "f32[64,64] → f32[64,64]", 32768e-9},
		{ByStart, "f32[64,64] f32[64,64] → f32[64,64] add", 4096e-9},
	} {
		l := launches[i]
		if l.Index != i || l.Bound != want.bound || l.Shape != want.shape || math.Abs(l.Roofline-want.roofline) > 1e-12 || math.Abs(l.Predicted-want.roofline-1e-5) > 1e-12 {
			t.Errorf("launch %d: got %+v, want %+v", i, l, want)
		}
	}
	reached := slow
	reached.Reached = 0.5
	if l := Predict(products().Programs[0], reached)[2]; math.Abs(l.Predicted-65536e-9-1e-5) > 1e-12 || l.Roofline != launches[2].Roofline {
		t.Errorf("half of the roofline is reached: got %+v, want twice its time, and the start", l)
	}
	kernels := ByKernel(launches)
	if len(kernels) != 3 || kernels[0].Kernel != "matmul" || kernels[0].Launches != 2 || kernels[0].Shape != "" || kernels[0].Bound != ByCompute || kernels[0].FLOPs != 1048576 {
		t.Errorf("by kernel: %+v", kernels)
	}
	launches[2].Measured = 1 // the copy is slow: it comes first
	if shapes := ByShape(launches); len(shapes) != 3 || shapes[0].Kernel != "copy" || math.Abs(shapes[0].Fraction()-32768e-9) > 1e-12 {
		t.Errorf("by shape: %+v", shapes)
	}
	if s := Slowest(launches); s[0].Index != 2 || s[1].Index != 0 {
		t.Errorf("slowest: %+v", s)
	}
	if total := Total(launches); total.Launches != 4 || total.FLOPs != 1048576+4096 || total.Measured != 1 {
		t.Errorf("total: %+v", total)
	}
}

// TestPredictLoop: a launch of a loop counts with every step.
func TestPredictLoop(t *testing.T) {
	p := products().Programs[0]
	copied := p.Launches[2]
	p.Launches[2] = plan.Launch{Kernel: plan.Scan, Loop: &plan.Loop{Steps: 5, Launches: []plan.Launch{copied}}}
	launches := Predict(p, slow)
	if len(launches) != 5 || launches[2].Roofline != 0 || launches[3].Kernel != "copy" || launches[3].Launches != 5 || math.Abs(launches[3].Roofline-5*32768e-9) > 1e-12 {
		t.Errorf("got %+v", launches)
	}
	if total := Total(launches); total.Launches != 8 {
		t.Errorf("%d launches, want 3 outside and 5 in the loop", total.Launches)
	}
}

func TestMeasure(t *testing.T) {
	s, err := runtime.Open(products(), cpu.New(1))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	launches := Predict(s.Plan().Programs[0], slow)
	for range 2 { // the second replaces what the first measured
		if err := Measure(t.Context(), s, "main", 2, launches); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range launches {
		if l.Measured <= 0 || l.Measured > 1 || l.Fraction() <= 0 {
			t.Errorf("launch %d took %v s", l.Index, l.Measured)
		}
	}
	if err := Measure(t.Context(), s, "nonsense", 1, launches); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("unknown program: error %v", err)
	}
}
