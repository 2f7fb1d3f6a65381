package cpu

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler/plan"
)

// TestBadLaunches damages launches in every way that a plan's own validation lets through. A binder may refuse the
// launch or, where the damage makes another right launch, take it; then it must run within its operands.
func TestBadLaunches(t *testing.T) {
	tried := map[string]int{}
	for _, c := range kernelCases {
		if c.elements() > 10000 || tried[c.kernel] == 3 { // small ones have the same checks
			continue
		}
		tried[c.kernel]++
		t.Run(c.kernel+"/"+c.name, func(t *testing.T) {
			_, want := c.reference(t)
			whole := func() *plan.Plan { return spacious(c.plan(want, -1)) }
			if err := bindAndRun(whole()); err != nil {
				t.Fatalf("the launch that is damaged below is itself wrong: %v", err)
			}
			for _, d := range damages(whole()) {
				p := whole()
				d.apply(p.Programs[0], &p.Programs[0].Launches[0])
				err := bindAndRun(p)
				if err == nil && d.mustFail {
					t.Errorf("%s: is accepted", d.name)
				}
				if err != nil && (strings.Contains(err.Error(), "panic") || strings.Contains(err.Error(), "cannot be bound") || strings.Contains(err.Error(), "\n")) {
					t.Errorf("%s: got error %v, want one line and no panic", d.name, err)
				}
			}
		})
	}
	for name := range kernels {
		if tried[name] == 0 {
			t.Errorf("kernel %s has no case of at most 10000 elements", name)
		}
	}
}

func (c *kernelCase) elements() (n int) {
	for _, o := range c.operands {
		n += o.Elements()
	}
	return n
}

// spacious leaves room behind every buffer for it to grow, and gives the plan parameters of its own.
func spacious(p *plan.Plan) *plan.Plan {
	const room = 16
	p.ArenaBytes *= room
	program := p.Programs[0]
	for i := range program.Buffers {
		program.Buffers[i].Offset *= room
		program.Buffers[i].Shape = slices.Clone(program.Buffers[i].Shape)
	}
	params := maps.Clone(program.Launches[0].Params)
	for name, v := range params {
		if list, ok := v.([]int); ok {
			params[name] = slices.Clone(list)
		}
	}
	program.Launches[0].Params = params
	return p
}

func bindAndRun(p *plan.Plan) error {
	run, stop, err := bindOne(p)
	if err != nil {
		return err
	}
	defer stop()
	return run()
}

// bindOne binds the only launch of a plan to memory of its own.
func bindOne(p *plan.Plan) (run func() error, stop func(), err error) {
	w := &workspace{}
	program := p.Programs[0]
	memory := [2][]byte{plan.Arena: aligned(int(p.ArenaBytes))}
	bound, err := bindLaunch(memory, program, &program.Launches[0], w, nil)
	if err != nil {
		return nil, nil, err
	}
	free, err := w.allocate()
	if err != nil {
		return nil, nil, err
	}
	workers := newPool(1, bound.scratch)
	run = func() error {
		for _, ph := range bound.phases {
			if err := workers.run(ph); err != nil {
				return err
			}
		}
		return nil
	}
	stop = func() {
		workers.close()
		free()
	}
	return run, stop, nil
}

func TestNoKernelAllocates(t *testing.T) {
	tried := map[string]int{}
	for _, c := range kernelCases {
		if tried[c.kernel]++; tried[c.kernel] > 4 {
			continue
		}
		_, want := c.reference(t)
		run, stop, err := bindOne(c.plan(want, -1))
		if err != nil {
			t.Fatalf("%s/%s: %v", c.kernel, c.name, err)
		}
		defer stop()
		if n := testing.AllocsPerRun(3, func() { err = run() }); n != 0 || err != nil {
			t.Errorf("%s/%s: %v allocations a run, error %v; want none", c.kernel, c.name, n, err)
		}
	}
}

// damage is one way to spoil a launch.
type damage struct {
	name     string
	mustFail bool
	apply    func(p *plan.Program, l *plan.Launch)
}

