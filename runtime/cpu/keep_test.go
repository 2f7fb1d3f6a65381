package cpu

import (
	"context"
	"math"
	"testing"

	"github.com/dartsc/dartsc/compiler/plan"
)

// TestPackedOnce: filters that no program changes are packed once, and again after they were set; filters that a
// program changes are packed every time.
func TestPackedOnce(t *testing.T) {
	weights := plan.Tensor{DType: plan.F32, Shape: []int{2, 1, 1, 1}, Order: outputsLast}
	image := plan.Tensor{DType: plan.F32, Shape: []int{1, 1, 1, 1}, Order: channelsLast}
	result := plan.Tensor{DType: plan.F32, Shape: []int{1, 2, 1, 1}, Order: channelsLast}
	convolve := plan.Launch{Kernel: "conv2d", Operands: []int{0, 1}, Results: []int{2},
		Params: plan.Params{"strides": []int{1, 1}, "pads": []int{0, 0, 0, 0}, "dilations": []int{1, 1}, "groups": 1}}
	program := func(name string, launches ...plan.Launch) *plan.Program {
		return &plan.Program{Name: name, PeakBytes: 128, Launches: launches, Buffers: []plan.Buffer{
			{Tensor: image}, {Tensor: weights, Space: plan.Variables}, {Tensor: result, Offset: 64},
		}, Inputs: []plan.Port{{Name: "x", Buffer: 0}}, Results: []plan.Port{{Name: "y", Buffer: 2}}}
	}
	fill := plan.Launch{Kernel: "fill", Results: []int{1}, Params: plan.Params{"value": 15.0}}
	for _, changes := range []bool{false, true} {
		p := &plan.Plan{Name: "test", Target: "cpu", VariableBytes: 64, ArenaBytes: 128,
			Variables: []plan.Variable{{Name: "w", Kind: "weight", Tensor: weights, Init: plan.Init{Distribution: "constant"}}},
			Programs:  []*plan.Program{program("run", convolve)}}
		if changes {
			p.Programs = append(p.Programs, program("change", convolve, fill))
		}
		loaded, err := New(2).Load(p)
		if err != nil {
			t.Fatal(err)
		}
		i := loaded.(*instance)
		defer i.Close()
		if once := len(i.programs[0][0].once) > 0; once == changes {
			t.Errorf("a program changes the filter: %t, packed once: %t", changes, once)
		}
		set := func(space plan.Space, v float32) {
			if err := i.Write(space, 0, bytesOf32(v)); err != nil {
				t.Fatal(err)
			}
		}
		run := func(program int, want float32) {
			t.Helper()
			if err := i.Run(context.Background(), program, nil); err != nil {
				t.Fatal(err)
			}
			if got := view32(i.spaces[plan.Arena][64:68])[0]; got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		set(plan.Arena, 3)
		set(plan.Variables, 2)
		run(0, 6)
		run(0, 6)
		set(plan.Variables, 5)
		run(0, 15)
		if changes {
			run(1, 15) // and now the filter is 15
			run(0, 45)
		}
	}
}

func bytesOf32(v float32) []byte {
	bits := math.Float32bits(v)
	return []byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)}
}
