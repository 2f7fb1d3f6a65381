package bilevel

import (
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// BuildSearchStep adds the program SearchStep to a module.
//
// Inputs: train_images, train_labels, valid_images, valid_labels (see Batch). Results: loss, correct (top 1) and
// correct5 (top 5) of the training batch before its update, valid_loss (the loss that the alphas were updated on),
// grad_norm (of the weights, before clipping).
func BuildSearchStep(m *ir.Module, network cnn.Network, config Config) error {
	b := ops.NewBuilder(m, SearchStep)
	s := &search{Builder: b, levels: config.Levels, rate: b.Read(control(b, LearningRate, ir.F32))}
	draw := random(b)
	var train, valid example
	b.In("data", func() {
		train = config.Batch.training(b, "train", draw)
		valid = config.Batch.training(b, "valid", draw)
	})
	var logits *ir.Value // of the last pass built, which is the one that is reported
	forward := func(batch example, w *model.Weights, keepStatistics bool) pass {
		scope := &cnn.Scope{Builder: b, Train: true, KeepStatistics: keepStatistics, Weights: w}
		logits, _ = network.Forward(scope, batch.images)
		return pass{loss: b.CrossEntropy(logits, batch.labels, 0, "mean"), weights: w}
	}
	s.task.train = func(w *model.Weights) pass { return forward(train, w, false) }
	s.task.fit = s.task.train
	s.task.valid = func(w *model.Weights, unrolled bool) pass { return forward(valid, w, unrolled) }
	validLoss, alphaGradients := s.updateAlphas()
	fit, gradients, norm := s.updateWeights()
	b.In("report", func() {
		b.Result("loss", fit.loss)
		b.Result("valid_loss", validLoss)
		countCorrect(b, logits, train.labels)
		b.Result("grad_norm", norm)
	})
	if config.Inspect {
		b.Result("logits", logits)
		inspect(b, fit.weights, alphaGradients, gradients)
	}
	_, err := b.Build()
	return err
}

// inspect also returns the gradients of alphas and weights.
func inspect(b *ops.Builder, w *model.Weights, alphas, weights []*ir.Value) {
	for i, v := range w.Of(ir.Alpha).Variables {
		b.Result("gradient/"+v.Name, alphas[i])
	}
	for i, v := range w.Of(ir.Weight).Variables {
		b.Result("gradient/"+v.Name, weights[i])
	}
}
