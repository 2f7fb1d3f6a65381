package emulation_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/emulation"
)

const target = "cuda:sm_80"

// kernelCase is a program of one operation, or of a few that fuse, on operands of the given types.
type kernelCase struct {
	name      string
	in        []ir.Type
	build     func(b *ops.Builder, in []*ir.Value) []*ir.Value
	fill      map[int]func(r *rand.Rand) float64 // operands with values of their own
	tolerance float64                            // largest error relative to the largest element; 0 is 2e-6
}

func f32(shape ...int) ir.Type { return ir.T(ir.F32, shape...) }

func between(least, most float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return least + (most-least)*r.Float64() }
}

func whole(n int) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return float64(r.IntN(n)) }
}

func one(f func(b *ops.Builder, in []*ir.Value) *ir.Value) func(*ops.Builder, []*ir.Value) []*ir.Value {
	return func(b *ops.Builder, in []*ir.Value) []*ir.Value { return []*ir.Value{f(b, in)} }
}

type fills = map[int]func(*rand.Rand) float64

// cases are all comparisons; their programs make one plan, so that modules are few.
func cases() []kernelCase {
	return slices.Concat(elementwiseCases(), moveCases(), reduceCases(), convolutionCases(), separableCases(), normCases(), poolCases(), mixtureCases(), lossCases(), imageCases(), recurrentCases())
}

// TestKernels compares every kernel with the reference, threads and blocks running forwards and backwards, and requires
// the same bits of both.
func TestKernels(t *testing.T) {
	list := cases()
	m := ir.NewModule("kernels")
	kinds := map[string]bool{}
	for i, c := range list {
		program := c.add(t, m, programName(i))
		for _, op := range program.Ops {
			kinds[op.Kind] = true
		}
	}
	for _, kind := range ops.Kinds() {
		if cuda.Lowers(kind) && !kinds[kind] && kind != "sgd" && kind != "adam" { // those are in TestUpdates
			t.Errorf("operation %s has no case: add one", kind)
		}
	}
	forwards, backwards := sessions(t, m)
	for i, c := range list {
		t.Run(c.name, func(t *testing.T) {
			inputs, want := c.reference(t, m.Program(programName(i)))
			compare(t, runBothWays(t, forwards, backwards, programName(i), inputs, want), want, c.tolerance)
		})
	}
}

// TestPrecisions compares with factors of products rounded to tf32, 10 bits, and with images of bf16, whose 7 bits round every
// element of a case's operands, of what lies between its operations, and of its results. That moves one in some hundred
// across the kink of a ReLU, so that single elements of its gradient are there or not; what is compared is the whole.
func TestPrecisions(t *testing.T) {
	for _, precision := range []struct {
		name      string
		cases     []kernelCase
		tolerance float64
		compare   func(t *testing.T, got map[string][]float64, want map[string]*ops.Tensor, tolerance float64)
		used      string // in the source
	}{
		{cuda.TF32, convolutionCases(), 2e-3, compare, "tf32 = true"},
		{cuda.BF16, cases(), 0.15, compareWhole, "typedef bf16 Image"},
	} {
		t.Run(precision.name, func(t *testing.T) {
			m := ir.NewModule("products")
			for i, c := range precision.cases {
				c.add(t, m, programName(i))
			}
			p, err := compiler.Compile(t.Context(), m, compiler.Options{Target: target, Precision: precision.name})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(p.Modules, func(m plan.Module) bool { return strings.Contains(m.Source, precision.used) }) {
				t.Errorf("no kernel has %q", precision.used)
			}
			forwards, backwards := open(t, p, false), open(t, p, true)
			for i, c := range precision.cases {
				t.Run(c.name, func(t *testing.T) {
					inputs, want := c.reference(t, m.Program(programName(i)))
					precision.compare(t, runBothWays(t, forwards, backwards, programName(i), inputs, want), want, precision.tolerance)
				})
			}
		})
	}
}

