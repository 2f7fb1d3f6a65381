package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
)

type runTrain struct {
	flags   trainFlags
	repeats int
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
--resume RUN goes on exactly, also after a kill.

--repeats N trains N times, under the seeds from --seed on, each in a folder inside the run's, and results.json has the
mean and the deviation of the accuracies.`,
		Example: `  dartsc run train
  dartsc run train --data cifar-10-batches-bin --arch DARTS_V2
  dartsc run train --data cifar-100-binary --arch search-20260102-150405 --epochs 100
  dartsc run train --data imagenet --preset imagenet --schedule cosine --warmup-epochs 5`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.flags.bind(cmd)
	o.bind(cmd, "run train")
	o.bindPlan(cmd.Flags(), "compile train")
	cmd.Flags().IntVar(&o.repeats, "repeats", 1, "trainings, under seeds that count up, for the mean and the deviation of the accuracy")
	complete(cmd, "arch", space.Names()...)
	cmd.AddCommand(newRunTrainRNN())
	return cmd
}

func (o *runTrain) run(cmd *cobra.Command) error {
	flags := cmd.Flags()
	given := trainBinder(&recipe.TrainConfig{}).given(flags)
	if flags.Changed("repeats") {
		given = append(given, "--repeats")
	}
	if err := o.check(flags, given); err != nil {
		return err
	}
	warn(cmd, deadTrainFlags)
	config, folder, err := o.settings(flags)
	if err != nil {
		return err
	}
	if folder != nil {
		defer folder.Close()
	}
	if config.Repeats > 1 {
		return o.repeat(cmd, config, folder)
	}
	path, err := trainOnce(cmd, &o.runFlags, config.Train, func() (*run.Checkpoint, *run.Folder, error) { return o.begin(config.Train, folder) })
	return o.failed(err, path)
}

// settings returns the trainings to run, and the folder that they go on in, or nil.
func (o *runTrain) settings(flags *pflag.FlagSet) (recipe.RepeatConfig, *run.Folder, error) {
	config := recipe.RepeatConfig{Task: recipe.TaskRepeat, Repeats: o.repeats}
	if o.repeats < 1 {
		return config, nil, usagef("--repeats must be at least 1")
	}
	if o.resume == "" {
		var err error
		config.Train, err = o.flags.resolve(flags)
		return config, nil, err
	}
	folder, err := o.open(func(task string) any {
		switch task {
		case recipe.TaskTrain:
			return &config.Train
		case recipe.TaskRepeat:
			return &config
		}
		return nil
	})
	return config, folder, err
}

// repeat trains under several seeds.
func (o *runTrain) repeat(cmd *cobra.Command, config recipe.RepeatConfig, folder *run.Folder) error {
	s := &series{flags: &o.runFlags, config: config, folder: folder}
	defer s.close()
	var results []recipe.TrainResult
	for i := range config.Repeats {
		result, err := s.train(cmd, config.Name(i), config.Training(i))
		if err != nil {
			return o.failed(err, s.path())
		}
		results = append(results, result)
	}
	result := recipe.Repeated(results)
	if err := recipe.WriteResult(s.folder, result); err != nil {
		return err
	}
	if o.json {
		return writeJSON(cmd.OutOrStdout(), struct {
			Event string `json:"event"` // "repeated"
			Run   string `json:"run"`
			recipe.RepeatResult
		}{"repeated", s.path(), result})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: top1 on the %s of %d trainings: %v after the last epoch, %v after the best; results.json is in %s\n",
		config.Train.Arch, results[0].EvaluatedOn, len(results), result.Last, result.Best, s.path())
	return nil
}

// train is one training of a series; one that has ended is not done again.
func (s *series) train(cmd *cobra.Command, name string, config recipe.TrainConfig) (result recipe.TrainResult, err error) {
	if found, err := s.result(name, &result); err != nil || found {
		return result, err
	}
	begin := func() (*run.Checkpoint, *run.Folder, error) { return s.run(name, config) }
	if _, err = trainOnce(cmd, s.flags, config, begin); err != nil {
		return result, err
	}
	_, err = s.result(name, &result)
	return result, err
}

// trainOnce runs a training in the folder that begin makes or opens, once everything else is ready. It returns the
// folder's path.
func trainOnce(cmd *cobra.Command, o *runFlags, config recipe.TrainConfig, begin func() (*run.Checkpoint, *run.Folder, error)) (string, error) {
	ctx := cmd.Context()
	listener := newListener(o.json, trainTerms(config), cmd.OutOrStdout(), cmd.ErrOrStderr())
	options, err := o.options(listener.step, config.Precision)
	if err != nil {
		return "", err
	}
	options.OnEpoch = listener.epoch
	training, err := recipe.NewTraining(ctx, config, options)
	if err != nil {
		return "", unbegun(ctx, err)
	}
	return drive(ctx, listener, training, training.Data(), begin)
}

// trainTerms is what a listener says of a training.
func trainTerms(c recipe.TrainConfig) terms[recipe.EpochReport] {
	t := imageTerms(c, c.Epochs, c.BatchSize, c.ReportFreq)
	t.step, t.summary = bilevel.TrainStep, fmt.Sprintf("%s, %d channels, %d layers", c.Arch, c.InitChannels, c.Layers)
	t.done = func(path string, r recipe.EpochReport) (string, any) {
		return fmt.Sprintf("done: top1 %.2f%%  top5 %.2f%% after the last epoch, top1 %.2f%% after the best, epoch %d; "+
				"weights.safetensors, best.safetensors, model.onnx and results.json are in %s", r.ValidTop1, r.ValidTop5, r.Best.Top1, r.Best.Epoch+1, path),
			doneEvent{"done", path, r.ValidTop1, r.Genotype}
	}
	return t
}
