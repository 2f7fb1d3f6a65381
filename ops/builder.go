package ops

import "github.com/dartsc/dartsc/ir"

// Builder is an ir.Builder with a method for every operation of the table, so that model code reads as mathematics:
//
//	y := b.Relu(b.Conv2D(x, w, ops.ConvAttrs{Pads: ops.Same(1), Groups: 16}))
//
// Each family's file holds its methods.
type Builder struct {
	*ir.Builder
}

// NewBuilder starts a program of the module.
func NewBuilder(m *ir.Module, program string) *Builder {
	return &Builder{ir.NewBuilder(m, program, Rules)}
}

// Continue returns a builder for passes that rewrite a program; see ir.Continue.
func Continue(m *ir.Module) *Builder { return &Builder{ir.Continue(m, Rules)} }

func (b *Builder) one(kind string, operands []*ir.Value, attrs ...ir.Attr) *ir.Value {
	return b.Op(kind, 1, operands, attrs...)[0]
}

func values(v ...*ir.Value) []*ir.Value { return v }
