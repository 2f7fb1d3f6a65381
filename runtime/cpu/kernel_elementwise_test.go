package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// chainCase is a kernelCase of which the code says all: what it means follows from ops.
func chainCase(name string, operands []operand, code []plan.Instruction, results ...int) kernelCase {
	return kernelCase{
		kernel: "elementwise", name: name, operands: operands, code: code, params: plan.Params{"results": results},
		build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
			registers := slices.Clone(in)
			for _, c := range code {
				registers = append(registers, meaning(b, c, registers))
			}
			var out []*ir.Value
			for _, r := range results {
				out = append(out, registers[r])
			}
			return out
		},
	}
}

func meaning(b *ops.Builder, c plan.Instruction, registers []*ir.Value) *ir.Value {
	var args []*ir.Value
	for _, r := range c.Args {
		args = append(args, registers[r])
	}
	switch c.Op {
	case "constant":
		return b.Constant(ir.T(registers[0].Type.DType), c.Constants[0])
	case "axpby":
		return b.Axpby(args[0], args[1], c.Constants[0], c.Constants[1])
	case "batch_norm":
		return b.BatchNorm(args[0], args[1], args[2], args[3:], c.Constants[0])
	case "drop_path":
		return b.DropPath(args[0], args[1], args[2], args[3], int(c.Constants[0]))
	case "slice":
		starts, ends := make([]int, 4), slices.Clone(args[0].Type.Shape)
		starts[1], ends[1] = int(c.Constants[0]), int(c.Constants[0])+registers[0].Type.Shape[1]
		return b.Slice(args[0], starts, ends)
	}
	return b.Op(c.Op, 1, args)[0]
}

func do(op string, args ...int) plan.Instruction { return plan.Instruction{Op: op, Args: args} }

func init() {
	big := []int{3, 5, 41, 23} // several parts and blocks, none of them full
	for op, def := range pointwise {
		operands := []operand{positive(big...)}
		c := plan.Instruction{Op: op, Args: []int{0}, Constants: []float64{1.5, -0.25}[:def.constants]}
		switch {
		case op == "constant":
			c.Args = nil
			kernelCases = append(kernelCases, chainCase(op, []operand{plain(9, 1001)}, []plan.Instruction{c, do("add", 0, 1)}, 2))
			continue
		case def.args == 2:
			operands, c.Args = append(operands, positive(big...)), []int{0, 1}
		}
		for i := range operands {
			if op != "log" && op != "sqrt" && op != "div" {
				operands[i] = image(big[0], big[1], big[2], big[3])
			}
		}
		one := chainCase(op, operands, []plan.Instruction{c}, len(operands))
		one.inPlace = []int{0, len(operands) - 1}
		if operands[0].order == nil {
			one.orders = map[int]plan.Layout{0: nil}
		}
		kernelCases = append(kernelCases, one)
	}
	x, scalar := plain(2, 4111), plain()
	kernelCases = append(kernelCases,
		chainCase("one element", []operand{plain(1), plain(1)}, []plan.Instruction{do("sub", 0, 1)}, 2),
		chainCase("scalars", []operand{scalar, scalar}, []plan.Instruction{do("mul", 0, 1), do("neg", 2)}, 3, 2),
		chainCase("scalar spread", []operand{x, scalar}, []plan.Instruction{do("mul", 1, 0), do("add", 2, 1)}, 3),
		chainCase("nothing to do", []operand{x, x}, nil, 1, 0),
		chainCase("result twice", []operand{x}, []plan.Instruction{do("neg", 0)}, 1, 1),
		chainCase("dead instruction", []operand{x, x}, []plan.Instruction{do("exp", 0), do("neg", 1), do("add", 0, 3)}, 4),
		chainCase("one operand twice", []operand{x}, []plan.Instruction{do("mul", 0, 0), do("add", 1, 1)}, 2),
		chainCase("constant after a slot is free", []operand{x}, []plan.Instruction{
			do("neg", 0), do("relu", 0), do("add", 1, 2), {Op: "constant", Constants: []float64{3}}, do("mul", 3, 4),
		}, 5),
		chainCase("i64 counters", []operand{integers(ir.I64, 99), integers(ir.I64, 9)}, []plan.Instruction{
			{Op: "constant", Constants: []float64{7}}, do("mul", 0, 2), do("sub", 3, 1), do("add", 4, 4),
		}, 5, 3),
		chainCase("i64 tensors", []operand{integers(ir.I64, 99, 5, 3), integers(ir.I64, 9)}, []plan.Instruction{do("sub", 1, 0)}, 2),
	)
	for i := range 12 {
		kernelCases = append(kernelCases, randomChain(i))
	}
	for _, n := range []int{1, 3, 16, 36, 700} { // the last is a pixel larger than a block
		channelChains(n)
	}
	// Long blocks, of which an image has several.
	large := image(6, 36, 72, 64)
	kernelCases = append(kernelCases, chainCase("more than the caches hold",
		[]operand{large, large, plain(36), positive(36), filled(ir.F32, 0.4), integers(ir.I64, 1<<20), integers(ir.I64, 99)}, []plan.Instruction{
			{Op: "batch_norm", Args: []int{0, 2, 3}, Constants: []float64{1e-5}}, {Op: "drop_path", Args: []int{7, 4, 5, 6}, Constants: []float64{3}}, do("add", 1, 8),
		}, 9))
}

