// Package bilevel writes one search step of DARTS as one program (Liu et al. 2019, algorithm 1): the update of the
// alphas on a validation batch, first- or second-order, then the update of the weights on a training batch. It also
// writes the program that evaluates a network.
//
// Alphas and weights are variables of different kinds: the weight optimiser (SGD with momentum) is given the weights
// alone, the alpha optimiser (Adam) the alphas alone. Everything that changes from step to step is a variable, so a
// compiled step replays unchanged. The package knows no network in particular, no data set and no device.
package bilevel

import (
	"slices"
	"strings"

	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/darts/rnn"
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

// Levels is how both levels of a search are optimised.
type Levels struct {
	Unrolled bool // second order: the alphas see the weights after one more step (sec. 2.3)
	SGD      SGD
	Adam     ops.AdamAttrs

	// ClipUnrolled clips the gradient of the unrolled step and the direction of the finite difference by SGD.GradClip as
	// well, and takes the second-order term of the alphas' gradient times the clipping coefficient of the former, as the
	// original does for recurrent cells. The original does not cap that coefficient at 1, which magnifies the term where
	// nothing was clipped; UncappedClip does the same.
	ClipUnrolled bool
	UncappedClip bool

	// Unmoved are weights that the unrolled step leaves where they are.
	Unmoved []string
}

// Config is how a search step is made; the defaults of the original are in Defaults.
type Config struct {
	Levels
	Batch Batch

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
	return Config{Levels: Levels{
		SGD:  SGD{Momentum: 0.9, WeightDecay: 3e-4, GradClip: 5},
		Adam: ops.AdamAttrs{Beta1: 0.5, Beta2: 0.999, Eps: 1e-8, WeightDecay: 1e-3},
	}}
}

// unrolledStep is the length of the finite difference for the Hessian-vector product: ε = 0.01/‖v‖ (footnote 2).
const unrolledStep = 0.01

// search carries what the parts of a step share.
type search struct {
	*ops.Builder
	levels Levels
	task   task
	rate   *ir.Value
}

// task is a network on the two batches of a step. Each function builds one forward pass and its loss; weights may be
// empty, and are filled.
type task struct {
	train func(w *model.Weights) pass                // on the training batch, as the alphas' gradient wants it
	fit   func(w *model.Weights) pass                // on the training batch, as the weights are updated on it
	valid func(w *model.Weights, unrolled bool) pass // on the validation batch; an unrolled network's statistics are thrown away
}

// pass is one forward pass: the loss to go down, and what the network used.
type pass struct {
	loss    *ir.Value
	weights *model.Weights
}

// random reads the seed, and counts the step.
func random(b *ops.Builder) randomness {
	step := control(b, Step, ir.I64)
	r := randomness{seed: b.Read(control(b, Seed, ir.I64)), step: b.Read(step)}
	b.Assign(step, b.Add(r.step, b.Constant(ir.T(ir.I64), 1)))
	return r
}

// updateAlphas is the upper level: Adam on the alphas by the gradient of the validation loss. It returns that loss and
// the gradients.
func (s *search) updateAlphas() (loss *ir.Value, gradients []*ir.Value) {
	b := s.Builder
	var alphas *model.Weights
	if s.levels.Unrolled {
		alphas, loss, gradients = s.unrolledGradients()
	} else {
		b.In("alpha", func() {
			p := s.task.valid(&model.Weights{}, false)
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
			p, m2, u2 := b.Adam(alphas.Values[i], gradients[i], b.Read(m), b.Read(u), rate, t, s.levels.Adam)
			b.Assign(v, p)
			b.Assign(m, m2)
			b.Assign(u, u2)
		}
	})
	return loss, gradients
}

// unrolledGradients is the second-order approximation (eq. 7 and 8): with w' one SGD step from w on the training batch,
// ∇α L_valid(w', α) - rate·(∇α L_train(w+εv, α) - ∇α L_train(w-εv, α))/2ε, where v = ∇w' L_valid(w', α).
func (s *search) unrolledGradients() (alphas *model.Weights, loss *ir.Value, gradients []*ir.Value) {
	b := s.Builder
	now := &model.Weights{} // weights and alphas as they are
	unrolled, clipped := s.unroll(now)
	alphas = now.Of(ir.Alpha)
	for i, v := range alphas.Variables {
		unrolled.Set(v, alphas.Values[i])
	}
	var direction []*ir.Value // v
	b.In("alpha", func() {
		p := s.task.valid(unrolled, true)
		loss = p.loss
		all := b.Gradient(p.loss, append(append([]*ir.Value{}, alphas.Values...), unrolled.Of(ir.Weight).Values...)...)
		gradients, direction = all[:len(alphas.Values)], all[len(alphas.Values):]
	})
	if b.Err() != nil {
		return alphas, loss, gradients
	}
	s.subtractSecondOrder(gradients, now, direction, clipped)
	return alphas, loss, gradients
}

// unroll returns the weights after one SGD step on the training batch, w', and what the second-order term is scaled by
// where that step is clipped, else nil. Weights and alphas as they are go into now.
func (s *search) unroll(now *model.Weights) (unrolled *model.Weights, clipped *ir.Value) {
	b := s.Builder
	unrolled = &model.Weights{}
	b.In("unroll", func() {
		p := s.task.train(now)
		weights := now.Of(ir.Weight)
		all := b.Gradient(p.loss, weights.Values...)
		scale := b.Constant(ir.T(ir.F32), 1)
		if s.levels.ClipUnrolled {
			norm := b.GlobalNorm(all...)
			scale = b.ClipScale(norm, s.levels.SGD.GradClip)
			if clipped = scale; s.levels.UncappedClip {
				clipped = b.Div(b.Constant(ir.T(ir.F32), s.levels.SGD.GradClip), b.Add(norm, b.Constant(ir.T(ir.F32), 1e-6)))
			}
		}
		for i, g := range all {
			next, _ := s.levels.SGD.step(b, weights.Variables[i], weights.Values[i], g, s.rate, scale)
			if slices.Contains(s.levels.Unmoved, weights.Variables[i].Name) {
				next = weights.Values[i]
			}
			unrolled.Set(weights.Variables[i], b.Detach(next))
		}
	})
	return unrolled, clipped
}

// subtractSecondOrder takes rate·clipped·(∇α L_train(w+εv, α) - ∇α L_train(w-εv, α))/2ε off the gradients of the alphas,
// where v is the direction, and ε·|v| is unrolledStep. Without clipped there is none.
func (s *search) subtractSecondOrder(gradients []*ir.Value, now *model.Weights, direction []*ir.Value, clipped *ir.Value) {
	b := s.Builder
	alphas, weights := now.Of(ir.Alpha), now.Of(ir.Weight)
	var epsilon *ir.Value
	b.In("alpha", func() {
		norm := b.GlobalNorm(direction...)
		epsilon = b.Div(b.Constant(ir.T(ir.F32), unrolledStep), norm)
		if clipped != nil { // a shorter direction moves the weights as far, but its product with the Hessian is smaller
			clipped = b.Mul(clipped, b.ClipScale(norm, s.levels.SGD.GradClip))
		}
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
			p := s.task.train(moved)
			found = b.Gradient(p.loss, alphas.Values...)
		})
		return found
	}
	plus, minus := at("hessian +", 1), at("hessian -", -1)
	b.In("alpha", func() {
		scale := b.Div(s.rate, b.Axpby(epsilon, epsilon, 2, 0))
		if clipped != nil {
			scale = b.Mul(scale, clipped)
		}
		for i := range gradients {
			gradients[i] = b.Sub(gradients[i], b.Mul(b.Sub(plus[i], minus[i]), scale))
		}
	})
}

