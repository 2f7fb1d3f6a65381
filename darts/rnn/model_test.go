package rnn

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

const rows, size, vocabulary = 2, 5, 7

// evaluator builds a model with room for so many steps.
func evaluator(t *testing.T, l Language, steps int) (*ir.Module, *ir.Program) {
	t.Helper()
	m := ir.NewModule("language")
	b := ops.NewBuilder(m, "evaluate")
	words, hidden := b.Input("words", ir.T(ir.I32, steps, rows)), b.Input("hidden", ir.T(ir.F32, rows, size))
	out := l.Forward(&Scope{Builder: b, Weights: &model.Weights{}}, words, hidden, b.Input("length", ir.T(ir.I64)))
	b.Result("logits", out.Logits)
	b.Result("hidden", out.Hidden)
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := ir.Verify(m, ops.Rules); err != nil {
		t.Fatal(err)
	}
	return m, p
}

// answers runs a model with weights that follow from their names, over the first words of a text.
func answers(t *testing.T, l Language, steps, length int) (logits, hidden []float64) {
	t.Helper()
	m, p := evaluator(t, l, steps)
	variables := ops.Variables(m)
	for _, v := range m.Variables {
		if v.Kind == ir.Statistic {
			continue
		}
		for i := range variables[v.Name].Data {
			variables[v.Name].Data[i] = math.Sin(float64(i*len(v.Name) + 1))
		}
	}
	words := ops.NewTensor(ir.T(ir.I32, steps, rows))
	for i := range length * rows {
		words.Data[i] = float64((3*i + 1) % vocabulary)
	}
	out, err := ops.Run(p, variables, map[string]*ops.Tensor{
		"words": words, "hidden": ops.NewTensor(ir.T(ir.F32, rows, size)), "length": ops.Scalar(ir.I64, float64(length)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out["logits"].Data[:length*rows*vocabulary], out["hidden"].Data
}

// TestRoom: what a model answers does not depend on how many more steps there is room for.
func TestRoom(t *testing.T) {
	v2, _ := space.NamedRecurrent("DARTS_V2")
	for name, genotype := range map[string]*space.Recurrent{"supernet": nil, "DARTS_V2": &v2} {
		l := Language{Vocabulary: vocabulary, Hidden: size, Genotype: genotype}
		logits, hidden := answers(t, l, 3, 3)
		more, same := answers(t, l, 6, 3)
		if !slices.Equal(logits, more) || !slices.Equal(hidden, same) {
			t.Errorf("%s: with room for 6 steps %v and %v, for 3 %v and %v", name, more, same, logits, hidden)
		}
		if slices.ContainsFunc(hidden, func(v float64) bool { return v != v || v == 0 }) {
			t.Errorf("%s: hidden state %v", name, hidden)
		}
	}
}

// TestParameters: variables have the names of the original, and its order.
func TestParameters(t *testing.T) {
	m, _ := evaluator(t, Language{Vocabulary: vocabulary, Hidden: size}, 2)
	var names []string
	for _, v := range m.Variables {
		names = append(names, v.Name+" "+v.Type.String()[3:])
	}
	want := "encoder.weight [7,5] rnns.0._W0 [10,10] alphas [36,5] rnns.0._Ws.0 [5,10]"
	if got := strings.Join(names, " "); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "decoder.bias [7]") {
		t.Errorf("variables %s, want %s …", got, want)
	}
}

func TestErrors(t *testing.T) {
	for want, l := range map[string]Language{
		"vocabulary of 0 words":              {Hidden: size},
		"dropout probability -1":             {Vocabulary: vocabulary, Hidden: size, Dropout: Dropout{Input: -1}},
		"words i32[3,2] and hidden state":    {Vocabulary: vocabulary, Hidden: size + 1},
		`genotype: recurrent edge 0 ("none"`: {Vocabulary: vocabulary, Hidden: size, Genotype: &space.Recurrent{Edges: []space.Edge{{Primitive: space.None}}, Concat: []int{1}}},
	} {
		b := ops.NewBuilder(ir.NewModule("language"), "evaluate")
		words, hidden := b.Input("words", ir.T(ir.I32, 3, rows)), b.Input("hidden", ir.T(ir.F32, rows, size))
		l.Forward(&Scope{Builder: b, Weights: &model.Weights{}}, words, hidden, b.Input("length", ir.T(ir.I64)))
		if _, err := b.Build(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q", err, want)
		}
	}
}
