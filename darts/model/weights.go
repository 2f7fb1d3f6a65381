// Package model is what the networks of both tasks have in common: the weights that one forward pass sees. It knows
// neither convolutions nor words.
package model

import (
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Weights are the trained variables a network uses, in order of first use, with the values it sees them at.
type Weights struct {
	Variables []*ir.Variable
	Values    []*ir.Value
	index     map[string]int
}

// Value returns the value of a variable, or nil where the network does not use it.
func (w *Weights) Value(name string) *ir.Value {
	if i, ok := w.index[name]; ok {
		return w.Values[i]
	}
	return nil
}

// Set gives a variable a value.
func (w *Weights) Set(v *ir.Variable, value *ir.Value) {
	if w.index == nil {
		w.index = map[string]int{}
	}
	if i, ok := w.index[v.Name]; ok {
		w.Values[i] = value
		return
	}
	w.index[v.Name] = len(w.Variables)
	w.Variables = append(w.Variables, v)
	w.Values = append(w.Values, value)
}

// Of returns the values and variables of one kind.
func (w *Weights) Of(kind ir.Kind) *Weights {
	of := &Weights{}
	for i, v := range w.Variables {
		if v.Kind == kind {
			of.Set(v, w.Values[i])
		}
	}
	return of
}

// Parameter returns the value of a weight or an alpha, declaring its variable at first use. A value that was not given
// is read, and added.
func (w *Weights) Parameter(b *ops.Builder, v ir.Variable) *ir.Value {
	declared := b.Declare(v)
	if value := w.Value(v.Name); value != nil {
		return value
	}
	value := b.Read(declared)
	w.Set(declared, value)
	return value
}
