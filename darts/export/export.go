// Package export writes derived networks for use elsewhere: those for images (Model) and recurrent language models
// (Recurrent). It builds the network's inference program, gives it weights, and hands both to ops/onnx. It knows no search
// and no training.
package export

import (
	"context"
	"fmt"
	"strings"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/darts/weights"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
)

// Inference is the program of a derived network: images f32 [N,C,H,W], normalised, to logits [N,classes].
const Inference = "inference"

// Model is a derived network, or one cell of it, with what it was made for.
type Model struct {
	Network cnn.Derived
	Cell    *int         // the number of the cell, or nil
	Data    data.Summary // image size and channels, normalisation, classes
	Seed    uint64       // of fresh weights
	Version string       // of dartsc
}

// Options says how to write a model.
type Options struct {
	FoldBatchNorm bool             // into the convolutions before it
	HalfWeights   bool             // weights of convolutions and of the classifier in half precision
	Weights       *weights.Weights // nil: fresh ones
}

// Module builds the inference program for a batch of the given size.
func (m Model) Module(batch int) (*ir.Module, error) {
	module := ir.NewModule("derived")
	b := ops.NewBuilder(module, Inference)
	images := ir.T(ir.F32, batch, m.Data.Channels, m.Data.Height, m.Data.Width)
	scope := &cnn.Scope{Builder: b, Weights: &model.Weights{}}
	if m.Cell != nil {
		before, last, err := m.Network.CellInputs(*m.Cell, images)
		if err != nil {
			return nil, err
		}
		b.Result("state", m.Network.Cell(scope, *m.Cell, b.Input("before_last", before), b.Input("last", last)))
	} else {
		logits, _ := m.Network.Forward(scope, b.Input("images", images))
		b.Result("logits", logits)
	}
	_, err := b.Build()
	return module, err
}

// Parameters is the number of trained numbers in the network, its auxiliary head not counted.
func (m Model) Parameters() (int, error) {
	module, err := m.Module(1)
	if err != nil {
		return 0, err
	}
	count := 0
	for _, v := range module.Variables {
		if v.Kind == ir.Weight {
			count += v.Type.Elements()
		}
	}
	return count, nil
}

// ONNX returns the network as an ONNX file: opset 17, input "images" and output "logits" with a symbolic batch, and
// metadata that says how to use it (genotype, data set, classes, normalisation).
func ONNX(ctx context.Context, m Model, o Options) ([]byte, error) {
	module, err := m.Module(1)
	if err != nil {
		return nil, err
	}
	variables, err := fresh(ctx, module, m.Seed)
	if err != nil {
		return nil, err
	}
	if o.Weights != nil {
		whole := m
		whole.Cell = nil
		network, err := whole.Module(1) // the file must fit the whole network, of which the cell is a part
		if err != nil {
			return nil, err
		}
		if variables, err = o.Weights.Fit(m.Network, network.Variables); err != nil {
			return nil, fmt.Errorf("--weights: %w", err)
		}
	}
	return onnx.Export(module, Inference, variables, onnx.Options{
		FoldBatchNorm: o.FoldBatchNorm, HalfWeights: o.HalfWeights, ProducerVersion: m.Version, Metadata: m.metadata(),
	})
}

func (m Model) metadata() map[string]string {
	list := func(values []float32) string {
		text := make([]string, len(values))
		for i, v := range values {
			text[i] = fmt.Sprint(v)
		}
		return strings.Join(text, ",")
	}
	if m.Cell != nil {
		return map[string]string{
			"genotype": m.Network.Genotype.String(),
			"cell":     fmt.Sprint(*m.Cell),
			"input":    "results of the two cells before it, float32 [batch,channels,height,width]",
		}
	}
	return map[string]string{
		"genotype":      m.Network.Genotype.String(),
		"init_channels": fmt.Sprint(m.Network.Channels),
		"layers":        fmt.Sprint(m.Network.Layers),
		"dataset":       m.Data.Name,
		"classes":       strings.Join(m.Data.Classes, ","),
		"input":         "images, float32 [batch,channels,height,width]: (pixel/255 - mean)/std",
		"mean":          list(m.Data.Mean),
		"std":           list(m.Data.Std),
	}
}

// fresh initialises the weights as a training would.
func fresh(ctx context.Context, module *ir.Module, seed uint64) (map[string][]float32, error) {
	p, err := compiler.Compile(ctx, module, compiler.Options{})
	if err != nil {
		return nil, err
	}
	// Only the variables are wanted: a plan without programs needs no arena.
	session, err := runtime.Open(&plan.Plan{Name: p.Name, Target: p.Target, Variables: p.Variables, VariableBytes: p.VariableBytes}, cpu.New(1))
	if err != nil {
		return nil, err
	}
	defer session.Close()
	if err := session.Initialize(seed); err != nil {
		return nil, err
	}
	variables := map[string][]float32{}
	for _, v := range p.Variables {
		variables[v.Name] = make([]float32, v.Elements())
		if err := session.Get(v.Name, variables[v.Name]); err != nil {
			return nil, err
		}
	}
	return variables, nil
}