// TestWholeNumbers multiplies small whole numbers, of which bf16 rounds none but the large ones that images come to: gradients of filters are
// exact, and of images each element is the nearest to the reference's. So no product is missing, whatever the number of channels and pixels.
func TestWholeNumbers(t *testing.T) {
	small := func(most int) func(*rand.Rand) float64 {
		return func(r *rand.Rand) float64 { return float64(r.IntN(2*most+1) - most) }
	}
	var list []kernelCase
	shapes := separableShapes()
	for _, s := range slices.Concat(shapes[:13], shapes[len(shapes)-2:]) { // odd ones, and large filters: others take a minute to compile
		x, dw, pw, depthwise, pointwise := s.parts()
		size := func(n int) int { return (n+2*s.pad-s.dilation*(s.k-1)-1)/s.stride + 1 }
		list = append(list, kernelCase{
			name: fmt.Sprint("separable ", s), in: []ir.Type{f32(x...), f32(dw...), f32(pw...), f32(s.n, s.o, size(s.h), size(s.w))},
			fill: fills{0: small(2), 1: small(1), 2: small(1), 3: small(2)},
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				relu := b.Relu(in[0])
				between := b.Conv2D(relu, in[1], depthwise)
				dBetween := b.Conv2DInputGrad(in[3], in[2], between.Type.Shape, pointwise)
				dx := b.ReluGrad(b.Conv2DInputGrad(dBetween, in[1], x, depthwise), in[0])
				return []*ir.Value{
					b.Conv2D(between, in[2], pointwise), dx, b.Conv2DWeightGrad(relu, dBetween, dw, depthwise), b.Conv2DWeightGrad(between, in[3], pw, pointwise),
				}
			},
		})
	}
	for _, s := range [][]int{{2, 40, 7, 5, 36}, {3, 64, 9, 9, 52}, {1, 148, 5, 5, 40}} {
		_, _, pw, _, pointwise := separableShape{n: s[0], c: s[1], o: s[4]}.parts()
		list = append(list, kernelCase{
			name: fmt.Sprint("pointwise ", s), in: []ir.Type{f32(s[:4]...), f32(pw...), f32(s[0], s[4], s[2], s[3])}, fill: fills{0: small(2), 1: small(1), 2: small(2)},
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				relu := b.Relu(in[0])
				return []*ir.Value{b.Conv2D(relu, in[1], pointwise), b.Conv2DInputGrad(in[2], in[1], s[:4], pointwise), b.Conv2DWeightGrad(relu, in[2], pw, pointwise)}
			},
		})
	}
	m := ir.NewModule("whole numbers")
	for i, c := range list {
		c.add(t, m, programName(i))
	}
	p, err := compiler.Compile(t.Context(), m, compiler.Options{Target: target, Precision: cuda.BF16})
	if err != nil {
		t.Fatal(err)
	}
	forwards, backwards := open(t, p, false), open(t, p, true)
	for i, c := range list {
		t.Run(c.name, func(t *testing.T) {
			inputs, want := c.reference(t, m.Program(programName(i)))
			got := runBothWays(t, forwards, backwards, programName(i), inputs, want)
			for j, v := range m.Program(programName(i)).Results {
				tolerance := 1e-9
				if j < 2 { // images
					tolerance = 1.0 / 512
				}
				compare(t, got, map[string]*ops.Tensor{v.Name: want[v.Name]}, tolerance)
			}
		})
	}
}

// add builds the case as a program of a module.
func (c *kernelCase) add(t *testing.T, m *ir.Module, name string) *ir.Program {
	t.Helper()
	b := ops.NewBuilder(m, name)
	var in []*ir.Value
	for j, typ := range c.in {
		in = append(in, b.Input(fmt.Sprint("in", j), typ))
	}
	for j, v := range c.build(b, in) {
		b.Result(fmt.Sprint("out", j), v)
	}
	program, err := b.Build()
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	return program
}

func programName(i int) string { return fmt.Sprint("case", i) }

