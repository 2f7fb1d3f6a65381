package space

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPrimitives(t *testing.T) {
	want := []Primitive{"none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"}
	if got := CNN(); !slices.Equal(got, want) {
		t.Errorf("CNN() = %v, want %v", got, want)
	}
	want = append(want, "sep_conv_7x7", "conv_7x1_1x7")
	if got := Primitives(); !slices.Equal(got, want) {
		t.Errorf("Primitives() = %v, want %v", got, want)
	}
	for _, p := range want {
		if !p.Valid() {
			t.Errorf("%q.Valid() = false", p)
		}
	}
	for _, p := range []Primitive{"", "sep_conv_9x9", "SKIP_CONNECT", "none "} {
		if p.Valid() {
			t.Errorf("%q.Valid() = true", p)
		}
	}
	CNN()[0] = SkipConnect
	if CNN()[0] != None {
		t.Error("a caller can change the order of the search space")
	}
}

// dartsV2Text is the second-order genotype as the original prints it.
const dartsV2Text = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], " +
	"reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"

func TestNamed(t *testing.T) {
	if got, want := strings.Join(Names(), " "), "NASNet AmoebaNet DARTS_V1 DARTS_V2 DARTS"; got != want {
		t.Errorf("Names() = %s, want %s", got, want)
	}
	for _, name := range Names() {
		g, ok := Named(name)
		if !ok {
			t.Fatalf("Named(%q) is not known", name)
		}
		if err := g.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if g, ok := Named("DARTS_V3"); ok {
		t.Errorf("Named(DARTS_V3) = %v, want none", g)
	}
	for _, name := range []string{"DARTS", "DARTS_V2"} {
		g, _ := Named(name)
		if got := g.String(); got != dartsV2Text {
			t.Errorf("%s\ngot  %s\nwant %s", name, got, dartsV2Text)
		}
		g.Normal[0].Primitive, g.NormalConcat[0] = None, 5
	}
	if g, _ := Named("DARTS"); g.String() != dartsV2Text {
		t.Error("a caller can change a named architecture")
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Genotype)
		want   string // "" for valid
	}{
		{"unchanged", func(g *Genotype) {}, ""},
		{"concat of some nodes, in another order", func(g *Genotype) { g.NormalConcat = []int{5, 2} }, ""},
		{"none is a primitive", func(g *Genotype) { g.Normal[0].Primitive = None }, ""},
		{"both edges from one state", func(g *Genotype) { g.Normal[1].State = 0 }, ""},
		{"unknown primitive", func(g *Genotype) { g.Reduce[2].Primitive = "sep_conv_9x9" },
			`genotype: reduce edge 2 ("sep_conv_9x9", 2): unknown primitive; the known ones are none, max_pool_3x3, avg_pool_3x3, skip_connect, sep_conv_3x3, sep_conv_5x5, dil_conv_3x3, dil_conv_5x5, sep_conv_7x7, conv_7x1_1x7`},
		{"later node", func(g *Genotype) { g.Normal[3].State = 7 }, `genotype: normal edge 3 ("sep_conv_3x3", 7): node 1 may only read states 0 to 2`},
		{"own node", func(g *Genotype) { g.Reduce[0].State = 2 }, `genotype: reduce edge 0 ("max_pool_3x3", 2): node 0 may only read states 0 to 1`},
		{"negative state", func(g *Genotype) { g.Normal[7].State = -1 }, `genotype: normal edge 7 ("dil_conv_3x3", -1): node 3 may only read states 0 to 4`},
		{"odd number of edges", func(g *Genotype) { g.Normal = g.Normal[:7] }, "genotype: normal has 7 edges: want 2 for each intermediate node"},
		{"no edges", func(g *Genotype) { g.Reduce = nil }, "genotype: reduce has no edges: want 2 for each intermediate node"},
		{"no concat", func(g *Genotype) { g.NormalConcat = nil }, "genotype: normal_concat is empty: want at least one of the nodes' states 2 to 5"},
		{"concat of an input", func(g *Genotype) { g.ReduceConcat[0] = 1 }, "genotype: reduce_concat entry 0 is 1: want one of the nodes' states 2 to 5"},
		{"concat past the last node", func(g *Genotype) { g.NormalConcat[3] = 6 }, "genotype: normal_concat entry 3 is 6: want one of the nodes' states 2 to 5"},
		{"concat twice", func(g *Genotype) { g.NormalConcat[2] = 2 }, "genotype: normal_concat entry 2 is 2 again: want each state at most once"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g, _ := Named("DARTS_V2")
			test.change(&g)
			got := ""
			if err := g.Validate(); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("\ngot  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestMarshalJSON(t *testing.T) {
	g, _ := Named("DARTS_V2")
	got, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"normal":[["sep_conv_3x3",0],["sep_conv_3x3",1],["sep_conv_3x3",0],["sep_conv_3x3",1],["sep_conv_3x3",1],["skip_connect",0],["skip_connect",0],["dil_conv_3x3",2]],"normal_concat":[2,3,4,5],` +
		`"reduce":[["max_pool_3x3",0],["max_pool_3x3",1],["skip_connect",2],["max_pool_3x3",1],["max_pool_3x3",0],["skip_connect",2],["skip_connect",2],["max_pool_3x3",1]],"reduce_concat":[2,3,4,5]}`
	if string(got) != want {
		t.Errorf("\ngot  %s\nwant %s", got, want)
	}
	var back struct{ G Genotype }
	if err := json.Unmarshal([]byte(`{"G":`+want+`}`), &back); err != nil || !back.G.Equal(g) {
		t.Errorf("read back: %v, error %v", back.G, err)
	}
	before := back.G.Clone()
	if err := json.Unmarshal([]byte(`{"G":{"normal":[]}}`), &back); err == nil || !back.G.Equal(before) {
		t.Errorf("a genotype without fields: error %v, and the old value became %v", err, back.G)
	}
	var edges []Edge
	if err := json.Unmarshal([]byte(`[["skip_connect", 3]]`), &edges); err != nil || !slices.Equal(edges, []Edge{{SkipConnect, 3}}) {
		t.Errorf("edges by themselves: %v, error %v", edges, err)
	}
}

func TestLoad(t *testing.T) {
	g, _ := Named("DARTS_V1")
	asJSON, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, argument := range map[string]string{
		"name":                  "DARTS_V1",
		"JSON":                  string(asJSON),
		"Python text":           g.String(),
		"file of JSON":          write("genotype.json", string(asJSON)+"\n"),
		"file of Python text":   write("Genotype.txt", "genotype = "+g.String()+"\n"),
		"file of a name":        write("name", "DARTS_V1\n"),
		"Python text, indented": "\n  " + strings.ReplaceAll(g.String(), " ", "\n\t"),
	} {
		if got, err := Load(argument); err != nil || !got.Equal(g) {
			t.Errorf("%s: got %v, error %v", name, got, err)
		}
	}

	large := write("large", strings.Repeat(" ", fileLimit+1))
	bad := write("bad", "{\n \"normal\": 1}")
	for name, test := range map[string]struct{ argument, want string }{
		"unknown name": {"DARTS_V9", `genotype: cannot read a file "DARTS_V9" (no such file or directory); want a file, one of NASNet, AmoebaNet, DARTS_V1, DARTS_V2, DARTS, JSON, or Genotype(normal=[...], ...)`},
		"folder":       {dir, "is a directory"},
		"nothing":      {"", `genotype: cannot read a file ""`},
		"misspelt":     {"Genotpye(\n" + strings.Repeat("x", 9999), `genotype: cannot read a file "Genotpye(\nxxx`},
		"large file":   {large, large + ": genotype: the file is larger than 1048576 bytes"},
		"bad file":     {bad, bad + ": genotype: line 2, column 12: want a list of edges, found '1'"},
	} {
		got, err := Load(test.argument)
		if err == nil {
			t.Errorf("%s: no error, got %v", name, got)
		} else if message := err.Error(); !strings.Contains(message, test.want) || strings.Contains(message, "\n") || len(message) > 400 {
			t.Errorf("%s\ngot  %s\nwant %s", name, message, test.want)
		}
	}
}

func TestSkipConnects(t *testing.T) {
	g, _ := Named("DARTS_V2")
	if got := [2]int{SkipConnects(g.Normal), SkipConnects(g.Reduce)}; got != [2]int{2, 3} {
		t.Errorf("skip connections of DARTS_V2 = %v, want [2 3]", got)
	}
}

func TestEntropy(t *testing.T) {
	uniform := make([]float64, 8)
	certain := []float64{0, 0, 2000, 0, 0, 0, 0, 0}
	half := []float64{5, 5, -2000, -2000, -2000, -2000, -2000, -2000}
	for _, test := range []struct {
		name   string
		alphas [][]float64
		want   float64
	}{
		{"uniform", [][]float64{uniform}, math.Log(8)},
		{"certain", [][]float64{certain}, 0},
		{"one of two", [][]float64{half}, math.Ln2},
		{"mean", [][]float64{uniform, certain, half}, (math.Log(8) + math.Ln2) / 3},
		{"no rows", nil, 0},
	} {
		if got := Entropy(test.alphas); !(math.Abs(got-test.want) <= 1e-12) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}
