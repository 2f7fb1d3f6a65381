package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
)

type runTrain struct {
	flags trainFlags
	runFlags
}

func newRunTrain() *cobra.Command {
	var o runTrain
	cmd := &cobra.Command{
		Use: "train", Short: "Train a derived network", Args: noArgs,
		Long: `Train the network of a genotype from scratch, with the flags of the original's train.py and train_imagenet.py.
--arch takes a published name (see arch list), the original's text, JSON, a file that holds one of these, or the folder
of a run: what that search found, or what that training trains.

The defaults are the paper's for CIFAR: train.py with --auxiliary --cutout. Without --data it draws a ten-class set,
shapes, and takes a small network that is trained within minutes:
  ` + quickTrainSettings() + `
With --preset imagenet it takes those of train_imagenet.py with --auxiliary:
  ` + imageNetSettings() + `
Flags that are given count in any case.

Every epoch is evaluated on the test images (test/ or val/ of an image folder), or on the rest of the training images
with --train-portion below 1. A run folder comes out (--save; train-DATE-TIME where that is not given): config.json,
metrics.jsonl, checkpoints, best.safetensors (the weights of the best epoch), and at the end weights.safetensors (those
of the last one), model.onnx with them, and results.json. Interrupted by Ctrl-C it finishes the step and saves;
--resume RUN goes on exactly, also after a kill.`,
		Example: `  dartsc run train
  dartsc run train --data cifar-10-batches-bin --arch DARTS_V2
  dartsc run train --data cifar-100-binary --arch search-20260102-150405 --epochs 100
  dartsc run train --data imagenet --preset imagenet --schedule cosine --warmup-epochs 5`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.flags.bind(cmd)
	o.bind(cmd)
	complete(cmd, "arch", space.Names()...)
	return cmd
}

func (o *runTrain) run(cmd *cobra.Command) error {
	ctx, flags := cmd.Context(), cmd.Flags()
	if err := o.check(flags, trainBinder(&recipe.TrainConfig{}).given(flags)); err != nil {
		return err
	}
	for _, line := range warnings(flags, deadTrainFlags) {
		fmt.Fprintln(cmd.ErrOrStderr(), "dartsc:", line)
	}
	config, folder, err := o.settings(flags)
	if err != nil {
		return err
	}
	if folder != nil {
		defer folder.Close()
	}
	listener := newListener(o.json, trainTerms(config), cmd.OutOrStdout(), cmd.ErrOrStderr())
	training, err := recipe.NewTraining(ctx, config, o.options(listener))
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("stopped before the training began")
		}
		return err
	}
	defer training.Close()
	checkpoint, folder, err := o.begin(config, folder)
	if err != nil {
		return err
	}
	defer folder.Close()
	listener.start(folder.Path(), training, checkpoint)
	report, err := training.Run(ctx, folder, checkpoint)
	listener.end()
	if err != nil {
		return o.failed(err, folder.Path())
	}
	listener.done(folder.Path(), report)
	return nil
}

// settings returns the settings of the training, and the run that it goes on with, or nil.
func (o *runTrain) settings(flags *pflag.FlagSet) (recipe.TrainConfig, *run.Folder, error) {
	if o.resume == "" {
		config, err := o.flags.resolve(flags)
		return config, nil, err
	}
	var config recipe.TrainConfig
	folder, err := o.open(recipe.TaskTrain, &config)
	return config, folder, err
}

// trainTerms is what a listener says of a training.
func trainTerms(c recipe.TrainConfig) terms {
	return terms{
		config: c, epochs: c.Epochs, batch: c.BatchSize, reportFreq: c.ReportFreq, step: bilevel.TrainStep,
		summary: fmt.Sprintf("%s, %d channels, %d layers", c.Arch, c.InitChannels, c.Layers),
		done: func(path string, r recipe.EpochReport) string {
			return fmt.Sprintf("done: top1 %.2f%%  top5 %.2f%% after the last epoch, top1 %.2f%% after the best, epoch %d; "+
				"weights.safetensors, best.safetensors, model.onnx and results.json are in %s", r.ValidTop1, r.ValidTop5, r.Best.Top1, r.Best.Epoch+1, path)
		},
	}
}