// channelChains are a node of a derived network and a part of its way back: sums of normalised images, of which paths drop some, and
// what is left of some channels of a cotangent.
func channelChains(n int) {
	x, vector := image(2, n, 7, 5), plain(n)
	norm := func(args ...int) plan.Instruction {
		return plan.Instruction{Op: "batch_norm", Args: args, Constants: []float64{1e-5}}
	}
	slice := func(x, from int) plan.Instruction {
		return plan.Instruction{Op: "slice", Args: []int{x}, Constants: []float64{float64(from)}}
	}
	node := chainCase(fmt.Sprint("normalised, ", n), []operand{x, x, vector, positive(n), vector, vector}, []plan.Instruction{
		norm(0, 2, 3, 4, 5), norm(1, 2, 3), do("add", 6, 7),
	}, 8)
	node.inPlace = []int{0, 1}
	images := image(9, n, 6, 4)
	dropped := chainCase(fmt.Sprint("dropped, ", n), []operand{images, images, vector, positive(n), filled(ir.F32, 0.4), integers(ir.I64, 1<<20), integers(ir.I64, 99)}, []plan.Instruction{
		norm(0, 2, 3), {Op: "drop_path", Args: []int{7, 4, 5, 6}, Constants: []float64{3}},
		{Op: "drop_path", Args: []int{1, 4, 5, 6}, Constants: []float64{8}}, do("add", 8, 9),
	}, 10)
	dropped.inPlace = []int{0, 1}
	// Terms that need no pass of their own: both dropped, one of them added to, and one that is also a result.
	paths := []operand{images, images, vector, positive(n), vector, vector, filled(ir.F32, 0.4), integers(ir.I64, 1<<20), integers(ir.I64, 99)}
	drop := func(x, stream int) plan.Instruction {
		return plan.Instruction{Op: "drop_path", Args: []int{x, 6, 7, 8}, Constants: []float64{float64(stream)}}
	}
	both := chainCase(fmt.Sprint("two dropped, ", n), paths, []plan.Instruction{norm(0, 2, 3, 4, 5), drop(9, 3), norm(1, 2, 3), drop(11, 4), do("add", 10, 12)}, 13)
	both.inPlace = []int{0, 1}
	onto := chainCase(fmt.Sprint("dropped and added, ", n), paths, []plan.Instruction{norm(1, 2, 3, 4, 5), drop(9, 5), do("add", 10, 0), do("neg", 0), norm(0, 2, 3), do("add", 12, 13), do("mul", 11, 14)}, 15)
	onto.inPlace = []int{0, 1}
	also := chainCase(fmt.Sprint("dropped and a result, ", n), paths, []plan.Instruction{do("neg", 1), norm(9, 2, 3, 4, 5), drop(10, 6), do("add", 0, 11), do("relu", 12)}, 13, 11)
	kernelCases = append(kernelCases, both, onto, also)
	inner := chainCase(fmt.Sprint("normalised inside, ", n), []operand{x, vector, positive(n)}, []plan.Instruction{
		do("relu", 0), norm(3, 1, 2), do("neg", 4),
	}, 5, 4)
	masked := chainCase(fmt.Sprint("slices, ", n), []operand{x, image(2, 2*n+1, 7, 5)}, []plan.Instruction{
		slice(1, n), do("relu_grad", 2, 0), slice(1, 0), do("add", 3, 4),
	}, 5)
	masked.inPlace = []int{0}
	kernelCases = append(kernelCases, node, dropped, inner, masked, chainCase(fmt.Sprint("slice alone, ", n), []operand{x, image(2, n+2, 7, 5)}, []plan.Instruction{slice(1, 2)}, 2))
}

