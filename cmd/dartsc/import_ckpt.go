package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/darts/safetensors"
	"github.com/dartsc/dartsc/darts/torchfile"
	"github.com/dartsc/dartsc/darts/weights"
)

type importCheckpoint struct {
	out  string
	json bool
}

func newImportCheckpoint() *cobra.Command {
	var o importCheckpoint
	cmd := &cobra.Command{
		Use: "ckpt FILE", Short: "Convert a PyTorch checkpoint to safetensors", Args: oneArg("a PyTorch file"),
		Long: `Convert a file that torch.save wrote to safetensors: a state_dict, a training checkpoint with a state_dict in it, or a
whole pickled module, of either serialisation, saved from the CPU or a GPU. Names and element types stay, the prefix
module. goes; plain values beside the tensors become metadata. Nothing that the file says is executed.`,
		Example: "  dartsc import ckpt cifar10_model.pt",
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd.OutOrStdout(), args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.out, "output", "o", "", "file to write (default the name of the PyTorch file, .safetensors)")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON")
	return cmd
}

func (o *importCheckpoint) run(stdout io.Writer, path string) error {
	if o.out == "" {
		o.out = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)) + ".safetensors"
	}
	f, err := torchfile.Read(path)
	if err != nil {
		return err
	}
	metadata := map[string]string{"format": "pt"}
	for name, value := range f.Attributes {
		metadata["attribute."+name] = fmt.Sprint(value)
	}
	if f.Class != "" {
		metadata["class"] = f.Class
	}
	if err := writeTensors(o.out, func(w io.Writer) error { return safetensors.Encode(w, f.Tensors, metadata) }); err != nil {
		return err
	}
	if err := reportTensors(stdout, o.out, f.Tensors, o.json); err != nil || o.json {
		return err
	}
	if network, ok := weights.New(path, "PyTorch", f.Tensors).Recognise(); ok {
		_, err = fmt.Fprintln(stdout, network)
	}
	return err
}
