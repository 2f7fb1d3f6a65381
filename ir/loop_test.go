package ir_test

import (
	"strings"
	"testing"

	"github.com/dartsc/dartsc/ir"
)

// sequence builds a module whose program sums a sequence up: each step carries h + x + w on and puts out relu of it.
func sequence(t *testing.T) *ir.Module {
	t.Helper()
	m := ir.NewModule("sequence")
	b := ir.NewBuilder(m, "run", rules{})
	length, h := b.Input("length", ir.T(ir.I64)), b.Input("h", ir.T(ir.F32, 4, 2))
	x, w := b.Input("x", ir.T(ir.F32, 5, 4, 2)), b.Input("w", ir.T(ir.F32, 4, 2))
	b.At("cell", func() {
		last, outputs := b.Scan(length, 5, []*ir.Value{h}, []*ir.Value{x}, true, func(b *ir.Builder, in ir.LoopBody) (next, outputs []*ir.Value) {
			sum := b.Op("add", 1, []*ir.Value{in.Carried[0], in.Stacked[0]})
			sum = b.Op("add", 1, []*ir.Value{sum[0], w})
			return sum, b.Op("relu", 1, sum)
		})
		b.Result("last", last[0])
		b.Result("all", outputs[0])
	})
	build(t, b)
	if err := ir.Verify(m, rules{}); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestScanText(t *testing.T) {
	const want = `module "sequence" {
  program "run"(%0 "length" i64[], %1 "h" f32[4,2], %2 "x" f32[5,4,2], %3 "w" f32[4,2]) {
    %4, %5 = scan(%0, %1, %2, %3) {carried=1, reverse=true, stacked=1, steps=5} : f32[4,2], f32[5,4,2] at "cell" body "scan"(%0 "carried0" f32[4,2], %1 "stacked0" f32[4,2], %2 "captured0" f32[4,2]) {
      %3 = add(%0, %1) : f32[4,2] at "cell"
      %4 = add(%3, %2) : f32[4,2] at "cell"
      %5 = relu(%4) : f32[4,2] at "cell"
      return("carried0" %4, "output0" %5)
    }
    return("last" %4, "all" %5)
  }
}
`
	got := sequence(t).String()
	if got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	if err := ir.Verify(reparse(t, got), rules{}); err != nil {
		t.Error(err)
	}
}

func TestScanRules(t *testing.T) {
	for _, c := range []struct {
		name, from, to, want string
	}{
		{"no steps", "steps=5", "steps=0", "0 steps, 1 carried and 1 stacked values do not fit a body of 3 inputs and 2 results"},
		{"more carried than there is", "carried=1", "carried=4", "4 carried and 1 stacked values do not fit"},
		{"carried beyond the integers", "stacked=1", "stacked=9223372036854775807", "do not fit a body"},
		{"attribute of another type", "reverse=true", "reverse=1", "attribute reverse: want integers"},
		{"no body", ` body "scan"`, ` body "x"() { return() } %9 = relu(%1) : f32[4,2] body "scan"`, "has 4 operands, wants a length and as many as the body has inputs, 0|do not fit a body of 0 inputs"},
		{"length of another type", `"length" i64[]`, `"length" i64[1]`, "length is i64[1], wants i64[]"},
		{"other number of steps", "steps=5", "steps=6", "operand 2 is f32[5,4,2], the body wants f32[6,4,2]"},
		{"operand missing", "scan(%0, %1, %2, %3)", "scan(%0, %1, %2)", "has 3 operands, wants a length"},
		{"carried as another type", `%5 = relu(%4) : f32[4,2] at "cell"`, `%5 = fill() {shape=[4]} : f32[4]`, "carried value 0 is f32[4,2] and becomes f32[4]|result 0 is"},
	} {
		text := sequence(t).String()
		text = strings.Replace(text, c.from, c.to, 1)
		if c.name == "carried as another type" {
			text = strings.Replace(text, `"carried0" %4, "output0" %5`, `"carried0" %5, "output0" %4`, 1)
		}
		m, err := ir.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		err = ir.Verify(m, rules{})
		found := false
		for _, want := range strings.Split(c.want, "|") {
			found = found || err != nil && strings.Contains(err.Error(), want)
		}
		if !found {
			t.Errorf("%s: got error %v, want %q", c.name, err, c.want)
		}
	}
}

// TestScanBuilder: an error in a body is the builder's, with its position.
func TestScanBuilder(t *testing.T) {
	b := ir.NewBuilder(ir.NewModule("m"), "p", rules{})
	length, h := b.Input("length", ir.T(ir.I64)), b.Input("h", ir.T(ir.F32, 4))
	b.At("cell", func() {
		last, _ := b.Scan(length, 5, []*ir.Value{h}, nil, false, func(b *ir.Builder, in ir.LoopBody) (next, outputs []*ir.Value) {
			return b.Op("split", 2, in.Carried, ir.A("at", 9))[:1], nil
		})
		b.Result("last", last[0])
	})
	if _, err := b.Build(); err == nil || err.Error() != "program p: cell: split: cannot split f32[4] at 9" {
		t.Errorf("got error %v", err)
	}
}
