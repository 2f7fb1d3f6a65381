package recipe

import (
	"context"
	"fmt"

	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/runtime"
)

// evaluator runs the program bilevel.Evaluate of a session, be it of a supernet or of a derived network, over a list of
// images. Its buffers have the size of the program's inputs and are reused.
type evaluator struct {
	session         *runtime.Session
	batch           data.Batch
	loss            []float32
	correct         []float32
	correct5        []float32
	inputs, results map[string]any
}

func newEvaluator(session *runtime.Session) (*evaluator, error) {
	p := session.Plan().Program(bilevel.Evaluate)
	if p == nil {
		return nil, fmt.Errorf("plan %s has no program %q", session.Plan().Name, bilevel.Evaluate)
	}
	e := &evaluator{session: session, loss: make([]float32, 1), correct: make([]float32, 1), correct5: make([]float32, 1)}
	e.batch, e.inputs = newBatch(p, "")
	e.results = map[string]any{"loss": e.loss, "correct": e.correct, "correct5": e.correct5}
	return e, nil
}

// run measures the network with its running statistics on every image, without augmentation; what fills up the last
// batch weighs nothing. The sums that it returns are over images.
func (e *evaluator) run(ctx context.Context, over data.Batches) (totals, error) {
	var t totals
	for step := range over.Steps() {
		if err := over.Read(ctx, int64(step), e.batch); err != nil {
			return t, err
		}
		if err := e.session.Run(ctx, bilevel.Evaluate, e.inputs, e.results); err != nil {
			return t, err
		}
		for _, label := range e.batch.Labels {
			if label >= 0 {
				t.Count++
			}
		}
		t.Loss += float64(e.loss[0])
		t.Correct += float64(e.correct[0])
		t.Correct5 += float64(e.correct5[0])
	}
	return t, nil
}