// updateWeights is the lower level: SGD on the weights, their gradients clipped together.
func (s *search) updateWeights() (p pass, gradients []*ir.Value, norm *ir.Value) {
	b := s.Builder
	b.In("train", func() {
		p = s.task.fit(&model.Weights{})
		weights := p.weights.Of(ir.Weight)
		gradients = b.Gradient(p.loss, weights.Values...)
		norm = s.levels.SGD.descend(b, weights, gradients, s.rate)
	})
	return p, gradients, norm
}

// descend takes one step down given gradients, clipped together, and returns their norm before clipping.
func (c SGD) descend(b *ops.Builder, weights *model.Weights, gradients []*ir.Value, rate *ir.Value) (norm *ir.Value) {
	norm = b.GlobalNorm(gradients...)
	scale := b.ClipScale(norm, c.GradClip)
	for i, v := range weights.Variables {
		next, velocity := c.step(b, v, weights.Values[i], gradients[i], rate, scale)
		b.Assign(v, next)
		if velocity != nil {
			b.Assign(moment(b, v, momentum), velocity)
		}
	}
	return norm
}

// step returns a weight and its velocity after one update. Without momentum there is none: the weight is all that is
// kept.
func (c SGD) step(b *ops.Builder, v *ir.Variable, w, g, rate, scale *ir.Value) (next, velocity *ir.Value) {
	if c.Momentum == 0 {
		return b.Sub(w, b.Mul(b.Axpby(b.Mul(g, scale), w, 1, c.WeightDecay), rate)), nil
	}
	return b.SGD(w, g, b.Read(moment(b, v, momentum)), rate, scale, c.Momentum, c.WeightDecay)
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
	case LearningRate, AlphaLearningRate, Seed, Step, DropPath, alphaUpdates, averageUpdates, rnn.HiddenTrain, rnn.HiddenValid, rnn.HiddenEvaluate:
		return false
	}
	for _, moment := range []string{momentum, adamM, adamV, average} {
		if strings.HasSuffix(name, "."+moment) {
			return false
		}
	}
	return true
}
