package compiler

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler/fuse"
	"github.com/dartsc/dartsc/compiler/pass"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
)

func TestPassOrder(t *testing.T) {
	if err := checkOrder(Passes()); err != nil {
		t.Error(err)
	}
	reversed := Passes()
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	if checkOrder(reversed) == nil {
		t.Error("the reversed table passes the check of its order")
	}
}

// TestRandomPrograms holds compiled plans against the reference interpreter on programs of random operations, with
// variables that are read and assigned along the way, and gradients.
func TestRandomPrograms(t *testing.T) {
	n := 60
	if testing.Short() {
		n = 10
	}
	groups := map[string]int{}
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := newGenerator(uint64(seed))
			m := g.module(t)
			transformed, err := Transform(context.Background(), m, Options{Verify: true})
			if err != nil {
				t.Fatalf("%v\n%s", err, m)
			}
			for _, op := range transformed.Programs[0].Ops {
				if op.Body != nil {
					groups[op.Attrs.Text("group")]++
				}
			}
			compareWithReference(t, m, g)
		})
	}
	for _, group := range []string{fuse.Prologue, fuse.NormRelu, fuse.Elementwise} {
		if groups[group] == 0 {
			t.Errorf("no program had a group %q: the generator is too tame", group)
		}
	}
}

// compareWithReference runs the module's program twice in both ways: the second run starts from assigned variables.
func compareWithReference(t *testing.T, m *ir.Module, g *generator) {
	t.Helper()
	// The reference sees the program as written, but for the gradients, which have no other meaning than their expansion.
	plain := m.Clone()
	if err := pass.Differentiate(plain); err != nil {
		t.Fatal(err)
	}
	p, err := Compile(context.Background(), m, Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, m)
	}
	s, err := runtime.Open(p, cpu.New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	variables := ops.Variables(plain)
	for name, v := range variables {
		for i := range v.Data {
			v.Data[i] = g.number()
		}
		if err := s.Set(name, narrow(v.Data)); err != nil {
			t.Fatal(err)
		}
	}
	program := plain.Programs[0]
	for run := range 2 {
		inputs, given := map[string]*ops.Tensor{}, map[string]any{}
		for _, in := range program.Inputs {
			tensor := ops.NewTensor(in.Type)
			for i := range tensor.Data {
				tensor.Data[i] = g.number()
			}
			inputs[in.Name], given[in.Name] = tensor, narrow(tensor.Data)
		}
		want, err := ops.Run(program, variables, inputs)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]any{}
		for name, w := range want {
			got[name] = make([]float32, len(w.Data))
		}
		if err := s.Run(context.Background(), program.Name, given, got); err != nil {
			t.Fatal(err)
		}
		for name, w := range want {
			close(t, fmt.Sprintf("run %d: result %s", run, name), got[name].([]float32), w.Data)
		}
		for name, v := range variables {
			value := make([]float32, len(v.Data))
			if err := s.Get(name, value); err != nil {
				t.Fatal(err)
			}
			close(t, fmt.Sprintf("run %d: variable %s", run, name), value, v.Data)
		}
	}
	if t.Failed() {
		t.Log(m)
	}
}

func narrow(v []float64) []float32 {
	out := make([]float32, len(v))
	for i := range v {
		out[i] = float32(v[i])
	}
	return out
}

func close(t *testing.T, what string, got []float32, want []float64) {
	t.Helper()
	var difference, norm float64
	for i := range want {
		d := float64(got[i]) - want[i]
		difference += d * d
		norm += want[i] * want[i]
	}
	if !(math.Sqrt(difference) <= 2e-4*math.Sqrt(norm)+1e-6) {
		t.Errorf("%s: off by %.3g of norm %.3g", what, math.Sqrt(difference), math.Sqrt(norm))
	}
}

// generator makes random programs over images [2,C,H,W].
type generator struct {
	random *rand.Rand
	b      *ops.Builder
	images []*ir.Value
	count  int
}

func newGenerator(seed uint64) *generator {
	return &generator{random: rand.New(rand.NewPCG(seed, 17))}
}

// number is exact in float32 and away from zero, where ReLU has its kink.
func (g *generator) number() float64 {
	v := float64(float32(g.random.Float64() + 0.05))
	if g.random.IntN(2) == 0 {
		return -v
	}
	return v
}

