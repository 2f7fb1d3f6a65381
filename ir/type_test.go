package ir_test

import (
	"math"
	"testing"

	"github.com/dartsc/dartsc/ir"
)

func TestType(t *testing.T) {
	tests := []struct {
		typ             ir.Type
		text            string
		elements, bytes int
		float           bool
	}{
		{ir.T(ir.F32), "f32[]", 1, 4, true},
		{ir.T(ir.BF16, 3, 5), "bf16[3,5]", 15, 30, true},
		{ir.T(ir.F64, 2), "f64[2]", 2, 16, true},
		{ir.T(ir.I32, 7), "i32[7]", 7, 28, false},
		{ir.T(ir.I64, 1, 1), "i64[1,1]", 1, 8, false},
		{ir.T(ir.U8, 64, 3, 32, 32), "u8[64,3,32,32]", 196608, 196608, false},
		{ir.T(ir.Bool, 9), "bool[9]", 9, 9, false},
	}
	for _, test := range tests {
		if err := test.typ.Check(); err != nil {
			t.Errorf("%s: %v", test.text, err)
		}
		if got := test.typ.String(); got != test.text {
			t.Errorf("got %s, want %s", got, test.text)
		}
		if got := test.typ.Elements(); got != test.elements {
			t.Errorf("%s: got %d elements, want %d", test.text, got, test.elements)
		}
		if got := test.typ.Bytes(); got != test.bytes {
			t.Errorf("%s: got %d bytes, want %d", test.text, got, test.bytes)
		}
		if got := test.typ.DType.Float(); got != test.float {
			t.Errorf("%s: got float %v, want %v", test.text, got, test.float)
		}
	}
	for _, bad := range []ir.Type{{}, {DType: 99}, ir.T(ir.F32, 2, 0), ir.T(ir.F32, -1), ir.T(ir.U8, math.MaxInt), ir.T(ir.F64, 1<<32, 1<<32)} {
		if bad.Check() == nil {
			t.Errorf("%s: want an error", bad)
		}
	}
}

func TestAttrs(t *testing.T) {
	attrs, err := ir.NewAttrs(ir.A("t", "text"), ir.A("b", true), ir.A("i", 3), ir.A("f", 0.5), ir.A("is", []int{1}), ir.A("fs", []float64{2}))
	if err != nil {
		t.Fatal(err)
	}
	if !attrs.Bool("b") || attrs.Int("i") != 3 || attrs.Float("f") != 0.5 || attrs.Text("t") != "text" || attrs.Ints("is")[0] != 1 || attrs.Floats("fs")[0] != 2 {
		t.Errorf("got other values than given: %v", attrs)
	}
	if attrs.Int("f") != 0 || attrs.Has("x") || !attrs.Has("f") || attrs.Text("x") != "" {
		t.Errorf("absent attributes and those of another type want the zero value: %v", attrs)
	}
	changed := attrs.With("i", 4).With("a", 1)
	if changed.Int("i") != 4 || changed.Int("a") != 1 || len(changed) != 7 || changed[0].Name != "a" || attrs.Int("i") != 3 {
		t.Errorf("got %v from %v, want i=4 and a=1 in order, and the old ones as they were", changed, attrs)
	}
}