// randomChain is a program of operations that keep numbers small, over one to three images and a scalar.
func randomChain(seed int) kernelCase {
	r := rand.New(rand.NewPCG(7, uint64(seed)))
	images := 1 + r.IntN(3)
	var operands []operand
	var inPlace []int
	for i := range images {
		operands, inPlace = append(operands, image(2+seed%2, 3, 29+seed, 31)), append(inPlace, i)
	}
	operands = append(operands, plain())
	code := []plan.Instruction{do("mul", 0, images)}
	for range 3 + r.IntN(40) {
		c := plan.Instruction{Op: []string{"add", "sub", "relu", "neg", "relu_grad", "tanh", "sigmoid", "axpby"}[r.IntN(8)]}
		for range pointwise[c.Op].args {
			register := r.IntN(len(operands) + len(code) - 1)
			if register >= images {
				register++ // all but the scalar
			}
			c.Args = append(c.Args, register)
		}
		if c.Op == "axpby" {
			c.Constants = []float64{0.5, r.Float64()}
		}
		code = append(code, c)
	}
	last := len(operands) + len(code) - 1
	c := chainCase(fmt.Sprint("random ", seed), operands, code, last, 0, last-2)
	c.inPlace = inPlace
	return c
}

// Results may swap the memory of operands.
func TestElementwiseInPlaceOfSeveral(t *testing.T) {
	n := 2*blockElements + 5
	run := func(code []plan.Instruction, results []int, out ...int) (a, b, x, y []float32) {
		x, y = make([]float32, n), make([]float32, n)
		for i := range n {
			x[i], y[i] = float32(i%97)-40, float32(i%31)-15
		}
		a, b = slices.Clone(x), slices.Clone(y)
		memory := [][]float32{a, b}
		shape := plan.Tensor{DType: plan.F32, Shape: []int{n}}
		l := &launch{Launch: &plan.Launch{Code: code, Params: plan.Params{"results": results}}}
		for _, m := range memory {
			l.in = append(l.in, tensor{Tensor: shape, f32: m})
		}
		for _, i := range out {
			l.out = append(l.out, tensor{Tensor: shape, f32: memory[i]})
		}
		bound, err := bindElementwise(l)
		if err != nil {
			t.Fatal(err)
		}
		scratch := make([]float32, bound.scratch)
		for _, ph := range bound.phases {
			for part := range ph.parts {
				ph.run(part, scratch)
			}
		}
		return a, b, x, y
	}
	for _, c := range []struct {
		name    string
		code    []plan.Instruction
		results []int
		out     []int
		a, b    func(x, y float32) float32
	}{
		{"swap", nil, []int{1, 0}, []int{0, 1},
			func(x, y float32) float32 { return y }, func(x, y float32) float32 { return x }},
		{"identity", nil, []int{0, 1}, []int{0, 1},
			func(x, y float32) float32 { return x }, func(x, y float32) float32 { return y }},
		{"sum over one, difference over the other", []plan.Instruction{do("add", 0, 1), do("sub", 0, 1)}, []int{2, 3}, []int{0, 1},
			func(x, y float32) float32 { return x + y }, func(x, y float32) float32 { return x - y }},
		{"the later one over what the earlier one reads", []plan.Instruction{do("add", 0, 1), do("sub", 2, 0)}, []int{2, 3}, []int{1, 0},
			func(x, y float32) float32 { return x + y - x }, func(x, y float32) float32 { return x + y }},
		{"an operand saved from an instruction", []plan.Instruction{do("neg", 1)}, []int{0, 2}, []int{1, 0},
			func(x, y float32) float32 { return -y }, func(x, y float32) float32 { return x }},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b, x, y := run(c.code, c.results, c.out...)
			for i := range x {
				if a[i] != c.a(x[i], y[i]) || b[i] != c.b(x[i], y[i]) {
					t.Fatalf("at %d: x=%v y=%v, got %v and %v, want %v and %v", i, x[i], y[i], a[i], b[i], c.a(x[i], y[i]), c.b(x[i], y[i]))
				}
			}
		})
	}
}

func TestReluKeepsNaN(t *testing.T) {
	nan := float32(math.NaN())
	x := []float32{nan, -1, 2, float32(math.Copysign(0, -1))}
	y, g := make([]float32, 4), make([]float32, 4)
	reluRow(y, x, x, 0, 0)
	reluGradRow(g, []float32{5, 5, 5, 5}, x, 0, 0)
	if y[0] == y[0] || y[1] != 0 || y[2] != 2 || y[3] != 0 {
		t.Errorf("relu(%v) = %v", x, y)
	}
	if want := []float32{0, 0, 5, 0}; !slices.Equal(g, want) {
		t.Errorf("relu_grad(5, %v) = %v, want %v", x, g, want)
	}
}

