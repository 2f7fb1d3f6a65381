package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/darts/safetensors"
	"github.com/dartsc/dartsc/darts/torchfile"
	"github.com/dartsc/dartsc/darts/weights"
	"github.com/dartsc/dartsc/internal/atomicfile"
)

// exportWeights writes the tensors of a trained network, whatever file they are in.
type exportWeights struct {
	out         string
	noAuxiliary bool
	json        bool
}

func newExportSafetensors() *cobra.Command {
	o := &exportWeights{}
	cmd := &cobra.Command{
		Use: "safetensors RUN|FILE", Short: "Write trained weights as safetensors", Args: oneArg("a run folder or a file of weights"),
		Long: `Write the weights and running statistics of a trained network as safetensors, under the names of the original's
state_dict. In Python: model.load_state_dict(safetensors.torch.load_file("FILE")). They come from the last checkpoint of
a run, or from a PyTorch or safetensors file.`,
		Example: "  dartsc export safetensors train-20260102-150405 -o model.safetensors",
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.OutOrStdout(), args[0], func(w io.Writer, trained *weights.Weights) error {
				metadata := map[string]string{"format": "pt"}
				maps.Copy(metadata, trained.Metadata)
				return safetensors.Encode(w, trained.Tensors, metadata)
			})
		},
	}
	o.bind(cmd)
	return cmd
}

func newExportPTNames() *cobra.Command {
	o := &exportWeights{}
	cmd := &cobra.Command{
		Use: "pt-names RUN|FILE", Short: "Write trained weights as a PyTorch file", Args: oneArg("a run folder or a file of weights"),
		Long: `Write the weights and running statistics of a trained network as a PyTorch file: a state_dict under the original's
names. In Python: model.load_state_dict(torch.load("FILE", weights_only=True)). They come from the last checkpoint of a
run, or from a PyTorch or safetensors file. Without -o it lists the names.`,
		Example: `  dartsc export pt-names train-20260102-150405 -o model.pt
  dartsc export pt-names model.safetensors`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.out == "" {
				return o.list(cmd.OutOrStdout(), args[0])
			}
			return o.run(cmd.OutOrStdout(), args[0], func(w io.Writer, trained *weights.Weights) error {
				return torchfile.Encode(w, trained.Tensors)
			})
		},
	}
	o.bind(cmd)
	return cmd
}

func (o *exportWeights) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&o.out, "output", "o", "", "file to write")
	flags.BoolVar(&o.noAuxiliary, "no-auxiliary", false, "leave the auxiliary head out, for a model built without one")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON")
}

// read reads what is to be written.
func (o *exportWeights) read(from string) (*weights.Weights, error) {
	w, err := weights.Read(from)
	if err != nil {
		return nil, err
	}
	if o.noAuxiliary {
		w.Tensors = slices.DeleteFunc(w.Tensors, func(t safetensors.Tensor) bool { return strings.HasPrefix(t.Name, weights.AuxiliaryPrefix) })
	}
	return w, nil
}

func (o *exportWeights) run(stdout io.Writer, from string, encode func(io.Writer, *weights.Weights) error) error {
	if o.out == "" {
		return usagef("-o is missing: want the file to write")
	}
	trained, err := o.read(from)
	if err != nil {
		return err
	}
	if err := writeTensors(o.out, func(w io.Writer) error { return encode(w, trained) }); err != nil {
		return err
	}
	return reportTensors(stdout, o.out, trained.Tensors, o.json)
}

// list prints the names, element types and shapes.
func (o *exportWeights) list(stdout io.Writer, from string) error {
	trained, err := o.read(from)
	if err != nil {
		return err
	}
	type entry struct {
		Name  string `json:"name"`
		DType string `json:"dtype"`
		Shape []int  `json:"shape"`
	}
	rows, entries := [][]string{{"name", "type", "shape"}}, []entry{}
	for _, t := range trained.Tensors {
		rows = append(rows, []string{t.Name, t.DType, strings.ReplaceAll(fmt.Sprint(t.Shape), " ", ",")})
		entries = append(entries, entry{t.Name, t.DType, t.Shape})
	}
	if o.json {
		return writeJSON(stdout, entries)
	}
	return table(stdout, rows...)
}

// writeTensors writes a file of tensors whole or not at all.
func writeTensors(path string, encode func(io.Writer) error) error {
	file, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer file.Abort()
	if err := encode(file); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return file.Commit()
}

// reportTensors says what has been written.
func reportTensors(stdout io.Writer, path string, tensors []safetensors.Tensor, asJSON bool) error {
	elements, bytes := 0, int64(0)
	for _, t := range tensors {
		elements += t.Elements()
		bytes += int64(len(t.Data))
	}
	if asJSON {
		return writeJSON(stdout, struct {
			File     string `json:"file"`
			Tensors  int    `json:"tensors"`
			Elements int    `json:"elements"`
			Bytes    int64  `json:"bytes"`
		}{path, len(tensors), elements, bytes})
	}
	_, err := fmt.Fprintf(stdout, "%s: %s tensors, %s values, %s\n", path, grouped(len(tensors)), grouped(elements), size(bytes))
	return err
}
