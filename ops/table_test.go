package ops_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// program builds the case as a program "case" of one operation, inputs x0, x1, … and results y0, y1, ….
func (c opCase) program(t testing.TB) *ir.Program {
	t.Helper()
	m := ir.NewModule("case")
	b := ops.NewBuilder(m, "case")
	op := c.append(t, b)
	for i, y := range op.Results {
		b.Result(fmt.Sprintf("y%d", i), y)
	}
	p, err := b.Build()
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	if err := ir.Verify(m, ops.Rules); err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	return p
}

// append adds the inputs and the operation of the case.
func (c opCase) append(t testing.TB, b *ops.Builder) *ir.Op {
	t.Helper()
	in := make([]*ir.Value, len(c.in))
	for i, typ := range c.in {
		in[i] = b.Input(fmt.Sprintf("x%d", i), typ)
	}
	c.build(b, in)
	if err := b.Err(); err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	if len(b.Program.Ops) != 1 {
		t.Fatalf("%s: has %d operations, want one", c.name, len(b.Program.Ops))
	}
	return b.Program.Ops[0]
}

// inputs gives the case's operands values, the same for the same seed.
func (c opCase) inputs(seed uint64) map[string]*ops.Tensor {
	r := rand.New(rand.NewPCG(seed, 0))
	inputs := map[string]*ops.Tensor{}
	for i, typ := range c.in {
		x := ops.NewTensor(typ)
		if fill := c.data[i]; fill != nil {
			fill(r, x.Data)
		} else {
			fillDefault(typ, r, x.Data)
		}
		inputs[fmt.Sprintf("x%d", i)] = x
	}
	return inputs
}

// casesOf sorts the cases by the kind of their operation.
func casesOf(t testing.TB) map[string][]opCase {
	byKind := map[string][]opCase{}
	for _, c := range cases {
		kind := c.program(t).Ops[0].Kind
		byKind[kind] = append(byKind[kind], c)
	}
	return byKind
}

// TestTable says which part of an operation is missing.
func TestTable(t *testing.T) {
	methods := map[string]bool{}
	builder := reflect.TypeFor[*ops.Builder]()
	for i := range builder.NumMethod() {
		methods[strings.ToLower(builder.Method(i).Name)] = true
	}
	byKind := casesOf(t)
	for _, kind := range ops.Kinds() {
		def := ops.Lookup(kind)
		missing := func(is bool, what string) {
			if is {
				t.Errorf("%s: %s", kind, what)
			}
		}
		missing(def.Kind != kind, "is listed under another name")
		missing(len(byKind[kind]) == 0, "has no test case: add one to cases")
		for _, c := range byKind[kind] {
			missing(def.Operands == "" && len(c.in) > 0, "Operands does not name its operands")
		}
		missing(def.Infer == nil, "has no shape rule")
		missing(def.Eval == nil && kind != "gradient", "has no reference evaluation")
		missing(def.FLOPs == nil, "does not count its operations")
		missing((def.Gradient == nil) == (def.NoGradient == ""), "wants a gradient or the reason why there is none, not both")
		missing((def.ONNX == nil) == (def.NoONNX == ""), "wants an ONNX form or the reason why there is none, not both")
		missing(!methods[strings.ReplaceAll(kind, "_", "")], "has no method of Builder")
		for _, a := range def.Attrs {
			missing(a.Name == "" || a.Like == nil, "has an attribute without name or type")
		}
	}
}

// TestEval evaluates every case: results of the right size, finite, the same again, and operands left alone.
func TestEval(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := c.program(t)
			op := p.Ops[0]
			if flops := ops.FLOPs(op); !(flops >= 0 && flops < 1e9) {
				t.Errorf("got %v FLOPs", flops)
			}
			if ops.Lookup(op.Kind).Eval == nil {
				if _, err := ops.Run(p, nil, c.inputs(1)); err == nil {
					t.Error("ran without a reference evaluation")
				}
				return
			}
			inputs := c.inputs(1)
			first := run(t, p, inputs)
			for i, y := range op.Results {
				got := first[fmt.Sprintf("y%d", i)]
				if !got.Type.Equal(y.Type) || len(got.Data) != y.Type.Elements() {
					t.Fatalf("result %d: got %s with %d elements, want %s", i, got.Type, len(got.Data), y.Type)
				}
				for _, v := range got.Data {
					if math.IsNaN(v) || math.IsInf(v, 0) {
						t.Fatalf("result %d: got %v", i, got.Data)
					}
				}
			}
			for name, x := range c.inputs(1) {
				if !slices.Equal(inputs[name].Data, x.Data) {
					t.Errorf("operand %s: got %v after the evaluation, want %v", name, inputs[name].Data, x.Data)
				}
			}
			for name, again := range run(t, p, inputs) {
				if !slices.Equal(again.Data, first[name].Data) {
					t.Errorf("result %s: got %v the second time, want %v", name, again.Data, first[name].Data)
				}
			}
		})
	}
}

// TestPointwise changes one element of an operand and looks which elements of the results follow: that only those at
// the same position do is what the compiler fuses on.
func TestPointwise(t *testing.T) {
	for _, c := range cases {
		p := c.program(t)
		if !ops.Lookup(p.Ops[0].Kind).Pointwise {
			continue
		}
		inputs := c.inputs(1)
		before := run(t, p, inputs)
		for name, x := range inputs {
			if len(x.Type.Shape) == 0 {
				continue // a scalar may reach every element
			}
			changed := len(x.Data) / 2
			x.Data[changed] += 0.125
			for result, after := range run(t, p, inputs) {
				for i, v := range after.Data {
					if i != changed && v != before[result].Data[i] {
						t.Errorf("%s: element %d of %s reaches element %d of %s", c.name, changed, name, i, result)
					}
				}
			}
			x.Data[changed] -= 0.125
		}
	}
}

func run(t testing.TB, p *ir.Program, inputs map[string]*ops.Tensor) map[string]*ops.Tensor {
	t.Helper()
	results, err := ops.Run(p, nil, inputs)
	if err != nil {
		t.Fatal(err)
	}
	return results
}
