package recipe

import (
	"context"
	"fmt"
	"math"

	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/text"
	"github.com/dartsc/dartsc/runtime"
)

// textEvaluator runs the programs bilevel.Evaluate and EvaluateAverage of a session over a text, the hidden state carried
// from window to window.
type textEvaluator struct {
	session         *runtime.Session
	streams         text.Streams
	bptt            int
	tokens, targets []int32
	length          []int64
	loss            []float32
}

// newTextEvaluator cuts a text into rows; a text too short for so many gets fewer, which the session's programs must
// have room for.
func newTextEvaluator(session *runtime.Session, words []int32, rows, bptt int) (*textEvaluator, error) {
	streams, err := text.NewStreams(words, rowsOf(words, rows))
	if err != nil {
		return nil, fmt.Errorf("the text to evaluate: %w", err)
	}
	room := streams.Batch * bptt
	return &textEvaluator{
		session: session, streams: streams, bptt: bptt, tokens: make([]int32, room), targets: make([]int32, room),
		length: make([]int64, 1), loss: make([]float32, 1),
	}, nil
}

// rowsOf is how many rows a text is cut into that has two words for each at least.
func rowsOf(words []int32, rows int) int { return max(1, min(rows, len(words)/2)) }

// run sums the loss over all words but the first of each row, which the model is not asked for. (The original divides
// that sum by a count that has them.)
func (e *textEvaluator) run(ctx context.Context, averaged bool) (totals, error) {
	var t totals
	if err := clearVariable(e.session, rnn.HiddenEvaluate); err != nil {
		return t, err
	}
	kind := bilevel.Evaluate
	if averaged {
		kind = bilevel.EvaluateAverage
	}
	inputs := map[string]any{"length": e.length, "tokens": e.tokens, "targets": e.targets}
	for _, w := range e.streams.Even(e.bptt) {
		if err := e.streams.Fill(w, e.tokens, e.targets); err != nil {
			return t, err
		}
		e.length[0] = int64(w.Length)
		if err := e.session.Run(ctx, rnn.Name(kind, e.bptt), inputs, map[string]any{"loss": e.loss}); err != nil {
			return t, err
		}
		t.Count += int64(w.Length * e.streams.Batch)
		t.Loss += float64(e.loss[0])
	}
	if math.IsNaN(t.Loss) || math.IsInf(t.Loss, 0) {
		return t, fmt.Errorf("evaluation: loss %v: the run diverged; use a lower --lr", t.Loss)
	}
	return t, nil
}
