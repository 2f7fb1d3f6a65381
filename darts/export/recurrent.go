package export

import (
	"context"
	"fmt"
	"strings"

	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/weights"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx"
)

// Forms of an exported recurrent model; the names of their programs.
const (
	// Step reads a word of every row: tokens i32 [batch] and hidden f32 [batch,N] to log_probabilities f32 [batch,V] of the
	// words that follow, and next_hidden [batch,N].
	Step = "step"
	// Sequence does so for all words of a text: tokens i32 [steps,batch] and hidden to log_probabilities [steps,batch,V]
	// and the hidden state after the last step.
	Sequence = "sequence"
)

// Recurrent is a derived language model.
type Recurrent struct {
	Language rnn.Language
	Words    []string // of the vocabulary, by number; nil: unknown
	Seed     uint64   // of fresh weights
	Version  string   // of dartsc
}

// recurrentAxes name the dimensions that the inputs of a form have any size of.
var recurrentAxes = map[string]map[string][]string{
	Step:     {"tokens": {"batch"}, "hidden": {"batch"}},
	Sequence: {"tokens": {"steps", "batch"}, "hidden": {"batch"}},
}

// Module builds the program of a form, for so many steps and rows of text.
func (m Recurrent) Module(form string, steps, rows int) (*ir.Module, error) {
	module := ir.NewModule("language")
	b := ops.NewBuilder(module, form)
	shape := []int{steps, rows}
	if form == Step {
		shape = shape[1:]
	}
	tokens, hidden := b.Input("tokens", ir.T(ir.I32, shape...)), b.Input("hidden", ir.T(ir.F32, rows, m.Language.Hidden))
	read := m.Language.Reading(&rnn.Scope{Builder: b, Weights: &model.Weights{}})
	if form == Step {
		answer, next := read(b, tokens, hidden)
		b.Result("log_probabilities", answer)
		b.Result("next_hidden", next)
	} else {
		length := b.Constant(ir.T(ir.I64), float64(steps))
		last, answers := b.Scan(length, steps, []*ir.Value{hidden}, []*ir.Value{tokens}, false,
			func(b *ops.Builder, in ir.LoopBody) (next, outputs []*ir.Value) {
				answer, h := read(b, in.Stacked[0], in.Carried[0])
				return []*ir.Value{h}, []*ir.Value{answer}
			})
		b.Result("log_probabilities", answers[0])
		b.Result("next_hidden", last[0])
	}
	_, err := b.Build()
	return module, err
}

// Parameters is the number of trained numbers in the model.
func (m Recurrent) Parameters() (count int, err error) {
	list, err := m.Language.Parameters()
	for _, v := range list {
		count += v.Type.Elements()
	}
	return count, err
}

// RecurrentONNX returns a form of the model as an ONNX file, of opset 17. Nil weights are fresh ones.
func RecurrentONNX(ctx context.Context, m Recurrent, form string, trained *weights.Weights, halfWeights bool) ([]byte, error) {
	if recurrentAxes[form] == nil {
		return nil, fmt.Errorf("form %q of a recurrent model: want %s or %s", form, Step, Sequence)
	}
	module, err := m.Module(form, 3, 2) // the file has any; these two differ
	if err != nil {
		return nil, err
	}
	var variables map[string][]float32
	if trained == nil {
		variables, err = fresh(ctx, module, m.Seed)
	} else if variables, err = trained.FitLanguage(m.Language); err != nil {
		err = fmt.Errorf("--weights: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return onnx.Export(module, form, variables, onnx.Options{
		Axes: recurrentAxes[form], HalfWeights: halfWeights, ProducerVersion: m.Version, Metadata: m.metadata(form),
	})
}

func (m Recurrent) metadata(form string) map[string]string {
	data := map[string]string{
		"genotype":   m.Language.Genotype.String(),
		"nhid":       fmt.Sprint(m.Language.Hidden),
		"vocabulary": fmt.Sprint(m.Language.Vocabulary),
		"form":       form,
		"input":      "tokens, int32 numbers of words, and hidden, zeros where a text begins",
		"output":     "log_probabilities of the word after each, and next_hidden, the hidden input of what follows",
	}
	if m.Words != nil {
		data["words"] = strings.Join(m.Words, "\n")
	}
	return data
}
