package bilevel

import (
	"fmt"

	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// The programs of recurrent networks beside those of the same names for images; package rnn says what they take and
// give.
const (
	TrainAverageStep = "train_average_step"
	EvaluateAverage  = "evaluate_average"

	average        = "average"      // of a weight, under the weight's name and this
	averageUpdates = "asgd.updates" // f32: updates of averaged SGD so far
)

// TextConfig is how the step of a search or of a training on text is made; the defaults of the original are in
// TextDefaults.
type TextConfig struct {
	Levels
	Rows  int // of text side by side (--batch-size)
	Steps int // of time that there is room for

	// SmallRows cuts the rows into groups of so many, one after the other, whose gradients are added up; 0 is one group.
	// Batch statistics are those of a group, and in a search the alphas are updated once for each, as in the original.
	SmallRows int

	Activation float64 // regularisation of the activations after dropout, AR (--alpha; Merity et al. 2017)
	Slowness   float64 // of the difference between hidden states, TAR (--beta)

	// Inspect also returns logits, gradients of all weights and of the alphas: for tests and analysis.
	Inspect bool
}

// TextDefaults are the settings of the original's rnn/train_search.py, but for the second order's coefficient, which is
// capped.
func TextDefaults() TextConfig {
	return TextConfig{
		Levels: Levels{
			SGD:          SGD{WeightDecay: 5e-7, GradClip: 0.25},
			Adam:         ops.AdamAttrs{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 1e-3},
			ClipUnrolled: true,
		},
		Rows: 256, Steps: 35, Slowness: 1e-3,
	}
}

// AsOriginal reproduces two defects of the original's second order: the clipping coefficient is not capped, and the
// unrolled model has its embedding where it was, because the tied decoder's copy of it in the state dict, which is not
// unrolled, is loaded last.
func (c TextConfig) AsOriginal() TextConfig {
	c.UncappedClip, c.Unmoved = true, []string{"encoder.weight"}
	return c
}

// groups is how many groups the rows are cut into.
func (c TextConfig) groups() (int, error) {
	if c.Rows < 1 || c.Steps < 1 {
		return 0, fmt.Errorf("%d rows of text and %d steps: want at least 1 of each", c.Rows, c.Steps)
	}
	if c.SmallRows == 0 {
		return 1, nil
	}
	if c.SmallRows < 0 || c.Rows%c.SmallRows != 0 {
		return 0, fmt.Errorf("--small-batch-size %d: want a divisor of the batch size %d", c.SmallRows, c.Rows)
	}
	return c.Rows / c.SmallRows, nil
}

// sequence is a batch of text with the hidden state before it.
type sequence struct {
	words, targets *ir.Value // i32 [T,B]
	hidden         *ir.Value // [B,N]
}

// textNetwork is a language model in a program.
type textNetwork struct {
	*ops.Builder
	language rnn.Language
	config   TextConfig
	draw     randomness
	length   *ir.Value
	stream   int
}

func newTextNetwork(b *ops.Builder, l rnn.Language, c TextConfig) *textNetwork {
	n := &textNetwork{Builder: b, language: l, config: c, length: b.Input("length", ir.T(ir.I64))}
	n.draw = random(b)
	return n
}

// text adds the inputs of a batch.
func (n *textNetwork) text(prefix string) (words, targets *ir.Value) {
	t := ir.T(ir.I32, n.config.Steps, n.config.Rows)
	return n.Input(prefix+"tokens", t), n.Input(prefix+"targets", t)
}

// hidden declares the variable of a hidden state, for so many rows.
func hidden(b *ops.Builder, name string, rows, size int) *ir.Variable {
	return b.Declare(ir.Variable{Name: name, Kind: ir.Statistic, Type: ir.T(ir.F32, rows, size)})
}

// group is the part of a batch that belongs to group k of so many.
func (n *textNetwork) group(words, targets, h *ir.Value, k, groups int) sequence {
	if groups == 1 {
		return sequence{words, targets, h}
	}
	from, to := k*n.config.SmallRows, (k+1)*n.config.SmallRows
	cut := func(v *ir.Value) *ir.Value { return n.Slice(v, []int{0, from}, []int{n.config.Steps, to}) }
	return sequence{cut(words), cut(targets), n.Slice(h, []int{from, 0}, []int{to, n.language.Hidden})}
}

// forward builds the network in training and the mean negative log-likelihood of the targets.
func (n *textNetwork) forward(q sequence, w *model.Weights, keepStatistics bool) (out rnn.Output, loss *ir.Value) {
	s := &rnn.Scope{
		Builder: n.Builder, Train: true, KeepStatistics: keepStatistics, Weights: w, Seed: n.draw.seed, Step: n.draw.step, Stream: &n.stream,
	}
	out = n.language.Forward(s, q.words, q.hidden, n.length)
	if n.Err() != nil {
		none := &ir.Value{}
		return rnn.Output{Logits: none, Hidden: none, Raw: none, Dropped: none}, none
	}
	n.At("loss", func() {
		loss = n.CrossEntropy(out.Logits, n.Reshape(q.targets, q.targets.Type.Elements()), 0, "mean")
	})
	return out, loss
}

// regularised adds what keeps activations small and slow, means over the steps that there are.
func (n *textNetwork) regularised(loss *ir.Value, out rnn.Output) *ir.Value {
	c := n.config
	if n.Err() != nil {
		return loss
	}
	n.At("regularisation", func() {
		shape := out.Raw.Type.Shape
		each := 1 / float64(shape[1]*shape[2])
		one := n.Constant(ir.T(ir.F32), 1)
		length := n.Cast(n.length, ir.F32)
		if c.Activation > 0 {
			squares := n.ReduceSum(n.Mul(out.Dropped, out.Dropped), 0, 1, 2)
			loss = n.Axpby(loss, n.Div(squares, length), 1, c.Activation*each)
		}
		if c.Slowness > 0 && shape[0] > 1 {
			next := n.Slice(out.Raw, []int{1, 0, 0}, shape)
			now := n.Slice(out.Raw, []int{0, 0, 0}, []int{shape[0] - 1, shape[1], shape[2]})
			// The step from the last state to the zeros beyond it does not count.
			change := n.MaskSteps(n.Sub(next, now), n.Sub(n.length, n.Constant(ir.T(ir.I64), 1)))
			squares := n.ReduceSum(n.Mul(change, change), 0, 1, 2)
			steps := n.Add(n.Relu(n.Sub(length, n.Add(one, one))), one) // length-1, but at least 1
			loss = n.Axpby(loss, n.Div(squares, steps), 1, c.Slowness*each)
		}
	})
	return loss
}

// BuildTextSearchStep adds the program SearchStep for so many steps of time to a module.
func BuildTextSearchStep(m *ir.Module, l rnn.Language, c TextConfig) error {
	groups, err := c.groups()
	if err != nil {
		return err
	}
	b := ops.NewBuilder(m, rnn.Name(SearchStep, c.Steps))
	n := newTextNetwork(b, l, c)
	s := &search{Builder: b, levels: c.Levels, rate: b.Read(control(b, LearningRate, ir.F32))}
	trainWords, trainTargets := n.text("train_")
	validWords, validTargets := n.text("valid_")
	trainHidden, validHidden := hidden(b, rnn.HiddenTrain, c.Rows, l.Hidden), hidden(b, rnn.HiddenValid, c.Rows, l.Hidden)
	trainBefore, validBefore := b.Read(trainHidden), b.Read(validHidden)
	var sum groupSum
	var alphaGradients, validStates []*ir.Value
	for k := range groups {
		train, valid := n.group(trainWords, trainTargets, trainBefore, k, groups), n.group(validWords, validTargets, validBefore, k, groups)
		s.task.train = func(w *model.Weights) pass {
			_, loss := n.forward(train, w, false)
			return pass{loss, w}
		}
		var validState *ir.Value
		s.task.valid = func(w *model.Weights, unrolled bool) pass {
			out, loss := n.forward(valid, w, unrolled)
			validState = out.Hidden
			return pass{loss, w}
		}
		var validLoss *ir.Value
		validLoss, alphaGradients = s.updateAlphas()
		b.In("train", func() { sum.add(n, train, validLoss) })
		validStates = append(validStates, validState)
	}
	b.In("train", func() {
		norm := sum.finish(n, groups, trainHidden, func(weights *model.Weights, gradients []*ir.Value) *ir.Value {
			return c.SGD.descend(b, weights, gradients, s.rate)
		})
		b.Assign(validHidden, b.Concat(0, validStates...))
		b.Result("valid_loss", sum.mean(n, sum.validLoss))
		b.Result("grad_norm", norm)
	})
	if c.Inspect {
		b.Result("logits", sum.logits)
		inspect(b, sum.weights, alphaGradients, sum.gradients)
	}
	_, err = b.Build()
	return err
}

// groupSum adds up what the groups of a batch give.
type groupSum struct {
	weights                    *model.Weights
	gradients                  []*ir.Value // of the weights
	loss, totalLoss, validLoss []*ir.Value // by group
	states                     []*ir.Value // hidden, by group
	logits                     *ir.Value   // of the last group
}

// add builds the training pass of a group.
func (g *groupSum) add(n *textNetwork, q sequence, validLoss *ir.Value) {
	w := &model.Weights{}
	out, loss := n.forward(q, w, false)
	total := n.regularised(loss, out)
	all := w.Of(ir.Weight)
	gradients := n.Gradient(total, all.Values...)
	for i := range gradients {
		if g.weights != nil {
			gradients[i] = n.Add(g.gradients[i], gradients[i])
		}
	}
	g.weights, g.gradients, g.logits = w, gradients, out.Logits
	g.loss, g.totalLoss, g.validLoss = append(g.loss, loss), append(g.totalLoss, total), append(g.validLoss, validLoss)
	g.states = append(g.states, out.Hidden)
}

// mean is the mean over the groups.
func (g *groupSum) mean(n *textNetwork, values []*ir.Value) *ir.Value {
	sum := values[0]
	for _, v := range values[1:] {
		sum = n.Add(sum, v)
	}
	return n.Axpby(sum, sum, 1/float64(len(values)), 0)
}

// finish updates the weights by the mean of the gradients, moves the hidden state on, and returns the losses. Descend
// updates the weights and returns the norm of the gradients.
func (g *groupSum) finish(n *textNetwork, groups int, state *ir.Variable, descend func(weights *model.Weights, gradients []*ir.Value) *ir.Value) (norm *ir.Value) {
	if groups > 1 {
		for i, v := range g.gradients {
			g.gradients[i] = n.Axpby(v, v, 1/float64(groups), 0)
		}
	}
	norm = descend(g.weights.Of(ir.Weight), g.gradients)
	n.Assign(state, n.Concat(0, g.states...))
	n.Result("loss", g.mean(n, g.loss))
	n.Result("total_loss", g.mean(n, g.totalLoss))
	return norm
}

// BuildTextTrainStep adds the program TrainStep, or with averaging TrainAverageStep, for so many steps of time to a
// module: the lower level alone. Averaged SGD (Polyak and Juditsky 1992; torch.optim.ASGD with lambd and t0 zero) goes
// the same way as SGD and keeps the average of the weights it has been at.
func BuildTextTrainStep(m *ir.Module, l rnn.Language, c TextConfig, averaged bool) error {
	groups, err := c.groups()
	if err != nil {
		return err
	}
	name := TrainStep
	if averaged {
		name = TrainAverageStep
	}
	b := ops.NewBuilder(m, rnn.Name(name, c.Steps))
	n := newTextNetwork(b, l, c)
	rate := b.Read(control(b, LearningRate, ir.F32))
	words, targets := n.text("train_")
	state := hidden(b, rnn.HiddenTrain, c.Rows, l.Hidden)
	before := b.Read(state)
	var sum groupSum
	b.In("train", func() {
		for k := range groups {
			sum.add(n, n.group(words, targets, before, k, groups), nil)
		}
		norm := sum.finish(n, groups, state, func(weights *model.Weights, gradients []*ir.Value) *ir.Value {
			norm := c.SGD.descend(b, weights, gradients, rate)
			if averaged {
				keepAverages(b, weights)
			}
			return norm
		})
		b.Result("grad_norm", norm)
	})
	if c.Inspect {
		b.Result("logits", sum.logits)
		inspect(b, sum.weights, nil, sum.gradients)
	}
	_, err = b.Build()
	return err
}

// keepAverages moves the averages towards the weights after an update. As in PyTorch the first update and the second
// both set them: update t moves them by 1/max(1, t-1) of the way.
func keepAverages(b *ops.Builder, weights *model.Weights) {
	updates := b.Declare(ir.Variable{Name: averageUpdates, Kind: ir.Moment, Type: ir.T(ir.F32)})
	one := b.Constant(ir.T(ir.F32), 1)
	before := b.Read(updates)
	b.Assign(updates, b.Add(before, one))
	share := b.Div(one, b.Add(b.Relu(b.Sub(before, one)), one)) // 1/max(1, updates before)
	for _, v := range weights.Variables {
		kept := moment(b, v, average)
		old := b.Read(kept)
		b.Assign(kept, b.Add(old, b.Mul(b.Sub(b.Read(v), old), share)))
	}
}

// BuildTextEvaluate adds the program Evaluate, or of the averaged weights EvaluateAverage, for so many steps of time and
// rows of text to a module: the network without dropout. A supernet normalises by the statistics of the batch (the
// original's by running ones).
func BuildTextEvaluate(m *ir.Module, l rnn.Language, rows, steps int, averaged bool) error {
	name := Evaluate
	if averaged {
		name = EvaluateAverage
	}
	b := ops.NewBuilder(m, rnn.Name(name, steps))
	n := &textNetwork{Builder: b, language: l, config: TextConfig{Rows: rows, Steps: steps}, length: b.Input("length", ir.T(ir.I64))}
	words, targets := n.text("")
	state := hidden(b, rnn.HiddenEvaluate, rows, l.Hidden)
	w := &model.Weights{}
	if averaged {
		parameters, err := l.Parameters()
		if err != nil {
			return err
		}
		for _, v := range parameters {
			declared := b.Declare(*v)
			w.Set(declared, b.Read(moment(b, declared, average)))
		}
	}
	out := l.Forward(&rnn.Scope{Builder: b, Weights: w, BatchStatistics: true}, words, b.Read(state), n.length)
	if b.Err() != nil {
		_, err := b.Build()
		return err
	}
	b.Assign(state, out.Hidden)
	labels := b.Reshape(targets, rows*steps)
	b.Result("loss", b.CrossEntropy(out.Logits, labels, 0, "sum"))
	_, err := b.Build()
	return err
}
