package main

import (
	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
)

func newCompileTrainRNN() *cobra.Command {
	var o compileFlags
	var preset string
	var words textFlags
	config := recipe.PaperTextTraining()
	cmd := &cobra.Command{
		Use: "rnn", Short: "Compile a training of a recurrent cell to a plan", Args: noArgs,
		Long: `Compile the programs of a training of a recurrent cell, steps of several lengths and the evaluation, each with averages
and without, to a plan file, with the flags of run train rnn. Without --data it compiles for a vocabulary of the Penn
Treebank's size, which --vocabulary changes.`,
		Example: `  dartsc compile train rnn --arch DARTS_V2 --target cuda:sm_90 -o train.dplan`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(config.Precision); err != nil {
				return err
			}
			warn(cmd, deadTextFlags)
			if preset == "" {
				preset = presetPaper
			}
			config, err := resolveTextTrain(preset, cmd.Flags())
			if err != nil {
				return err
			}
			d, err := words.summary(cmd.Flags(), config.Data, config.Seed)
			if err != nil {
				return err
			}
			return o.compile(cmd, config.Precision, recipe.TextTrainMetadata(config, d), func() (*ir.Module, error) { return recipe.TextTrainModule(config, d) })
		},
	}
	bindTextTrain(cmd.Flags(), &config)
	bindEqualSizes(cmd)
	bindDead(cmd, deadTextFlags)
	cmd.Flags().StringVar(&preset, "preset", "", "settings to start from: paper, the original's for the Penn Treebank (default), "+presetWikiText+", or quick")
	complete(cmd, "preset", presetQuick, presetPaper, presetWikiText)
	complete(cmd, "precision", cuda.Precisions...)
	complete(cmd, "arch", space.RecurrentNames()...)
	words.bind(cmd.Flags())
	o.bind(cmd, "train.dplan")
	return cmd
}
