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
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/budget"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/runtime/cost"
	"github.com/dartsc/dartsc/runtime/cpu"
)

type archCost struct {
	form, imageSize           string
	target, device            string
	channels, layers, classes int
	batch, trainBatch         int
	json                      bool
}

// formCost is what a genotype costs in one form: of images, or of text.
type formCost struct {
	Form       string `json:"form"`
	Channels   int    `json:"init_channels,omitempty"`
	Layers     int    `json:"layers,omitempty"`
	Classes    int    `json:"classes,omitempty"`
	Height     int    `json:"height,omitempty"`
	Width      int    `json:"width,omitempty"`
	Hidden     int    `json:"hidden,omitempty"`
	Vocabulary int    `json:"vocabulary,omitempty"`
	Steps      int    `json:"steps,omitempty"`
	budget.Cost
	Batch          int     `json:"batch"`
	Inference      int64   `json:"inference_bytes"` // of the plan: variables and arena
	TrainBatch     int     `json:"train_batch"`
	Training       int64   `json:"training_bytes"`
	Target         string  `json:"target"`
	LatencySeconds float64 `json:"latency_seconds"` // predicted, of one inference batch
	PredictedOn    string  `json:"predicted_on"`    // the processor or GPU
}

func newArchCost() *cobra.Command {
	var o archCost
	cmd := &cobra.Command{
		Use: "cost GENOTYPE", Short: "Say what a genotype's networks cost", Args: oneArg("a genotype's name, text or file, or the folder of a run"),
		Long: `Say what the networks of a genotype cost in the two forms of the papers, for CIFAR (36 channels, 20 layers, 32x32) and
for ImageNet (48 channels, 14 layers, 224x224): parameters without the auxiliary head; multiply-adds of convolutions and
linear layers for one image; the memory of the inference plan and of the training plan with the auxiliary head; and the
time that is predicted for an inference, by the roofline of this machine's CPU, which the first use measures, or with a
--target cuda:… by the data sheet of a GPU.

A recurrent genotype is told in the forms ptb (850 hidden, 10,000 words) and wikitext2 (700 hidden, 33,278 words), with the
multiply-adds of one word and programs of 35 words a row. A name that both kinds have, such as DARTS_V2, is that of
convolutional cells unless --form says otherwise.`,
		Example: `  dartsc arch cost DARTS_V2
  dartsc arch cost genotype.json --form cifar --init-channels 16 --layers 8 --batch 32
  dartsc arch cost DARTS_V2 --form ptb
  dartsc arch cost DARTS_V2 --target cuda:sm_90 --device h100 --batch 96`,
		ValidArgsFunction: cobra.FixedCompletions(space.Names(), cobra.ShellCompDirectiveDefault),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.Flags(), args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.form, "form", "", "cifar or imagenet (default both); ptb or wikitext2 of a recurrent genotype")
	flags.IntVar(&o.channels, "init-channels", 0, "channels of the first cell (default that of the form)")
	flags.IntVar(&o.layers, "layers", 0, "cells (default that of the form)")
	flags.IntVar(&o.classes, "classes", 0, "number of classes (default 10, imagenet 1000)")
	flags.StringVar(&o.imageSize, "image-size", "", "height and width of images (default that of the form)")
	flags.IntVar(&o.batch, "batch", 1, "images, or rows of text, of an inference")
	flags.IntVar(&o.trainBatch, "train-batch", 0, "the same of a training step (default 96, imagenet 128, text 64)")
	flags.StringVar(&o.target, "target", "cpu", "what the plans are for: "+strings.Join(compiler.Targets(), ", "))
	bindPredicted(cmd, &o.device)
	flags.BoolVar(&o.json, "json", false, "print JSON")
	complete(cmd, "form", budget.CIFAR.Name, budget.ImageNet.Name, budget.PTB.Name, budget.WikiText2.Name)
	complete(cmd, "target", compiler.Targets()...)
	return cmd
}

func (o *archCost) run(ctx context.Context, w io.Writer, flags *pflag.FlagSet, argument string) error {
	if !slices.Contains(compiler.Targets(), o.target) {
		return usagef("--target %q: want %s", o.target, strings.Join(compiler.Targets(), ", "))
	}
	if o.batch < 1 || o.trainBatch < 0 {
		return usagef("--batch and --train-batch must be at least 1")
	}
	costs, err := o.costs(ctx, flags, argument)
	if err != nil {
		return err
	}
	if o.json {
		return writeJSON(w, costs)
	}
	rows := [][]string{{"form", "network", "parameters", "multiply-adds", "inference", "training", "predicted on " + o.predictedOn(costs)}}
	for _, c := range costs {
		network := fmt.Sprintf("%d channels, %d layers, %dx%d", c.Channels, c.Layers, c.Height, c.Width)
		if c.Hidden > 0 {
			network = fmt.Sprintf("%d hidden, %s words", c.Hidden, grouped(c.Vocabulary))
		}
		rows = append(rows, []string{
			c.Form, network, grouped(c.Parameters), grouped(c.MultiplyAdds), fmt.Sprintf("%s at batch %d", size(c.Inference), c.Batch),
			fmt.Sprintf("%s at batch %d", size(c.Training), c.TrainBatch), fmt.Sprintf("%.1f ms", 1e3*c.LatencySeconds),
		})
	}
	return table(w, rows...)
}

