package cpu

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/runtime"
)

// kernelCases are the comparisons of kernels with the reference of package ops; test files append to it from init. A
// kernel without one fails TestEveryKernelIsCompared.
var kernelCases []kernelCase

// kernelCase is one launch and what it must compute.
type kernelCase struct {
	kernel   string
	name     string
	operands []operand
	// build says the meaning of the launch in operations: its values are the results in order. The attributes of the
	// operations of the kernel's name become the parameters.
	build     func(b *ops.Builder, in []*ir.Value) []*ir.Value
	params    plan.Params // beside those, or instead of them
	code      []plan.Instruction
	orders    map[int]plan.Layout // layouts of results that are not the usual one of their rank
	inPlace   []int               // operands whose memory result 0 may take: each is tried
	tolerance float64             // largest error relative to the largest element; 0 is 1e-5
}

// operand is a tensor that goes into a launch.
type operand struct {
	ir.Type
	order plan.Layout
	fill  func(i int, r *rand.Rand) float64 // nil: normal
}

// Kinds of operands. Images are channels last, weights outputs last.
func image(n, c, h, w int) operand {
	return operand{Type: ir.T(ir.F32, n, c, h, w), order: channelsLast}
}
func weights(o, i, kh, kw int) operand {
	return operand{Type: ir.T(ir.F32, o, i, kh, kw), order: outputsLast}
}
func plain(shape ...int) operand { return operand{Type: ir.T(ir.F32, shape...)} }

// positive is plain with elements in [0.1, 2.1).
func positive(shape ...int) operand {
	o := plain(shape...)
	o.fill = func(_ int, r *rand.Rand) float64 { return 0.1 + 2*r.Float64() }
	return o
}

// filled is any row-major tensor with all elements one value.
func filled(dtype ir.DType, value float64, shape ...int) operand {
	return operand{Type: ir.T(dtype, shape...), fill: func(int, *rand.Rand) float64 { return value }}
}

// integers is any row-major tensor of integers in [0, n).
func integers(dtype ir.DType, n int, shape ...int) operand {
	return operand{Type: ir.T(dtype, shape...), fill: func(_ int, r *rand.Rand) float64 { return float64(r.IntN(n)) }}
}

func TestEveryKernelIsCompared(t *testing.T) {
	for name := range kernels {
		if !slices.ContainsFunc(kernelCases, func(c kernelCase) bool { return c.kernel == name }) {
			t.Errorf("kernel %s has no case: add one to kernelCases", name)
		}
	}
}

// TestKernels compares every case with its reference, on every set of innermost loops that this machine has.
func TestKernels(t *testing.T) {
	defer func(used vector) { vec = used }(vec)
	for _, c := range kernelCases {
		t.Run(c.kernel+"/"+c.name, func(t *testing.T) {
			in, want := c.reference(t)
			for _, alias := range append([]int{-1}, c.inPlace...) {
				p := c.plan(want, alias)
				for _, vec = range append([]vector{portable}, processorSets()...) {
					var first []any
					for workers := 1; workers <= 3; workers++ {
						got := replay(t, p, New(workers), in)
						if workers == 1 {
							first = got
							c.compare(t, got, want, alias)
						} else if !reflect.DeepEqual(first, got) {
							t.Errorf("%s, in place of %d: %d workers compute other numbers than 1", vec.name, alias, workers)
						}
					}
				}
			}
		})
	}
}

// reference fills the operands and evaluates the case in float64. Operands are float32 numbers.
func (c *kernelCase) reference(t *testing.T) (in, want []*ops.Tensor) {
	t.Helper()
	program, params := c.program(t)
	c.params = params
	r := rand.New(rand.NewPCG(1, uint64(len(c.name))))
	inputs := map[string]*ops.Tensor{}
	for i, o := range c.operands {
		tensor := ops.NewTensor(o.Type)
		for j := range tensor.Data {
			if o.fill == nil {
				tensor.Data[j] = float64(float32(r.NormFloat64()))
			} else {
				tensor.Data[j] = float64(float32(o.fill(j, r)))
			}
		}
		in, inputs[fmt.Sprint("in", i)] = append(in, tensor), tensor
	}
	out, err := ops.Run(program, nil, inputs)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range program.Results {
		want = append(want, out[result.Name])
	}
	return in, want
}

