package golden

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
)

// The recurrent cases fix no rate in their metadata: these are the original's defaults.
const (
	textRate      = 20
	textAlphaRate = 3e-3
)

// room is how many more steps the programs have room for than the cases have: what is beyond the length must not count.
const room = 2

// textCase is a recurrent case and the sizes that its metadata gives.
type textCase struct {
	*testCase
	language    rnn.Language
	rows, steps int
}

func newTextCase(c *testCase) textCase {
	return textCase{c, rnn.Language{Vocabulary: c.int("vocabulary"), Hidden: c.int("nhid")}, c.int("batch"), c.int("bptt")}
}

// padded is a tensor of words [T,B] with more steps.
func (c textCase) padded(name string, with float64) []float64 {
	return append(slices.Clone(c.values(name)), slices.Repeat([]float64{with}, room*c.rows)...)
}

// logProbabilities are the logarithms of the softmax of each row of so many logits, without the steps beyond the length.
func (c textCase) logProbabilities(logits []float64) []float64 {
	v := c.language.Vocabulary
	out := slices.Clone(logits[:c.steps*c.rows*v])
	for row := range slices.Chunk(out, v) {
		sum, top := 0.0, slices.Max(row)
		for _, x := range row {
			sum += math.Exp(x - top)
		}
		for i := range row {
			row[i] -= top + math.Log(sum)
		}
	}
	return out
}

// checkTextSearch: whole steps of a recurrent search, hidden states carried from one to the next.
func checkTextSearch(t *testing.T, golden *testCase) {
	c := newTextCase(golden)
	config := bilevel.TextDefaults().AsOriginal()
	config.Unrolled = c.meta("unrolled") == "true"
	config.Inspect = true
	config.Rows, config.Steps = c.rows, c.steps+room
	m := ir.NewModule("search")
	if err := bilevel.BuildTextSearchStep(m, c.language, config); err != nil {
		t.Fatal(err)
	}
	program := rnn.Name(bilevel.SearchStep, config.Steps)
	engines(t, m, func(t *testing.T, e engine, tolerance float64) {
		c := textCase{&testCase{t, c.file}, c.language, c.rows, c.steps}
		alphaTolerance := tolerance
		if config.Unrolled && tolerance == planTolerance {
			alphaTolerance = unrolledTolerance
		}
		for _, name := range c.under("init/") {
			e.set(name, c.values("init/"+name))
		}
		e.set(bilevel.LearningRate, []float64{textRate})
		e.set(bilevel.AlphaLearningRate, []float64{textAlphaRate})
		for step := range 3 {
			at := fmt.Sprintf("step%d/", step)
			// The alphas' pass magnifies what float32 has rounded in the steps before, some tenfold in each: beyond the second,
			// which of its roundings a plan has decides.
			validTolerance, alphaTolerance := tolerance, alphaTolerance
			if step == 2 && tolerance == planTolerance {
				validTolerance, alphaTolerance = 10*tolerance, 10*alphaTolerance
			}
			got := e.run(program, map[string][]float64{
				"length": {float64(c.steps)}, "train_tokens": c.padded(at+"train_x", 0), "train_targets": c.padded(at+"train_y", -1),
				"valid_tokens": c.padded(at+"valid_x", 0), "valid_targets": c.padded(at+"valid_y", -1),
			})
			compare(t, at+"gradient of alphas", got["gradient/"+rnn.Alphas], c.values(at+"galphas"), alphaTolerance)
			compare(t, at+"alphas", e.get(rnn.Alphas), c.values(at+"alphas"), tolerance)
			compare(t, at+"raw loss", got["loss"], c.values(at+"raw_loss"), tolerance)
			compare(t, at+"loss", got["total_loss"], c.values(at+"loss"), tolerance)
			compare(t, at+"hidden", e.get(rnn.HiddenTrain), c.values(at+"hidden"), tolerance)
			compare(t, at+"hidden of validation", e.get(rnn.HiddenValid), c.values(at+"hidden_valid"), validTolerance)
			compare(t, at+"norm of the gradient", got["grad_norm"], c.values(at+"grad_norm"), tolerance)
			if c.has(at + "log_prob") {
				compare(t, at+"log probabilities", c.logProbabilities(got["logits"]), c.values(at+"log_prob"), tolerance)
			}
			for _, name := range c.under(at + "grad/") {
				compare(t, at+"gradient of "+name, got["gradient/"+name], c.values(at+"grad/"+name), tolerance)
			}
		}
		for _, name := range c.under("final/") {
			compare(t, "final "+name, e.get(name), c.values("final/"+name), tolerance)
		}
		var alphas [][]float64
		for row := range slices.Chunk(e.get(rnn.Alphas), len(space.RNN())) {
			alphas = append(alphas, row)
		}
		genotype, err := space.DeriveRecurrent(alphas)
		if err != nil {
			t.Fatal(err)
		}
		if want := c.meta("genotype"); genotype.String() != want {
			t.Errorf("genotype %s, want %s", genotype, want)
		}
	})
}