func damages(p *plan.Plan) []damage {
	program := p.Programs[0]
	l := &program.Launches[0]
	all := []damage{
		{"no operands", len(l.Operands) > 0, func(_ *plan.Program, l *plan.Launch) { l.Operands = nil }},
		{"no results", true, func(_ *plan.Program, l *plan.Launch) { l.Results = nil }},
		{"a result too many", true, func(_ *plan.Program, l *plan.Launch) { l.Results = append(l.Results, l.Results[0]) }},
		{"result over the first operand", false, func(p *plan.Program, l *plan.Launch) { p.Buffers[l.Results[0]].Offset = 0 }},
	}
	if n := len(l.Operands); n > 0 {
		all = append(all,
			damage{"an operand too few", false, func(_ *plan.Program, l *plan.Launch) { l.Operands = l.Operands[:n-1] }},
			damage{"an operand too many", false, func(_ *plan.Program, l *plan.Launch) { l.Operands = append(l.Operands, l.Operands[0]) }})
	}
	for i := range program.Buffers {
		all = append(all, bufferDamages(program, i)...)
	}
	for name, v := range l.Params {
		all = append(all, paramDamages(name, v)...)
	}
	return all
}

func bufferDamages(p *plan.Program, i int) []damage {
	kernel := p.Launches[0].Kernel
	typed := kernel != "cast" && kernel != "fill" // of which any type is right
	var all []damage
	add := func(name string, mustFail bool, change func(b *plan.Buffer)) {
		all = append(all, damage{fmt.Sprintf("buffer %d %s", i, name), mustFail, func(p *plan.Program, _ *plan.Launch) { change(&p.Buffers[i]) }})
	}
	for _, dtype := range []plan.DType{plan.Bool, plan.U8, plan.I32, plan.I64, plan.F32, plan.F64} {
		unknown := dtype == plan.Bool || dtype == plan.F64
		if dtype != p.Buffers[i].DType {
			add("of type "+dtype.String(), unknown || typed, func(b *plan.Buffer) { b.DType = dtype })
		}
	}
	for axis, size := range p.Buffers[i].Shape {
		for _, other := range []int{1, size - 1, size + 1, 2 * size} {
			if other > 0 && other != size {
				add(fmt.Sprintf("with size %d along axis %d", other, axis), false, func(b *plan.Buffer) { b.Shape[axis] = other })
			}
		}
	}
	rank := len(p.Buffers[i].Shape)
	add("with an axis more", false, func(b *plan.Buffer) { b.Shape, b.Order = append([]int{1}, b.Shape...), nil })
	add("as a scalar", false, func(b *plan.Buffer) { b.Shape, b.Order = nil, nil })
	add("of very high rank", false, func(b *plan.Buffer) { b.Shape, b.Order = slices.Repeat([]int{1}, 40), nil })
	if rank > 0 {
		add("with an axis less", false, func(b *plan.Buffer) { b.Shape, b.Order = b.Shape[1:], nil })
		add("row-major", false, func(b *plan.Buffer) { b.Order = nil })
		add("in reverse order", false, func(b *plan.Buffer) {
			b.Order = nil
			for axis := range rank {
				b.Order = append(plan.Layout{axis}, b.Order...)
			}
		})
	}
	return all
}

// mayLack are parameters that a launch may leave out.
var mayLack = []string{"prologue", "relu", "eps", "parts"}

func paramDamages(name string, value any) []damage {
	var all []damage
	add := func(what string, mustFail bool, other any) {
		all = append(all, damage{fmt.Sprintf("parameter %s %s", name, what), mustFail, func(_ *plan.Program, l *plan.Launch) {
			if other == nil {
				delete(l.Params, name)
				return
			}
			l.Params[name] = other
		}})
	}
	required := !slices.Contains(mayLack, name[1+strings.LastIndexByte(name, '.'):]) // those of a horizontal launch have prefixes
	add("missing", required, nil)
	switch v := value.(type) {
	case string:
		add("of another type", required, 1)
		add("of no meaning", true, "nonsense")
	case bool:
		add("of another type", required, "nonsense")
	case float64:
		add("of another type", required, "nonsense")
		for _, other := range []float64{0, -1, math.NaN(), math.Inf(1), 1e300} {
			add(fmt.Sprint(other), false, other)
		}
	case int:
		add("of another type", required, 1.5)
		for _, other := range []int{0, -1, v + 1, 1 << 40, math.MaxInt, math.MinInt} {
			add(fmt.Sprint(other), false, other)
		}
	case []int:
		add("of another type", required, 1)
		add("empty", false, []int{})
		add("longer", len(v) > 0, append(slices.Clone(v), 0))
		for i := range v {
			for _, other := range []int{-1, 0, v[i] + 1, 1 << 40, math.MaxInt, math.MinInt} {
				changed := slices.Clone(v)
				changed[i] = other
				add(fmt.Sprint(changed), false, changed)
			}
		}
	case []float64:
		add("of another type", required, 1)
		add("longer", true, append(slices.Clone(v), 0))
		add("zero", false, make([]float64, len(v)))
	}
	return all
}
