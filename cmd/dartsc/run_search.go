package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/run"
)

type runSearch struct {
	flags searchFlags
	runFlags
}

func newRunSearch() *cobra.Command {
	var o runSearch
	cmd := &cobra.Command{
		Use: "search", Short: "Search for a convolutional cell", Args: noArgs,
		Long: `Search for a pair of convolutional cells, with the flags and defaults of the original's train_search.py (its
--init_channels is --init-channels as well).

Without --data it draws a ten-class set, shapes, and takes a small search that ends within minutes:
  ` + quickSettings() + `
With --data it reads CIFAR-10 or CIFAR-100 in the binary version, or a folder train/<class>/*.jpg|png, and takes the
paper's settings. --preset chooses the other settings; flags that are given count in any case.

A run folder comes out (--save; search-DATE-TIME where that is not given): config.json, metrics.jsonl, genotypes.jsonl
(one line an epoch), checkpoints, and at the end genotype.json, normal.svg, reduction.svg, model.onnx (the derived
network, with fresh weights) and results.json. Interrupted by Ctrl-C it finishes the step and saves; --resume RUN goes
on exactly, also after a kill.

It differs from the original on purpose in this: the validation half is evaluated without augmentation, alphas are in
every checkpoint, and odd image sizes are reduced by rounding up. As the original's code, and unlike the paper, it starts
alphas at 1e-3·N(0,1) and evaluates with running statistics.`,
		Example: `  dartsc run search
  dartsc run search --data cifar-10-batches-bin --epochs 50 --unrolled
  dartsc run search --resume search-20260102-150405`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.flags.bind(cmd)
	o.bind(cmd, "run search")
	o.bindPlan(cmd.Flags(), "compile search")
	cmd.AddCommand(newRunSearchRNN())
	return cmd
}

func (o *runSearch) run(cmd *cobra.Command) error {
	flags := cmd.Flags()
	if err := o.check(flags, o.flags.given(flags)); err != nil {
		return err
	}
	warn(cmd, deadSearchFlags)
	config, folder, err := o.settings(flags)
	if err != nil {
		return err
	}
	if folder != nil {
		defer folder.Close()
	}
	path, err := searchOnce(cmd, &o.runFlags, config, func() (*run.Checkpoint, *run.Folder, error) { return o.begin(config, folder) })
	return o.failed(err, path)
}

// search is one search of a series; one that has ended is not done again.
func (s *series) search(cmd *cobra.Command, name string, config recipe.SearchConfig) (result recipe.SearchResult, err error) {
	if found, err := s.result(name, &result); err != nil || found {
		return result, err
	}
	begin := func() (*run.Checkpoint, *run.Folder, error) { return s.run(name, config) }
	if _, err = searchOnce(cmd, s.flags, config, begin); err != nil {
		return result, err
	}
	_, err = s.result(name, &result)
	return result, err
}

// searchOnce runs a search in the folder that begin makes or opens once everything else is ready. It returns the folder's
// path.
func searchOnce(cmd *cobra.Command, o *runFlags, config recipe.SearchConfig, begin func() (*run.Checkpoint, *run.Folder, error)) (string, error) {
	ctx := cmd.Context()
	listener := newListener(o.json, searchTerms(config), cmd.OutOrStdout(), cmd.ErrOrStderr())
	options, err := o.options(listener.step, config.Precision)
	if err != nil {
		return "", err
	}
	options.OnEpoch = listener.epoch
	search, err := recipe.NewSearch(ctx, config, options)
	if err != nil {
		return "", unbegun(ctx, err)
	}
	return drive(ctx, listener, search, search.Data(), begin)
}

// settings returns the settings of the search, and the run that it goes on with, or nil.
func (o *runSearch) settings(flags *pflag.FlagSet) (recipe.SearchConfig, *run.Folder, error) {
	if o.resume == "" {
		config, err := o.flags.resolve(flags)
		return config, nil, err
	}
	var config recipe.SearchConfig
	folder, err := o.open(func(task string) any {
		if task != "" {
			return nil
		}
		return &config
	})
	return config, folder, err
}

// searchTerms is what a listener says of a search.
func searchTerms(c recipe.SearchConfig) terms[recipe.EpochReport] {
	order := "first order"
	if c.Unrolled {
		order = "second order"
	}
	t := imageTerms(c, c.Epochs, c.BatchSize, c.ReportFreq)
	t.step, t.summary = bilevel.SearchStep, fmt.Sprintf("%d channels, %d layers, %s", c.InitChannels, c.Layers, order)
	t.done = func(path string, r recipe.EpochReport) (string, any) {
		return fmt.Sprintf("done: top1 %.2f%% on the validation half; genotype.json, normal.svg, reduction.svg and model.onnx are in %s\n"+
			"next: dartsc run train --arch %s", r.ValidTop1, path, path), doneEvent{"done", path, r.ValidTop1, r.Genotype}
	}
	return t
}
