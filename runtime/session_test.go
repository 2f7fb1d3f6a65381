package runtime_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
)

func tensor(dtype plan.DType, order plan.Layout, shape ...int) plan.Tensor {
	return plan.Tensor{DType: dtype, Shape: shape, Order: order}
}

// testPlan has variables of every type, and a program that copies an image between layouts and a matrix product.
func testPlan() *plan.Plan {
	channelsLast, constant := plan.Layout{0, 2, 3, 1}, plan.Init{Distribution: "constant", Value: 3}
	p := &plan.Plan{
		Name: "test", Target: "cpu", VariableBytes: 4096, ArenaBytes: 4096,
		Variables: []plan.Variable{
			{Name: "w", Kind: "control", Tensor: tensor(plan.F32, plan.Layout{2, 3, 1, 0}, 4, 3, 2, 5), Init: plan.Init{Distribution: "uniform", Value: 0.5}},
			{Name: "row", Kind: "control", Tensor: tensor(plan.F32, nil, 4, 3, 2, 5), Offset: 1024, Init: plan.Init{Distribution: "normal", Value: 2}},
			{Name: "rate", Kind: "control", Tensor: tensor(plan.F32, nil), Offset: 2048, Init: constant},
			{Name: "step", Kind: "control", Tensor: tensor(plan.I64, nil), Offset: 2112, Init: constant},
			{Name: "labels", Kind: "control", Tensor: tensor(plan.I32, nil, 2, 2), Offset: 2176, Init: constant},
			{Name: "pixels", Kind: "control", Tensor: tensor(plan.U8, channelsLast, 1, 3, 2, 2), Offset: 2240, Init: constant},
		},
	}
	p.Programs = []*plan.Program{{
		Name:    "main",
		Inputs:  []plan.Port{{Name: "x", Buffer: 0}, {Name: "a", Buffer: 2}},
		Results: []plan.Port{{Name: "plain", Buffer: 1}, {Name: "x again", Buffer: 0}, {Name: "product", Buffer: 3}},
		Buffers: []plan.Buffer{
			{Tensor: tensor(plan.F32, channelsLast, 2, 3, 2, 2)},
			{Tensor: tensor(plan.F32, nil, 2, 3, 2, 2), Offset: 128},
			{Tensor: tensor(plan.F32, nil, 2, 2), Offset: 256},
			{Tensor: tensor(plan.F32, nil, 2, 2), Offset: 320},
		},
		Launches: []plan.Launch{
			{Kernel: "copy", Operands: []int{0}, Results: []int{1}},
			{Kernel: "matmul", Operands: []int{2, 2}, Results: []int{3}, Params: plan.Params{"transpose_a": false, "transpose_b": false}},
		},
	}}
	return p
}