func (g *generator) pick() *ir.Value { return g.images[g.random.IntN(len(g.images))] }

// like returns an image of the same type as x, which may be x.
func (g *generator) like(x *ir.Value) *ir.Value {
	var same []*ir.Value
	for _, v := range g.images {
		if v.Type.Equal(x.Type) {
			same = append(same, v)
		}
	}
	return same[g.random.IntN(len(same))]
}

func (g *generator) variable(shape ...int) *ir.Variable {
	g.count++
	return g.b.Declare(ir.Variable{Name: fmt.Sprintf("v%d", g.count), Kind: ir.Weight, Type: ir.T(ir.F32, shape...)})
}

func (g *generator) module(t *testing.T) *ir.Module {
	t.Helper()
	m := ir.NewModule("random")
	g.b = ops.NewBuilder(m, "main")
	g.images = []*ir.Value{g.b.Input("x", ir.T(ir.F32, 2, 3, 6, 5)), g.b.Input("y", ir.T(ir.F32, 2, 3, 6, 5))}
	state := g.variable(2, 3, 6, 5)
	g.images = append(g.images, g.b.Read(state))
	var weights []*ir.Value
	for range 12 {
		x := g.pick()
		var y *ir.Value
		g.b.At(fmt.Sprintf("step %d", len(g.images)), func() { y = g.operation(x, &weights) })
		g.images = append(g.images, y)
	}
	last := g.images[len(g.images)-1]
	g.b.Assign(state, g.like(g.images[0]))
	g.b.Result("last", last)
	g.b.Result("state", g.b.Read(state))
	mean := g.b.ReduceMean(g.b.Tanh(last), 0, 1, 2, 3)
	g.b.Result("mean", mean)
	wanted := append([]*ir.Value{g.images[0]}, weights...)
	for i, gradient := range g.b.Gradient(mean, wanted...) {
		g.b.Result(fmt.Sprintf("gradient %d", i), gradient)
	}
	if _, err := g.b.Build(); err != nil {
		t.Fatal(err)
	}
	return m
}

// operation appends one, and the weights it uses.
func (g *generator) operation(x *ir.Value, weights *[]*ir.Value) *ir.Value {
	b, s := g.b, x.Type.Shape
	weight := func(shape ...int) *ir.Value {
		w := b.Read(g.variable(shape...))
		*weights = append(*weights, w)
		return w
	}
	switch g.random.IntN(14) {
	case 0, 1:
		return b.Conv2D(b.Relu(x), weight(s[1], 1, 3, 3), ops.ConvAttrs{Strides: [2]int{1, 1}, Pads: [4]int{2, 2, 2, 2}, Dilations: [2]int{2, 2}, Groups: s[1]})
	case 2:
		return b.Conv2D(x, weight(3, s[1], 1, 1), ops.Conv(1, 0))
	case 3, 4:
		y, mean, variance := b.BatchNormTrain(x, nil, 1e-2)
		running := g.variable(s[1])
		b.Assign(running, b.Axpby(b.Read(running), mean, 0.9, 0.1))
		g.b.Result(fmt.Sprintf("variance %d", g.count), variance)
		return y
	case 5:
		y, _, _ := b.BatchNormTrain(x, []*ir.Value{weight(s[1]), weight(s[1])}, 1e-2)
		return b.Relu(y)
	case 6:
		y, _, _ := b.BatchNormTrain(x, nil, 1e-2)
		return b.Conv2D(b.Relu(y), weight(s[1], s[1], 3, 3), ops.Conv(1, 1))
	case 7:
		return b.AvgPool2D(x, ops.Pool(3, 1, 1))
	case 8:
		return b.MaxPool2D(x, ops.Pool(3, 1, 1))
	case 9:
		y := g.like(x)
		zero := b.Constant(x.Type, 0)
		return b.Add(b.WeightedSum(b.Softmax(weight(4)), []*ir.Value{x, zero, y}, []int{3, 0, 1}), b.Relu(x))
	case 10:
		return b.Sub(b.Axpby(x, g.like(x), 0.5, -0.25), b.Mul(b.ReluGrad(x, g.like(x)), b.Constant(ir.T(ir.F32), 0.5)))
	case 11:
		return b.Add(b.Add(x, g.like(x)), b.Neg(b.Sigmoid(x)))
	case 12:
		halves := b.Concat(1, x, b.Slice(g.like(x), []int{0, 0, 0, 0}, []int{s[0], 1, s[2], s[3]}))
		return b.Slice(halves, []int{0, 1, 0, 0}, []int{s[0], 1 + s[1], s[2], s[3]})
	default:
		crop := b.Slice(x, []int{0, 0, 1, 1}, []int{s[0], s[1], s[2], s[3]})
		return b.Conv2D(crop, weight(s[1], s[1], 1, 1), ops.ConvAttrs{Strides: [2]int{1, 1}, Pads: [4]int{0, 0, 1, 1}, Dilations: [2]int{1, 1}, Groups: 1})
	}
}

