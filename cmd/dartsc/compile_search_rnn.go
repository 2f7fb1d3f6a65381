package main

import (
	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/ir"
)

func newCompileSearchRNN() *cobra.Command {
	var o compileFlags
	var preset string
	var words textFlags
	config := recipe.PaperTextSearch()
	cmd := &cobra.Command{
		Use: "rnn", Short: "Compile a search for a recurrent cell to a plan", Args: noArgs,
		Long: `Compile the programs of a search for a recurrent cell, steps of two lengths and the evaluation, to a plan file, with the
flags of run search rnn. Without --data it compiles for a vocabulary of the Penn Treebank's size, which --vocabulary
changes.`,
		Example: `  dartsc compile search rnn --unrolled -o search.dplan`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(config.Precision); err != nil {
				return err
			}
			warn(cmd, deadTextSearchFlags)
			if preset == "" {
				preset = presetPaper
			}
			config, err := resolveTextSearch(preset, cmd.Flags())
			if err != nil {
				return err
			}
			d, err := words.summary(cmd.Flags(), config.Data, config.Seed)
			if err != nil {
				return err
			}
			return o.compile(cmd, config.Precision, recipe.TextSearchMetadata(config, d), func() (*ir.Module, error) { return recipe.TextSearchModule(config, d) })
		},
	}
	bindTextSearch(cmd.Flags(), &config)
	bindEqualSizes(cmd)
	bindDead(cmd, deadTextSearchFlags)
	cmd.Flags().StringVar(&preset, "preset", "", "settings to start from: paper, the original's (default), or quick")
	complete(cmd, "preset", presetQuick, presetPaper)
	complete(cmd, "precision", cuda.Precisions...)
	words.bind(cmd.Flags())
	o.bind(cmd, "search.dplan")
	return cmd
}
