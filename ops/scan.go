package ops

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
)

// Scan appends a loop over time, see package ir: write appends the body through the builder it is given.
func (b *Builder) Scan(length *ir.Value, steps int, carried, stacked []*ir.Value, reverse bool,
	write func(b *Builder, in ir.LoopBody) (next, outputs []*ir.Value)) (last, outputs []*ir.Value) {
	return b.Builder.Scan(length, steps, carried, stacked, reverse, func(inner *ir.Builder, in ir.LoopBody) (next, outputs []*ir.Value) {
		return write(&Builder{inner}, in)
	})
}

// scan is the reference evaluation of a loop.
func scan(l ir.Loop, in []*Tensor) ([]*Tensor, error) {
	steps := int(in[0].Data[0])
	if steps < 0 || steps > l.Steps {
		return nil, fmt.Errorf("is to take %d steps, has room for 0 to %d", steps, l.Steps)
	}
	inner := append([]*Tensor(nil), in[1:]...)
	out := make([]*Tensor, len(l.Results))
	for i, r := range l.Results {
		if out[i] = NewTensor(r.Type); i < l.Carried {
			out[i] = in[1+i].Clone()
		}
	}
	for n := range steps {
		t := n
		if l.Reverse {
			t = steps - 1 - n
		}
		env := map[*ir.Value]*Tensor{}
		for i, v := range l.Body.Inputs {
			if l.Carried <= i && i < l.Carried+l.Stacked {
				size := v.Type.Elements()
				inner[i] = &Tensor{Type: v.Type, Data: in[1+i].Data[t*size : (t+1)*size]}
			}
			env[v] = inner[i]
		}
		if err := evaluate(l.Body, env, nil); err != nil {
			return nil, fmt.Errorf("step %d: %w", t, err)
		}
		for i, r := range l.Body.Results {
			if made := env[r.Value]; i < l.Carried {
				inner[i], out[i] = made, made.Clone()
			} else {
				copy(out[i].Data[t*len(made.Data):], made.Data)
			}
		}
	}
	return out, nil
}
