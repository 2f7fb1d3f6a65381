package rnn

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Reading is a derived model in use, one word of every row at a time: words i32 [B] and the hidden state [B,N] before them
// give log-probabilities [B,V] of the words that follow, and the next hidden state. The builder may be that of a loop's body.
type Reading func(b *ops.Builder, words, hidden *ir.Value) (logProbabilities, next *ir.Value)

// Reading reads the model's weights, outside of any loop, and returns what one step of it is.
func (l Language) Reading(s *Scope) Reading {
	b := s.Builder
	if err := l.Validate(); err != nil {
		b.Fail(err)
	} else if l.Genotype == nil || s.Train {
		b.Fail(fmt.Errorf("only derived models out of training are used word by word: a supernet normalises over a batch"))
	}
	if b.Err() != nil {
		return func(*ops.Builder, *ir.Value, *ir.Value) (logProbabilities, next *ir.Value) {
			return &ir.Value{}, &ir.Value{}
		}
	}
	n := l.Hidden
	table := s.parameter("encoder.weight", l.Vocabulary, n)
	bias := s.Weights.Parameter(b, l.bias())
	w0 := s.parameter("rnns.0._W0", 2*n, 2*n)
	c := l.newCell(s)
	entry := b.Slice(w0, []int{0, 0}, []int{n, 2 * n})
	c.entry = b.Slice(w0, []int{n, 0}, []int{2 * n, 2 * n})
	return func(b *ops.Builder, words, hidden *ir.Value) (logProbabilities, next *ir.Value) {
		var x *ir.Value
		b.At("embedding", func() { x = b.Embedding(words, table) })
		b.At("cell", func() { next, _ = c.step(b, hidden, b.MatMul(x, entry, false, false), nil) })
		b.At("decoder", func() { logProbabilities = b.Log(b.Softmax(b.Linear(next, table, bias))) })
		return logProbabilities, next
	}
}