// BenchmarkElementwise reports the memory that a chain of five operations reads and writes.
func BenchmarkElementwise(b *testing.B) {
	n := 1 << 20
	shape := plan.Tensor{DType: plan.F32, Shape: []int{n}}
	l := &launch{Launch: &plan.Launch{
		Code:   []plan.Instruction{do("mul", 0, 1), do("add", 2, 0), do("relu", 3), do("relu_grad", 1, 4), {Op: "axpby", Args: []int{4, 5}, Constants: []float64{2, 3}}},
		Params: plan.Params{"results": []int{6}},
	}}
	for range 2 {
		l.in = append(l.in, tensor{Tensor: shape, f32: make([]float32, n)})
	}
	l.out = append(l.out, tensor{Tensor: shape, f32: make([]float32, n)})
	bound, err := bindElementwise(l)
	if err != nil {
		b.Fatal(err)
	}
	scratch := make([]float32, bound.scratch)
	b.SetBytes(int64(12 * n))
	for b.Loop() {
		for part := range bound.phases[0].parts {
			bound.phases[0].run(part, scratch)
		}
	}
}

func TestBadCode(t *testing.T) {
	shape := plan.Tensor{DType: plan.F32, Shape: []int{2}}
	counters := plan.Tensor{DType: plan.I64, Shape: []int{2}}
	picture := plan.Tensor{DType: plan.F32, Shape: []int{1, 2, 1, 1}, Order: channelsLast}
	for _, c := range []struct {
		name    string
		tensor  plan.Tensor
		code    []plan.Instruction
		results []int
		want    string
	}{
		{"unknown operation", shape, []plan.Instruction{do("erf", 0)}, []int{1}, `instruction 0 is "erf", which elementwise does not know`},
		{"too few registers", shape, []plan.Instruction{do("add", 0)}, []int{1}, "instruction 0 (add) has 1 registers and 0 constants, wants 2 and 0"},
		{"too many registers", shape, []plan.Instruction{do("neg", 0, 0)}, []int{1}, "has 2 registers"},
		{"no constants", shape, []plan.Instruction{do("axpby", 0, 0)}, []int{1}, "0 constants, wants 2 and 2"},
		{"reads itself", shape, []plan.Instruction{do("neg", 1)}, []int{1}, "instruction 0 (neg) reads register 1 of 1"},
		{"negative register", shape, []plan.Instruction{do("neg", -1)}, []int{1}, "reads register -1"},
		{"result beyond the registers", shape, []plan.Instruction{do("neg", 0)}, []int{2}, "wants integers from 0 to 1"},
		{"too long", shape, slices.Repeat([]plan.Instruction{do("neg", 0)}, longestChain+1), []int{1}, "4097 instructions"},
		{"float operation on counters", counters, []plan.Instruction{do("neg", 0)}, []int{1}, `"neg"`},
		{"counter reads itself", counters, []plan.Instruction{do("add", 0, 1)}, []int{1}, "reads register 1 of 1"},
		{"channels of a vector", shape, []plan.Instruction{{Op: "slice", Args: []int{0}, Constants: []float64{0}}}, []int{1}, "wants 4 dimensions"},
		{"channels that are not there", picture, []plan.Instruction{{Op: "slice", Args: []int{0}, Constants: []float64{1}}}, []int{1}, "slice takes channels 1 to 3"},
		{"slice of a register", picture, []plan.Instruction{do("neg", 0), {Op: "slice", Args: []int{1}, Constants: []float64{0}}}, []int{2}, "slice reads register 1"},
		{"statistics of an image", picture, []plan.Instruction{{Op: "batch_norm", Args: []int{0, 0, 0}, Constants: []float64{1}}}, []int{1}, "wants [2]"},
		{"half of scale and shift", picture, []plan.Instruction{{Op: "batch_norm", Args: []int{0, 0, 0, 0}, Constants: []float64{1}}}, []int{1}, "batch_norm has 4 registers"},
		{"nothing to normalise", picture, []plan.Instruction{{Op: "batch_norm", Constants: []float64{1}}}, []int{1}, "batch_norm has 0 registers"},
		{"half of what a path drops by", picture, []plan.Instruction{{Op: "drop_path", Args: []int{0, 0}, Constants: []float64{1}}}, []int{1}, "drop_path has 2 registers"},
		{"a seed that is an image", picture, []plan.Instruction{{Op: "drop_path", Args: []int{0, 0, 0, 0}, Constants: []float64{1}}}, []int{1}, "wants a scalar"},
		{"other type", plan.Tensor{DType: plan.I32, Shape: []int{2}}, nil, []int{0}, "wants f32 or i64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bound := tensor{Tensor: c.tensor, f32: make([]float32, 2), i64: make([]int64, 2)}
			_, err := bindElementwise(&launch{
				Launch: &plan.Launch{Code: c.code, Params: plan.Params{"results": c.results}},
				in:     []tensor{bound}, out: []tensor{bound},
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}
