package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/darts/budget"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/runtime/cost"
	"github.com/dartsc/dartsc/runtime/cpu"
)

type archCost struct {
	form, imageSize, target   string
	channels, layers, classes int
	batch, trainBatch         int
	json                      bool
}

// formCost is what a genotype costs in one form.
type formCost struct {
	Form     string `json:"form"`
	Channels int    `json:"init_channels"`
	Layers   int    `json:"layers"`
	Classes  int    `json:"classes"`
	Height   int    `json:"height"`
	Width    int    `json:"width"`
	budget.Cost
	Batch          int     `json:"batch"`
	Inference      int64   `json:"inference_bytes"` // of the plan: variables and arena
	TrainBatch     int     `json:"train_batch"`
	Training       int64   `json:"training_bytes"`
	Target         string  `json:"target"`
	LatencySeconds float64 `json:"latency_seconds,omitempty"` // predicted, of one inference batch; 0 where the target's roofline is not known
}

func newArchCost() *cobra.Command {
	var o archCost
	cmd := &cobra.Command{
		Use: "cost GENOTYPE", Short: "Say what a genotype's networks cost", Args: oneArg("a genotype's name, text or file"),
		Long: `Say what the networks of a genotype cost in the two forms of the papers, for CIFAR (36 channels, 20 layers, 32x32) and
for ImageNet (48 channels, 14 layers, 224x224): parameters without the auxiliary head; multiply-adds of convolutions and
linear layers for one image; the memory of the inference plan and of the training plan with the auxiliary head; and the
time that the roofline of this machine's CPU predicts for an inference. The first use measures the roofline.`,
		Example: `  dartsc arch cost DARTS_V2
  dartsc arch cost genotype.json --form cifar --init-channels 16 --layers 8 --batch 32`,
		ValidArgsFunction: cobra.FixedCompletions(space.Names(), cobra.ShellCompDirectiveDefault),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.Flags(), args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.form, "form", "", "cifar or imagenet (default both)")
	flags.IntVar(&o.channels, "init-channels", 0, "channels of the first cell (default that of the form)")
	flags.IntVar(&o.layers, "layers", 0, "cells (default that of the form)")
	flags.IntVar(&o.classes, "classes", 0, "number of classes (default 10, imagenet 1000)")
	flags.StringVar(&o.imageSize, "image-size", "", "height and width of images (default that of the form)")
	flags.IntVar(&o.batch, "batch", 1, "images of an inference")
	flags.IntVar(&o.trainBatch, "train-batch", 0, "images of a training step (default 96, imagenet 128)")
	flags.StringVar(&o.target, "target", "cpu", "what the plans are for: "+strings.Join(compiler.Targets(), ", "))
	flags.BoolVar(&o.json, "json", false, "print JSON")
	complete(cmd, "form", budget.CIFAR.Name, budget.ImageNet.Name)
	complete(cmd, "target", compiler.Targets()...)
	return cmd
}

func (o *archCost) run(ctx context.Context, w io.Writer, flags *pflag.FlagSet, argument string) error {
	genotype, err := space.Load(argument)
	if err != nil {
		return err
	}
	forms, err := o.forms(flags)
	if err != nil {
		return err
	}
	costs := []formCost{}
	for _, f := range forms {
		c, err := o.cost(ctx, f, genotype)
		if err != nil {
			return err
		}
		costs = append(costs, c)
	}
	if o.json {
		return writeJSON(w, costs)
	}
	rows := [][]string{{"form", "channels", "layers", "images", "parameters", "multiply-adds", "inference", "training", "predicted on " + o.target}}
	for _, c := range costs {
		latency := "unknown"
		if c.LatencySeconds > 0 {
			latency = fmt.Sprintf("%.1f ms", 1e3*c.LatencySeconds)
		}
		rows = append(rows, []string{
			c.Form, fmt.Sprint(c.Channels), fmt.Sprint(c.Layers), fmt.Sprintf("%dx%d", c.Height, c.Width),
			grouped(c.Parameters), grouped(c.MultiplyAdds), fmt.Sprintf("%s at batch %d", size(c.Inference), c.Batch),
			fmt.Sprintf("%s at batch %d", size(c.Training), c.TrainBatch), latency,
		})
	}
	return table(w, rows...)
}

// forms are those asked for, with the sizes that were given.
func (o *archCost) forms(flags *pflag.FlagSet) ([]budget.Form, error) {
	if !slices.Contains(compiler.Targets(), o.target) {
		return nil, usagef("--target %q: want %s", o.target, strings.Join(compiler.Targets(), ", "))
	}
	if o.batch < 1 || o.trainBatch < 0 {
		return nil, usagef("--batch and --train-batch must be at least 1")
	}
	forms := budget.Forms()
	if o.form != "" {
		forms = slices.DeleteFunc(forms, func(f budget.Form) bool { return f.Name != o.form })
		if len(forms) == 0 {
			return nil, usagef("--form %q: want cifar or imagenet", o.form)
		}
	}
	for i := range forms {
		f := &forms[i]
		for _, given := range []struct {
			flag  string
			value int
			set   *int
		}{{"init-channels", o.channels, &f.Channels}, {"layers", o.layers, &f.Layers}, {"classes", o.classes, &f.Classes}} {
			if flags.Changed(given.flag) {
				*given.set = given.value
			}
		}
		if o.imageSize != "" {
			side, err := data.ParseSize(o.imageSize)
			if err != nil {
				return nil, usagef("--image-size: %w", err)
			}
			f.Height, f.Width = side.Height, side.Width
		}
	}
	return forms, nil
}

func (o *archCost) cost(ctx context.Context, f budget.Form, genotype space.Genotype) (formCost, error) {
	if err := f.Network(genotype).Validate(); err != nil {
		return formCost{}, &usageError{err}
	}
	c := formCost{
		Form: f.Name, Channels: f.Channels, Layers: f.Layers, Classes: f.Classes, Height: f.Height, Width: f.Width,
		Batch: o.batch, TrainBatch: o.trainBatch, Target: o.target,
	}
	if c.TrainBatch == 0 {
		c.TrainBatch = f.TrainBatch
	}
	var err error
	if c.Cost, err = budget.Of(f, genotype); err != nil {
		return c, err
	}
	inference, err := budget.Inference(ctx, f, genotype, c.Batch, o.target)
	if err != nil {
		return c, err
	}
	training, err := budget.Training(ctx, f, genotype, c.TrainBatch, o.target)
	if err != nil {
		return c, err
	}
	c.Inference, c.Training = budget.Memory(inference), budget.Memory(training)
	device := cpu.New(0)
	if o.target != device.Target() {
		return c, nil // of which no roofline is known
	}
	machine, err := rooflineOf(ctx, device, false)
	if err != nil {
		return c, err
	}
	c.LatencySeconds = cost.Total(cost.Predict(inference.Programs[0], machine)).Predicted
	return c, nil
}
