package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/budget"
	"github.com/dartsc/dartsc/darts/infer"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/space"
)

type runTest struct {
	arch, mean, std string
	config          recipe.TestConfig
	deviceFlags
	limit byteSize
	json  bool
}

func newRunTest() *cobra.Command {
	var o runTest
	cmd := &cobra.Command{
		Use: "test", Short: "Measure a trained network on test images", Args: noArgs,
		Long: `Measure top-1, top-5 and the loss of a trained network on the test images of a data set, with the flags and defaults of
the original's test.py and test_imagenet.py. --model-path is one of

  a run folder      its last checkpoint, on its own data; of a search, the network of mixtures itself
  a PyTorch file    what the original saved: a state_dict, a checkpoint with one in it, or a whole pickled module, of
                    any version of PyTorch, from the CPU or a GPU; nothing in the file is executed
  safetensors       under the original's names; those that run train leaves say which network they are of
  an ONNX file      with its own network, and its normalisation if its metadata have mean and std

For other files --arch, --init-channels and --layers say which network they are of; an auxiliary head in them is ignored.`,
		Example: `  dartsc run test --auxiliary --model-path cifar10_model.pt --data cifar-10-batches-bin
  dartsc run test --model-path train-20260102-150405
  dartsc run test --model-path train-20260102-150405/best.safetensors --data cifar-10-batches-bin`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	flags, c := cmd.Flags(), &o.config
	flags.StringVar(&c.Model, "model-path", "", "run folder, or file of weights (required)")
	flags.StringVar(&c.Model, "checkpoint", "", "another name for --model-path")
	flags.StringVar(&o.arch, "arch", "DARTS", "genotype: a name, a text, a file, or the folder of a run")
	flags.StringVar(&c.Data, "data", shapes, "folder of the data set, or shapes, a generated one (default for a run: its own)")
	flags.StringVar(&c.ImageSize, "image-size", "", "size that images get (default: that of the data)")
	flags.IntVar(&c.BatchSize, "batch-size", 96, "images at a time, which changes no result")
	flags.IntVar(&c.InitChannels, "init-channels", budget.CIFAR.Channels, "channels of the first cell")
	flags.IntVar(&c.Layers, "layers", budget.CIFAR.Layers, "cells")
	flags.BoolVar(&c.ImageNet, "imagenet", false, "the original's network for ImageNet; other defaults are then its own")
	for _, flag := range []string{"auxiliary", "cutout"} { // which the original needs, or ignores
		flags.Bool(flag, false, "")
		flags.Lookup(flag).Hidden = true
	}
	bindDead(cmd, deadTestFlags)
	flags.StringVar(&o.mean, "mean", "", "mean of each channel, of pixels from 0 to 1 (default: as the model says, or else the data's)")
	flags.StringVar(&o.std, "std", "", "deviation of each channel")
	flags.Uint64Var(&c.Seed, "seed", 0, "of generated data")
	o.deviceFlags.bind(cmd)
	bindPrecision(flags, &c.Precision)
	bindMemoryLimit(flags, &o.limit)
	flags.BoolVar(&o.json, "json", false, "print JSON")
	complete(cmd, "arch", space.Names()...)
	complete(cmd, "precision", cuda.Precisions...)
	cmd.AddCommand(newRunTestRNN())
	return cmd
}

// deadTestFlags are the original's flags of test.py that mean nothing here.
var deadTestFlags = []deadFlag{
	{"report-freq", true, "the result comes at the end"},
	{"drop-path-prob", true, "no path is dropped in a test, nor does the original"},
	{"cutout-length", true, "test images are not cut, nor does the original"},
}

func (o *runTest) run(cmd *cobra.Command) error {
	warn(cmd, deadTestFlags)
	if o.config.Model == "" {
		return usagef("--model-path is missing: want a run folder or a file of weights")
	}
	if o.config.BatchSize < 1 {
		return usagef("--batch-size must be at least 1")
	}
	if err := o.deviceFlags.check(); err != nil {
		return err
	}
	config, err := o.resolve(cmd.Flags())
	if err != nil {
		return err
	}
	device, err := o.deviceFlags.openFor(config.Precision)
	if err != nil {
		return err
	}
	score, err := recipe.Test(cmd.Context(), config, recipe.Options{
		Device: device, Workers: o.workers, Version: version(), Memory: int64(o.limit), Logger: slog.Default(),
	})
	if err != nil {
		return err
	}
	return o.report(cmd.OutOrStdout(), score)
}

// resolve is what the model says of itself, then what the flags say, and then the original's defaults.
func (o *runTest) resolve(flags *pflag.FlagSet) (recipe.TestConfig, error) {
	own, err := recipe.TestOf(o.config.Model)
	if err != nil {
		return own, err
	}
	if own.Supernet && flags.Changed("arch") {
		return own, usagef("--arch cannot go with the run of a search, which is measured as it is; train what it found first")
	}
	c := o.config
	c.Supernet = own.Supernet
	form := budget.CIFAR
	if !flags.Changed("imagenet") {
		c.ImageNet = own.ImageNet
	}
	if c.ImageNet {
		form = budget.ImageNet
	}
	for _, setting := range []struct {
		flag     string
		value    *int
		own, def int
	}{
		{"init-channels", &c.InitChannels, own.InitChannels, form.Channels}, {"layers", &c.Layers, own.Layers, form.Layers},
		{"batch-size", &c.BatchSize, own.BatchSize, c.BatchSize},
	} {
		if !flags.Changed(setting.flag) {
			*setting.value = cmp.Or(setting.own, setting.def)
		}
	}
	if !flags.Changed("data") {
		c.Data = cmp.Or(own.Data, c.Data)
	}
	if !flags.Changed("image-size") {
		c.ImageSize = own.ImageSize
		if c.ImageSize == "" && c.ImageNet {
			c.ImageSize = fmt.Sprintf("%dx%d", form.Height, form.Width)
		}
	}
	c.Augment = own.Augment
	if c.Augment == "" && c.ImageNet && c.Data != shapes {
		c.Augment = recipe.AugmentResizedCrop
	}
	if !flags.Changed("seed") {
		c.Seed = own.Seed
	}
	for _, n := range []struct {
		flag, text string
		to         *[]float32
	}{{"mean", o.mean, &c.Mean}, {"std", o.std, &c.Std}} {
		if n.text == "" {
			continue
		}
		if *n.to, err = infer.ParseList(n.text); err != nil {
			return c, usagef("--%s: %w", n.flag, err)
		}
	}
	c.Genotype = own.Genotype
	if flags.Changed("arch") || len(own.Genotype.Normal) == 0 {
		if c.Genotype, err = loadGenotype(o.arch); err != nil {
			return c, fmt.Errorf("--arch: %w", err)
		}
	}
	return c, nil
}

func (o *runTest) report(w io.Writer, s recipe.Score) error {
	if o.json {
		s.Seconds = rounded(s.Seconds, 3)
		return writeJSON(w, s)
	}
	_, err := fmt.Fprintf(w, "%s (%s) on %s test images of %s: top-1 %.2f %%, top-5 %.2f %%, loss %.4f; %.1f images/s, activations %s\n",
		s.Model, s.Format, grouped(s.Images), s.Data, s.Top1, s.Top5, s.Loss, float64(s.Images)/max(s.Seconds, 1e-9), size(s.PeakBytes))
	return err
}
