package cpu

import (
	"context"
	"errors"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/runtime"
)

// addPlan has one program, y = x + bias, and the launch runs twice.
func addPlan() *plan.Plan {
	matrix := plan.Tensor{DType: plan.F32, Shape: []int{2, 3}}
	l := plan.Launch{Kernel: "bias_add", Operands: []int{0, 1}, Results: []int{2}, Scope: "head"}
	return &plan.Plan{
		Name: "test", Target: "cpu", VariableBytes: 64, ArenaBytes: 128,
		Variables: []plan.Variable{{Name: "bias", Kind: "weight", Tensor: plan.Tensor{DType: plan.F32, Shape: []int{3}}, Init: plan.Init{Distribution: "constant", Value: 1}}},
		Programs: []*plan.Program{{
			Name: "add",
			Buffers: []plan.Buffer{
				{Tensor: matrix}, {Tensor: plan.Tensor{DType: plan.F32, Shape: []int{3}}, Space: plan.Variables}, {Tensor: matrix, Offset: 64},
			},
			Inputs: []plan.Port{{Name: "x", Buffer: 0}}, Results: []plan.Port{{Name: "y", Buffer: 2}},
			Launches: []plan.Launch{l, l},
		}},
	}
}

func TestLoadRefusesBadPlans(t *testing.T) {
	program := func(p *plan.Plan) *plan.Program { return p.Programs[0] }
	for _, c := range []struct {
		name  string
		spoil func(p *plan.Plan)
		want  string
	}{
		{"unknown kernel", func(p *plan.Plan) { program(p).Launches[1].Kernel = "conv3d" }, `program add: launch 1 (conv3d at head): the CPU has no kernel "conv3d"`},
		{"kernel's refusal", func(p *plan.Plan) { program(p).Buffers[1].Shape = []int{2} }, "operand 1 has shape [2], wants [3]"},
		{"element type", func(p *plan.Plan) { program(p).Buffers[0].DType = plan.BF16 }, "operand 0 is bf16: the CPU computes with"},
		{"result over operand", func(p *plan.Plan) { program(p).Buffers[2].Offset = 4 }, "result 0 overlaps operand 0 in part"},
		{"result over half of a variable", func(p *plan.Plan) {
			program(p).Buffers[2].Space, program(p).Buffers[2].Offset = plan.Variables, 0
		}, "result 0 overlaps operand 1 in part"},
		{"one result twice", func(p *plan.Plan) { program(p).Launches[0].Results = []int{2, 2} }, "results 0 and 1 overlap"},
		{"offset beyond the arena", func(p *plan.Plan) { program(p).Buffers[2].Offset = 108 }, "buffer 2: 24 bytes at offset 108 leave the region of 128"},
		{"memory that no machine has", func(p *plan.Plan) { p.ArenaBytes = 1 << 62 }, "bytes"},
		{"operand that is no buffer", func(p *plan.Plan) { program(p).Launches[0].Operands[0] = 3 }, "launch 0 (bias_add head): uses buffer 3 of 3"},
	} {
		p := addPlan()
		c.spoil(p)
		_, err := New(1).Load(p)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got error %v, want one line with %q", c.name, err, c.want)
		}
	}
	if _, err := New(-1).Load(addPlan()); err == nil {
		t.Error("-1 workers are accepted")
	}
}

// A result may take the memory of an operand of its size where the kernel allows that, and only there.
func TestInPlaceOnlyWhereAllowed(t *testing.T) {
	p := addPlan()
	p.Programs[0].Buffers[2].Offset = 0
	i, err := New(1).Load(p)
	if err != nil {
		t.Fatalf("bias_add in place: %v", err)
	}
	i.Close()
	for at := range p.Programs[0].Launches {
		p.Programs[0].Launches[at] = plan.Launch{Kernel: "matmul", Operands: []int{0, 0}, Results: []int{2}}
	}
	if _, err := New(1).Load(p); err == nil || !strings.Contains(err.Error(), "share memory") {
		t.Errorf("matmul in place: got error %v, want that memory is shared", err)
	}
}

