// Package cnn writes the convolutional networks of DARTS as IR: the supernet of a search (Liu et al. 2019, sec. 2;
// the original's cnn/model_search.py) and the networks derived from a genotype (cnn/model.py), for CIFAR-sized and for
// ImageNet-sized images. Values are [N,C,H,W]. Variables carry the original's PyTorch names
// ("cells.0._ops.3._ops.4.op.1.weight"), so that they are also the map to its checkpoints.
//
// The model code is plain: it says what each edge computes, and leaves sharing, fusing and placing to the compiler. It
// knows no optimiser, no data set and no device. Start with [Supernet] and [Derived]; both build on the primitives in
// primitive.go.
package cnn

import (
	"fmt"
	"math"

	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// BatchNorm's constants in PyTorch, on which the published results rest.
const (
	normEps      = 1e-5
	normMomentum = 0.1
)

// Scope is what a network is built in: the program, and how it sees its variables. A search step builds the same
// network several times in one program, each time in a scope of its own.
type Scope struct {
	Builder *ops.Builder

	// Train selects batch statistics (and drop path); otherwise running statistics are used.
	Train bool

	// KeepStatistics leaves the running statistics as they are in training: an unrolled model's are thrown away.
	KeepStatistics bool

	// Weights gives values to weights and alphas by name; the others are read from their variables. Every one that
	// is read is added, in order, so that the caller can differentiate with respect to it.
	Weights *model.Weights

	// DropPath, where it is set, drops paths of derived networks in training.
	DropPath *DropPath
}

// DropPath says how paths are dropped: with probability P (f32 scalar), random by Seed and Step (i64 scalars).
type DropPath struct {
	P, Seed, Step *ir.Value
	Stream        int // counts up: every use has a stream of its own
}

// parameter returns the value of a weight or an alpha, declaring its variable at first use.
func (s *Scope) parameter(name string, kind ir.Kind, shape []int, init ir.Init) *ir.Value {
	return s.Weights.Parameter(s.Builder, ir.Variable{Name: name, Kind: kind, Type: ir.T(ir.F32, shape...), Init: init})
}

// conv convolves x with a new weight. It starts uniform in ±1/√(fan-in), PyTorch's default since 1.0.
func (s *Scope) conv(name string, x *ir.Value, outputs int, kernel [2]int, a ops.ConvAttrs) *ir.Value {
	if len(x.Type.Shape) != 4 {
		s.Builder.Fail(fmt.Errorf("%s: input %s is not [N,C,H,W]", name, x.Type))
		return x
	}
	shape := []int{outputs, channels(x) / a.Groups, kernel[0], kernel[1]}
	bound := 1 / math.Sqrt(float64(shape[1]*shape[2]*shape[3]))
	w := s.parameter(name+".weight", ir.Weight, shape, ir.Init{Distribution: ir.Uniform, Value: bound})
	return s.Builder.Conv2D(x, w, a)
}

// norm is BatchNorm2d: in training it uses the batch's statistics and moves the running ones towards them, the
// variance unbiased as PyTorch does.
func (s *Scope) norm(name string, x *ir.Value, affine bool) *ir.Value {
	b := s.Builder
	if len(x.Type.Shape) != 4 {
		b.Fail(fmt.Errorf("%s: input %s is not [N,C,H,W]", name, x.Type))
		return x
	}
	c := channels(x)
	var scale []*ir.Value
	if affine {
		scale = []*ir.Value{
			s.parameter(name+".weight", ir.Weight, []int{c}, ir.Init{Value: 1}),
			s.parameter(name+".bias", ir.Weight, []int{c}, ir.Init{}),
		}
	}
	running := func(statistic string, start float64) *ir.Variable {
		return b.Declare(ir.Variable{Name: name + "." + statistic, Kind: ir.Statistic, Type: ir.T(ir.F32, c), Init: ir.Init{Value: start}})
	}
	runningMean, runningVar := running("running_mean", 0), running("running_var", 1)
	if !s.Train {
		return b.BatchNorm(x, b.Read(runningMean), b.Read(runningVar), scale, normEps)
	}
	n := float64(x.Type.Elements() / c)
	if n < 2 {
		b.Fail(fmt.Errorf("%s: BatchNorm needs more than one value a channel in training, input is %s: use a larger batch or image", name, x.Type))
		return x
	}
	y, mean, variance := b.BatchNormTrain(x, scale, normEps)
	if !s.KeepStatistics {
		b.Assign(runningMean, b.Axpby(b.Read(runningMean), mean, 1-normMomentum, normMomentum))
		b.Assign(runningVar, b.Axpby(b.Read(runningVar), variance, 1-normMomentum, normMomentum*n/(n-1)))
	}
	return y
}

// classifier is the head: the mean over the image, then a linear layer.
func (s *Scope) classifier(name string, x *ir.Value, classes int) *ir.Value {
	b := s.Builder
	pooled := b.ReduceMean(x, 2, 3)
	c := channels(x)
	init := ir.Init{Distribution: ir.Uniform, Value: 1 / math.Sqrt(float64(c))}
	w := s.parameter(name+".weight", ir.Weight, []int{classes, c}, init)
	bias := s.parameter(name+".bias", ir.Weight, []int{classes}, init)
	return b.Linear(pooled, w, bias)
}
