package golden

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// checkJSON: genotypes of given alphas, or parameter counts of full-size networks, of either task.
func checkJSON(t *testing.T, path string) {
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var derivations []derivation
	if json.Unmarshal(content, &derivations) == nil && len(derivations) > 0 {
		for i, d := range derivations {
			if got, err := d.derive(); err != nil || got != d.Genotype {
				t.Errorf("case %d: derived %s, error %v, want %s", i, got, err, d.Genotype)
			}
		}
		return
	}
	var counts map[string]json.RawMessage
	if err := json.Unmarshal(content, &counts); err != nil || len(counts) == 0 {
		t.Fatalf("neither genotypes nor parameter counts: %v", err)
	}
	for name, want := range counts {
		t.Run(strings.ReplaceAll(name, "/", "-"), func(t *testing.T) {
			var images []int
			var text int
			switch {
			case json.Unmarshal(want, &images) == nil:
				checkCount(t, name, images)
			case json.Unmarshal(want, &text) == nil:
				checkTextCount(t, name, text)
			default:
				t.Fatalf("%s is no count", want)
			}
		})
	}
}

// derivation is the alphas of a convolutional or of a recurrent cell, and the genotype that they stand for.
type derivation struct {
	Normal   [][]float64 `json:"alphas_normal"`
	Reduce   [][]float64 `json:"alphas_reduce"`
	Alphas   [][]float64 `json:"alphas"`
	Genotype string      `json:"genotype"`
}

func (d derivation) derive() (string, error) {
	if d.Alphas != nil {
		g, err := space.DeriveRecurrent(d.Alphas)
		return g.String(), err
	}
	g, err := space.Derive(d.Normal, d.Reduce)
	return g.String(), err
}

// checkTextCount compares the parameters of a recurrent model; names are like "DARTS_V2/V10000/nhid850" and
// "search/V10000/nhid300".
func checkTextCount(t *testing.T, name string, want int) {
	parts := strings.Split(name, "/")
	var l rnn.Language
	fmt.Sscanf(strings.Join(parts[1:], " "), "V%d nhid%d", &l.Vocabulary, &l.Hidden)
	if parts[0] != "search" {
		genotype, err := space.ParseRecurrent(parts[0])
		if err != nil {
			t.Fatal(err)
		}
		l.Genotype = &genotype
	}
	m := ir.NewModule(name)
	b := ops.NewBuilder(m, "evaluate")
	words, hidden, length := b.Input("words", ir.T(ir.I32, 3, 2)), b.Input("hidden", ir.T(ir.F32, 2, l.Hidden)), b.Input("length", ir.T(ir.I64))
	b.Result("logits", l.Forward(&rnn.Scope{Builder: b, Weights: &model.Weights{}}, words, hidden, length).Logits)
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	if got := weightsOf(m); got != want {
		t.Errorf("%d parameters, want %d", got, want)
	}
}