func TestPanicsAreErrors(t *testing.T) {
	register("fails", func(*launch) (task, error) {
		return task{phases: []phase{{3, func(part int, _ []float32) {
			if part == 1 {
				panic("lost")
			}
		}}}}, nil
	})
	register("cannot", func(l *launch) (task, error) { return task{}, errors.New(l.in[7].name.String()) })
	t.Cleanup(func() { delete(kernels, "fails"); delete(kernels, "cannot") })

	p := addPlan()
	p.Programs[0].Launches[1].Kernel = "fails"
	i, err := New(2).Load(p)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	want := "program add: launch 1 (fails at head): panic: lost"
	if err := i.Run(t.Context(), 0, nil); err == nil || err.Error() != want {
		t.Errorf("got error %v, want %q", err, want)
	}
	p.Programs[0].Launches[1].Kernel = "cannot"
	if _, err := New(2).Load(p); err == nil || !strings.Contains(err.Error(), "launch 1 (cannot at head): cannot be bound: ") {
		t.Errorf("got error %v, want that the launch cannot be bound", err)
	}
}

func TestCancellation(t *testing.T) {
	s, err := runtime.Open(addPlan(), New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	s.SetProfile(func(string, int, time.Duration) { cancel() }) // after the first launch
	err = s.Run(ctx, "add", map[string]any{"x": make([]float32, 6)}, nil)
	want := "program add: launch 1 (bias_add at head): stopped before it: context canceled"
	if err == nil || err.Error() != want || !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %q", err, want)
	}
}

func TestReadAndWriteStayInside(t *testing.T) {
	i, err := New(1).Load(addPlan())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		space  plan.Space
		offset int64
		bytes  int
		ok     bool
	}{
		{plan.Arena, 0, 128, true}, {plan.Variables, 60, 4, true}, {plan.Arena, 1, 128, false}, {plan.Arena, -1, 1, false},
		{plan.Variables, 65, 0, false}, {7, 0, 1, false}, {plan.Arena, 1 << 62, 1, false},
	} {
		data := make([]byte, c.bytes)
		if err := i.Write(c.space, c.offset, data); (err == nil) != c.ok {
			t.Errorf("Write(%d, %d, %d bytes): got error %v, want success %v", c.space, c.offset, c.bytes, err, c.ok)
		}
		if err := i.Read(c.space, c.offset, data); (err == nil) != c.ok {
			t.Errorf("Read(%d, %d, %d bytes): got error %v, want success %v", c.space, c.offset, c.bytes, err, c.ok)
		}
	}
	if err := i.Run(t.Context(), 1, nil); err == nil {
		t.Error("program 1 of 1 runs")
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	if err := i.Write(plan.Arena, 0, make([]byte, 1)); err == nil {
		t.Error("a closed instance can be written")
	}
}

func TestLoadRefusesABadChoiceOfKernels(t *testing.T) {
	defer func(was error) { badChoice = was }(badChoice)
	_, badChoice = choose("avx1024", []vector{portable})
	if _, err := New(1).Load(addPlan()); err == nil || err.Error() != `DARTSC_CPU is "avx1024": this build on this processor has generic` {
		t.Errorf("got error %v", err)
	}
}

// TestCollectRarely: loads that overlap in any order leave the collector as it was, also where it is to run more rarely still.
func TestCollectRarely(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	for _, before := range []int{50, rarePercent, 1000, -1} {
		debug.SetGCPercent(before)
		first := collectRarely()
		second := collectRarely()
		first()
		during := debug.SetGCPercent(before)
		debug.SetGCPercent(during)
		if want := max(before, rarePercent); before >= 0 && during != want || before < 0 && during != before {
			t.Errorf("while a plan is loaded the percentage is %d, before it was %d", during, before)
		}
		second()
		if after := debug.SetGCPercent(100); after != before {
			t.Errorf("after two loads the percentage is %d, before it was %d", after, before)
		}
	}
}
