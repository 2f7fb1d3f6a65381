package main

import (
	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/darts/budget"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
)

type compileTrain struct {
	flags  trainFlags
	images imageFlags
	compileFlags
}

func newCompileTrain() *cobra.Command {
	var o compileTrain
	cmd := &cobra.Command{
		Use: "train", Short: "Compile a training to a plan", Args: noArgs,
		Long: `Compile the programs of a training, the step and the evaluation, to a plan file, with the flags of run train.

Without --data it compiles for images of CIFAR-10's shape or, with --imagenet, of a thousand classes; --classes and
--image-size change that. --emit and --target are those of compile search.`,
		Example: `  dartsc compile train --arch DARTS_V2 -o train.dplan
  dartsc compile train --preset imagenet --target cuda:sm_90 --precision bf16`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.flags.bind(cmd)
	o.images.bind(cmd.Flags())
	o.bind(cmd, "train.dplan")
	complete(cmd, "arch", space.Names()...)
	cmd.AddCommand(newCompileTrainRNN())
	return cmd
}

func (o *compileTrain) run(cmd *cobra.Command) error {
	if err := o.check(o.flags.config.Precision); err != nil {
		return err
	}
	warn(cmd, deadTrainFlags)
	if o.flags.preset == "" {
		o.flags.preset = presetPaper
	}
	config, err := o.flags.resolve(cmd.Flags())
	if err != nil {
		return err
	}
	if config.ImageNet && !cmd.Flags().Changed("classes") {
		o.images.classes = budget.ImageNet.Classes
	}
	summary, err := o.images.summary(cmd, o.flags.config.Data, config.ImageSize, config.Describe)
	if err != nil {
		return err
	}
	return o.compile(cmd, config.Precision, recipe.TrainMetadata(config, summary), func() (*ir.Module, error) { return recipe.TrainModule(config, summary, o.target, int64(o.limit)) })
}
