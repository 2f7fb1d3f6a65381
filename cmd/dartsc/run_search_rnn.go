package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/run"
)

// runText is a run on text: a search or a training.
type runText struct {
	preset string
	runFlags
}

func newRunSearchRNN() *cobra.Command {
	var o runText
	quick, config := recipe.QuickTextSearch(), recipe.PaperTextSearch()
	cmd := &cobra.Command{
		Use: "rnn", Short: "Search for a recurrent cell", Args: noArgs,
		Long: `Search for a recurrent cell of a language model, with the flags and defaults of the original's rnn/train_search.py.

Without --data it writes a corpus, grammar, whose words depend on each other near and far, and takes a small search that
ends within minutes:
  ` + textSearchBinder(&quick).differences(textSearchBinder(&config)) + `
With --data it reads train.txt, valid.txt and test.txt of a folder (or ptb.train.txt, or wiki.train.tokens, and so on) and
takes the paper's settings for the Penn Treebank. --preset chooses the other settings; flags that are given count in any
case.

A run folder comes out (--save; search-DATE-TIME where that is not given): config.json, metrics.jsonl, genotypes.jsonl
(one line an epoch), checkpoints, and at the end genotype.json, recurrent.svg and results.json. Interrupted by Ctrl-C it
finishes the step and saves; --resume RUN goes on exactly, also after a kill.

It differs from the original on purpose in this: it evaluates with batch statistics, counts only words that were
predicted, reads as long a window of the validation text as of the training text, and has two defects of the second order
only with --as-original.`,
		Example: `  dartsc run search rnn
  dartsc run search rnn --data penn --unrolled`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.search(cmd) },
	}
	bindTextSearch(cmd.Flags(), &config)
	o.bindAll(cmd, "run search rnn", "search", deadTextSearchFlags, presetQuick, presetPaper)
	return cmd
}

// bindAll adds what the commands on text have beside their settings.
func (o *runText) bindAll(cmd *cobra.Command, usage, command string, dead []deadFlag, presets ...string) {
	bindEqualSizes(cmd)
	bindDead(cmd, dead)
	cmd.Flags().StringVar(&o.preset, "preset", "", "settings to start from: "+strings.Join(presets, ", ")+" (default paper with --data, quick without)")
	complete(cmd, "preset", presets...)
	complete(cmd, "precision", cuda.Precisions...)
	o.bind(cmd, usage)
	o.command = command
	cmd.Flags().Lookup("save").Usage = "folder of the run, which is made (default " + command + "-DATE-TIME)"
}

func (o *runText) search(cmd *cobra.Command) error {
	ctx, flags := cmd.Context(), cmd.Flags()
	if err := o.prepare(cmd, textSearchBinder(&recipe.TextSearchConfig{}), deadTextSearchFlags); err != nil {
		return err
	}
	var config recipe.TextSearchConfig
	folder, err := o.settings(recipe.TaskTextSearch, &config, func() (err error) {
		config, err = resolveTextSearch(o.preset, flags)
		return err
	})
	if err != nil {
		return err
	}
	if folder != nil {
		defer folder.Close()
	}
	listener := newListener(o.json, textSearchTerms(config), cmd.OutOrStdout(), cmd.ErrOrStderr())
	options, err := o.options(listener.step, config.Precision)
	if err != nil {
		return err
	}
	options.OnTextEpoch = listener.epoch
	search, err := recipe.NewTextSearch(ctx, config, options)
	if err != nil {
		return unbegun(ctx, err)
	}
	path, err := drive(ctx, listener, search, search.Data(), func() (*run.Checkpoint, *run.Folder, error) { return o.begin(config, folder) })
	return o.failed(err, path)
}

// prepare checks the flags before anything is read.
func (o *runText) prepare(cmd *cobra.Command, b binder, dead []deadFlag) error {
	flags := cmd.Flags()
	given := b.given(flags)
	for _, name := range equalSizes {
		if flags.Changed(name) {
			given = append(given, "--"+name)
		}
	}
	if err := o.check(flags, given); err != nil {
		return err
	}
	warn(cmd, dead)
	return nil
}

// settings resolves the flags into config, or reads it from the run to go on with, which it returns.
func (o *runText) settings(task string, config any, resolve func() error) (*run.Folder, error) {
	if o.resume == "" {
		return nil, resolve()
	}
	return o.open(func(found string) any {
		if found != task {
			return nil
		}
		return config
	})
}

// textTerms is what the runs on text have in common.
func textTerms(config any, c recipe.TextSettings) terms[recipe.TextReport] {
	return terms[recipe.TextReport]{
		config: config, epochs: c.Epochs, batch: c.BatchSize, reportFreq: c.ReportFreq, unit: "words",
		score: func(p recipe.Progress) string {
			return fmt.Sprintf("loss %.4f  perplexity %.2f", p.Loss, p.Perplexity)
		},
		epoch: func(r recipe.TextReport) (line, genotype string) {
			line = fmt.Sprintf("epoch %d/%d  train perplexity %.2f  valid perplexity %.2f", r.Epoch+1, c.Epochs, r.TrainPerplexity, r.ValidPerplexity)
			if r.Averaged {
				line += " of averaged weights"
			}
			if r.Genotype != "" {
				line += fmt.Sprintf("  entropy %.4f", r.Entropy)
			}
			return line, r.Genotype
		},
		stepEvent: func(p recipe.Progress, rate float64) any {
			return textStepEvent{"step", p.Epoch, p.Step, p.Steps, p.Loss, p.Perplexity, rate}
		},
	}
}

type textStepEvent struct {
	Event          string  `json:"event"` // "step"
	Epoch          int     `json:"epoch"`
	Step           int     `json:"step"` // within the epoch
	Steps          int     `json:"steps"`
	Loss           float64 `json:"loss"`
	Perplexity     float64 `json:"perplexity"`
	WordsPerSecond float64 `json:"words_per_second"`
}

type textDoneEvent struct {
	Event           string  `json:"event"` // "done"
	Run             string  `json:"run"`
	ValidPerplexity float64 `json:"valid_perplexity"`
	Genotype        string  `json:"genotype,omitempty"` // of a search
}

// textSearchTerms is what a listener says of a search.
func textSearchTerms(c recipe.TextSearchConfig) terms[recipe.TextReport] {
	order := "first order"
	if c.Unrolled {
		order = "second order"
	}
	t := textTerms(c, c.TextSettings)
	t.step, t.summary = rnn.Name(bilevel.SearchStep, c.BPTT), fmt.Sprintf("bptt %d, nhid %d, %s", c.BPTT, c.Hidden, order)
	t.done = func(path string, r recipe.TextReport) (string, any) {
		return fmt.Sprintf("done: perplexity %.2f on the validation text; genotype.json, recurrent.svg and results.json are in %s\n"+
			"next: dartsc run train rnn --arch %s", r.ValidPerplexity, path, path), textDoneEvent{"done", path, r.ValidPerplexity, r.Genotype}
	}
	return t
}
