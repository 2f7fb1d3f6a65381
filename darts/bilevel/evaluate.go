package bilevel

import (
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// BuildEvaluate adds the program Evaluate: a network, of a search or derived, with its running statistics on one batch.
// It has no auxiliary heads and keeps no activations. Inputs: images, labels, where a negative label marks a row that
// does not count. Results: loss (the sum over rows), correct and correct5.
func BuildEvaluate(m *ir.Module, network cnn.Network, batch Batch) error {
	b := ops.NewBuilder(m, Evaluate)
	e := batch.evaluation(b)
	scope := &cnn.Scope{Builder: b, Weights: &model.Weights{}}
	logits, _ := network.Forward(scope, e.images)
	b.Result("loss", b.CrossEntropy(logits, e.labels, 0, "sum"))
	countCorrect(b, logits, e.labels)
	_, err := b.Build()
	return err
}

// countCorrect adds the results correct (top 1) and correct5 (top 5, or as many classes as there are).
func countCorrect(b *ops.Builder, logits, labels *ir.Value) {
	b.Result("correct", b.Correct(logits, labels, 1))
	five := 5
	if len(logits.Type.Shape) == 2 {
		five = min(five, logits.Type.Shape[1])
	}
	b.Result("correct5", b.Correct(logits, labels, five))
}
