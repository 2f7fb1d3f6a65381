package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/export"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/darts/weights"
	"github.com/dartsc/dartsc/internal/atomicfile"
)

type exportONNX struct {
	onnxOutput
	genotype, run, imageSize, weights string
	channels, layers, classes, inputs int
	cell                              string
	imagenet, fold                    bool
	seed                              uint64
}

// onnxOutput says what file to write.
type onnxOutput struct {
	out, precision string
	json           bool
}

func (o *onnxOutput) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.precision, "precision", "fp32", "of stored weights: fp32, or fp16 for a file of half the size that computes in fp32")
	flags.StringVarP(&o.out, "output", "o", "", "file to write (required)")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON")
	complete(cmd, "precision", "fp32", "fp16")
}

func (o *onnxOutput) check() error {
	if o.out == "" {
		return usagef("-o is missing: want the file to write")
	}
	if o.precision != "fp32" && o.precision != "fp16" {
		return usagef("--precision %q: want fp32 or fp16", o.precision)
	}
	return nil
}

func newExportONNX() *cobra.Command {
	var o exportONNX
	cmd := &cobra.Command{
		Use: "onnx", Short: "Write a derived network as ONNX", Args: noArgs,
		Long: `Write the network of a genotype as ONNX: opset 17, input images [batch,channels,height,width], output logits
[batch,classes], any batch size. The genotype is a name (see arch list), the original's text, JSON, a file that holds
one of these, or what a run has found. Weights are fresh ones, or those of --weights under the original's names.

With --run, the classes, the images' size and the normalisation are the run's; of a training, so are the network and its
last weights, or with --weights RUN/best.safetensors its best. With --imagenet, the network has ImageNet's stems, and
the defaults are the original's for it: 48 channels, 14 layers, 1000 classes, 224x224.

"dartsc export onnx rnn" writes recurrent models.

--cell writes one cell of the network alone, with the results of the two cells before it as inputs: the first one that
reduces the image, the first normal one between others of its kind, or the one of that number.`,
		Example: `  dartsc export onnx --genotype DARTS_V2 -o darts.onnx
  dartsc export onnx --run search-20260102-150405 --init-channels 16 --layers 8 -o network.onnx`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.execute(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.genotype, "genotype", "", "name, text or file of a genotype, or the folder of a run")
	flags.StringVar(&o.run, "run", "", "folder of a run, for its genotype and its data")
	flags.IntVar(&o.channels, "init-channels", 36, "channels of the first cell")
	flags.IntVar(&o.layers, "layers", 20, "cells")
	flags.IntVar(&o.classes, "classes", 10, "number of classes")
	flags.StringVar(&o.imageSize, "image-size", "32x32", "height and width of images")
	flags.IntVar(&o.inputs, "channels", 3, "channels of images")
	flags.BoolVar(&o.imagenet, "imagenet", false, "the original's network for ImageNet")
	flags.StringVar(&o.weights, "weights", "", "trained weights: a PyTorch or safetensors file, or the folder of a training")
	flags.BoolVar(&o.fold, "fold-batchnorm", false, "fold BatchNorm into the convolutions before it")
	flags.StringVar(&o.cell, "cell", "", "only one cell: normal, reduce, or its number")
	flags.Uint64Var(&o.seed, "seed", 0, "of fresh weights")
	o.bind(cmd)
	complete(cmd, "genotype", space.Names()...)
	complete(cmd, "cell", "normal", "reduce")
	cmd.AddCommand(newExportONNXRNN())
	return cmd
}

func (o *exportONNX) execute(cmd *cobra.Command) error {
	if err := o.check(); err != nil {
		return err
	}
	model, err := o.model(cmd.Flags())
	if err != nil {
		return err
	}
	var trained *weights.Weights
	if o.weights != "" {
		if trained, err = weights.Read(o.weights); err != nil {
			return fmt.Errorf("--weights: %w", err)
		}
	}
	return o.write(cmd.Context(), cmd.OutOrStdout(), model, trained)
}

// model is the network that the flags ask for.
func (o *exportONNX) model(flags *pflag.FlagSet) (export.Model, error) {
	if (o.genotype == "") == (o.run == "") {
		return export.Model{}, usagef("want one of --genotype and --run")
	}
	m := export.Model{Network: cnn.Derived{ImageNet: o.imagenet}, Seed: o.seed, Version: version()}
	var err error
	if o.run != "" {
		if o.imagenet || flags.Changed("classes") || flags.Changed("image-size") || flags.Changed("channels") {
			return m, usagef("--classes, --image-size, --channels and --imagenet cannot go with --run, which has data of its own")
		}
		found, err := recipe.ReadFound(o.run)
		if err != nil {
			return m, err
		}
		m.Network.Genotype, m.Data = found.Genotype, found.Data
		if found.Task == recipe.TaskTrain {
			return o.trained(m, found, flags)
		}
	} else {
		if m.Network.Genotype, err = loadGenotype(o.genotype); err != nil {
			return m, err
		}
		if o.imagenet {
			o.imageNetDefaults(flags)
		}
		side, err := data.ParseSize(o.imageSize)
		if err != nil {
			return m, usagef("--image-size: %w", err)
		}
		if m.Data, err = data.Absent(o.classes, side, o.inputs); err != nil {
			return m, &usageError{err}
		}
	}
	m.Network.Channels, m.Network.Layers, m.Network.Classes = o.channels, o.layers, len(m.Data.Classes)
	if err := m.Network.Validate(); err != nil {
		return m, &usageError{err}
	}
	m.Cell, err = o.cellNumber(m.Network)
	return m, err
}

// trained is the network of a training, with the weights of its last checkpoint unless --weights names others.
func (o *exportONNX) trained(m export.Model, found recipe.Found, flags *pflag.FlagSet) (export.Model, error) {
	for _, flag := range []string{"init-channels", "layers"} {
		if flags.Changed(flag) {
			return m, usagef("--%s cannot go with --run of a training, whose network has its own size", flag)
		}
	}
	if o.weights == "" {
		o.weights = o.run
	}
	m.Network = found.Network
	var err error
	m.Cell, err = o.cellNumber(m.Network)
	return m, err
}

// cellNumber is the number of the cell that --cell names, nil for all of them.
func (o *exportONNX) cellNumber(n cnn.Derived) (*int, error) {
	number, err := -1, error(nil)
	switch o.cell {
	case "":
		return nil, nil
	case "normal", "reduce":
		if number = n.FirstCell(o.cell == "reduce"); number < 0 {
			return nil, usagef("--cell %s: a network of %d cells has none", o.cell, n.Layers)
		}
	default:
		if number, err = strconv.Atoi(o.cell); err != nil || number < 0 || number >= n.Layers {
			return nil, usagef("--cell %q: want normal, reduce, or a number from 0 to %d", o.cell, n.Layers-1)
		}
	}
	return &number, nil
}

// imageNetDefaults are those of the original's train_imagenet.py.
func (o *exportONNX) imageNetDefaults(flags *pflag.FlagSet) {
	for _, d := range []struct {
		flag string
		set  func()
	}{
		{"init-channels", func() { o.channels = 48 }},
		{"layers", func() { o.layers = 14 }},
		{"classes", func() { o.classes = 1000 }},
		{"image-size", func() { o.imageSize = "224x224" }},
	} {
		if !flags.Changed(d.flag) {
			d.set()
		}
	}
}

func (o *exportONNX) write(ctx context.Context, w io.Writer, m export.Model, trained *weights.Weights) error {
	parameters, err := m.Parameters()
	if err != nil {
		return err
	}
	model, err := export.ONNX(ctx, m, export.Options{FoldBatchNorm: o.fold, HalfWeights: o.precision == "fp16", Weights: trained})
	if err != nil {
		return err
	}
	if err := atomicfile.Write(o.out, model); err != nil {
		return err
	}
	if o.json {
		return writeJSON(w, struct {
			File       string `json:"file"`
			Bytes      int    `json:"bytes"`
			Parameters int    `json:"parameters"`
			Genotype   string `json:"genotype"`
		}{o.out, len(model), parameters, m.Network.Genotype.String()})
	}
	if m.Cell != nil {
		_, err = fmt.Fprintf(w, "%s: cell %d, %s parameters, %s\n", o.out, *m.Cell, grouped(parameters), size(int64(len(model))))
		return err
	}
	_, err = fmt.Fprintf(w, "%s: %s parameters, %d classes, images %dx%dx%d, %s\n", o.out, grouped(parameters),
		m.Network.Classes, m.Data.Channels, m.Data.Height, m.Data.Width, size(int64(len(model))))
	return err
}
