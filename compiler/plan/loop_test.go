package plan

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// looped returns a plan that adds a sequence of 3 vectors up: a carried sum, and each step's sum stacked.
func looped() *Plan {
	vector := Tensor{DType: F32, Shape: []int{4}}
	sequence := Tensor{DType: F32, Shape: []int{3, 4}}
	return &Plan{Name: "looped", Target: "cpu", ArenaBytes: 256, Programs: []*Program{{
		Name:   "run",
		Inputs: []Port{{"length", 0}, {"x", 1}, {"sum", 2}}, Results: []Port{{"sums", 3}},
		Buffers: []Buffer{
			{Tensor: Tensor{DType: I64}}, {Tensor: sequence, Offset: 16}, {Tensor: vector, Offset: 64}, {Tensor: sequence, Offset: 80},
			{Tensor: vector, Offset: 16, Stride: 16}, {Tensor: vector, Offset: 80, Stride: 16},
		},
		Launches: []Launch{{
			Kernel: Scan, Operands: []int{0, 2, 1}, Results: []int{2, 3}, FLOPs: 12, Bytes: 96,
			Loop: &Loop{Steps: 3, Reverse: true, Carried: 1, Launches: []Launch{
				{Kernel: "add", Operands: []int{2, 4}, Results: []int{5}, FLOPs: 4, Bytes: 48},
				{Kernel: "copy", Operands: []int{5}, Results: []int{2}, Bytes: 32},
			}},
		}},
		PeakBytes: 128, LowerBound: 128,
	}}}
}

func TestLoop(t *testing.T) {
	want := looped()
	data, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded %+v, error %v, want %+v", got, err, want)
	}
	s := Summarize(want).Program("run")
	if s.Launches != 3 || s.FLOPs != 12 || s.Bytes != 3*80 {
		t.Errorf("summary %+v, want 3 launches, 12 FLOPs and 240 bytes", s)
	}
	var kernels []string
	for n, l := range want.Programs[0].All() {
		if n != len(kernels) {
			t.Errorf("launch %d is numbered %d", len(kernels), n)
		}
		kernels = append(kernels, l.Kernel)
	}
	if got := strings.Join(kernels, " "); got != "scan add copy" || want.Programs[0].Count() != 3 {
		t.Errorf("launches %s", got)
	}
	for _, b := range ArenaMap(want.Programs[0]) {
		if b.Last < 0 {
			t.Errorf("buffer %d is used by nothing", b.Buffer)
		}
	}
}

func TestLoopErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(p *Program, l *Launch)
		want  string
	}{
		{"kernel", func(p *Program, l *Launch) { l.Kernel = "add" }, "has a loop, which is for kernel scan"},
		{"no steps", func(p *Program, l *Launch) { l.Loop.Steps = 0 }, "loops 0 times over 2 launches"},
		{"endless", func(p *Program, l *Launch) { l.Loop.Steps = 1 << 40 }, "want 1 to 4096 steps"},
		{"length", func(p *Program, l *Launch) { l.Operands[0] = 2 }, "operand 0 is f32[4], want one i64"},
		{"no operands", func(p *Program, l *Launch) { l.Operands = nil }, "has 0 operands"},
		{"carried", func(p *Program, l *Launch) { l.Loop.Carried = 3 }, "wants a number of steps and 3 carried values"},
		{"carried from nowhere", func(p *Program, l *Launch) { l.Operands[1] = 1 }, "carried result 0 is no operand"},
		{"stacked", func(p *Program, l *Launch) { l.Loop.Carried = 0 }, "stacked result 0 has shape [4], want 3 steps"},
		{"leaves the arena", func(p *Program, l *Launch) { p.Buffers[5].Stride = 88 }, "step 2: buffer 5: 16 bytes at offset 256 leave the region of 256"},
		{"runs backwards", func(p *Program, l *Launch) { p.Buffers[5].Stride = -16 }, "moves by -16 bytes a step"},
		{"meets another", func(p *Program, l *Launch) { p.Buffers[5].Offset = 56 }, "overlaps operand 0 in part"},
		{"index", func(p *Program, l *Launch) { l.Loop.Launches[1].Operands[0] = 6 }, "launch 1 (copy ): uses buffer 6 of 6"},
		{"loop in a loop", func(p *Program, l *Launch) { l.Loop.Launches[1].Loop = &Loop{} }, "step launch 1 has a loop of its own"},
		{"moving outside", func(p *Program, l *Launch) { l.Operands[2] = 4 }, "uses buffer 4, which moves from step to step, outside of a loop"},
		{"moving result", func(p *Program, l *Launch) { p.Results[0].Buffer = 5 }, "result sums is buffer 5, which moves"},
	} {
		p := looped()
		c.spoil(p.Programs[0], &p.Programs[0].Launches[0])
		if err := Validate(p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestUnrolled(t *testing.T) {
	p := looped().Programs[0]
	p.Launches = append(p.Launches, Launch{Kernel: "last"})
	for _, c := range []struct {
		length  int
		reverse bool
		want    string
	}{
		{3, false, "1 add 0, 2 copy 0, 1 add 1, 2 copy 1, 1 add 2, 2 copy 2, 3 last 0"},
		{2, true, "0 clear 112 [1 4], 1 add 1, 2 copy 1, 1 add 0, 2 copy 0, 3 last 0"},
		{0, true, "0 clear 80 [3 4], 3 last 0"},
	} {
		p.Launches[0].Loop.Reverse = c.reverse
		var steps []string
		for _, s := range p.Unrolled(func(*Launch) int { return c.length }) {
			text := fmt.Sprint(s.Number, " ", s.Kernel, " ", s.T)
			access := s.Access(p)
			if s.Clear != nil {
				text = fmt.Sprint(s.Number, " clear ", s.Clear.Offset, " ", s.Clear.Shape)
				if len(access.Reads) > 0 || !reflect.DeepEqual(access.Writes, []Buffer{*s.Clear}) {
					t.Errorf("%s: access %v", text, access)
				}
			} else if s.Kernel == "add" && access.Writes[0].Offset != 80+16*int64(s.T) {
				t.Errorf("%s writes %v", text, access.Writes)
			}
			steps = append(steps, text)
		}
		if got := strings.Join(steps, ", "); got != c.want {
			t.Errorf("%d steps: %s, want %s", c.length, got, c.want)
		}
	}
	if p.Buffers[3].Shape[0] != 3 {
		t.Errorf("the buffer has become %v", p.Buffers[3].Shape)
	}
}