// checkTextTraining: steps of a derived recurrent model, first by SGD and then by averaged SGD, and what it answers.
func checkTextTraining(t *testing.T, golden *testCase) {
	c := newTextCase(golden)
	genotype, err := space.ParseRecurrent(c.meta("genotype"))
	if err != nil {
		t.Fatal(err)
	}
	c.language.Genotype = &genotype
	config := bilevel.TextDefaults()
	config.SGD.WeightDecay, config.Activation, config.Inspect = 8e-7, 0.5, true
	config.Rows, config.Steps = c.rows, c.steps+room
	m := ir.NewModule("training")
	for _, averaged := range []bool{false, true} {
		if err := bilevel.BuildTextTrainStep(m, c.language, config, averaged); err != nil {
			t.Fatal(err)
		}
		if err := bilevel.BuildTextEvaluate(m, c.language, c.rows, config.Steps, averaged); err != nil {
			t.Fatal(err)
		}
	}
	engines(t, m, func(t *testing.T, e engine, tolerance float64) {
		c := textCase{&testCase{t, c.file}, c.language, c.rows, c.steps}
		for _, name := range c.under("init/") {
			e.set(name, c.values("init/"+name))
		}
		e.set(bilevel.LearningRate, []float64{textRate})
		steps := c.int("steps")
		for step := range steps {
			at, kind := fmt.Sprintf("step%d/", step), bilevel.TrainStep
			if step >= steps/2 {
				kind = bilevel.TrainAverageStep
			}
			got := e.run(rnn.Name(kind, config.Steps), map[string][]float64{
				"length": {float64(c.steps)}, "train_tokens": c.padded(at+"x", 0), "train_targets": c.padded(at+"y", -1),
			})
			compare(t, at+"raw loss", got["loss"], c.values(at+"raw_loss"), tolerance)
			compare(t, at+"loss", got["total_loss"], c.values(at+"loss"), tolerance)
			if c.has(at + "log_prob") {
				compare(t, at+"log probabilities", c.logProbabilities(got["logits"]), c.values(at+"log_prob"), tolerance)
			}
			for _, name := range c.under(at + "grad/") {
				compare(t, at+"gradient of "+name, got["gradient/"+name], c.values(at+"grad/"+name), tolerance)
			}
		}
		for _, name := range c.under("final/") {
			compare(t, "final "+name, e.get(name), c.values("final/"+name), tolerance)
		}
		for _, name := range c.under("final_average/") {
			compare(t, "average of "+name, e.get(name+".average"), c.values("final_average/"+name), tolerance)
		}
		// The log probabilities of the final weights, from a hidden state of zeros, at the targets of the first step.
		want := 0.0
		for i, y := range c.values("step0/y") {
			want -= c.values("eval/log_prob")[i*c.language.Vocabulary+int(y)]
		}
		got := e.run(rnn.Name(bilevel.Evaluate, config.Steps), map[string][]float64{
			"length": {float64(c.steps)}, "tokens": c.padded("step0/x", 0), "targets": c.padded("step0/y", -1),
		})
		compare(t, "loss in evaluation", got["loss"], []float64{want}, tolerance)
	})
}