// sessions opens the module on a device whose threads run forwards, and on one whose threads run backwards.
func sessions(t *testing.T, m *ir.Module) (forwards, backwards *runtime.Session) {
	t.Helper()
	p, err := compiler.Compile(t.Context(), m, compiler.Options{Target: target, Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	return open(t, p, false), open(t, p, true)
}

func open(t *testing.T, p *plan.Plan, reversed bool) *runtime.Session {
	t.Helper()
	d, err := emulation.TestDevice(target, reversed)
	if errors.Is(err, emulation.ErrNoCompiler) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := runtime.Open(p, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// reference fills the operands with numbers that float32 has, and evaluates the program in float64.
func (c *kernelCase) reference(t *testing.T, program *ir.Program) (inputs map[string]any, want map[string]*ops.Tensor) {
	t.Helper()
	r := rand.New(rand.NewPCG(7, uint64(len(c.name))))
	inputs = map[string]any{}
	in := map[string]*ops.Tensor{}
	for i, typ := range c.in {
		tensor := ops.NewTensor(typ)
		for j := range tensor.Data {
			if f := c.fill[i]; f != nil {
				tensor.Data[j] = float64(float32(f(r)))
			} else {
				tensor.Data[j] = float64(float32(r.NormFloat64()))
			}
		}
		in[fmt.Sprint("in", i)], inputs[fmt.Sprint("in", i)] = tensor, narrow(typ.DType, tensor.Data)
	}
	want, err := ops.Run(program, nil, in)
	if err != nil {
		t.Fatal(err)
	}
	return inputs, want
}

func run(t *testing.T, s *runtime.Session, program string, inputs map[string]any, want map[string]*ops.Tensor) map[string][]float64 {
	t.Helper()
	results := map[string]any{}
	for name, tensor := range want {
		results[name] = narrow(tensor.Type.DType, make([]float64, len(tensor.Data)))
	}
	for range 2 { // the second run must not see what the first one left behind
		if err := s.Run(t.Context(), program, inputs, results); err != nil {
			t.Fatal(err)
		}
	}
	out := map[string][]float64{}
	for name, data := range results {
		out[name] = widen(data)
	}
	return out
}

// runBothWays runs a program on threads that run forwards and on some that run backwards, which must compute the same bits.
func runBothWays(t *testing.T, forwards, backwards *runtime.Session, program string, inputs map[string]any, want map[string]*ops.Tensor) map[string][]float64 {
	t.Helper()
	got := run(t, forwards, program, inputs, want)
	for name, v := range run(t, backwards, program, inputs, want) {
		if !slices.Equal(v, got[name]) {
			t.Errorf("%s: threads that run backwards compute other bits: a barrier is missing", name)
		}
	}
	return got
}

func compare(t *testing.T, got map[string][]float64, want map[string]*ops.Tensor, tolerance float64) {
	t.Helper()
	if tolerance == 0 {
		tolerance = 2e-6
	}
	for name, w := range want {
		largest := 0.0
		for _, v := range w.Data {
			largest = max(largest, math.Abs(v))
		}
		for i, v := range w.Data {
			if e := math.Abs(got[name][i] - v); !(e <= tolerance*largest) {
				t.Errorf("%s %v at %d: got %v, want %v", name, w.Type, i, got[name][i], v)
				break
			}
		}
	}
}

// compareWhole fails where ‖got - want‖ is more than tolerance·‖want‖.
func compareWhole(t *testing.T, got map[string][]float64, want map[string]*ops.Tensor, tolerance float64) {
	t.Helper()
	for name, w := range want {
		var difference, norm float64
		for i, v := range w.Data {
			difference += (got[name][i] - v) * (got[name][i] - v)
			norm += v * v
		}
		if !(math.Sqrt(difference) <= tolerance*math.Sqrt(norm)) {
			t.Errorf("%s %v: relative error %.3g, want at most %g", name, w.Type, math.Sqrt(difference/norm), tolerance)
		}
	}
}

func narrow(dtype ir.DType, data []float64) any {
	switch dtype {
	case ir.I64:
		return convert[int64](data)
	case ir.I32:
		return convert[int32](data)
	case ir.U8:
		return convert[uint8](data)
	}
	return convert[float32](data)
}

func widen(data any) []float64 {
	switch v := data.(type) {
	case []int64:
		return convert[float64](v)
	case []int32:
		return convert[float64](v)
	case []uint8:
		return convert[float64](v)
	}
	return convert[float64](data.([]float32))
}

func convert[To, From float32 | float64 | int64 | int32 | uint8](data []From) []To {
	out := make([]To, len(data))
	for i, v := range data {
		out[i] = To(v)
	}
	return out
}
