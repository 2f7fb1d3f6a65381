package ir_test

import (
	"errors"
	"testing"

	"github.com/dartsc/dartsc/ir"
)

func TestBuilderErrors(t *testing.T) {
	f32 := func(shape ...int) ir.Type { return ir.T(ir.F32, shape...) }
	tests := []struct {
		name  string
		build func(b *ir.Builder)
		want  string
	}{
		{"position of the operation", func(b *ir.Builder) {
			x, w := b.Input("x", f32(64, 32, 16, 16)), b.Input("w", f32(16, 1, 5, 5))
			b.At("cell 3", func() {
				b.At("edge 1→4", func() {
					b.At("sep_conv_5x5", func() { b.Op("conv2d", 1, []*ir.Value{x, w}) })
				})
			})
		}, "program step: cell 3/edge 1→4/sep_conv_5x5: conv2d: input f32[64,32,16,16] has 32 channels, weights f32[16,1,5,5] want 16"},
		{"first error sticks", func(b *ir.Builder) {
			var bad *ir.Value
			b.At("stem", func() { bad = b.Op("nonsense", 1, nil)[0] })
			b.At("head", func() { b.Result("y", b.Op("relu", 1, []*ir.Value{bad})[0]) })
			b.Fail(errors.New("later"))
		}, "program step: stem: nonsense: unknown operation"},
		{"scope ends", func(b *ir.Builder) {
			b.At("stem", func() {})
			b.Fail(errors.New("outside"))
		}, "program step: outside"},
		{"scope ends after Place", func(b *ir.Builder) {
			b.At("cell 1", func() {
				b.At("edge", func() { b.Place(&ir.Op{}) })
				b.Fail(errors.New("inside"))
			})
		}, "program step: cell 1: inside"},
		{"scope of Place", func(b *ir.Builder) {
			b.Place(&ir.Op{Scope: "cell 2/edge"})
			b.Fail(errors.New("inside"))
		}, "program step: cell 2/edge: inside"},
		{"number of results", func(b *ir.Builder) {
			b.Op("split", 1, []*ir.Value{b.Input("x", f32(4))}, ir.A("at", 1))
		}, "program step: split: has 2 results, not 1"},
		{"missing operand", func(b *ir.Builder) { b.Op("relu", 1, []*ir.Value{nil}) }, "program step: relu: operand 0 is not a value"},
		{"missing result", func(b *ir.Builder) { b.Result("y", nil) }, "program step: result y is not a value"},
		{"missing variable", func(b *ir.Builder) { b.Read(nil) }, "program step: read: takes a variable and no operands"},
		{"missing body", func(b *ir.Builder) { b.Fuse(nil, nil) },
			"program step: fusion: needs a body with as many inputs as it has operands"},
		{"input type", func(b *ir.Builder) { b.Input("x", f32(4, 0)) },
			"program step: input x: type f32[4,0]: dimension 0 is not positive"},
		{"kind is a word of the text form", func(b *ir.Builder) { b.Op("return", 0, nil) },
			`program step: return: kind "return": want letters, digits and _, and none of the words of the text form`},
		{"attribute twice", func(b *ir.Builder) { b.Op("fill", 1, nil, ir.A("shape", []int{1}), ir.A("shape", 2)) },
			"program step: fill: attribute shape given twice"},
		{"attribute type", func(b *ir.Builder) { b.Op("fill", 1, nil, ir.A("shape", []int32{1})) },
			"program step: fill: attribute shape has type []int32: want int, float64, bool, string, []int or []float64"},
		{"attribute name", func(b *ir.Builder) { b.Op("fill", 1, nil, ir.A("a b", 1)) },
			`program step: fill: attribute name "a b": want letters, digits and _`},
		{"attribute without text form", func(b *ir.Builder) { b.Op("fill", 1, nil, ir.A("values", []float64{})) },
			"program step: fill: attribute values: an empty list of floats has no text form"},
		{"assigned type", func(b *ir.Builder) {
			b.Assign(b.Declare(ir.Variable{Name: "w", Type: f32(2)}), b.Input("x", f32(3)))
		}, "program step: assign: value f32[3] does not fit variable w f32[2]"},
		{"declared differently", func(b *ir.Builder) {
			b.Declare(ir.Variable{Name: "w", Type: f32(2)})
			b.Declare(ir.Variable{Name: "w", Kind: ir.Alpha, Type: f32(2)})
		}, "program step: variable w declared as alpha f32[2], before as weight f32[2]"},
		{"variable too large", func(b *ir.Builder) { b.Declare(ir.Variable{Name: "w", Type: f32(1<<31, 1<<31)}) },
			"program step: variable w: type f32[2147483648,2147483648] is too large to address"},
		{"fused operand", func(b *ir.Builder) {
			b.Fuse(&ir.Program{Inputs: []*ir.Value{{Type: f32(2)}}}, []*ir.Value{b.Input("x", f32(3))})
		}, "program step: fusion: operand 0 is f32[3], the body wants f32[2]"},
		{"fused result", func(b *ir.Builder) { b.Fuse(&ir.Program{Results: []ir.Result{{Name: "y"}}}, nil) },
			`program step: fusion: result "y" of the body is not a value`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := ir.NewModule("m")
			b := ir.NewBuilder(m, "step", rules{})
			test.build(b)
			_, err := b.Build()
			if err == nil || err.Error() != test.want {
				t.Errorf("\n got %v\nwant %s", err, test.want)
			}
			if len(m.Programs) != 0 {
				t.Error("the broken program is in the module")
			}
		})
	}
}

func TestBuilderDoesNothingAfterAnError(t *testing.T) {
	m := ir.NewModule("m")
	b := ir.NewBuilder(m, "step", rules{})
	b.Fail(errors.New("broken"))
	v := b.Declare(ir.Variable{Name: "w", Type: ir.T(ir.F32)})
	b.Assign(v, b.Read(v))
	if len(m.Variables) != 0 || len(b.Program.Ops) != 0 {
		t.Errorf("got %d variables and %d operations, want none", len(m.Variables), len(b.Program.Ops))
	}
}

func TestBuilderRefusesASecondProgramOfAName(t *testing.T) {
	m := ir.NewModule("m")
	build(t, ir.NewBuilder(m, "step", rules{}))
	_, err := ir.NewBuilder(m, "step", rules{}).Build()
	if want := "program step: the module has one of that name"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestBuilderMarksPhaseAndScope(t *testing.T) {
	b := ir.Continue(ir.NewModule("m"), rules{})
	shape := ir.A("shape", []int{2})
	b.In("alpha", func() {
		b.At("cell 0", func() {
			b.In("train", func() { b.Op("fill", 1, nil, shape) })
			b.Op("fill", 1, nil, shape)
		})
	})
	b.Op("fill", 1, nil, shape)
	b.Place(b.Program.Ops[0])
	b.Op("fill", 1, nil, shape)
	want := [][2]string{{"train", "cell 0"}, {"alpha", "cell 0"}, {"", ""}, {"train", "cell 0"}}
	for i, op := range b.Program.Ops {
		if got := [2]string{op.Phase, op.Scope}; got != want[i] {
			t.Errorf("operation %d: got phase and scope %q, want %q", i, got, want[i])
		}
	}
	if len(b.Program.Ops) != len(want) {
		t.Errorf("got %d operations, want %d: %v", len(b.Program.Ops), len(want), b.Err())
	}
}
