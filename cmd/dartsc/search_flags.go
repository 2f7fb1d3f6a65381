package main

import (
	"cmp"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/budget"
	"github.com/dartsc/dartsc/darts/recipe"
)

// searchFlags are the flags of a SearchConfig, under the original's names and with its defaults.
type searchFlags struct {
	preset string
	config recipe.SearchConfig
}

const (
	presetQuick = "quick"
	presetPaper = "paper"
	shapes      = "shapes"
)

// bind adds the flags to a command.
func (f *searchFlags) bind(cmd *cobra.Command) {
	f.config = recipe.Paper()
	bindSearch(cmd.Flags(), &f.config)
	cmd.Flags().StringVar(&f.preset, "preset", "", "settings to start from: paper, the original's, or quick, a small search")
	complete(cmd, "preset", presetQuick, presetPaper)
	complete(cmd, "precision", cuda.Precisions...)
	complete(cmd, "budget-form", budget.CIFAR.Name, budget.ImageNet.Name)
	if err := cmd.MarkFlagDirname("data"); err != nil {
		panic(err)
	}
	bindDead(cmd, deadSearchFlags)
}

func searchBinder(c *recipe.SearchConfig) binder {
	return func(fs *pflag.FlagSet) { bindSearch(fs, c) }
}

func bindSearch(fs *pflag.FlagSet, c *recipe.SearchConfig) {
	fs.StringVar(&c.Data, "data", c.Data, "folder of the data set, or shapes, a generated one")
	fs.StringVar(&c.ImageSize, "image-size", c.ImageSize, "size that images get, as 32 or 24x48 (default: that of the data)")
	fs.IntVar(&c.Epochs, "epochs", c.Epochs, "passes over the weights' half of the training images")
	fs.IntVar(&c.BatchSize, "batch-size", c.BatchSize, "images of each half in a step")
	fs.IntVar(&c.InitChannels, "init-channels", c.InitChannels, "channels of the first cell")
	fs.IntVar(&c.Layers, "layers", c.Layers, "cells")
	fs.BoolVar(&c.Unrolled, "unrolled", c.Unrolled, "second order: alphas see the weights one step ahead")
	fs.Float64Var(&c.LearningRate, "learning-rate", c.LearningRate, "of the weights, in the first epoch")
	fs.Float64Var(&c.LearningRateMin, "learning-rate-min", c.LearningRateMin, "of the weights, at the end of the cosine")
	fs.Float64Var(&c.Momentum, "momentum", c.Momentum, "of the weights")
	fs.Float64Var(&c.WeightDecay, "weight-decay", c.WeightDecay, "of the weights")
	fs.Float64Var(&c.ArchLearningRate, "arch-learning-rate", c.ArchLearningRate, "of the alphas")
	fs.Float64Var(&c.ArchWeightDecay, "arch-weight-decay", c.ArchWeightDecay, "of the alphas")
	fs.Float64Var(&c.GradClip, "grad-clip", c.GradClip, "largest norm of the weights' gradient")
	fs.Float64Var(&c.TrainPortion, "train-portion", c.TrainPortion, "of the training images, for the weights; the rest is for the alphas")
	fs.BoolVar(&c.Cutout, "cutout", c.Cutout, "cut a random square out of training images")
	fs.IntVar(&c.CutoutLength, "cutout-length", c.CutoutLength, "side of that square in pixels")
	fs.Var((*count)(&c.MaxParams), "max-params", "parameters that the derived network may have, as 3.3M: operations are penalised until it keeps to it")
	fs.Var((*count)(&c.MaxFlops), "max-flops", "multiply-adds that it may take for an image, as 600M")
	fs.StringVar(&c.BudgetForm, "budget-form", c.BudgetForm, "network in which both are counted, as in arch cost: cifar or imagenet")
	fs.Uint64Var(&c.Seed, "seed", c.Seed, "of all randomness")
	fs.Var((*steps)(&c.ReportFreq), "report-freq", "steps between two reports")
	bindPrecision(fs, &c.Precision)
}

// deadSearchFlags are the original's train_search flags that it parses and does not use, or that mean nothing here.
var deadSearchFlags = []deadFlag{
	{"model-path", true, "the original's search never reads it; --save names the run folder"},
	{"drop-path-prob", true, "the original's search never reads it; paths are dropped when a derived network is trained"},
}

// resolve returns the preset's settings with the flags that were given. Without --preset, the shapes get the quick
// settings and other data the paper's.
func (f *searchFlags) resolve(flags *pflag.FlagSet) (recipe.SearchConfig, error) {
	var config recipe.SearchConfig
	switch f.presetOf() {
	case presetQuick:
		config = recipe.Quick()
	case presetPaper:
		config = recipe.Paper()
		config.Data = shapes
	default:
		return config, usagef("--preset %q: want quick or paper", f.preset)
	}
	err := searchBinder(&config).overlay(flags)
	if err != nil {
		return config, err
	}
	if config.Data, err = absoluteData(config.Data); err != nil {
		return config, err
	}
	if err := config.Validate(); err != nil {
		return config, &usageError{err}
	}
	return config, nil
}

// presetOf is the preset that is given, or that the data asks for.
func (f *searchFlags) presetOf() string {
	if f.preset == "" && (f.config.Data == "" || f.config.Data == shapes) {
		return presetQuick
	}
	return cmp.Or(f.preset, presetPaper)
}

// given lists the flags on a command line that are settings of a search.
func (f *searchFlags) given(flags *pflag.FlagSet) []string {
	return searchBinder(&recipe.SearchConfig{}).given(flags)
}

// quickSettings says in what the quick preset differs from the flags' defaults.
func quickSettings() string {
	quick, paper := recipe.Quick(), recipe.Paper()
	return searchBinder(&quick).differences(searchBinder(&paper))
}
