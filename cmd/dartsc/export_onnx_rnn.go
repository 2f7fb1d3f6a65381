package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/darts/export"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/darts/text"
	"github.com/dartsc/dartsc/darts/weights"
	"github.com/dartsc/dartsc/internal/atomicfile"
)

type exportONNXRNN struct {
	onnxOutput
	genotype, run, weights, data, form string
	hidden, vocabulary                 int
	seed                               uint64
}

func newExportONNXRNN() *cobra.Command {
	var o exportONNXRNN
	cmd := &cobra.Command{
		Use: "rnn", Short: "Write a recurrent model as ONNX", Args: noArgs,
		Long: `Write the language model of a recurrent cell as ONNX, opset 17, for any batch. Of --form step, it reads a word of every row:
  tokens int32 [batch], hidden [batch,nhid] → log_probabilities [batch,vocabulary], next_hidden [batch,nhid]
Of --form sequence, it reads all words of a text of any length, by a Scan over the steps:
  tokens int32 [steps,batch], hidden → log_probabilities [steps,batch,vocabulary], next_hidden

--run is the folder of a training, of which the cell and the best weights are written, or of a search, of which the cell is,
with fresh weights. --weights is a file of weights: one that a training left, or what the original saved. --genotype is a
cell: with --weights, for a file that does not say its own, and alone with fresh weights. The words themselves go into
the file's metadata, as those of the run's text or of --data.`,
		Example: `  dartsc export onnx rnn --run train-20260102-150405 -o step.onnx
  dartsc export onnx rnn --weights ptb_model.pt --data penn --form sequence -o ptb.onnx`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.execute(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.genotype, "genotype", "", "recurrent cell: a name, a text, a file, or the folder of a run")
	flags.StringVar(&o.run, "run", "", "folder of a run, for its cell, its weights and its text")
	flags.StringVar(&o.weights, "weights", "", "trained weights: a PyTorch or safetensors file")
	flags.StringVar(&o.data, "data", "", "folder of the text whose words the model knows, or grammar (default for a run: its own)")
	flags.StringVar(&o.form, "form", export.Step, "step, or sequence")
	flags.IntVar(&o.hidden, "nhid", 850, "size of states and of word embeddings, with fresh weights")
	flags.IntVar(&o.vocabulary, "vocabulary", 10000, "number of words, with fresh weights and without a text")
	flags.Uint64Var(&o.seed, "seed", 0, "of fresh weights, and of a generated text")
	o.bind(cmd)
	complete(cmd, "genotype", space.RecurrentNames()...)
	complete(cmd, "form", export.Step, export.Sequence)
	return cmd
}

func (o *exportONNXRNN) execute(cmd *cobra.Command) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.form != export.Step && o.form != export.Sequence {
		return usagef("--form %q: want step or sequence", o.form)
	}
	found, err := o.found()
	if err != nil {
		return err
	}
	model, trained, err := o.model(cmd.Flags(), found)
	if err != nil {
		return err
	}
	parameters, err := model.Parameters()
	if err != nil {
		return err
	}
	file, err := export.RecurrentONNX(cmd.Context(), model, o.form, trained, o.precision == "fp16")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(o.out, file); err != nil {
		return err
	}
	l := model.Language
	if o.json {
		return writeJSON(cmd.OutOrStdout(), struct {
			File       string `json:"file"`
			Bytes      int    `json:"bytes"`
			Form       string `json:"form"`
			Parameters int    `json:"parameters"`
			Genotype   string `json:"genotype"`
		}{o.out, len(file), o.form, parameters, l.Genotype.String()})
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s parameters, nhid %d, %s words, %s\n",
		o.out, o.form, grouped(parameters), l.Hidden, grouped(l.Vocabulary), size(int64(len(file))))
	return err
}

// found is the cell that the flags name, with the files of its weights and its text where there are some.
func (o *exportONNXRNN) found() (m recipe.TextModel, err error) {
	if o.run == "" && o.weights == "" && o.genotype == "" {
		return m, usagef("want --run, --weights or --genotype")
	}
	if o.run != "" {
		if o.genotype != "" {
			return m, usagef("--genotype cannot go with --run, which has a cell of its own")
		}
		if m, err = recipe.TextModelOf(o.run); err != nil {
			return m, err
		}
	}
	if o.weights != "" {
		file, err := recipe.TextModelOf(o.weights)
		if err != nil {
			return m, fmt.Errorf("--weights: %w", err)
		}
		m.Weights = file.Weights
		if o.run == "" {
			m.Genotype = file.Genotype
		}
	}
	if o.genotype != "" {
		if m.Genotype, err = recurrentOf(o.genotype); err != nil {
			return m, err
		}
	}
	if len(m.Genotype.Edges) == 0 {
		return m, usagef("%s does not say of which cell it is: want --genotype", o.weights)
	}
	return m, nil
}

// model gives what was found its sizes: those of the weights, or of the flags and the text.
func (o *exportONNXRNN) model(flags *pflag.FlagSet, found recipe.TextModel) (m export.Recurrent, trained *weights.Weights, err error) {
	m = export.Recurrent{Language: rnn.Language{Vocabulary: o.vocabulary, Hidden: o.hidden}, Seed: o.seed, Version: version()}
	if o.data != "" {
		found.Data, found.Seed = o.data, o.seed
	}
	if found.Data != "" {
		corpus, err := text.Open(found.Data, found.Seed)
		if err != nil {
			return m, nil, err
		}
		m.Words, m.Language.Vocabulary = corpus.Vocabulary, len(corpus.Vocabulary)
	}
	if flags.Changed("vocabulary") && (m.Words != nil || found.Weights != "") || flags.Changed("nhid") && found.Weights != "" {
		return m, nil, usagef("--nhid and --vocabulary are for fresh weights, and --vocabulary for those without a text")
	}
	if found.Weights != "" {
		if trained, err = weights.Read(found.Weights); err != nil {
			return m, nil, err
		}
		if m.Language, err = trained.Language(); err != nil {
			return m, nil, err
		}
		if m.Words != nil && len(m.Words) != m.Language.Vocabulary {
			return m, nil, fmt.Errorf("%s has %d words, the vocabulary of %s has %d: --data must be the text that it was trained on",
				found.Weights, m.Language.Vocabulary, found.Data, len(m.Words))
		}
	}
	m.Language.Genotype = &found.Genotype
	if err := m.Language.Validate(); err != nil {
		return m, nil, &usageError{err}
	}
	return m, trained, nil
}