// program is the meaning of the case, and the parameters that its launch has.
func (c *kernelCase) program(t testing.TB) (*ir.Program, plan.Params) {
	t.Helper()
	b := ops.NewBuilder(ir.NewModule("case"), "main")
	var values []*ir.Value
	for i, o := range c.operands {
		values = append(values, b.Input(fmt.Sprint("in", i), o.Type))
	}
	for i, v := range c.build(b, values) {
		b.Result(fmt.Sprint("out", i), v)
	}
	program, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	params := plan.Params{}
	for _, op := range program.Ops {
		if op.Kind == c.kernel {
			for _, a := range op.Attrs {
				params[a.Name] = a.Value
			}
		}
	}
	maps.Copy(params, c.params)
	return program, params
}

// plan is the plan of one launch; result 0 takes the memory of operand alias unless that is negative.
func (c *kernelCase) plan(want []*ops.Tensor, alias int) *plan.Plan {
	p := &plan.Plan{Name: "case", Target: "cpu"}
	program := &plan.Program{Name: "main"}
	l := plan.Launch{Kernel: c.kernel, Params: c.params, Code: c.code}
	place := func(t ir.Type, order plan.Layout) int {
		b := plan.Buffer{Tensor: plan.Tensor{DType: plan.DType(t.DType), Shape: t.Shape, Order: order}, Offset: p.ArenaBytes}
		p.ArenaBytes += (b.Bytes() + 63) &^ 63
		program.Buffers = append(program.Buffers, b)
		return len(program.Buffers) - 1
	}
	for i, o := range c.operands {
		l.Operands = append(l.Operands, place(o.Type, o.order))
		program.Inputs = append(program.Inputs, plan.Port{Name: fmt.Sprint("in", i), Buffer: i})
	}
	for i, w := range want {
		order, special := c.orders[i]
		if !special && len(w.Type.Shape) == 4 {
			order = channelsLast
		}
		at := place(w.Type, order)
		if i == 0 && alias >= 0 {
			program.Buffers[at].Offset = program.Buffers[alias].Offset
		}
		l.Results = append(l.Results, at)
		program.Results = append(program.Results, plan.Port{Name: fmt.Sprint("out", i), Buffer: at})
	}
	program.Launches = []plan.Launch{l}
	p.Programs = []*plan.Program{program}
	return p
}

// replay runs the program of a case on a device.
func replay(t *testing.T, p *plan.Plan, d Device, in []*ops.Tensor) (out []any) {
	t.Helper()
	s, err := runtime.Open(p, d)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	program := p.Programs[0]
	inputs, results := map[string]any{}, map[string]any{}
	for i, port := range program.Inputs {
		inputs[port.Name] = narrow(program.Buffers[port.Buffer].Tensor, in[i].Data)
	}
	for _, port := range program.Results {
		b := program.Buffers[port.Buffer]
		results[port.Name] = narrow(b.Tensor, make([]float64, b.Elements()))
		out = append(out, results[port.Name])
	}
	// Twice: the second run must not see what the first left behind.
	for range 2 {
		if err := s.Run(t.Context(), program.Name, inputs, results); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// narrow converts to the slice that a session takes.
func narrow(t plan.Tensor, data []float64) any {
	switch t.DType {
	case plan.I64:
		return convert[int64](data)
	case plan.I32:
		return convert[int32](data)
	case plan.U8:
		return convert[uint8](data)
	}
	return convert[float32](data)
}

func convert[To, From float32 | float64 | int64 | int32 | uint8](data []From) []To {
	out := make([]To, len(data))
	for i, v := range data {
		out[i] = To(v)
	}
	return out
}

func (c *kernelCase) compare(t *testing.T, got []any, want []*ops.Tensor, alias int) {
	t.Helper()
	tolerance := c.tolerance
	if tolerance == 0 {
		tolerance = 1e-5
	}
	for i, w := range want {
		var values []float64
		switch g := got[i].(type) {
		case []float32:
			values = convert[float64](g)
		case []int64:
			values = convert[float64](g)
		case []int32:
			values = convert[float64](g)
		case []uint8:
			values = convert[float64](g)
		}
		largest := 0.0
		for _, v := range w.Data {
			largest = max(largest, math.Abs(v))
		}
		for j, v := range w.Data {
			if e := math.Abs(values[j] - v); !(e <= tolerance*largest) {
				t.Errorf("%s, in place of %d: result %d %v at %d: got %v, want %v", vec.name, alias, i, w.Type, j, values[j], v)
				break
			}
		}
	}
}
