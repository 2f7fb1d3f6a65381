package pass

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Values are what variables hold for good, by name, in row-major order.
type Values map[string][]float32

// Fold merges BatchNorm with given statistics into the convolution before it, where all parameters of both are among the
// values: y = (x - mean)·s + beta with s = gamma/sqrt(var + eps) scales the convolution's weights by s and adds a bias.
// It looks through a Concat of channels, as FactorizedReduce has one. The folded weights are new variables, whose values
// it adds; values of variables that nothing reads any more it drops, and the variables with them. A variable that any
// program assigns is left alone.
func Fold(values Values) Func {
	return func(m *ir.Module) error {
		if len(values) == 0 {
			return nil
		}
		f := &folding{module: m, values: values, assigned: map[*ir.Variable]bool{}}
		for _, p := range m.Programs {
			for _, op := range p.Ops {
				if op.Kind == ir.Assign {
					f.assigned[op.Variable] = true
				}
			}
		}
		for _, p := range m.Programs {
			if err := f.program(p); err != nil {
				return err
			}
		}
		if err := Dead(m); err != nil {
			return err
		}
		f.dropUnread()
		return nil
	}
}

// folding is Fold at work on a module, and on one program of it.
type folding struct {
	module   *ir.Module
	values   Values
	assigned map[*ir.Variable]bool

	b    *ops.Builder
	uses []int // by the IDs of values
}

func (f *folding) program(p *ir.Program) error {
	f.uses, f.b = p.Uses(p.Number()), ops.Continue(f.module)
	replaced := substitution{}
	kept := make([]*ir.Op, 0, len(p.Ops))
	for _, op := range p.Ops {
		replaced.operands(op)
		kept = append(kept, op)
		if op.Kind != "batch_norm" {
			continue
		}
		scale, shift := f.affine(op)
		if scale == nil || !f.foldable(op.Operands[0]) {
			continue
		}
		y := f.fold(op.Operands[0], scale, shift)
		for _, added := range f.b.Program.Ops {
			for _, v := range added.Results {
				v.ID, f.uses = len(f.uses), append(f.uses, 1)
			}
		}
		f.uses[y.ID] = f.uses[op.Result().ID]
		kept = append(kept, f.b.Program.Ops...)
		f.b.Program.Ops = nil
		replaced[op.Result()] = y
	}
	replaced.results(p)
	p.Ops = kept
	p.Number()
	return f.b.Err()
}

// constant returns what a value is known to hold, or nil.
func (f *folding) constant(v *ir.Value) []float64 {
	switch {
	case v.Def == nil:
	case v.Def.Kind == "constant":
		return slices.Repeat([]float64{v.Def.Attrs.Float("value")}, v.Type.Elements())
	case v.Def.Kind == ir.Read && !f.assigned[v.Def.Variable]:
		var out []float64
		for _, x := range f.values[v.Def.Variable.Name] {
			out = append(out, float64(x))
		}
		return out
	}
	return nil
}

// affine gives a batch_norm as y = x·scale + shift, or nil where its parameters are not known.
func (f *folding) affine(op *ir.Op) (scale, shift []float64) {
	var parameters [4][]float64 // mean, var, gamma, beta
	for i, v := range op.Operands[1:] {
		if parameters[i] = f.constant(v); parameters[i] == nil {
			return nil, nil
		}
	}
	mean, variance, gamma, beta := parameters[0], parameters[1], parameters[2], parameters[3]
	for c := range mean {
		s, b := 1/math.Sqrt(variance[c]+op.Attrs.Float("eps")), 0.0
		if gamma != nil {
			s, b = s*gamma[c], beta[c]
		}
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return nil, nil
		}
		scale, shift = append(scale, s), append(shift, b-mean[c]*s)
	}
	return scale, shift
}

// foldable says whether a value is a convolution of known weights and bias, or joined of such, that only one operation
// uses.
func (f *folding) foldable(v *ir.Value) bool {
	if v.Def == nil || f.uses[v.ID] != 1 {
		return false
	}
	switch operands := v.Def.Operands; v.Def.Kind {
	case "conv2d":
		return !slices.ContainsFunc(operands[1:], func(v *ir.Value) bool { return f.constant(v) == nil })
	case "concat":
		return v.Def.Attrs.Int("axis") == 1 && !slices.ContainsFunc(operands, func(part *ir.Value) bool { return !f.foldable(part) })
	}
	return false
}

// fold returns v·scale + shift, v being foldable.
func (f *folding) fold(v *ir.Value, scale, shift []float64) *ir.Value {
	f.b.Place(v.Def)
	operands := v.Def.Operands
	if v.Def.Kind == "concat" {
		parts, at := make([]*ir.Value, len(operands)), 0
		for i, part := range operands {
			next := at + part.Type.Shape[1]
			parts[i] = f.fold(part, scale[at:next], shift[at:next])
			at = next
		}
		f.b.Place(v.Def)
		return f.b.Concat(1, parts...)
	}
	if len(operands) == 3 {
		shift = slices.Clone(shift)
		for c, bias := range f.constant(operands[2]) {
			shift[c] += bias * scale[c]
		}
	}
	w := f.constant(operands[1])
	per := len(w) / len(scale)
	for i := range w {
		w[i] *= scale[i/per]
	}
	name := "conv"
	if read := operands[1].Def; read.Kind == ir.Read {
		name = read.Variable.Name
	}
	folded, bias := f.variable(name+".folded", operands[1].Type, w), f.variable(name+".bias", ir.T(v.Type.DType, len(shift)), shift)
	return f.b.Conv2DBias(operands[0], folded, bias, ops.ConvAttrsOf(v.Def))
}

// variable reads a new variable that holds the given values.
func (f *folding) variable(name string, t ir.Type, data []float64) *ir.Value {
	free := name
	for i := 1; f.module.Variable(free) != nil; i++ {
		free = fmt.Sprintf("%s_%d", name, i)
	}
	held := make([]float32, len(data))
	for i, v := range data {
		held[i] = float32(v)
	}
	f.values[free] = held
	return f.b.Read(f.b.Declare(ir.Variable{Name: free, Kind: ir.Weight, Type: t}))
}

// dropUnread removes the variables with values that no program reads.
func (f *folding) dropUnread() {
	read := map[*ir.Variable]bool{}
	for _, p := range f.module.Programs {
		for _, op := range p.Ops {
			read[op.Variable] = true
		}
	}
	for _, v := range slices.Clone(f.module.Variables) {
		if _, ok := f.values[v.Name]; ok && !read[v] {
			f.module.Remove(v)
		}
	}
	maps.DeleteFunc(f.values, func(name string, _ []float32) bool { return f.module.Variable(name) == nil })
}
