package ir_test

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/ir"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestExampleText(t *testing.T) {
	file := filepath.Join("testdata", "example.golden")
	got := example(t).String()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant, from %s,\n%s", got, file, want)
	}
	if err := ir.Verify(reparse(t, string(want)), rules{}); err != nil {
		t.Errorf("parsed back: %v", err)
	}
}

// reparse parses a text that String has printed, and checks that the module prints the same.
func reparse(t *testing.T, text string) *ir.Module {
	t.Helper()
	m, err := ir.Parse(text)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	if got := m.String(); got != text {
		t.Fatalf("parses and prints as\n%s\nwant\n%s", got, text)
	}
	return m
}

func TestRoundTripOfAttributes(t *testing.T) {
	want := []ir.Attr{
		ir.A("bool_false", false), ir.A("bool_true", true),
		ir.A("float", 0.1), ir.A("float_huge", math.MaxFloat64), ir.A("float_inf", math.Inf(1)),
		ir.A("float_least", math.SmallestNonzeroFloat64), ir.A("float_million", 1e6),
		ir.A("float_minus_inf", math.Inf(-1)), ir.A("float_minus_zero", math.Copysign(0, -1)), ir.A("float_whole", -3.0),
		ir.A("floats", []float64{1, -2.5, 1e-300, math.Inf(1), math.Inf(-1)}),
		ir.A("int", 42), ir.A("int_max", math.MaxInt), ir.A("int_min", math.MinInt), ir.A("int_zero", 0),
		ir.A("ints", []int{1, -2, 0}), ir.A("ints_empty", []int{}),
		ir.A("string", `say "→" and \`+"\n\x00\xff"), ir.A("string_empty", ""),
	}
	b := ir.NewBuilder(ir.NewModule("m"), "p", rules{})
	b.Op("fill", 1, nil, want...)
	build(t, b)
	got := reparse(t, b.Module.String()).Programs[0].Ops[0].Attrs
	if len(got) != len(want) {
		t.Fatalf("got %d attributes, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].Name != want[i].Name || !same(got[i].Value, want[i].Value) {
			t.Errorf("got %s = %T %v, want %s = %T %v", got[i].Name, got[i].Value, got[i].Value, want[i].Name, want[i].Value, want[i].Value)
		}
	}
}

func TestRoundTripOfNaN(t *testing.T) {
	b := ir.NewBuilder(ir.NewModule("m"), "p", rules{})
	b.Op("fill", 1, nil, ir.A("nan", math.NaN()), ir.A("nans", []float64{math.NaN()}))
	build(t, b)
	attrs := reparse(t, b.Module.String()).Programs[0].Ops[0].Attrs
	if list := attrs.Floats("nans"); !math.IsNaN(attrs.Float("nan")) || len(list) != 1 || !math.IsNaN(list[0]) {
		t.Errorf("got %v, want nan and a list of it", attrs)
	}
}

// same compares constants by type and bits, so that 1 and 1.0, or 0.0 and -0.0, differ.
func same(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && math.Float64bits(a) == math.Float64bits(b)
	case []float64:
		b, ok := b.([]float64)
		for i := range a {
			ok = ok && len(a) == len(b) && same(a[i], b[i])
		}
		return ok
	case []int:
		b, ok := b.([]int)
		for i := range a {
			ok = ok && len(a) == len(b) && a[i] == b[i]
		}
		return ok && len(a) == len(b)
	}
	return a == b
}

func TestRoundTripOfNames(t *testing.T) {
	names := []string{"", "plain", "cells.0.weight", "0", ".a", "a.", "a..b", "with space", "→ 日本", `"quoted"`, "line\nbreak", "\xff\x00",
		"// no comment", "}", "return", "%1", "@w", "nan"}
	for _, name := range names {
		m := ir.NewModule(name)
		b := ir.NewBuilder(m, name, rules{})
		v := b.Declare(ir.Variable{Name: name, Kind: ir.Statistic, Type: ir.T(ir.BF16)})
		b.Input(name, ir.T(ir.Bool))
		b.In(name, func() { b.At(name, func() { b.Result(name, b.Read(v)) }) })
		build(t, b)
		got := reparse(t, m.String())
		p := got.Programs[0]
		found := []string{got.Name, got.Variables[0].Name, p.Name, p.Inputs[0].Name, p.Results[0].Name, p.Ops[0].Phase, p.Ops[0].Scope}
		for i, f := range found {
			if f != name {
				t.Errorf("name %d: got %q, want %q", i, f, name)
			}
		}
		if got.Variable(name) != p.Ops[0].Variable {
			t.Errorf("%q: the operation reads another variable", name)
		}
	}
}

func TestRoundTripOfVariables(t *testing.T) {
	m := ir.NewModule("m")
	kinds := []ir.Kind{ir.Weight, ir.Alpha, ir.Moment, ir.Statistic, ir.Control}
	distributions := []ir.Distribution{ir.Constant, ir.Uniform, ir.Normal}
	dtypes := []ir.DType{ir.Bool, ir.U8, ir.I32, ir.I64, ir.BF16, ir.F32, ir.F64}
	for i, dtype := range dtypes {
		v := ir.Variable{Name: dtype.String(), Kind: kinds[i%len(kinds)], Type: ir.T(dtype, 1+i, 2), Init: ir.Init{Distribution: distributions[i%3], Value: float64(i)}}
		if _, err := m.Declare(v); err != nil {
			t.Fatal(err)
		}
	}
	got := reparse(t, m.String())
	for i, want := range m.Variables {
		v := got.Variables[i]
		if v.Name != want.Name || v.Kind != want.Kind || !v.Type.Equal(want.Type) || v.Init != want.Init {
			t.Errorf("got %+v, want %+v", *v, *want)
		}
	}
}

func TestParseFreeForm(t *testing.T) {
	text := `// what a person might write
module"m"{variable@w weight f32[ 2 ,2 ]=constant(0) // one
program "p"(%7 "x" f32[2,2]
) { %3
  =read()@w:f32[2,2]
assign(%7)@"w"   %12=add(%3,%7){}:f32[2,2]at"here"return("y"%12)}}//end`
	want := `module "m" {
  variable @w weight f32[2,2] = constant(0.0)
  program "p"(%0 "x" f32[2,2]) {
    %1 = read() @w : f32[2,2]
    assign(%0) @w
    %2 = add(%1, %0) : f32[2,2] at "here"
    return("y" %2)
  }
}
`
	m, err := ir.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := ir.Verify(m, rules{}); err != nil {
		t.Error(err)
	}
}

func TestParseErrors(t *testing.T) {
	// within puts a line into a program, as line 3 of the text.
	within := func(line string) string {
		return "module \"m\" { variable @w weight f32[2] = constant(0.0)\nprogram \"p\"(%0 \"x\" f32[2]) {\n" + line + "\nreturn() } }"
	}
	nested := func(depth int) string {
		return within(strings.Repeat(`fusion() body "b"() { `, depth) + strings.Repeat("return() } ", depth))
	}
	tests := []struct{ name, text, want string }{
		{"empty", "", `1:1: want "module", found the end of the text`},
		{"name of the module", "module m {}", "1:8: want the name of the module in double quotes, found m"},
		{"cut off", `module "m" {` + "\n", `2:1: want "variable", "program" or "}", found the end of the text`},
		{"text after the end", "module \"m\" {}\nmodule", "2:1: want the end of the text, found module"},
		{"kind of variable", `module "m" { variable @w wait f32[] = constant(0.0) }`,
			`1:26: unknown kind of variable "wait": want weight, alpha, moment, statistic, control or data`},
		{"distribution", `module "m" { variable @w weight f32[] = zero(0.0) }`, `1:41: unknown distribution "zero": want constant, uniform or normal`},
		{"variable twice", "module \"m\" { variable @w weight f32[] = constant(0.0)\nvariable @\"w\" alpha f32[] = constant(0.0) }",
			"2:10: variable @w is declared twice"},
		{"value not defined", within(`  %1 = relu(%9) : f32[2]`), `3:13: operation "relu": value %9 is not defined`},
		{"value of itself", within(`%1 = relu(%1) : f32[2]`), `3:11: operation "relu": value %1 is not defined`},
		{"value twice", within(`%0 = relu(%0) : f32[2]`), `3:1: operation "relu": value %0 is defined twice`},
		{"value twice in one operation", within(`%1, %1 = split(%0) : f32[1], f32[1]`), `3:5: operation "split": value %1 is defined twice`},
		{"value of the program in a body", within(`%1 = fusion(%0) : f32[2] body "b"() { return("y" %0) }`),
			`3:50: operation "fusion": value %0 is not defined`},
		{"operation in a body", within(`%1 = fusion(%0) : f32[2] body "b"() { tanh(%0) return() }`), `3:44: operation "tanh": value %0 is not defined`},
		{"after a body", within(`fusion() body "b"() { tanh() return() ]`), `3:39: operation "fusion": want "}", found ]`},
		{"value of another program", within("return() } program \"q\"() { relu(%0)"), `3:33: operation "relu": value %0 is not defined`},
		{"input twice", `module "m" { program "p"(%0 "x" f32[], %0 "y" f32[]) { return() } }`, "1:40: value %0 is defined twice"},
		{"columns are characters", within(`%1 = relu(%0) {a="日本→"} : g32[2]`),
			`3:27: operation "relu": unknown element type "g32": want bool, u8, i32, i64, bf16, f32 or f64`},
		{"number of value", within(`relu(%99999999999999999999)`), `3:6: operation "relu": value %99999999999999999999: the number is too large`},
		{"percent alone", within(`relu(% 1)`), "3:6: want a value such as %3"},
		{"variable not declared", within(`%1 = read() @v : f32[2]`), `3:13: operation "read": variable @v is not declared`},
		{"at alone", within(`%1 = read() @ v : f32[2]`), `3:13: want a variable such as @weight or @"any name"`},
		{"types missing", within("%1 = relu(%0)"), `4:1: operation "relu": has 1 results and the types of 0`},
		{"types too many", within("%1 = relu(%0) : f32[2], f32[2]"), `3:15: operation "relu": has 1 results and the types of 2`},
		{"type without results", within("relu(%0) : f32[2]"), `3:10: operation "relu": has 0 results and the types of 1`},
		{"type of nothing", within("%1 = relu(%0) : f32[2,0]"), `3:17: operation "relu": type f32[2,0]: dimension 0 is not positive`},
		{"type too large", within("%1 = relu(%0) : f32[9999999999,9999999999]"),
			`3:17: operation "relu": type f32[9999999999,9999999999] is too large to address`},
		{"dimension", within("%1 = relu(%0) : f32[2.0]"), `3:21: operation "relu": want a dimension, a whole number`},
		{"reserved word", within("%1 = return(%0) : f32[2]"), `3:6: "return" is a word of the text form and names no operation`},
		{"result without operation", within("%1 = (%0)"), `3:6: want an operation or "return", found (`},
		{"comma", within("add(%0 %0)"), `3:8: operation "add": want "," or ")", found %0`},
		{"trailing comma", within("add(%0,)"), `3:8: operation "add": want a value such as %3, found )`},
		{"attribute twice", within("fill() {b=1, a=2, b=3}"), `3:8: operation "fill": attribute b given twice`},
		{"attribute without value", within("fill() {b}"), `3:10: operation "fill": want "=", found }`},
		{"attribute of a word", within("fill() {b=maybe}"), `3:11: operation "fill": want a number, found maybe`},
		{"mixed list", within("fill() {b=[1,2.0]}"), `3:14: operation "fill": want a list of only integers or only floats: a float has a point or an exponent`},
		{"integer too large", within("fill() {b=9223372036854775808}"), `3:11: operation "fill": 9223372036854775808 is not a decimal number of 64 bits`},
		{"float too large", within("fill() {b=1e999}"), `3:11: operation "fill": 1e999 is not a decimal number of 64 bits`},
		{"hexadecimal", within("fill() {b=0x10}"), `3:11: operation "fill": 0x10 is not a decimal number of 64 bits`},
		{"number and word", within("fill() {b=12abc}"), `3:11: operation "fill": 12abc is not a decimal number of 64 bits`},
		{"minus nan", within("fill() {b=-nan}"), `3:11: operation "fill": -nan is not a decimal number of 64 bits`},
		{"string not closed", within(`fill() {b="x}`), "3:11: want a string in double quotes on one line, with Go's escapes"},
		{"unknown character", within("fill(&)"), "3:6: character '&' has no meaning here"},
		{"not UTF-8", within("fill(\xff)"), "3:6: character '�' has no meaning here"},
		{"letter of another script", within("fill() {日=1}"), "3:9: character '日' has no meaning here"},
		{"shortened", within("fill() {b=" + strings.Repeat("x", 50) + "}"),
			`3:11: operation "fill": want a number, found ` + strings.Repeat("x", 40) + "…"},
		{"bodies too deep", nested(101), `3:2215: operation "fusion": bodies nest deeper than 100`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, err := ir.Parse(test.text)
			if err == nil || err.Error() != "ir text "+test.want {
				t.Errorf("\n got %v\nwant ir text %s", err, test.want)
			}
			if m != nil {
				t.Error("got a module beside the error")
			}
		})
	}
	if _, err := ir.Parse(nested(100)); err != nil {
		t.Errorf("100 bodies: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "example.golden"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(golden))
	f.Add("module \"m\" {}")
	f.Add("module \"\\xff\" { variable @\"a b\" alpha bf16[] = normal(-inf) } // end")
	f.Add("module \"m\" { program \"p\"(%9 \"\" u8[1]) { %3, %1 = split(%9) {z=[], a=[nan,1e5], s=\"\\n\", b=true, n=-0} : f32[], i64[2]\nreturn(\"a\" %1, \"\" %3) } }")
	f.Add("module \"m\" { program \"p\"() { fusion() in \"a\" at \"b\" body \"c\"() { fill() @w return() } return() } }")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ir.Parse(text)
		if err != nil {
			if message := err.Error(); !strings.HasPrefix(message, "ir text ") || strings.Contains(message, "\n") {
				t.Fatalf("error %q: want one line that begins with \"ir text \"", message)
			}
			return
		}
		printed := m.String()
		reparse(t, printed)
		if got := m.Clone().String(); got != printed {
			t.Fatalf("clone prints\n%s\nwant\n%s", got, printed)
		}
		// Whatever parses, Verify judges without a panic; a module that it accepts stays accepted.
		if ir.Verify(m, rules{}) == nil {
			if err := ir.Verify(reparse(t, printed), rules{}); err != nil {
				t.Fatalf("verified before but not after printing: %v", err)
			}
		}
	})
}
