// Package infer runs networks forward: an ONNX file becomes a plan that holds its weights, and a plan names the classes
// of images. Image files come in; probabilities go out. It knows no training and no genotype. Start with [Compile], then
// [Classifier].
package infer

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ops/onnx/reader"
)

// Options say how to compile an ONNX file.
type Options struct {
	reader.Options
	Target    string // as compiler.Options.Target
	Precision string // as compiler.Options.Precision
	Version   string // of dartsc
	Dump      string // folder for the text after every pass, or ""
	Logger    *slog.Logger
}

// Compile makes a plan of a network that was read from an ONNX file: one program, reader.Program, with the inputs and
// results of the file. The plan has the weights, the file's metadata, and the batch of its first input as batch_size.
func Compile(ctx context.Context, n *reader.Network, o Options) (*plan.Plan, error) {
	metadata := maps.Clone(n.Metadata)
	metadata["onnx_opset"], metadata["onnx_producer"] = fmt.Sprint(n.Opset), n.Producer
	if inputs := n.Module.Program(reader.Program).Inputs; len(inputs) > 0 && len(inputs[0].Type.Shape) > 0 {
		metadata["batch_size"] = fmt.Sprint(inputs[0].Type.Shape[0])
	}
	return compiler.Compile(ctx, n.Module, compiler.Options{
		Target: o.Target, Precision: o.Precision, Version: o.Version, Metadata: metadata, Values: n.Values, Dump: o.Dump, Logger: o.Logger,
	})
}

// largestFile bounds ONNX files, which protobuf does as well.
const largestFile = 1<<31 - 1

// ReadONNX reads and checks an ONNX file; content is the file as it is.
func ReadONNX(path string, o reader.Options) (n *reader.Network, content []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return nil, nil, fmt.Errorf("%s: a folder; want an ONNX file: of a run, the model.onnx in it", path)
	}
	if content, err = io.ReadAll(io.LimitReader(file, largestFile+1)); err != nil {
		return nil, nil, err
	}
	if len(content) > largestFile {
		return nil, nil, fmt.Errorf("%s: not an ONNX file: larger than %d bytes", path, largestFile)
	}
	if n, err = reader.Read(content, o); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return n, content, nil
}
