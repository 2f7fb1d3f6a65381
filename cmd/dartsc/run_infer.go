package main

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/infer"
	"github.com/dartsc/dartsc/runtime"
)

type runInfer struct {
	onnx      onnxFlags
	images    []string
	mean, std string
	classes   []string
	crop      float64
	top       int
	precision string
	deviceFlags
	json bool
}

func newRunInfer() *cobra.Command {
	var o runInfer
	cmd := &cobra.Command{
		Use: "infer FILE [IMAGE…]", Short: "Classify images", Args: someArgs("the ONNX file or the plan"),
		Long: `Classify images with an ONNX file, or with a plan of compile onnx. Of each image the largest part in the middle that has
the shape of the network's input is scaled to it; --crop 0.875 takes less of it, as ImageNet's networks are tested
(224 of 256). Names of classes and normalisation are in the file where export onnx wrote it, else they want --classes,
--mean and --std.`,
		Example: `  dartsc run infer network.onnx --image cat.jpg
  dartsc run infer network.onnx pictures/*.jpg --top 1
  dartsc run infer model.onnx --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --crop 0.875 --image cat.jpg`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.images = append(o.images, args[1:]...)
			return o.run(cmd, args[0])
		},
	}
	flags := cmd.Flags()
	o.onnx.bind(flags)
	flags.StringArrayVar(&o.images, "image", nil, "JPEG or PNG image; may stand several times, and without --image behind the file")
	flags.StringVar(&o.mean, "mean", "", "mean of each channel, of pixels from 0 to 1")
	flags.StringVar(&o.std, "std", "", "deviation of each channel")
	flags.StringSliceVar(&o.classes, "classes", nil, "names of the classes")
	flags.Float64Var(&o.crop, "crop", 1, "part of an image's shorter side that is seen")
	flags.IntVar(&o.top, "top", 5, "how many classes to print")
	o.deviceFlags.bind(cmd)
	bindPrecision(flags, &o.precision)
	complete(cmd, "precision", cuda.Precisions...)
	flags.BoolVar(&o.json, "json", false, "print JSON, one line for each image")
	return cmd
}

func (o *runInfer) run(cmd *cobra.Command, path string) error {
	switch {
	case len(o.images) == 0:
		return usagef("no image is named: want --image FILE, or files behind the network")
	case !(o.crop > 0 && o.crop <= 1):
		return usagef("--crop %v: want a number above 0, up to 1", o.crop)
	case o.top < 1:
		return usagef("--top %d: want a positive number", o.top)
	}
	if err := o.deviceFlags.check(); err != nil {
		return err
	}
	p, device, err := o.plan(cmd, path)
	if err != nil {
		return err
	}
	c, err := infer.Open(p, device)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer c.Close()
	if err := o.override(c); err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return usagef("%s says no normalisation that fits: %w", path, err)
	}
	guesses, err := c.Classify(cmd.Context(), o.images, o.crop, o.top)
	if err != nil {
		return err
	}
	return o.print(cmd.OutOrStdout(), guesses)
}

// plan reads a plan, or makes one of an ONNX file for as many images as there are, and finds the device that runs it.
func (o *runInfer) plan(cmd *cobra.Command, path string) (*plan.Plan, runtime.Device, error) {
	if strings.EqualFold(filepath.Ext(path), ".dplan") {
		for _, name := range []string{"batch", "dim", "precision"} {
			if cmd.Flags().Changed(name) {
				return nil, nil, usagef("--%s cannot go with a plan, which is compiled already", name)
			}
		}
		p, err := plan.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		device, err := o.deviceFlags.open(p.Target)
		return p, device, err
	}
	options, err := o.onnx.options(cmd.Flags())
	if err != nil {
		return nil, nil, err
	}
	network, _, err := infer.ReadONNX(path, options)
	if err != nil {
		return nil, nil, err
	}
	device, err := o.deviceFlags.openFor(o.precision)
	if err != nil {
		return nil, nil, err
	}
	p, err := infer.Compile(cmd.Context(), network, infer.Options{
		Options: options, Target: device.Target(), Precision: o.precision, Version: version(), Logger: slog.Default(),
	})
	return p, device, err
}

// override puts what the flags say in the place of what the file says.
func (o *runInfer) override(c *infer.Classifier) error {
	for _, f := range []struct {
		name, text string
		to         *[]float32
	}{{"mean", o.mean, &c.Mean}, {"std", o.std, &c.Std}} {
		if f.text == "" {
			continue
		}
		list, err := infer.ParseList(f.text)
		if err != nil {
			return usagef("--%s: %w", f.name, err)
		}
		*f.to = list
	}
	if len(o.classes) > 0 {
		c.Classes = o.classes
	}
	return nil
}

func (o *runInfer) print(w io.Writer, guesses [][]infer.Guess) error {
	for i, best := range guesses {
		if o.json {
			line := struct {
				Image string        `json:"image"`
				Top   []infer.Guess `json:"top"`
			}{o.images[i], best}
			if err := writeJSON(w, line); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintln(w, o.images[i])
		for _, g := range best {
			name := g.Name
			if name == "" {
				name = fmt.Sprintf("class %d", g.Class)
			}
			if _, err := fmt.Fprintf(w, "  %5.1f %%  %s\n", 100*g.Probability, name); err != nil {
				return err
			}
		}
	}
	return nil
}
