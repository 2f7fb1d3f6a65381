package cpu

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler/plan"
)

// updatePlan updates weights of the given sizes with sgd, in one launch of as many sets or in one launch each.
func updatePlan(sizes []int, joined bool) *plan.Plan {
	program := &plan.Program{Name: "main"}
	p := &plan.Plan{Name: "updates", Target: "cpu", Programs: []*plan.Program{program}}
	add := func(n int) int {
		program.Buffers = append(program.Buffers, plan.Buffer{Tensor: plan.Tensor{DType: plan.F32, Shape: []int{n}}, Offset: p.ArenaBytes})
		p.ArenaBytes += int64(4*n+63) &^ 63
		return len(program.Buffers) - 1
	}
	rate, scale := add(1), add(1)
	all := plan.Launch{Kernel: "sgd", Params: plan.Params{"momentum": 0.9, "weight_decay": 0.01}, Sets: len(sizes)}
	for _, n := range sizes {
		one := all
		one.Sets = 0
		w, g, velocity := add(n), add(n), add(n)
		one.Operands, one.Results = []int{w, g, velocity, rate, scale}, []int{w, velocity}
		all.Operands, all.Results = append(all.Operands, one.Operands...), append(all.Results, one.Results...)
		program.Launches = append(program.Launches, one)
	}
	if joined {
		program.Launches = []plan.Launch{all}
	}
	program.PeakBytes = p.ArenaBytes
	return p
}

// TestSets: one launch of many sets leaves the bits of one launch each, whatever the number of workers.
func TestSets(t *testing.T) {
	sizes := []int{1, 7, 20000, 16, 3 * blockElements, 5, 5, 5, 5, 144}
	var want []byte
	for _, c := range []struct {
		workers int
		joined  bool
	}{{1, false}, {1, true}, {2, true}, {3, true}} {
		p := updatePlan(sizes, c.joined)
		i, err := New(c.workers).Load(p)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(3, 4))
		start := make([]byte, p.ArenaBytes)
		for at := range view32(start) {
			view32(start)[at] = r.Float32() - 0.5
		}
		if err := i.Write(plan.Arena, 0, start); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := i.Run(t.Context(), 0, nil); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, p.ArenaBytes)
		if err := i.Read(plan.Arena, 0, got); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
			if slices.Equal(got, start) {
				t.Fatal("the updates change nothing")
			}
		} else if !slices.Equal(got, want) {
			t.Errorf("%d workers, joined %v: other bits", c.workers, c.joined)
		}
		i.Close()
	}
}

// TestSetsRefused: a set that the kernel does not take is an error that says which.
func TestSetsRefused(t *testing.T) {
	p := updatePlan([]int{8, 8, 8}, true)
	b := &p.Programs[0].Buffers[p.Programs[0].Launches[0].Operands[6]] // the gradient of the second set
	b.Shape = []int{7}
	if _, err := New(1).Load(p); err == nil || !strings.Contains(err.Error(), "set 1: ") {
		t.Errorf("got error %v, want one about set 1", err)
	}
}

// TestJoinedParts: every part of every set runs once, also where sets have none.
func TestJoinedParts(t *testing.T) {
	counts := []int{0, 3, 0, 0, 9, 1, 0}
	ran := map[string]int{}
	var sets []task
	for set, parts := range counts {
		sets = append(sets, task{scratch: set, phases: []phase{{parts: parts, run: func(part int, _ []float32) { ran[fmt.Sprint(set, " ", part)]++ }}}})
	}
	all, err := joined(sets)
	if err != nil {
		t.Fatal(err)
	}
	for part := range all.phases[0].parts {
		all.phases[0].run(part, nil)
	}
	if all.scratch != 6 || len(ran) != 13 {
		t.Errorf("scratch %d, ran %v", all.scratch, ran)
	}
	for part, n := range ran {
		if n != 1 {
			t.Errorf("part %s ran %d times", part, n)
		}
	}
	if _, err := joined([]task{{}, {phases: make([]phase, 1)}}); err == nil {
		t.Error("sets of different phases are joined")
	}
}
