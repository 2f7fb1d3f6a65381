package plan

import (
	"reflect"
	"testing"
)

// summarized has one program: x is an input, launch 0 writes y from x and w, launch 1 writes the result z from y.
func summarized() *Plan {
	f := func(n int) Tensor { return Tensor{DType: F32, Shape: []int{n}} }
	return &Plan{
		Name: "p", Target: "cpu", ArenaBytes: 320, VariableBytes: 128,
		Modules: []Module{{Name: "m", Source: "//", Images: []Image{{"sm_90", PTX, []byte("x")}}, Functions: []Function{{"k", 40, 128, 8}}}},
		Variables: []Variable{
			{Name: "a", Kind: "alpha", Tensor: f(4), Init: Init{Distribution: "constant"}},
			{Name: "w", Kind: "weight", Tensor: f(8), Offset: 64, Init: Init{Distribution: "constant"}},
		},
		Programs: []*Program{{
			Name: "step", PeakBytes: 320, LowerBound: 300,
			Inputs: []Port{{"x", 0}}, Results: []Port{{"z", 3}},
			Buffers: []Buffer{
				{Tensor: f(8)}, {Tensor: f(8), Space: Variables, Offset: 64},
				{Tensor: f(16), Offset: 64}, {Tensor: f(2), Offset: 128},
			},
			Launches: []Launch{
				{Kernel: "conv2d", Scope: "stem", Operands: []int{0, 1}, Results: []int{2}, FLOPs: 100, Bytes: 10},
				{Kernel: "relu", Operands: []int{2}, Results: []int{3}, FLOPs: 1, Bytes: 2},
				{Kernel: "relu", Operands: []int{3}, Results: []int{3}, FLOPs: 1, Bytes: 2},
			},
		}},
	}
}

func TestSummarize(t *testing.T) {
	got := Summarize(summarized())
	want := Summary{
		Name: "p", Target: "cpu", ArenaBytes: 320, VariableBytes: 128,
		Variables: []KindSummary{{"weight", 1, 8, 32}, {"alpha", 1, 4, 16}},
		Modules:   []ModuleSummary{{"m", 2, []string{"sm_90 ptx"}, []FunctionSummary{{"k", 40, 128, 8}}}},
		Programs: []ProgramSummary{{
			Name: "step", Launches: 3, FLOPs: 102, Bytes: 14, PeakBytes: 320, LowerBound: 300,
			Kernels: []KernelSummary{{"relu", 2, 2, 4}, {"conv2d", 1, 100, 10}},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Elements("weight") != 8 || got.Elements("moment") != 0 || got.Program("step").Launches != 3 || got.Program("none").Launches != 0 {
		t.Errorf("look-ups: %d weights, %d moments, %+v, %+v", got.Elements("weight"), got.Elements("moment"), got.Program("step"), got.Program("none"))
	}
}

func TestArenaMap(t *testing.T) {
	got := ArenaMap(summarized().Programs[0])
	want := []Placed{
		{Buffer: 2, Offset: 64, Bytes: 64, First: 0, Last: 1, DType: "f32", Shape: []int{16}, Made: "conv2d at stem"},
		{Buffer: 0, Offset: 0, Bytes: 32, First: -1, Last: 0, DType: "f32", Shape: []int{8}, Made: "input x"},
		{Buffer: 3, Offset: 128, Bytes: 8, First: 1, Last: 3, DType: "f32", Shape: []int{2}, Made: "relu"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