// predictedOn is what the times are of, for the head of the table.
func (o *archCost) predictedOn(costs []formCost) string {
	if o.target == cpu.New(0).Target() {
		return o.target
	}
	return costs[0].PredictedOn
}

// costs are those of the genotype in the forms asked for, or in all that its kind has.
func (o *archCost) costs(ctx context.Context, flags *pflag.FlagSet, argument string) ([]formCost, error) {
	texts := slices.DeleteFunc(budget.TextForms(), func(f budget.TextForm) bool { return o.form != "" && f.Name != o.form })
	genotype, err := loadGenotype(argument)
	if wanted := o.form != "" && len(texts) > 0; wanted || err != nil && o.form == "" {
		recurrent, failed := recurrentOf(argument)
		if failed == nil {
			return o.textCosts(ctx, flags, texts, recurrent)
		}
		if wanted {
			return nil, failed
		}
	}
	if err != nil {
		return nil, err
	}
	forms, err := o.forms(flags)
	if err != nil {
		return nil, err
	}
	var costs []formCost
	for _, f := range forms {
		if err := f.Network(genotype).Validate(); err != nil {
			return nil, &usageError{err}
		}
		c := formCost{Form: f.Name, Channels: f.Channels, Layers: f.Layers, Classes: f.Classes, Height: f.Height, Width: f.Width, TrainBatch: f.TrainBatch}
		if c.Cost, err = budget.Of(f, genotype); err != nil {
			return nil, err
		}
		inference := func(batch int) (*plan.Plan, error) { return budget.Inference(ctx, f, genotype, batch, o.target) }
		training := func(batch int) (*plan.Plan, error) { return budget.Training(ctx, f, genotype, batch, o.target) }
		if err := o.plans(ctx, &c, inference, training); err != nil {
			return nil, err
		}
		costs = append(costs, c)
	}
	return costs, nil
}

func (o *archCost) textCosts(ctx context.Context, flags *pflag.FlagSet, forms []budget.TextForm, genotype space.Recurrent) ([]formCost, error) {
	for _, flag := range []string{"init-channels", "layers", "classes", "image-size"} {
		if flags.Changed(flag) {
			return nil, usagef("--%s cannot go with a recurrent genotype", flag)
		}
	}
	var costs []formCost
	for _, f := range forms {
		c := formCost{Form: f.Name, Hidden: f.Hidden, Vocabulary: f.Vocabulary, Steps: f.Steps, TrainBatch: f.TrainRows}
		var err error
		if c.Cost, err = budget.OfText(f, genotype); err != nil {
			return nil, err
		}
		inference := func(rows int) (*plan.Plan, error) { return budget.TextInference(ctx, f, genotype, rows, o.target) }
		training := func(rows int) (*plan.Plan, error) { return budget.TextTraining(ctx, f, genotype, rows, o.target) }
		if err := o.plans(ctx, &c, inference, training); err != nil {
			return nil, err
		}
		costs = append(costs, c)
	}
	return costs, nil
}

// plans adds what compiled plans take.
func (o *archCost) plans(ctx context.Context, c *formCost, inference, training func(batch int) (*plan.Plan, error)) error {
	c.Batch, c.Target = o.batch, o.target
	if o.trainBatch > 0 {
		c.TrainBatch = o.trainBatch
	}
	p, err := inference(c.Batch)
	if err != nil {
		return err
	}
	q, err := training(c.TrainBatch)
	if err != nil {
		return err
	}
	c.Inference, c.Training = budget.Memory(p), budget.Memory(q)
	machine, err := predictedOn(ctx, o.target, o.device, 0)
	if err != nil {
		return err
	}
	program := p.Programs[0]
	launches := cost.Predict(program, machine)
	c.PredictedOn, c.LatencySeconds = machine.Processor, cost.Total(launches).Predicted
	if machine.Blocks > 0 {
		c.LatencySeconds = cost.SideBySide(program, launches, machine.Blocks).Seconds
	}
	return nil
}

// forms are those asked for, with the sizes that were given.
func (o *archCost) forms(flags *pflag.FlagSet) ([]budget.Form, error) {
	forms := budget.Forms()
	if o.form != "" {
		forms = slices.DeleteFunc(forms, func(f budget.Form) bool { return f.Name != o.form })
		if len(forms) == 0 {
			return nil, usagef("--form %q: want cifar, imagenet, ptb or wikitext2", o.form)
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
