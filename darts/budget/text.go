package budget

import (
	"context"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
)

// TextForm is a language model without its cell.
type TextForm struct {
	Name       string
	Vocabulary int
	Hidden     int // of embedding and states alike
	Steps      int // words of a row that a program reads at a time
	TrainRows  int // of text side by side in the original's training
}

// PTB and WikiText2 are the language models that papers report (Liu et al. 2019, sec. 3.1.3 and 3.2.3).
var (
	PTB       = TextForm{Name: "ptb", Vocabulary: 10000, Hidden: 850, Steps: 35, TrainRows: 64}
	WikiText2 = TextForm{Name: "wikitext2", Vocabulary: 33278, Hidden: 700, Steps: 35, TrainRows: 64}
)

// TextForms lists both.
func TextForms() []TextForm { return []TextForm{PTB, WikiText2} }

// Language is the form with a cell in it.
func (f TextForm) Language(g space.Recurrent) rnn.Language {
	return rnn.Language{Vocabulary: f.Vocabulary, Hidden: f.Hidden, Genotype: &g}
}

// OfText counts what a recurrent genotype costs in a form; multiply-adds are those of one word, the decoder's included.
func OfText(f TextForm, g space.Recurrent) (Cost, error) {
	m := ir.NewModule("cost")
	if err := bilevel.BuildTextEvaluate(m, f.Language(g), 1, 1, false); err != nil {
		return Cost{}, err
	}
	return Cost{Parameters: parameters(m), MultiplyAdds: multiplyAdds(m.Programs[0].Ops)}, nil
}

// TextInference compiles the evaluation of a language model for so many rows of text.
func TextInference(ctx context.Context, f TextForm, g space.Recurrent, rows int, target string) (*plan.Plan, error) {
	m := ir.NewModule("inference")
	if err := bilevel.BuildTextEvaluate(m, f.Language(g), rows, f.Steps, false); err != nil {
		return nil, err
	}
	return compiler.Compile(ctx, m, compiler.Options{Target: target})
}

// TextTraining compiles the training step of a language model, with all of the original's dropouts.
func TextTraining(ctx context.Context, f TextForm, g space.Recurrent, rows int, target string) (*plan.Plan, error) {
	m := ir.NewModule("training")
	language := f.Language(g)
	language.Dropout = rnn.Dropout{Words: 0.1, Embedding: 0.2, Input: 0.75, Hidden: 0.25, Output: 0.75}
	config := bilevel.TextDefaults()
	config.Rows, config.Steps = rows, f.Steps
	if err := bilevel.BuildTextTrainStep(m, language, config, false); err != nil {
		return nil, err
	}
	return compiler.Compile(ctx, m, compiler.Options{Target: target})
}