// TestSwap: two variables that exchange their values, which no order of writes in place can do.
func TestSwap(t *testing.T) {
	m := ir.NewModule("swap")
	b := ops.NewBuilder(m, "main")
	a := b.Declare(ir.Variable{Name: "a", Kind: ir.Weight, Type: ir.T(ir.F32, 3)})
	c := b.Declare(ir.Variable{Name: "c", Kind: ir.Weight, Type: ir.T(ir.F32, 3)})
	x, y := b.Read(a), b.Read(c)
	b.Assign(a, y)
	b.Assign(c, b.Add(x, y))
	b.Result("was", x)
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	compareWithReference(t, m, newGenerator(1))
}

// TestBytes: every launch, fused ones and copies included, counts the buffers that it is bound to, once each.
func TestBytes(t *testing.T) {
	for seed := range 20 {
		p, err := Compile(context.Background(), newGenerator(uint64(seed)).module(t), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, program := range p.Programs {
			for i, l := range program.Launches {
				want, seen := 0.0, map[int]bool{}
				for _, b := range slices.Concat(l.Operands, l.Results) {
					if !seen[b] {
						want += float64(program.Buffers[b].Bytes())
					}
					seen[b] = true
				}
				if l.Bytes != want {
					t.Errorf("seed %d: launch %d (%s at %s) counts %v bytes, its buffers have %v", seed, i, l.Kernel, l.Scope, l.Bytes, want)
				}
			}
		}
	}
}

func TestDump(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "dump")
	m := newGenerator(3).module(t)
	if _, err := Compile(context.Background(), m, Options{Dump: folder}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil || len(files) != len(passes)+1 {
		t.Fatalf("%d files after %d passes: %v", len(files), len(passes), err)
	}
	html, err := os.ReadFile(filepath.Join(folder, "compile.html"))
	if err != nil || !strings.Contains(string(html), `"name":"schedule"`) || !strings.Contains(string(html), `"name":"launches"`) {
		t.Errorf("compile.html: %v, %.300s", err, html)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ir.Parse(string(text))
		if err != nil {
			t.Fatalf("%s does not parse back: %v", f, err)
		}
		if err := ir.Verify(parsed, ops.Rules); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	m := newGenerator(1).module(t)
	p, err := Compile(context.Background(), m, Options{MemoryLimit: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Compile(context.Background(), m, Options{MemoryLimit: 1})
	least := fmt.Sprintf("%.1f MiB", float64(p.ArenaBytes+p.VariableBytes)/(1<<20)) // nothing in it is large enough to be made again
	if err == nil || !strings.Contains(err.Error(), "the least that this plan needs is "+least) {
		t.Errorf("error %v, want the least that the plan needs, %s", err, least)
	}
}

func TestErrors(t *testing.T) {
	good := newGenerator(1).module(t)
	if _, err := Compile(context.Background(), good, Options{Target: "tpu"}); err == nil || !strings.Contains(err.Error(), `unknown target "tpu": want one of cpu`) {
		t.Errorf("unknown target: error %v", err)
	}
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Compile(stopped, good, Options{}); err == nil {
		t.Error("a cancelled compilation succeeds")
	}
	broken := ir.NewModule("broken")
	broken.Programs = append(broken.Programs, &ir.Program{Name: "main", Ops: []*ir.Op{{Kind: "no_such", Scope: "cell 1"}}})
	if _, err := Compile(context.Background(), broken, Options{}); err == nil || !strings.Contains(err.Error(), "cell 1: no_such") {
		t.Errorf("unknown operation: error %v", err)
	}
}
