// Package bilevel writes one search step of DARTS as one program (Liu et al. 2019, algorithm 1): the update of the
// alphas on a validation batch, first- or second-order, then the update of the weights on a training batch. It also
// writes the program that evaluates a network.
//
// Alphas and weights are variables of different kinds: the weight optimiser (SGD with momentum) is given the weights
// alone, the alpha optimiser (Adam) the alphas alone. Everything that changes from step to step is a variable, so a
// compiled step replays unchanged. The package knows no network in particular, no data set and no device.
package bilevel

import (
	"strings"

	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// The programs and the control variables of a search module.
const (
	SearchStep = "search_step"
	TrainStep  = "train_step"
	Evaluate   = "evaluate"

	LearningRate      = "learning_rate"       // f32: of the weights, and of the unrolled step
	AlphaLearningRate = "alpha_learning_rate" // f32
	Seed              = "seed"                // i64
	Step              = "step"                // i64: counts search steps, which the program does itself
	alphaUpdates      = "adam.updates"        // f32: updates of the alphas so far
)

// What the optimisers keep beside a variable, under the variable's name and these.
const (
	momentum = "momentum"
	adamM    = "adam.m"
	adamV    = "adam.v"
)

// Config is how a search step is made; the defaults of the original are in Defaults.
type Config struct {
	Unrolled bool // second order: the alphas see the weights after one more step (sec. 2.3)
	SGD      SGD
	Adam     ops.AdamAttrs
	Batch    Batch

	// Inspect also returns logits, gradients of all weights and of the alphas: for tests and analysis.
	Inspect bool
}

// SGD says how weights are updated.
type SGD struct {
	Momentum    float64
	WeightDecay float64
	GradClip    float64 // largest norm of the weight gradients together
}

// Defaults are the settings of the original's train_search.py.
func Defaults() Config {
	return Config{
		SGD:  SGD{Momentum: 0.9, WeightDecay: 3e-4, GradClip: 5},
		Adam: ops.AdamAttrs{Beta1: 0.5, Beta2: 0.999, Eps: 1e-8, WeightDecay: 1e-3},
	}
}

// unrolledStep is the length of the finite difference for the Hessian-vector product: ε = 0.01/‖v‖ (footnote 2).
const unrolledStep = 0.01

// search carries what the parts of a step share.
type search struct {
	*ops.Builder
	config  Config
	network cnn.Network
	rate    *ir.Value
}

// pass is one forward pass: the loss, and what the network used.
type pass struct {
	logits, loss *ir.Value
	weights      *model.Weights
}

// BuildSearchStep adds the program SearchStep to a module.
//
// Inputs: train_images, train_labels, valid_images, valid_labels (see Batch). Results: loss, correct (top 1) and
// correct5 (top 5) of the training batch before its update, valid_loss (the loss that the alphas were updated on),
// grad_norm (of the weights, before clipping).
func BuildSearchStep(m *ir.Module, network cnn.Network, config Config) error {
	s := &search{Builder: ops.NewBuilder(m, SearchStep), config: config, network: network}
	b := s.Builder
	s.rate = b.Read(control(b, LearningRate, ir.F32))
	draw := random(b)
	var train, valid example
	b.In("data", func() {
		train = config.Batch.training(b, "train", draw)
		valid = config.Batch.training(b, "valid", draw)
	})
	validLoss, alphaGradients := s.updateAlphas(train, valid)
	fit, gradients, norm := s.updateWeights(train)
	b.In("report", func() {
		b.Result("loss", fit.loss)
		b.Result("valid_loss", validLoss)
		countCorrect(b, fit.logits, train.labels)
		b.Result("grad_norm", norm)
	})
	if config.Inspect {
		b.Result("logits", fit.logits)
		for i, v := range fit.weights.Of(ir.Alpha).Variables {
			b.Result("gradient/"+v.Name, alphaGradients[i])
		}
		for i, v := range fit.weights.Of(ir.Weight).Variables {
			b.Result("gradient/"+v.Name, gradients[i])
		}
	}
	_, err := b.Build()
	return err
}

// random reads the seed, and counts the step.
func random(b *ops.Builder) randomness {
	step := control(b, Step, ir.I64)
	r := randomness{seed: b.Read(control(b, Seed, ir.I64)), step: b.Read(step)}
	b.Assign(step, b.Add(r.step, b.Constant(ir.T(ir.I64), 1)))
	return r
}

// forward builds the network once and its loss. Weights may be empty, and is filled.
func (s *search) forward(batch example, weights *model.Weights, keepStatistics bool) pass {
	scope := &cnn.Scope{Builder: s.Builder, Train: true, KeepStatistics: keepStatistics, Weights: weights}
	logits, _ := s.network.Forward(scope, batch.images)
	return pass{logits: logits, loss: s.CrossEntropy(logits, batch.labels, 0, "mean"), weights: weights}
}

// updateAlphas is the upper level: Adam on the alphas by the gradient of the validation loss. It returns that loss and
// the gradients.
func (s *search) updateAlphas(train, valid example) (loss *ir.Value, gradients []*ir.Value) {
	b := s.Builder
	var alphas *model.Weights
	if s.config.Unrolled {
		alphas, loss, gradients = s.unrolledGradients(train, valid)
	} else {
		b.In("alpha", func() {
			p := s.forward(valid, &model.Weights{}, false)
			alphas, loss = p.weights.Of(ir.Alpha), p.loss
			gradients = b.Gradient(p.loss, alphas.Values...)
		})
	}
	b.In("alpha", func() {
		updates := b.Declare(ir.Variable{Name: alphaUpdates, Kind: ir.Moment, Type: ir.T(ir.F32)})
		t := b.Add(b.Read(updates), b.Constant(ir.T(ir.F32), 1))
		b.Assign(updates, t)
		rate := b.Read(control(b, AlphaLearningRate, ir.F32))
		for i, v := range alphas.Variables {
			m, u := moment(b, v, adamM), moment(b, v, adamV)
			p, m2, u2 := b.Adam(alphas.Values[i], gradients[i], b.Read(m), b.Read(u), rate, t, s.config.Adam)
			b.Assign(v, p)
			b.Assign(m, m2)
			b.Assign(u, u2)
		}
	})
	return loss, gradients
}

// unrolledGradients is the second-order approximation (eq. 7 and 8): with w' one SGD step from w on the training batch,
// ∇α L_valid(w', α) - rate·(∇α L_train(w+εv, α) - ∇α L_train(w-εv, α))/2ε, where v = ∇w' L_valid(w', α).
func (s *search) unrolledGradients(train, valid example) (alphas *model.Weights, loss *ir.Value, gradients []*ir.Value) {
	b := s.Builder
	now := &model.Weights{} // weights and alphas as they are
	unrolled := &model.Weights{}
	b.In("unroll", func() {
		p := s.forward(train, now, false)
		weights := now.Of(ir.Weight)
		one := b.Constant(ir.T(ir.F32), 1)
		for i, g := range b.Gradient(p.loss, weights.Values...) {
			w, v := weights.Values[i], weights.Variables[i]
			next, _ := b.SGD(w, g, b.Read(moment(b, v, momentum)), s.rate, one, s.config.SGD.Momentum, s.config.SGD.WeightDecay)
			unrolled.Set(v, b.Detach(next))
		}
	})
	alphas = now.Of(ir.Alpha)
	for i, v := range alphas.Variables {
		unrolled.Set(v, alphas.Values[i])
	}
	weights := now.Of(ir.Weight)
	var direction []*ir.Value // v
	b.In("alpha", func() {
		p := s.forward(valid, unrolled, true)
		loss = p.loss
		all := b.Gradient(p.loss, append(append([]*ir.Value{}, alphas.Values...), unrolled.Of(ir.Weight).Values...)...)
		gradients, direction = all[:len(alphas.Values)], all[len(alphas.Values):]
	})
	if b.Err() != nil {
		return alphas, loss, gradients
	}
	var epsilon *ir.Value
	b.In("alpha", func() {
		epsilon = b.Div(b.Constant(ir.T(ir.F32), unrolledStep), b.GlobalNorm(direction...))
	})
	at := func(phase string, sign float64) (found []*ir.Value) {
		b.In(phase, func() {
			moved := &model.Weights{}
			for i, v := range alphas.Variables {
				moved.Set(v, alphas.Values[i])
			}
			for i, v := range weights.Variables {
				moved.Set(v, b.Detach(b.Axpby(weights.Values[i], b.Mul(direction[i], epsilon), 1, sign)))
			}
			p := s.forward(train, moved, false)
			found = b.Gradient(p.loss, alphas.Values...)
		})
		return found
	}
	plus, minus := at("hessian +", 1), at("hessian -", -1)
	b.In("alpha", func() {
		scale := b.Div(s.rate, b.Axpby(epsilon, epsilon, 2, 0))
		for i := range gradients {
			gradients[i] = b.Sub(gradients[i], b.Mul(b.Sub(plus[i], minus[i]), scale))
		}
	})
	return alphas, loss, gradients
}

// updateWeights is the lower level: SGD with momentum on the weights, their gradients clipped together.
func (s *search) updateWeights(train example) (p pass, gradients []*ir.Value, norm *ir.Value) {
	b := s.Builder
	b.In("train", func() {
		p = s.forward(train, &model.Weights{}, false)
		gradients, norm = descend(b, p.loss, p.weights.Of(ir.Weight), s.rate, s.config.SGD)
	})
	return p, gradients, norm
}

// descend is one step of SGD with momentum down a loss, the gradients clipped together. It returns the gradients and
// their norm before clipping.
func descend(b *ops.Builder, loss *ir.Value, weights *model.Weights, rate *ir.Value, c SGD) (gradients []*ir.Value, norm *ir.Value) {
	gradients = b.Gradient(loss, weights.Values...)
	norm = b.GlobalNorm(gradients...)
	scale := b.ClipScale(norm, c.GradClip)
	for i, v := range weights.Variables {
		velocity := moment(b, v, momentum)
		next, velocity2 := b.SGD(weights.Values[i], gradients[i], b.Read(velocity), rate, scale, c.Momentum, c.WeightDecay)
		b.Assign(v, next)
		b.Assign(velocity, velocity2)
	}
	return gradients, norm
}

// moment declares a variable of the optimiser beside the one it updates.
func moment(b *ops.Builder, of *ir.Variable, name string) *ir.Variable {
	return b.Declare(ir.Variable{Name: of.Name + "." + name, Kind: ir.Moment, Type: of.Type})
}

func control(b *ops.Builder, name string, dtype ir.DType) *ir.Variable {
	return b.Declare(ir.Variable{Name: name, Kind: ir.Control, Type: ir.T(dtype)})
}

// OfNetwork tells, by its name alone, whether a variable that a module of this package has is the network's, and not an
// optimiser's or the loop's. Checkpoints hold them all.
func OfNetwork(name string) bool {
	switch name {
	case LearningRate, AlphaLearningRate, Seed, Step, DropPath, alphaUpdates:
		return false
	}
	for _, moment := range []string{momentum, adamM, adamV} {
		if strings.HasSuffix(name, "."+moment) {
			return false
		}
	}
	return true
}
