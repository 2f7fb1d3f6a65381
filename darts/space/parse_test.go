package space

import (
	"encoding/json"
	"strings"
	"testing"
)

// tiny is a genotype of one node a cell, short enough to spell its text out in every way.
var tiny = Genotype{
	Normal: []Edge{{SepConv3x3, 1}, {SkipConnect, 0}}, NormalConcat: []int{2},
	Reduce: []Edge{{MaxPool3x3, 0}, {None, 1}}, ReduceConcat: []int{2},
}

const (
	tinyText = "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0)], normal_concat=[2], reduce=[('max_pool_3x3', 0), ('none', 1)], reduce_concat=[2])"
	tinyJSON = `{"normal":[["sep_conv_3x3",1],["skip_connect",0]],"normal_concat":[2],"reduce":[["max_pool_3x3",0],["none",1]],"reduce_concat":[2]}`
)

func TestParse(t *testing.T) {
	for name, text := range map[string]string{
		"as printed":         tinyText,
		"JSON":               tinyJSON,
		"JSON, spaced":       strings.NewReplacer(",", " ,\n\t", ":", " : ").Replace(tinyJSON) + "\r\n",
		"JSON, escaped":      strings.Replace(tinyJSON, "none", `n\u006fne`, 1),
		"JSON, other order":  `{"reduce_concat":[2],"reduce":[["max_pool_3x3",0],["none",1]],"normal_concat":[2],"normal":[["sep_conv_3x3",1],["skip_connect",0]]}`,
		"double quotes":      strings.ReplaceAll(tinyText, "'", `"`),
		"lists for tuples":   strings.NewReplacer("('", "['", "0)", "0]", "1)", "1]").Replace(tinyText),
		"tuples for lists":   strings.NewReplacer("[", "(", "]", ",)").Replace(tinyText),
		"range":              strings.ReplaceAll(tinyText, "[2]", "range(2, 3)"),
		"spaced range":       strings.ReplaceAll(tinyText, "[2]", "range ( 2 ,3, )"),
		"no spaces":          strings.ReplaceAll(tinyText, " ", ""),
		"many spaces":        strings.NewReplacer("(", " (\n", ")", "\t)", "[", "[ ", "=", "  =\r\n").Replace(tinyText),
		"trailing commas":    strings.NewReplacer("0)", "0,)", "1)", "1, )", "])", "],\n)").Replace(tinyText),
		"assignment":         "DARTS_V3 = " + tinyText,
		"log line":           "03/22 10:11:12 AM genotype = " + tinyText + "\n",
		"blank lines before": "\n\n genotype=" + tinyText,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(text)
			if err != nil || !got.Equal(tiny) {
				t.Errorf("Parse(%q)\ngot  %v, error %v\nwant %v", text, got, err, tiny)
			}
		})
	}
	for _, name := range Names() {
		want, _ := Named(name)
		if got, err := Parse(" " + name + "\n"); err != nil || !got.Equal(want) {
			t.Errorf("Parse(%s) = %v, error %v", name, got, err)
		}
		if got, err := Parse(want.String()); err != nil || !got.Equal(want) {
			t.Errorf("Parse(%s) = %v, error %v", want, got, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	change := func(text, old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in %q", old, text)
		}
		return strings.Replace(text, old, new, 1)
	}
	tests := []struct{ name, text, want string }{
		{"unknown name", "DARTS_V3", `genotype: unknown architecture "DARTS_V3"; want one of NASNet, AmoebaNet, DARTS_V1, DARTS_V2, DARTS, JSON, or Genotype(normal=[...], ...)`},
		{"nothing", "", `unknown architecture ""`},
		{"code instead of data", "__import__('os').system('true')", "unknown architecture"},
		{"code before the genotype", "f(x) = " + tinyText, "unknown architecture"},
		{"code inside", change(tinyText, "[2]", "list(range(2, 3))"), "column 75: want a list of states, found 'l'"},
		{"only begun", "Genotype(", "genotype: column 10: want one of the fields normal, normal_concat, reduce, reduce_concat, found the end of the text"},
		{"empty", "Genotype()", "genotype: normal is missing; want normal, normal_concat, reduce, reduce_concat"},
		{"no field names", "Genotype([('none', 0)])", "column 10: want one of the fields normal, normal_concat, reduce, reduce_concat, found '['"},
		{"field missing", change(tinyText, ", reduce_concat=[2]", ""), "genotype: reduce_concat is missing"},
		{"field twice", change(tinyText, "reduce=", "normal="), "column 80: normal is given twice"},
		{"unknown field", change(tinyText, "reduce=", "reduction="), `column 80: unknown field "reduction"; want normal, normal_concat, reduce, reduce_concat`},
		{"no assignment", change(tinyText, "reduce=", "reduce "), `column 87: want "=", found '['`},
		{"not closed", strings.TrimSuffix(tinyText, ")"), `want ")", found the end of the text`},
		{"more after it", tinyText + " + x", `want the end of the text after the genotype, found '+'`},
		{"two of them", tinyText + "\n" + tinyText, `line 2, column 1: want the end of the text after the genotype, found 'G'`},
		{"no quotes", change(tinyText, "'none'", "none"), "column 110: want a primitive's name in quotes, found 'n'"},
		{"quote not closed", "Genotype(normal=[('none, 0)])", "column 19: the quote is not closed"},
		{"backslash at the end", `Genotype(normal=[('none\`, "column 19: the quote is not closed"},
		{"escape", change(tinyText, "'none'", `'n\x6fne'`), "column 110: want a primitive's name without escapes"},
		{"state not a number", change(tinyText, "'none', 1", "'none', 'x'"), `column 118: want a state's number, found '\''`},
		{"state a fraction", change(tinyText, "'none', 1", "'none', 1.0"), `column 119: want ")", found '.'`},
		{"state huge", change(tinyText, "'none', 1", "'none', 99999999999999999999"), `column 118: the number "99999999999999999999" is too large`},
		{"edge of one", change(tinyText, "('none', 1)", "('none',)"), "column 109: want a primitive and a state in an edge"},
		{"edge of three", change(tinyText, "('none', 1)", "('none', 1, 2)"), "column 121: an edge has a primitive and a state, nothing more"},
		{"edge not a pair", change(tinyText, "('none', 1)", "'none'"), `column 109: want an edge such as ("sep_conv_3x3", 0), found '\''`},
		{"range of one bound", change(tinyText, "[2]", "range(3)"), "column 80: want range(first, end) with two bounds between 0 and 1024"},
		{"range huge", change(tinyText, "[2]", "range(2, 1000000000)"), "two bounds between 0 and 1024"},
		{"range from below", change(tinyText, "[2]", "range(-9000000000000000000, 3)"), "two bounds between 0 and 1024"},
		{"range empty", change(tinyText, "[2]", "range(3, 2)"), "normal_concat is empty"},
		{"column counts characters", "genotype = Genotype(normal=[('é', 0), ?", "column 39: want an edge"},
		{"invalid genotype", change(tinyText, "'none', 1", "'none', 2"), `genotype: reduce edge 1 ("none", 2): node 0 may only read states 0 to 1`},
		{"unknown primitive", change(tinyText, "'none'", "'conv\n'"), `genotype: reduce edge 1 ("conv\n", 1): unknown primitive`},
		{"JSON not closed", `{"normal":`, "genotype: column 10: unexpected end of JSON input"},
		{"JSON trailing comma", change(tinyJSON, `"reduce_concat":[2]}`, `"reduce_concat":[2],}`), "column 132: invalid character '}'"},
		{"JSON tuple", change(tinyJSON, `["none",1]`, `("none",1)`), "column 100: invalid character '('"},
		{"JSON, other quotes", "{'normal': []}", "column 2: invalid character"},
		{"JSON null", change(tinyJSON, "[2]", "null"), "want a list of states, found 'n'"},
		{"JSON unknown field", change(tinyJSON, "reduce_concat", "reduction"), `unknown field "reduction"`},
		{"JSON second line", "{\n  \"normal\": 3}", "line 2, column 13: want a list of edges, found '3'"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse(test.text)
			if err == nil {
				t.Fatalf("Parse(%q) = %v, want an error with %q", test.text, got, test.want)
			}
			if message := err.Error(); !strings.Contains(message, test.want) || strings.Contains(message, "\n") || !strings.HasPrefix(message, "genotype: ") {
				t.Errorf("Parse(%q)\ngot  %s\nwant %s", test.text, message, test.want)
			}
			if got.Normal != nil {
				t.Errorf("Parse(%q) returned %v beside its error", test.text, got)
			}
		})
	}
}

// FuzzParse: no text makes the parser panic, and what it accepts is valid and survives both of its text forms.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		tinyText, tinyJSON, dartsV2Text, "DARTS", "", "{", "Genotype(", "x = Genotype(normal=((", `{"normal":[["\`,
		strings.ReplaceAll(tinyText, "[2]", "range(2, 3)"), strings.ReplaceAll(tinyText, "'", `"`), "Genotype(normal_concat=range(0,1025",
		"\n03/22 genotype = " + strings.NewReplacer("[", "(", "]", ",)").Replace(tinyText),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, err := Parse(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("the error for %q has several lines: %q", text, err)
			}
			return
		}
		if err := g.Validate(); err != nil {
			t.Fatalf("Parse(%q) returned an invalid genotype: %v", text, err)
		}
		asJSON, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		for _, printed := range []string{g.String(), string(asJSON)} {
			if back, err := Parse(printed); err != nil || !back.Equal(g) {
				t.Fatalf("Parse(%q) = %v, printed %q, read back %v, error %v", text, g, printed, back, err)
			}
		}
	})
}