func open(t *testing.T) *runtime.Session {
	t.Helper()
	s, err := runtime.Open(testPlan(), cpu.New(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// sequence is 0, 1, 2, …
func sequence[T float32 | int64 | int32 | uint8](n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = T(i)
	}
	return s
}

func TestOpenRefusesOtherTargets(t *testing.T) {
	p := testPlan()
	p.Target = "cuda"
	if _, err := runtime.Open(p, cpu.New(1)); err == nil || !strings.Contains(err.Error(), `"cuda"`) || !strings.Contains(err.Error(), `"cpu"`) {
		t.Errorf("got error %v, want one that names both targets", err)
	}
	if _, err := runtime.Open(nil, cpu.New(1)); err == nil {
		t.Error("no plan is accepted")
	}
}

// TestCheck: what Check takes, Run takes, and it runs nothing.
func TestCheck(t *testing.T) {
	s := open(t)
	inputs := map[string]any{"x": make([]float32, 24), "a": []float32{1, 2, 3, 4}}
	product := []float32{-1, -1, -1, -1}
	if err := s.Check("main", inputs, map[string]any{"product": product}); err != nil || product[0] != -1 {
		t.Errorf("got error %v, product %v", err, product)
	}
	for name, c := range map[string]struct {
		program         string
		inputs, results map[string]any
	}{
		"no program": {"nonsense", inputs, nil},
		"missing":    {"main", map[string]any{"x": inputs["x"]}, nil},
		"unknown":    {"main", inputs, map[string]any{"nonsense": product}},
		"length":     {"main", map[string]any{"x": product, "a": product}, nil},
		"type":       {"main", inputs, map[string]any{"product": make([]int32, 4)}},
	} {
		if err := s.Check(c.program, c.inputs, c.results); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestVariables(t *testing.T) {
	s := open(t)
	for _, c := range []struct {
		name        string
		value, into any
	}{
		{"w", sequence[float32](120), make([]float32, 120)},
		{"row", sequence[float32](120), make([]float32, 120)},
		{"rate", []float32{0.25}, make([]float32, 1)},
		{"step", []int64{1 << 40}, make([]int64, 1)},
		{"labels", sequence[int32](4), make([]int32, 4)},
		{"pixels", sequence[uint8](12), make([]uint8, 12)},
	} {
		if err := s.Set(c.name, c.value); err != nil {
			t.Fatal(err)
		}
		if err := s.Get(c.name, c.into); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(c.into), fmt.Sprint(c.value); got != want {
			t.Errorf("%s: got %s, want %s", c.name, got, want)
		}
	}
}

func TestVariableErrors(t *testing.T) {
	s := open(t)
	for _, c := range []struct {
		name  string
		value any
		want  string
	}{
		{"v", []float32{1}, `plan test has no variable "v"`},
		{"w", []float32{1}, "variable w is 1 elements of f32: want 120 of f32, shape [4 3 2 5]"},
		{"step", []float32{1}, "variable step is 1 elements of f32: want 1 of i64"},
		{"w", "text", "variable w is a string: want []float32"},
		{"w", nil, "variable w is a <nil>: want []float32"},
	} {
		if err := s.Set(c.name, c.value); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Set(%s, %v): got error %v, want %q", c.name, c.value, err, c.want)
		}
		if err := s.Get(c.name, c.value); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Get(%s, %v): got error %v, want %q", c.name, c.value, err, c.want)
		}
	}
}

func TestScalars(t *testing.T) {
	s := open(t)
	for name, value := range map[string]float64{"rate": 0.125, "step": 12345678901} {
		if err := s.SetScalar(name, value); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Scalar(name); got != value || err != nil {
			t.Errorf("%s: got %v, error %v, want %v", name, got, err, value)
		}
	}
	if err := s.SetScalar("step", 0.5); err == nil {
		t.Error("half a step is accepted")
	}
	if err := s.SetScalar("w", 1); err == nil {
		t.Error("w is no scalar, but is set")
	}
	if _, err := s.Scalar("none"); err == nil {
		t.Error("a variable that is not there has a value")
	}
}

func TestInitialize(t *testing.T) {
	values := func(s *runtime.Session, seed uint64) (all [][]float32) {
		if err := s.Initialize(seed); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"w", "row"} {
			v := make([]float32, 120)
			if err := s.Get(name, v); err != nil {
				t.Fatal(err)
			}
			all = append(all, v)
		}
		return all
	}
	s := open(t)
	first := values(s, 7)
	w, row := first[0], first[1]
	var sum, squares float64
	for i := range w {
		if w[i] < -0.5 || w[i] >= 0.5 {
			t.Fatalf("uniform(0.5) gives %v", w[i])
		}
		sum, squares = sum+float64(w[i]), squares+float64(row[i]*row[i])
	}
	if mean, deviation := sum/120, math.Sqrt(squares/120); math.Abs(mean) > 0.1 || math.Abs(deviation-2) > 0.5 {
		t.Errorf("uniform(0.5) has mean %v, normal(2) has deviation %v", mean, deviation)
	}
	if again := values(s, 7); !slices.Equal(again[0], w) || !slices.Equal(again[1], row) {
		t.Error("one seed gives two sets of values")
	}
	if other := values(s, 8); slices.Equal(other[0], w) {
		t.Error("two seeds give one set of values")
	}
	for name, want := range map[string]float64{"rate": 3, "step": 3} {
		if got, err := s.Scalar(name); got != want || err != nil {
			t.Errorf("%s: got %v, error %v, want %v", name, got, err, want)
		}
	}

	// The values belong to the logical tensor: another layout, and other variables before it, change nothing.
	p := testPlan()
	p.Variables = p.Variables[:1]
	p.Variables[0].Order = nil
	plain, err := runtime.Open(p, cpu.New(1))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := plain.Initialize(7); err != nil {
		t.Fatal(err)
	}
	got := make([]float32, 120)
	if err := plain.Get("w", got); err != nil || !slices.Equal(got, w) {
		t.Errorf("another layout gives other values, error %v", err)
	}
}

// TestInitializeInPieces: a variable that is made piece by piece has the values of one that is made whole, because it lies
// in another order.
func TestInitializeInPieces(t *testing.T) {
	for _, distribution := range []string{"uniform", "normal", "constant"} {
		var values [2][]float32
		for i, order := range []plan.Layout{nil, {1, 0}} {
			tensor := plan.Tensor{DType: plan.F32, Shape: []int{300, 500}, Order: order}
			s, err := runtime.Open(&plan.Plan{Name: "large", Target: "cpu", VariableBytes: tensor.Bytes(), Variables: []plan.Variable{
				{Name: "w", Kind: "weight", Tensor: tensor, Init: plan.Init{Distribution: distribution, Value: 0.5}},
			}}, cpu.New(1))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			values[i] = make([]float32, tensor.Elements())
			if err := cmp.Or(s.Initialize(3), s.Get("w", values[i])); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(values[0], values[1]) {
			t.Errorf("%s: the values differ", distribution)
		}
	}
}

func TestRun(t *testing.T) {
	s := open(t)
	x, a := sequence[float32](24), []float32{1, 2, 3, 4}
	plain, again, product := make([]float32, 24), make([]float32, 24), make([]float32, 4)
	inputs := map[string]any{"x": x, "a": a}
	results := map[string]any{"plain": plain, "x again": again, "product": product}
	if err := s.Run(t.Context(), "main", inputs, results); err != nil {
		t.Fatal(err)
	}
	if want := []float32{7, 10, 15, 22}; !slices.Equal(product, want) {
		t.Errorf("product: got %v, want %v", product, want)
	}
	if !slices.Equal(plain, x) || !slices.Equal(again, x) {
		t.Errorf("got %v and %v, want both %v", plain, again, x)
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(20, func() {
		if err := s.Run(ctx, "main", inputs, results); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("a run allocates %v times, want 0", n)
	}
}

func TestRunErrors(t *testing.T) {
	s := open(t)
	x, a := make([]float32, 24), make([]float32, 4)
	for _, c := range []struct {
		program         string
		inputs, results map[string]any
		want            string
	}{
		{"other", nil, nil, `no program "other": it has [main]`},
		{"main", map[string]any{"x": x}, nil, `input "a" is missing`},
		{"main", map[string]any{"x": x, "a": a, "b": a}, nil, `has no input "b"`},
		{"main", map[string]any{"x": x, "a": x}, nil, "input a is 24 elements of f32: want 4 of f32"},
		{"main", map[string]any{"x": x, "a": a}, map[string]any{"loss": a}, `has no result "loss"`},
		{"main", map[string]any{"x": x, "a": a}, map[string]any{"product": []int64{1}}, "result product is 1 elements of i64: want 4 of f32"},
	} {
		if err := s.Run(t.Context(), c.program, c.inputs, c.results); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v %v: got error %v, want %q", c.program, c.inputs, c.results, err, c.want)
		}
	}
}

func TestProfile(t *testing.T) {
	s := open(t)
	var heard []string
	s.SetProfile(func(program string, launch int, d time.Duration) {
		heard = append(heard, fmt.Sprint(program, launch, d >= 0))
	})
	inputs := map[string]any{"x": make([]float32, 24), "a": make([]float32, 4)}
	for range 2 {
		if err := s.Run(t.Context(), "main", inputs, nil); err != nil {
			t.Fatal(err)
		}
		s.SetProfile(nil)
	}
	if got, want := fmt.Sprint(heard), "[main0 true main1 true]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestClosedSession(t *testing.T) {
	s := open(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"Set": s.Set("rate", []float32{1}), "Get": s.Get("rate", []float32{1}), "Run": s.Run(context.Background(), "main", nil, nil), "Initialize": s.Initialize(1),
	} {
		if err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%s: got error %v, want that the session is closed", what, err)
		}
	}
}

// Sessions run beside each other, and calls of one take turns.
func TestConcurrentSessions(t *testing.T) {
	var group sync.WaitGroup
	for i := range 3 {
		s := open(t)
		for range 2 {
			group.Go(func() {
				a, product := []float32{float32(i), 0, 0, 1}, make([]float32, 4)
				for range 50 {
					err := s.Run(t.Context(), "main", map[string]any{"x": make([]float32, 24), "a": a}, map[string]any{"product": product})
					if err != nil || product[0] != float32(i*i) {
						t.Errorf("got %v, error %v, want %d first", product, err, i*i)
						return
					}
				}
			})
		}
	}
	group.Wait()
}

// TestBadPlans: a plan that is not sound is refused before anything of it is used. What it says is tested in package plan.
func TestBadPlans(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(p *plan.Plan)
	}{
		{"negative size", func(p *plan.Plan) { p.ArenaBytes = -1 }},
		{"variable twice", func(p *plan.Plan) { p.Variables[1].Name = "w" }},
		{"variable outside", func(p *plan.Plan) { p.VariableBytes = 2000 }},
		{"negative offset", func(p *plan.Plan) { p.Variables[0].Offset = -4 }},
		{"far offset", func(p *plan.Plan) { p.Variables[0].Offset = math.MaxInt64 }},
		{"misaligned", func(p *plan.Plan) { p.Variables[3].Offset = 2052 }},
		{"no distribution", func(p *plan.Plan) { p.Variables[0].Init.Distribution = "zipf" }},
		{"random integers", func(p *plan.Plan) { p.Variables[3].Init.Distribution = "normal" }},
		{"no type", func(p *plan.Plan) { p.Variables[0].DType = 0 }},
		{"unknown type", func(p *plan.Plan) { p.Variables[0].DType = 99 }},
		{"zero size", func(p *plan.Plan) { p.Variables[0].Shape = []int{4, 0} }},
		{"huge size", func(p *plan.Plan) { p.Variables[1].Shape = []int{1 << 40, 1 << 40} }},
		{"rank", func(p *plan.Plan) { p.Variables[1].Shape = slices.Repeat([]int{1}, 17) }},
		{"short layout", func(p *plan.Plan) { p.Variables[0].Order = plan.Layout{0} }},
		{"no permutation", func(p *plan.Plan) { p.Variables[0].Order = plan.Layout{0, 1, 1, 2} }},
		{"axis out of range", func(p *plan.Plan) { p.Variables[0].Order = plan.Layout{0, 1, 2, 4} }},
		{"missing program", func(p *plan.Plan) { p.Programs[0] = nil }},
		{"program twice", func(p *plan.Plan) { p.Programs = append(p.Programs, p.Programs[0]) }},
		{"unknown space", func(p *plan.Plan) { p.Programs[0].Buffers[1].Space = 2 }},
		{"input that is no buffer", func(p *plan.Plan) { p.Programs[0].Inputs[0].Buffer = 4 }},
		{"result that is no buffer", func(p *plan.Plan) { p.Programs[0].Results[0].Buffer = -1 }},
		{"input twice", func(p *plan.Plan) { p.Programs[0].Inputs[1].Name = "x" }},
		{"result of a launch", func(p *plan.Plan) { p.Programs[0].Launches[1].Results[0] = 9 }},
	} {
		p := testPlan()
		c.spoil(p)
		s, err := runtime.Open(p, cpu.New(1))
		if err == nil {
			s.Close()
		}
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got error %v, want one line", c.name, err)
		}
	}
	if _, err := runtime.Open(nil, cpu.New(1)); err == nil {
		t.Error("no plan is fine")
	}
}
