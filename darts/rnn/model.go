package rnn

import (
	"fmt"

	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// start bounds the uniform distribution that all weights start from (INITRANGE of the original).
const start = 0.04

// Dropout holds the probabilities with which a model drops values in training: each mask is drawn once for a whole
// sequence (variational dropout, Gal and Ghahramani 2016).
type Dropout struct {
	Words     float64 // whole words, of the embedding (--dropoute)
	Embedding float64 // elements of the embedded words (--dropouti)
	Input     float64 // elements of the cell's input (--dropoutx)
	Hidden    float64 // elements of the states in the cell (--dropouth)
	Output    float64 // elements of what the decoder reads (--dropout)
}

// Language is a recurrent language model: an embedding of the vocabulary, one cell, and a decoder that is tied to the
// embedding.
type Language struct {
	Vocabulary int
	Hidden     int // N, of embedding and states alike
	Dropout    Dropout

	// Genotype is the cell; nil is the supernet of a search.
	Genotype *space.Recurrent
}

// Alphas is the variable of the architecture parameters, [36,5]: a row for every edge, node after node.
const Alphas = "alphas"

// Validate reports what keeps a model from being built.
func (l Language) Validate() error {
	if l.Vocabulary < 1 || l.Hidden < 1 {
		return fmt.Errorf("vocabulary of %d words and hidden size %d: want at least 1 of each", l.Vocabulary, l.Hidden)
	}
	for _, p := range []float64{l.Dropout.Words, l.Dropout.Embedding, l.Dropout.Input, l.Dropout.Hidden, l.Dropout.Output} {
		if !(p >= 0 && p < 1) {
			return fmt.Errorf("dropout probability %v: want from 0 to below 1", p)
		}
	}
	if l.Genotype != nil {
		return l.Genotype.Validate()
	}
	return nil
}

// Parameters lists the weights of a model.
func (l Language) Parameters() ([]*ir.Variable, error) {
	b := ops.NewBuilder(ir.NewModule("parameters"), "parameters")
	s := &Scope{Builder: b, Weights: &model.Weights{}}
	words, state := b.Input("words", ir.T(ir.I32, 1, 1)), b.Input("hidden", ir.T(ir.F32, 1, max(l.Hidden, 1)))
	l.Forward(s, words, state, b.Input("length", ir.T(ir.I64)))
	return s.Weights.Of(ir.Weight).Variables, b.Err()
}

// Scope is what a model is built in. A search step builds the same model several times in one program, each time in a
// scope of its own.
type Scope struct {
	Builder *ops.Builder

	// Train selects dropout and batch statistics.
	Train bool

	// BatchStatistics has a supernet normalise by the statistics of the batch in evaluation too. Its running statistics are
	// one set for all of its states, which fits none of them well.
	BatchStatistics bool

	// KeepStatistics leaves the running statistics as they are in training: an unrolled model's are thrown away.
	KeepStatistics bool

	// Weights gives values to weights and alphas by name; see model.Weights.
	Weights *model.Weights

	// Seed and Step (i64 scalars) and a stream, which counts up, are what masks are drawn from.
	Seed, Step *ir.Value
	Stream     *int
}

// Output is what a model makes of a sequence.
type Output struct {
	Logits  *ir.Value // [T·B,V]
	Hidden  *ir.Value // [B,N], after the last step
	Raw     *ir.Value // [T,B,N], the hidden state after each step; zero beyond the length
	Dropped *ir.Value // [T,B,N], the same after dropout: what the decoder reads
}

// Forward builds the model on words i32 [T,B], from a hidden state [B,N], over so many steps (i64 scalar, at most T).
func (l Language) Forward(s *Scope, words, hidden, length *ir.Value) Output {
	b := s.Builder
	if err := l.Validate(); err != nil {
		b.Fail(err)
	}
	if t := words.Type; t.DType != ir.I32 || len(t.Shape) != 2 || !hidden.Type.Equal(ir.T(ir.F32, t.Shape[1], l.Hidden)) {
		b.Fail(fmt.Errorf("words %s and hidden state %s: want i32[T,B] and f32[B,%d]", t, hidden.Type, l.Hidden))
	}
	if b.Err() != nil {
		return Output{}
	}
	table := s.parameter("encoder.weight", l.Vocabulary, l.Hidden)
	var x *ir.Value
	b.At("embedding", func() { x = l.embed(s, words, table) })
	out := l.recur(s, x, hidden, length)
	if b.Err() != nil {
		return Output{}
	}
	b.At("decoder", func() {
		out.Dropped = out.Raw
		if mask := s.mask(l.Dropout.Output, hidden.Type); mask != nil {
			out.Dropped = b.Mul(out.Raw, b.Broadcast(mask, out.Raw.Type.Shape, 0))
		}
		bias := s.Weights.Parameter(b, l.bias())
		out.Logits = b.Linear(b.Reshape(out.Dropped, words.Type.Elements(), l.Hidden), table, bias)
	})
	return out
}

func (l Language) bias() ir.Variable {
	return ir.Variable{Name: "decoder.bias", Kind: ir.Weight, Type: ir.T(ir.F32, l.Vocabulary)}
}

// embed gives the words their vectors [T,B,N], with all dropout up to the cell's.
func (l Language) embed(s *Scope, words, table *ir.Value) *ir.Value {
	b := s.Builder
	x := b.Embedding(words, table)
	shape := x.Type.Shape
	if kept := s.mask(l.Dropout.Words, ir.T(ir.F32, l.Vocabulary, 1)); kept != nil {
		x = b.Mul(x, b.Broadcast(b.Reshape(b.Embedding(words, kept), words.Type.Shape...), shape, 2))
	}
	rows := ir.T(ir.F32, shape[1:]...)
	mask := s.mask(l.Dropout.Embedding, rows)
	if input := s.mask(l.Dropout.Input, rows); mask == nil {
		mask = input
	} else if input != nil {
		mask = b.Mul(mask, input)
	}
	if mask != nil {
		x = b.Mul(x, b.Broadcast(mask, shape, 0))
	}
	return x
}

// parameter is a matrix of weights.
func (s *Scope) parameter(name string, rows, columns int) *ir.Value {
	return s.Weights.Parameter(s.Builder, ir.Variable{
		Name: name, Kind: ir.Weight, Type: ir.T(ir.F32, rows, columns), Init: ir.Init{Distribution: ir.Uniform, Value: start},
	})
}

// mask draws a dropout mask, or returns nil where nothing is dropped.
func (s *Scope) mask(p float64, t ir.Type) *ir.Value {
	if !s.Train || p == 0 {
		return nil
	}
	*s.Stream++
	return s.Builder.DropoutMask(t, p, s.Seed, s.Step, *s.Stream)
}
