package bilevel

import (
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// DropPath is the control variable (f32) that holds the probability with which a training drops paths.
const DropPath = "drop_path"

// TrainConfig is how a step of training a derived network is made: the lower level alone.
type TrainConfig struct {
	SGD             SGD
	AuxiliaryWeight float64 // of the auxiliary heads' losses
	LabelSmoothing  float64
	DropPath        bool
	Batch           Batch
}

// BuildTrainStep adds the program TrainStep to a module (train.py and train_imagenet.py of the original). Inputs:
// train_images and train_labels. Results: loss (with that of auxiliary heads), correct, correct5, grad_norm.
func BuildTrainStep(m *ir.Module, network cnn.Network, config TrainConfig) error {
	b := ops.NewBuilder(m, TrainStep)
	rate := b.Read(control(b, LearningRate, ir.F32))
	draw := random(b)
	var batch example
	b.In("data", func() { batch = config.Batch.training(b, "train", draw) })
	b.In("train", func() {
		scope := &cnn.Scope{Builder: b, Train: true, Weights: &model.Weights{}}
		if config.DropPath {
			// The streams start beyond those of the augmentation.
			scope.DropPath = &cnn.DropPath{P: b.Read(control(b, DropPath, ir.F32)), Seed: draw.seed, Step: draw.step, Stream: 1000}
		}
		logits, auxiliary := network.Forward(scope, batch.images)
		loss := b.CrossEntropy(logits, batch.labels, config.LabelSmoothing, "mean")
		for _, head := range auxiliary {
			loss = b.Axpby(loss, b.CrossEntropy(head, batch.labels, config.LabelSmoothing, "mean"), 1, config.AuxiliaryWeight)
		}
		norm := config.SGD.descend(b, scope.Weights, b.Gradient(loss, scope.Weights.Values...), rate)
		b.Result("loss", loss)
		countCorrect(b, logits, batch.labels)
		b.Result("grad_norm", norm)
	})
	_, err := b.Build()
	return err
}
