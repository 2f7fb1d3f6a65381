package recipe

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/darts/text"
	"github.com/dartsc/dartsc/darts/weights"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/runtime"
)

// TextTestConfig says which recurrent network is measured on which text.
type TextTestConfig struct {
	Model     string // file of weights
	Genotype  space.Recurrent
	Data      string // a folder, or text.Grammar
	Seed      uint64 // of generated text
	BatchSize int    // rows that the text is cut into; the original's test has 1
	BPTT      int
	Precision string // of the plan; "" is cuda.FP32
}

// TextTestOf is how a recurrent model is measured as far as it says so itself: a run folder knows its cell and its text,
// a file its cell.
func TextTestOf(path string) (TextTestConfig, error) {
	m, err := TextModelOf(path)
	if err == nil && m.Weights == "" {
		err = fmt.Errorf("%s is the run of a search, which trains no cell alone: want that of dartsc run train rnn --arch %s, or a file of weights", path, path)
	}
	c := TextTestConfig{Model: m.Weights, Genotype: m.Genotype, Data: m.Data, Seed: m.Seed, BatchSize: 1, BPTT: 35}
	if m.BPTT > 0 {
		c.BPTT = m.BPTT
	}
	return c, err
}

// TextScore is how a network does on a text.
type TextScore struct {
	Model      string  `json:"model"`
	Format     string  `json:"format"` // of the model's file
	Data       string  `json:"data"`
	Words      int64   `json:"words"`
	Parameters int     `json:"parameters"`
	Loss       float64 `json:"loss"` // nats a word
	Perplexity float64 `json:"perplexity"`
	Unigram    float64 `json:"unigram_perplexity"` // of the validation text
	Seconds    float64 `json:"seconds"`            // without reading and compiling
}

// TestText measures a network on the test text of its data. Nothing is written.
func TestText(ctx context.Context, c TextTestConfig, o Options) (TextScore, error) {
	if err := c.Genotype.Validate(); err != nil {
		return TextScore{}, fmt.Errorf("--arch: %w", err)
	}
	if err := firstWrong([]check{{"--batch-size", c.BatchSize >= 1, "at least 1"}, {"--bptt", c.BPTT >= 1, "at least 1"}}); err != nil {
		return TextScore{}, err
	}
	w, err := weights.Read(c.Model)
	if err != nil {
		return TextScore{}, err
	}
	corpus, err := text.Open(c.Data, c.Seed)
	if err != nil {
		return TextScore{}, err
	}
	d := corpus.Summary()
	l, err := w.Language()
	if err != nil {
		return TextScore{}, err
	}
	if l.Vocabulary != d.Vocabulary {
		return TextScore{}, fmt.Errorf("%s has %d words, the vocabulary of %s has %d: --data must be the text that it was trained on", c.Model, l.Vocabulary, d.Name, d.Vocabulary)
	}
	l.Genotype = &c.Genotype
	m := ir.NewModule("rnn test")
	if err := bilevel.BuildTextEvaluate(m, l, rowsOf(corpus.Test, c.BatchSize), c.BPTT, false); err != nil {
		return TextScore{}, err
	}
	p, err := compiler.Compile(ctx, m, compiler.Options{Target: o.Device.Target(), Precision: c.Precision, Version: o.Version, Logger: o.Logger})
	if err != nil {
		return TextScore{}, err
	}
	session, err := runtime.Open(p, o.Device)
	if err != nil {
		return TextScore{}, err
	}
	defer session.Close()
	s := TextScore{Model: c.Model, Format: w.Format, Data: d.Name, Unigram: d.Unigram}
	if s.Parameters, err = setText(session, l, w); err != nil {
		return s, err
	}
	e, err := newTextEvaluator(session, corpus.Test, c.BatchSize, c.BPTT)
	if err != nil {
		return s, err
	}
	start := time.Now()
	t, err := e.run(ctx, false)
	s.Seconds, s.Words, s.Loss = time.Since(start).Seconds(), t.Count, t.mean(t.Loss)
	s.Perplexity = math.Exp(s.Loss)
	return s, err
}

// setText sets the weights of a session's model, and counts them.
func setText(session *runtime.Session, l rnn.Language, w *weights.Weights) (parameters int, err error) {
	values, err := w.FitLanguage(l)
	if err != nil {
		return 0, err
	}
	for name, v := range values {
		if err := session.Set(name, v); err != nil {
			return 0, err
		}
		parameters += len(v)
	}
	return parameters, nil
}

// TextParameters is the number of trained numbers in the model of a recurrent cell.
func TextParameters(g space.Recurrent, hidden, vocabulary int) (int, error) {
	parameters, err := rnn.Language{Vocabulary: vocabulary, Hidden: hidden, Genotype: &g}.Parameters()
	count := 0
	for _, v := range parameters {
		count += v.Type.Elements()
	}
	return count, err
}
