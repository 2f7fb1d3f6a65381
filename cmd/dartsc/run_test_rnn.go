package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/darts/text"
)

type runTestRNN struct {
	arch   string
	config recipe.TextTestConfig
	deviceFlags
	json bool
}

func newRunTestRNN() *cobra.Command {
	var o runTestRNN
	cmd := &cobra.Command{
		Use: "rnn", Short: "Measure a trained recurrent cell on the test text", Args: noArgs,
		Long: `Measure the perplexity of a trained recurrent model on the test text of a corpus, as the original's rnn/test.py does, one
word after the other. --model-path is the run folder of a training, a safetensors file that one left, or what the original
saved: a whole pickled model, which knows its cell, or a state_dict, whose cell --arch names.`,
		Example: `  dartsc run test rnn --model-path ptb_model.pt --data penn
  dartsc run test rnn --model-path train-20260102-150405`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	flags, c := cmd.Flags(), &o.config
	flags.StringVar(&c.Model, "model-path", "", "run folder, or file of weights (required)")
	flags.StringVar(&o.arch, "arch", "", "recurrent cell: a name, a text, a file, or the folder of a run (default for a model that knows its own: that)")
	flags.StringVar(&c.Data, "data", text.Grammar, "folder of the text that the model was trained on, or grammar (default for a run: its own)")
	flags.IntVar(&c.BatchSize, "batch-size", 1, "rows that the test text is cut into, each of which begins anew")
	flags.IntVar(&c.BPTT, "bptt", 35, "words at a time, which changes no result")
	flags.Uint64Var(&c.Seed, "seed", 0, "of generated text")
	bindDead(cmd, deadTextTestFlags)
	o.deviceFlags.bind(cmd)
	bindPrecision(flags, &c.Precision)
	flags.BoolVar(&o.json, "json", false, "print JSON")
	complete(cmd, "arch", space.RecurrentNames()...)
	complete(cmd, "precision", cuda.Precisions...)
	return cmd
}

const notTrained = "a test does not train the model, which knows its own sizes"

// deadTextTestFlags are the original's flags of rnn/test.py that it parses and does not use, or that mean nothing here.
var deadTextTestFlags = []deadFlag{
	{"emsize", true, notTrained}, {"nhid", true, notTrained}, {"nhidlast", true, notTrained}, {"n-experts", true, notTrained},
	{"dropout", true, notTrained}, {"dropouth", true, notTrained}, {"dropouti", true, notTrained}, {"dropoute", true, notTrained},
	{"lr", true, notTrained}, {"clip", true, notTrained}, {"epochs", true, notTrained}, {"nonmono", true, notTrained},
	{"alpha", true, notTrained}, {"beta", true, notTrained}, {"wdecay", true, notTrained}, {"max-seq-len-delta", true, notTrained},
	{"continue-train", false, notTrained},
	{"cuda", false, "--device says where the test takes place"},
	{"log-interval", true, "the result comes at the end"},
	{"save", true, "--model-path names the model"},
}

func (o *runTestRNN) run(cmd *cobra.Command) error {
	flags := cmd.Flags()
	warn(cmd, deadTextTestFlags)
	if o.config.Model == "" {
		return usagef("--model-path is missing: want a run folder or a file of weights")
	}
	if err := o.deviceFlags.check(); err != nil {
		return err
	}
	c, err := recipe.TextTestOf(o.config.Model)
	if err != nil {
		return err
	}
	if o.arch == "" && len(c.Genotype.Edges) == 0 { // weights fit every cell of their size, so no default would be told from the right one
		return usagef("%s does not say of which cell it is: want --arch", o.config.Model)
	}
	if o.arch != "" {
		if c.Genotype, err = recurrentOf(o.arch); err != nil {
			return err
		}
	}
	if flags.Changed("data") || c.Data == "" {
		c.Data, c.Seed = o.config.Data, o.config.Seed
	}
	if flags.Changed("seed") {
		c.Seed = o.config.Seed
	}
	c.BatchSize, c.Precision = o.config.BatchSize, o.config.Precision
	if flags.Changed("bptt") {
		c.BPTT = o.config.BPTT
	}
	device, err := o.deviceFlags.openFor(c.Precision)
	if err != nil {
		return err
	}
	score, err := recipe.TestText(cmd.Context(), c, recipe.Options{Device: device, Version: version(), Logger: slog.Default()})
	if err != nil {
		return err
	}
	if o.json {
		return writeJSON(cmd.OutOrStdout(), score)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s parameters, perplexity %.2f (loss %.4f) on %s words of the test text of %s, in %.1f s\n",
		score.Model, grouped(score.Parameters), score.Perplexity, score.Loss, grouped(score.Words), score.Data, score.Seconds)
	return err
}
