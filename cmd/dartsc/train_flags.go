package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/space"
)

// trainFlags are the flags of a TrainConfig, under the original's names and with the defaults of its train.py with
// --auxiliary --cutout.
type trainFlags struct {
	preset string
	config recipe.TrainConfig
}

const presetImageNet = "imagenet"

const defaultArch = "DARTS_V2"

func (f *trainFlags) bind(cmd *cobra.Command) {
	f.config = recipe.PaperTraining()
	bindTrain(cmd.Flags(), &f.config)
	cmd.Flags().StringVar(&f.preset, "preset", "", "settings to start from: paper (CIFAR), imagenet, both the original's, or quick, a small network")
	complete(cmd, "preset", presetQuick, presetPaper, presetImageNet)
	complete(cmd, "precision", cuda.Precisions...)
	complete(cmd, "schedule", recipe.Schedules()...)
	complete(cmd, "augment", recipe.Augments()...)
	if err := cmd.MarkFlagDirname("data"); err != nil {
		panic(err)
	}
	bindDead(cmd, deadTrainFlags)
}

func trainBinder(c *recipe.TrainConfig) binder { return func(fs *pflag.FlagSet) { bindTrain(fs, c) } }

func bindTrain(fs *pflag.FlagSet, c *recipe.TrainConfig) {
	fs.StringVar(&c.Arch, "arch", c.Arch, "genotype: a name, a text, a file, or the folder of a run (default "+defaultArch+")")
	fs.StringVar(&c.Data, "data", c.Data, "folder of the data set, or shapes, a generated one")
	fs.StringVar(&c.ImageSize, "image-size", c.ImageSize, "size that images get, as 32 or 24x48 (default: that of the data)")
	fs.StringVar(&c.Augment, "augment", c.Augment, "crop: pad, crop and flip; resized-crop: ImageNet's, decoding images as they are needed")
	fs.IntVar(&c.Epochs, "epochs", c.Epochs, "passes over the training images")
	fs.IntVar(&c.BatchSize, "batch-size", c.BatchSize, "images in a step")
	fs.IntVar(&c.InitChannels, "init-channels", c.InitChannels, "channels of the first cell")
	fs.IntVar(&c.Layers, "layers", c.Layers, "cells")
	fs.BoolVar(&c.ImageNet, "imagenet", c.ImageNet, "the original's network for ImageNet, whose stems divide the image by eight")
	fs.BoolVar(&c.Auxiliary, "auxiliary", c.Auxiliary, "a second classifier in the middle of the network, while it trains")
	fs.Float64Var(&c.AuxiliaryWeight, "auxiliary-weight", c.AuxiliaryWeight, "of that classifier's loss")
	fs.StringVar(&c.Schedule, "schedule", c.Schedule, "how the learning rate falls: cosine, step or linear")
	fs.Float64Var(&c.LearningRate, "learning-rate", c.LearningRate, "highest learning rate")
	fs.Float64Var(&c.LearningRateMin, "learning-rate-min", c.LearningRateMin, "at the end of a cosine or linear schedule")
	fs.Float64Var(&c.Gamma, "gamma", c.Gamma, "factor of a step schedule")
	fs.IntVar(&c.DecayPeriod, "decay-period", c.DecayPeriod, "epochs between two of its steps")
	fs.IntVar(&c.WarmupEpochs, "warmup-epochs", c.WarmupEpochs, "first epochs, in which the learning rate climbs in equal steps")
	fs.Float64Var(&c.Momentum, "momentum", c.Momentum, "of SGD")
	fs.Float64Var(&c.WeightDecay, "weight-decay", c.WeightDecay, "of the weights")
	fs.Float64Var(&c.GradClip, "grad-clip", c.GradClip, "largest norm of the gradient")
	fs.Float64Var(&c.LabelSmooth, "label-smooth", c.LabelSmooth, "label smoothing")
	fs.Float64Var(&c.DropPathProb, "drop-path-prob", c.DropPathProb, "probability of dropping a path, to which it climbs from 0 over the epochs")
	fs.BoolVar(&c.Cutout, "cutout", c.Cutout, "cut a random square out of training images")
	fs.IntVar(&c.CutoutLength, "cutout-length", c.CutoutLength, "side of that square in pixels")
	fs.Float64Var(&c.TrainPortion, "train-portion", c.TrainPortion, "of the training images, to train on; below 1, epochs are evaluated on the rest")
	fs.Uint64Var(&c.Seed, "seed", c.Seed, "of all randomness")
	fs.Var((*steps)(&c.ReportFreq), "report-freq", "steps between two reports")
	bindPrecision(fs, &c.Precision)
}

// deadTrainFlags are the original's flags of train.py and train_imagenet.py that mean nothing here.
var deadTrainFlags = []deadFlag{
	{"model-path", true, "the original's training never reads it; --save names the run folder"},
	{"parallel", false, "a training runs on one device; --workers says how many processors it uses"},
}

// resolve returns the preset's settings with the flags that were given. Without --preset, the shapes get the quick
// settings and other data the paper's.
func (f *trainFlags) resolve(flags *pflag.FlagSet) (recipe.TrainConfig, error) {
	preset := f.preset
	if preset == "" {
		preset = presetPaper
		if f.config.Data == "" || f.config.Data == shapes {
			preset = presetQuick
		}
	}
	var config recipe.TrainConfig
	switch preset {
	case presetQuick:
		config = recipe.QuickTraining()
	case presetPaper:
		config = recipe.PaperTraining()
	case presetImageNet:
		config = recipe.ImageNetTraining()
	default:
		return config, usagef("--preset %q: want quick, paper or imagenet", preset)
	}
	config.Arch, config.Data = defaultArch, shapes
	err := trainBinder(&config).overlay(flags)
	if err != nil {
		return config, err
	}
	if config.Data, err = absoluteData(config.Data); err != nil {
		return config, err
	}
	if config.Genotype, err = loadGenotype(config.Arch); err != nil {
		return config, fmt.Errorf("--arch: %w", err)
	}
	if err := config.Validate(); err != nil {
		return config, &usageError{err}
	}
	return config, nil
}

// loadGenotype reads a genotype where the folder of a run may stand for one.
func loadGenotype(argument string) (space.Genotype, error) {
	if info, err := os.Stat(argument); err == nil && info.IsDir() {
		found, err := recipe.ReadFound(filepath.Clean(argument))
		return found.Genotype, err
	}
	return space.Load(argument)
}

// quickTrainSettings says in what the quick preset differs from the flags' defaults.
func quickTrainSettings() string {
	quick, paper := recipe.QuickTraining(), recipe.PaperTraining()
	return trainBinder(&quick).differences(trainBinder(&paper))
}

// imageNetSettings says the same of the imagenet preset.
func imageNetSettings() string {
	imageNet, paper := recipe.ImageNetTraining(), recipe.PaperTraining()
	return trainBinder(&imageNet).differences(trainBinder(&paper))
}
