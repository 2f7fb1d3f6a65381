package main

import (
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/ops/onnx/reader"
)

// onnxFlags are those of every command that reads an ONNX file.
type onnxFlags struct {
	batch int
	sizes []string
}

func (o *onnxFlags) bind(flags *pflag.FlagSet) {
	flags.IntVar(&o.batch, "batch", 1, "size of a batch that the file leaves open")
	flags.StringSliceVar(&o.sizes, "dim", nil, "size of another open dimension, as NAME=SIZE")
}

func (o *onnxFlags) options(flags *pflag.FlagSet) (reader.Options, error) {
	options := reader.Options{Dimensions: map[string]int{}}
	if flags.Changed("batch") {
		if o.batch < 1 {
			return options, usagef("--batch %d: want a positive number", o.batch)
		}
		options.Batch = o.batch
	}
	for _, text := range o.sizes {
		name, size, _ := strings.Cut(text, "=")
		n, err := strconv.Atoi(size)
		if err != nil || n < 1 || name == "" {
			return options, usagef("--dim %q: want NAME=SIZE, as in height=224", text)
		}
		options.Dimensions[name] = n
	}
	return options, nil
}
