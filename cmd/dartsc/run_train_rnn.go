package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
)

func newRunTrainRNN() *cobra.Command {
	var o runText
	quick, wiki, config := recipe.QuickTextTraining(), recipe.WikiTextTraining(), recipe.PaperTextTraining()
	cmd := &cobra.Command{
		Use: "rnn", Short: "Train a recurrent cell", Args: noArgs,
		Long: `Train the language model of a recurrent cell from scratch, with the flags of the original's rnn/train.py. --arch takes a
published name (see arch list), the original's text, JSON, a file that holds one of these, or the folder of a run.

The defaults are the paper's for the Penn Treebank: 3600 epochs, where the original's script has 8000. Without --data it
writes a corpus, grammar, and takes a small model that is trained within minutes:
  ` + textTrainBinder(&quick).differences(textTrainBinder(&config)) + `
With --preset wikitext-2 it takes the paper's settings for that text:
  ` + textTrainBinder(&wiki).differences(textTrainBinder(&config)) + `
Flags that are given count in any case.

It goes by SGD until the perplexity of the validation text has not fallen for --nonmono epochs, and from then on by
averaged SGD, of which the averages are evaluated and kept. An epoch in which the loss is no number is given up, and the
best weights so far are gone on from. --finetune RUN starts from the best weights of a training, averages from the first
step on, and ends by the same rule.

A run folder comes out (--save; train-DATE-TIME where that is not given): config.json, metrics.jsonl, checkpoints,
best.safetensors (the best weights, averages where they are), and at the end genotype.json, recurrent.svg and
results.json with the perplexity of the test text. Interrupted by Ctrl-C it finishes the step and saves; --resume RUN
goes on exactly, also after a kill.`,
		Example: `  dartsc run train rnn
  dartsc run train rnn --data penn --arch DARTS_V2
  dartsc run train rnn --data wikitext-2 --preset wikitext-2 --arch search-20260102-150405`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.train(cmd) },
	}
	bindTextTrain(cmd.Flags(), &config)
	o.bindAll(cmd, "run train rnn", "train", deadTextFlags, presetQuick, presetPaper, presetWikiText)
	complete(cmd, "arch", space.RecurrentNames()...)
	return cmd
}

func (o *runText) train(cmd *cobra.Command) error {
	ctx, flags := cmd.Context(), cmd.Flags()
	if err := o.prepare(cmd, textTrainBinder(&recipe.TextTrainConfig{}), deadTextFlags); err != nil {
		return err
	}
	var config recipe.TextTrainConfig
	folder, err := o.settings(recipe.TaskTextTrain, &config, func() (err error) {
		config, err = resolveTextTrain(o.preset, flags)
		return err
	})
	if err != nil {
		return err
	}
	if folder != nil {
		defer folder.Close()
	}
	listener := newListener(o.json, textTrainTerms(config), cmd.OutOrStdout(), cmd.ErrOrStderr())
	options, err := o.options(listener.step, config.Precision)
	if err != nil {
		return err
	}
	options.OnTextEpoch = listener.epoch
	training, err := recipe.NewTextTraining(ctx, config, options)
	if err != nil {
		return unbegun(ctx, err)
	}
	path, err := drive(ctx, listener, training, training.Data(), func() (*run.Checkpoint, *run.Folder, error) {
		if folder == nil { // weights that do not fit leave no folder behind
			if err := training.LoadFinetune(); err != nil {
				return nil, nil, err
			}
		}
		return o.begin(config, folder)
	})
	return o.failed(err, path)
}

// textTrainTerms is what a listener says of a training.
func textTrainTerms(c recipe.TextTrainConfig) terms[recipe.TextReport] {
	t := textTerms(c, c.TextSettings)
	t.step, t.summary = rnn.Name(bilevel.TrainStep, c.BPTT), fmt.Sprintf("%s, bptt %d, nhid %d", c.Arch, c.BPTT, c.Hidden)
	t.done = func(path string, r recipe.TextReport) (string, any) {
		return fmt.Sprintf("done: perplexity %.2f on the validation text after the best epoch, %d; best.safetensors and results.json, with "+
				"the test text's, are in %s\nnext: dartsc run test rnn --model-path %s", r.Best.Perplexity, r.Best.Epoch+1, path, path),
			textDoneEvent{"done", path, r.Best.Perplexity, ""}
	}
	return t
}
