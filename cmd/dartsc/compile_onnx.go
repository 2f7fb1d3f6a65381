package main

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/infer"
	"github.com/dartsc/dartsc/ops/onnx/reader"
)

type compileONNX struct {
	onnx              onnxFlags
	target, precision string
	out, emit, dump   string
	json              bool
}

func newCompileONNX() *cobra.Command {
	var o compileONNX
	cmd := &cobra.Command{
		Use: "onnx FILE", Short: "Compile an ONNX file to a plan", Args: oneArg("the ONNX file"),
		Long: `Compile an ONNX file (networks on images, opsets 7 to 21) to a plan file that holds its weights, for run infer.

BatchNorms are folded into the convolutions before them. A batch that the file leaves open is --batch; other open
dimensions want --dim. What cannot be compiled is named: operations that are not supported are listed with the names of
their nodes, all at once. --emit ir is the text of the program as it is read, --emit fused the text after all passes.`,
		Example: `  dartsc compile onnx model.onnx --batch 32 -o model.dplan
  dartsc compile onnx model.onnx --emit fused | less`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	o.onnx.bind(flags)
	flags.StringVar(&o.target, "target", "cpu", "what the plan is for: "+strings.Join(compiler.Targets(), ", "))
	bindPrecision(flags, &o.precision)
	flags.StringVarP(&o.out, "output", "o", "", "file to write (default the name of the ONNX file, .dplan)")
	flags.StringVar(&o.emit, "emit", emitPlan, emitUsage)
	flags.StringVar(&o.dump, "dump", "", "folder for the text after every pass, and a page that shows them side by side")
	flags.BoolVar(&o.json, "json", false, "print the summary of the plan as JSON")
	complete(cmd, "emit", emits...)
	complete(cmd, "target", compiler.Targets()...)
	complete(cmd, "precision", cuda.Precisions...)
	return cmd
}

func (o *compileONNX) run(cmd *cobra.Command, path string) error {
	if err := checkEmit(o.emit, o.target, o.json); err != nil {
		return err
	}
	if err := checkPrecision(o.precision, o.target, wantTarget); err != nil {
		return err
	}
	options, err := o.onnx.options(cmd.Flags())
	if err != nil {
		return err
	}
	start := time.Now()
	network, _, err := infer.ReadONNX(path, options)
	if err != nil {
		return err
	}
	if o.emit == emitIR || o.emit == emitFused {
		return o.emitText(cmd.Context(), cmd.OutOrStdout(), network)
	}
	p, err := infer.Compile(cmd.Context(), network, infer.Options{
		Options: options, Target: o.target, Precision: o.precision, Version: version(), Dump: o.dump, Logger: slog.Default(),
	})
	if err != nil {
		return err
	}
	return writePlan(cmd, p, o.emit, o.out, strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))+".dplan", start, o.json)
}

// emitText writes the program before or after the passes.
func (o *compileONNX) emitText(ctx context.Context, stdout io.Writer, n *reader.Network) error {
	module := n.Module
	if o.emit == emitFused {
		var err error
		if module, err = compiler.Transform(ctx, module, compiler.Options{Dump: o.dump, Values: n.Values}); err != nil {
			return err
		}
	}
	return writeModule(stdout, o.out, module)
}
