package recipe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/report"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/darts/text"
	"github.com/dartsc/dartsc/ir"
)

// TextSearch is a search for a recurrent cell that is compiled and ready to run (rnn/train_search.py of the original).
type TextSearch struct {
	textLoop[TextSearchConfig]
	valid text.Streams // the text that the alphas learn from, in as many rows as the training text
}

// rooms are the lengths that there are programs for: those that a search draws.
func (c TextSearchConfig) rooms() []int {
	if half := c.BPTT / 2; half >= 1 {
		return []int{half, c.BPTT}
	}
	return []int{c.BPTT}
}

// TextSearchModule builds the programs of a search on a corpus of the given summary.
func TextSearchModule(config TextSearchConfig, d text.Summary) (*ir.Module, error) {
	m := ir.NewModule("rnn search")
	l := config.language(d.Vocabulary, nil)
	for _, rows := range config.rooms() {
		if err := bilevel.BuildTextSearchStep(m, l, config.step(rows)); err != nil {
			return nil, err
		}
	}
	// As many rows as in training, since the rows are what the supernet normalises over.
	return m, bilevel.BuildTextEvaluate(m, l, config.BatchSize, config.BPTT, false)
}

// TextSearchMetadata is recorded in the plan of a search.
func TextSearchMetadata(config TextSearchConfig, d text.Summary) map[string]string {
	m := config.metadata("rnn search", d)
	m["order"] = "first"
	if config.Unrolled {
		m["order"] = "second"
	}
	return m
}

func (c TextSettings) metadata(what string, d text.Summary) map[string]string {
	return map[string]string{
		"what": what, "data": d.Name, "vocabulary": fmt.Sprint(d.Vocabulary), "nhid": fmt.Sprint(c.Hidden),
		"batch_size": fmt.Sprint(c.BatchSize), "bptt": fmt.Sprint(c.BPTT), "precision": cmp.Or(c.Precision, cuda.FP32),
	}
}

// NewTextSearch opens the text, compiles the search and places it on the device. Nothing is written.
func NewTextSearch(ctx context.Context, config TextSearchConfig, o Options) (*TextSearch, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &TextSearch{}
	if err := s.set(s, config, config.TextSettings, o); err != nil {
		return nil, err
	}
	s.lengths, s.rooms = text.Lengths{BPTT: config.BPTT}, config.rooms()
	var err error
	if s.valid, err = text.NewStreams(s.corpus.Valid, config.BatchSize); err != nil {
		return nil, fmt.Errorf("the validation text: %w", err)
	}
	if s.valid.Rows <= config.BPTT {
		return nil, fmt.Errorf("--bptt %d: the validation text in %d rows has %d words each; want a smaller --bptt or --batch-size", config.BPTT, config.BatchSize, s.valid.Rows)
	}
	build := func() (*ir.Module, error) { return TextSearchModule(config, s.data) }
	if err := s.open(ctx, build, TextSearchMetadata(config, s.data)); err != nil {
		return nil, err
	}
	return s, s.ready(config.BatchSize, "train", "valid")
}

func (s *TextSearch) name() string { return "search" }

func (s *TextSearch) program(*standing) string { return bilevel.SearchStep }

func (s *TextSearch) texts(w text.Window) []source {
	return []source{{s.streams, w}, {s.valid, s.valid.Wrapped(w.Start, w.Length)}}
}

func (s *TextSearch) diverged(_ *run.Folder, _ *standing, why error) error { return why }

func (s *TextSearch) begin(at *standing) (end int64, err error) {
	if err := s.session.SetScalar(bilevel.AlphaLearningRate, s.config.ArchLearningRate); err != nil {
		return 0, err
	}
	return s.textLoop.begin(at)
}

func (s *TextSearch) evaluate(ctx context.Context, at *standing) (err error) {
	at.Valid, err = s.evaluator.run(ctx, false)
	return err
}

// sum derives the genotype.
func (s *TextSearch) sum(at *standing, epoch int, t totals) (TextReport, error) {
	r := newTextReport(at, epoch, t)
	v := s.Plan().Variable(rnn.Alphas)
	values := make([]float32, v.Elements())
	if err := s.session.Get(rnn.Alphas, values); err != nil {
		return r, err
	}
	alphas := matrix(values, v.Shape[1])
	var err error
	r.Entropy = space.Entropy(alphas)
	if r.genotype, err = space.DeriveRecurrent(alphas); err != nil {
		return r, err
	}
	r.Genotype = r.genotype.String()
	return r, nil
}

func (s *TextSearch) record(folder *run.Folder, r TextReport) error {
	return folder.AppendGenotype(textGenotypeLine{Epoch: r.Epoch, Step: r.Step, Genotype: r.genotype, Text: r.Genotype, Entropy: r.Entropy})
}

// finish writes what the search found: genotype.json, recurrent.svg, and results.json, which comes last.
func (s *TextSearch) finish(_ context.Context, folder *run.Folder, r TextReport) error {
	if err := writeRecurrent(folder, r.genotype); err != nil {
		return err
	}
	return writeJSONFile(folder, Results, TextSearchResult{
		Task: TaskTextSearch, Data: s.data.Name, Seed: s.config.Seed, Epochs: s.config.Epochs, Genotype: r.Genotype,
		Unigram: s.data.Unigram, Train: r.TrainPerplexity, Valid: r.ValidPerplexity,
	})
}

// TextSearchResult is results.json of a search; the numbers are perplexities.
type TextSearchResult struct {
	Task     string  `json:"task"`
	Data     string  `json:"data"`
	Seed     uint64  `json:"seed"`
	Epochs   int     `json:"epochs"`
	Genotype string  `json:"genotype"`
	Unigram  float64 `json:"unigram_perplexity"` // of the validation text, see text.Summary
	Train    float64 `json:"train_perplexity"`   // in the last epoch, with dropout
	Valid    float64 `json:"valid_perplexity"`   // after it
}

// writeRecurrent writes genotype.json and recurrent.svg.
func writeRecurrent(folder *run.Folder, g space.Recurrent) error {
	if err := writeJSONFile(folder, "genotype.json", g); err != nil {
		return err
	}
	drawing, err := report.Recurrent(g)
	if err != nil {
		return err
	}
	return folder.WriteFile("recurrent.svg", drawing.SVG())
}

func writeJSONFile(folder *run.Folder, name string, value any) error {
	content, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return folder.WriteFile(name, append(content, '\n'))
}
