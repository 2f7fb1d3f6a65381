package space

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestGoldenRecurrent compares derivation with the original's, ties included, and both directions of the text form.
func TestGoldenRecurrent(t *testing.T) {
	found := 0
	for _, path := range goldenFiles(t) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var cases []struct {
			Alphas   [][]float64 `json:"alphas"`
			Genotype string      `json:"genotype"`
		}
		if json.Unmarshal(data, &cases) != nil || len(cases) == 0 || cases[0].Alphas == nil {
			continue // holds no alphas of recurrent cells
		}
		for i, c := range cases {
			found++
			got, err := DeriveRecurrent(c.Alphas)
			if err != nil {
				t.Errorf("%s: case %d: %v", filepath.Base(path), i, err)
			} else if got.String() != c.Genotype {
				t.Errorf("%s: case %d\ngot  %s\nwant %s", filepath.Base(path), i, got, c.Genotype)
			}
			if parsed, err := ParseRecurrent(c.Genotype); err != nil || parsed.String() != c.Genotype {
				t.Errorf("case %d: parsed and printed\ngot  %s, error %v\nwant %s", i, parsed, err, c.Genotype)
			}
		}
	}
	if found == 0 {
		t.Error("no cases of recurrent cells")
	}
}

// recurrentV2Text is the second-order cell in the form that the original prints.
const recurrentV2Text = "Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2), ('sigmoid', 5), ('tanh', 3), ('relu', 5)], concat=[1, 2, 3, 4, 5, 6, 7, 8])"

func TestNamedRecurrent(t *testing.T) {
	if got, want := strings.Join(RecurrentNames(), " "), "ENAS DARTS_V1 DARTS_V2 DARTS"; got != want {
		t.Errorf("RecurrentNames() = %s, want %s", got, want)
	}
	for _, name := range RecurrentNames() {
		g, ok := NamedRecurrent(name)
		if err := g.Validate(); !ok || err != nil {
			t.Errorf("%s: known %v, error %v", name, ok, err)
		}
		text, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{name, g.String(), string(text), strings.Replace(recurrentV2Text, "[1, 2, 3, 4, 5, 6, 7, 8]", "range(1, 9)", 1)} {
			parsed, err := LoadRecurrent(form)
			if err != nil || !parsed.Equal(g) && !strings.Contains(form, "range") {
				t.Errorf("%s read back: %v, error %v", form, parsed, err)
			}
		}
	}
	for _, name := range []string{"DARTS", "DARTS_V2"} {
		g, _ := NamedRecurrent(name)
		if got := g.String(); got != recurrentV2Text {
			t.Errorf("%s\ngot  %s\nwant %s", name, got, recurrentV2Text)
		}
		g.Edges[0].Primitive, g.Concat[0] = None, 5
	}
	if g, _ := NamedRecurrent("DARTS"); g.String() != recurrentV2Text {
		t.Error("a caller can change a named cell")
	}
	RNN()[0] = Tanh
	if want := []Primitive{"none", "tanh", "relu", "sigmoid", "identity"}; !slices.Equal(RNN(), want) {
		t.Errorf("RNN() = %v, want %v", RNN(), want)
	}
}

func TestRecurrentErrors(t *testing.T) {
	for text, want := range map[string]string{
		"NASNet":        "want one of ENAS, DARTS_V1, DARTS_V2, DARTS, JSON, or Genotype(recurrent=[...], concat=[...])",
		dartsV2Text:     `column 10: unknown field "normal"; want recurrent, concat`,
		"Genotype()":    "genotype: recurrent is missing; want recurrent, concat",
		`{"concat":[]}`: "genotype: recurrent is missing",
		"Genotype(recurrent=[('none', 0)], concat=[1])":              `recurrent edge 0 ("none", 0): unknown primitive; the known ones are tanh, relu, sigmoid, identity`,
		"Genotype(recurrent=[('tanh', 0), ('relu', 2)], concat=1)":   "want a list of states",
		"Genotype(recurrent=[('tanh', 0), ('relu', 2)], concat=[1])": `recurrent edge 1 ("relu", 2): node 1 may only read states 0 to 1`,
		"Genotype(recurrent=[('tanh', 0)], concat=[0])":              "concat entry 0 is 0: want one of the nodes' states 1 to 1",
		"Genotype(recurrent=[], concat=[1])":                         "recurrent has no edges: want 1 for each intermediate node",
	} {
		if g, err := ParseRecurrent(text); err == nil || !strings.Contains(err.Error(), want) || g.Edges != nil {
			t.Errorf("%s: got %v, error %v, want %q in it", text, g, err, want)
		}
	}
	row := make([]float64, 5)
	for want, alphas := range map[string][][]float64{
		"derive: alphas have 2 rows: want 1+2+... one for each edge":         {row, row},
		"derive: alphas have 0 rows: want 1+2+... one for each edge":         nil,
		"derive: alphas row 0 has 4 columns: want 5, one for each primitive": {row[:4]},
	} {
		if _, err := DeriveRecurrent(alphas); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func FuzzParseRecurrent(f *testing.F) {
	for _, text := range []string{recurrentV2Text, "ENAS", "", `{"recurrent":[["tanh",0]],"concat":[1]}`, "Genotype(concat=range(1,9), recurrent=(('tanh',0),))"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, err := ParseRecurrent(text)
		if err != nil {
			return
		}
		if again, err := ParseRecurrent(g.String()); err != nil || !again.Equal(g) {
			t.Fatalf("%q: read back %v, error %v", text, again, err)
		}
	})
}
