// Package budget says what a derived network costs before it is trained: parameters, multiply-adds, and the memory of
// its plans. It reads them off the network's programs and plans, so they are exact for every genotype.
package budget

import (
	"context"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Form is a network without its cells: what a genotype is built into, and the images it is for.
type Form struct {
	Name          string
	Channels      int // of the first cell
	Layers        int
	Classes       int
	Height, Width int
	Colours       int // channels of images
	ImageNet      bool
	TrainBatch    int // images in a step of the original's training
}

// CIFAR and ImageNet are the forms that papers report (Liu et al. 2019, sec. 3.1.2 and 3.2.2).
var (
	CIFAR    = Form{Name: "cifar", Channels: 36, Layers: 20, Classes: 10, Height: 32, Width: 32, Colours: 3, TrainBatch: 96}
	ImageNet = Form{Name: "imagenet", Channels: 48, Layers: 14, Classes: 1000, Height: 224, Width: 224, Colours: 3, ImageNet: true, TrainBatch: 128}
)

// Forms lists both.
func Forms() []Form { return []Form{CIFAR, ImageNet} }

// Network is the form with cells in it.
func (f Form) Network(g space.Genotype) cnn.Derived {
	return cnn.Derived{Genotype: g, Channels: f.Channels, Layers: f.Layers, Classes: f.Classes, ImageNet: f.ImageNet}
}

func (f Form) batch(size int) bilevel.Batch {
	return bilevel.Batch{Size: size, Height: f.Height, Width: f.Width, Channels: f.Colours, Raw: true}
}

// Cost is what a network takes to store and, for one image, to run.
type Cost struct {
	Parameters   int   `json:"parameters"`    // trained numbers, without an auxiliary head
	MultiplyAdds int64 `json:"multiply_adds"` // of convolutions and linear layers, as papers count them
}

// Of counts what a genotype costs in a form.
func Of(f Form, g space.Genotype) (Cost, error) {
	m := ir.NewModule("cost")
	b := ops.NewBuilder(m, "inference")
	images := b.Input("images", ir.T(ir.F32, 1, f.Colours, f.Height, f.Width))
	logits, _ := f.Network(g).Forward(&cnn.Scope{Builder: b, Weights: &model.Weights{}}, images)
	b.Result("logits", logits)
	program, err := b.Build()
	if err != nil {
		return Cost{}, err
	}
	return Cost{Parameters: parameters(m), MultiplyAdds: multiplyAdds(program.Ops)}, nil
}

// parameters counts the trained numbers of a module.
func parameters(m *ir.Module) (n int) {
	for _, v := range m.Variables {
		if v.Kind == ir.Weight {
			n += v.Type.Elements()
		}
	}
	return n
}

// multiplyAdds are those of convolutions and products of matrices, in loops over time as often as they run.
func multiplyAdds(list []*ir.Op) (n int64) {
	for _, op := range list {
		switch {
		case op.Kind == ir.Scan:
			n += int64(ir.LoopOf(op).Steps) * multiplyAdds(op.Body.Ops)
		case op.Kind == "conv2d" || op.Kind == "matmul":
			n += int64(ops.FLOPs(op) / 2)
		}
	}
	return n
}

// Inference compiles the evaluation of a network for a batch of images.
func Inference(ctx context.Context, f Form, g space.Genotype, batch int, target string) (*plan.Plan, error) {
	m := ir.NewModule("inference")
	if err := bilevel.BuildEvaluate(m, f.Network(g), f.batch(batch)); err != nil {
		return nil, err
	}
	return compiler.Compile(ctx, m, compiler.Options{Target: target})
}

// Training compiles the training step of a network with its auxiliary head, at the original's settings.
func Training(ctx context.Context, f Form, g space.Genotype, batch int, target string) (*plan.Plan, error) {
	m := ir.NewModule("training")
	network := f.Network(g)
	network.Auxiliary = true
	config := bilevel.TrainConfig{SGD: bilevel.Defaults().SGD, AuxiliaryWeight: 0.4, DropPath: true, Batch: f.batch(batch)}
	if err := bilevel.BuildTrainStep(m, network, config); err != nil {
		return nil, err
	}
	return compiler.Compile(ctx, m, compiler.Options{Target: target})
}

// Memory is what a plan takes: variables and arena, in bytes.
func Memory(p *plan.Plan) int64 { return p.VariableBytes + p.ArenaBytes }
