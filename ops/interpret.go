package ops

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
)

// Run evaluates a program in float64: inputs by name, variables by name, which it reads and assigns in place. It is
// the oracle: plain loops, no reuse, nothing fused. The program must be verified and differentiated (without "gradient"
// operations).
func Run(p *ir.Program, variables, inputs map[string]*Tensor) (map[string]*Tensor, error) {
	env := map[*ir.Value]*Tensor{}
	for _, v := range p.Inputs {
		t := inputs[v.Name]
		if t == nil {
			return nil, fmt.Errorf("program %s: input %q is missing", p.Name, v.Name)
		}
		if !t.Type.Equal(v.Type) || len(t.Data) != v.Type.Elements() {
			return nil, fmt.Errorf("program %s: input %q is %s with %d elements, wants %s", p.Name, v.Name, t.Type, len(t.Data), v.Type)
		}
		env[v] = t
	}
	if err := evaluate(p, env, variables); err != nil {
		return nil, fmt.Errorf("program %s: %w", p.Name, err)
	}
	results := map[string]*Tensor{}
	for _, r := range p.Results {
		results[r.Name] = env[r.Value].Clone()
	}
	return results, nil
}

func evaluate(p *ir.Program, env map[*ir.Value]*Tensor, variables map[string]*Tensor) error {
	for _, op := range p.Ops {
		in := make([]*Tensor, len(op.Operands))
		for i, v := range op.Operands {
			in[i] = env[v]
		}
		out, err := evaluateOp(op, in, variables)
		if err != nil {
			return fmt.Errorf("%s: %w", op.Position(), err)
		}
		for i, v := range op.Results {
			env[v] = out[i]
		}
	}
	return nil
}

func evaluateOp(op *ir.Op, in []*Tensor, variables map[string]*Tensor) ([]*Tensor, error) {
	switch op.Kind {
	case ir.Read:
		t := variables[op.Variable.Name]
		if t == nil || !t.Type.Equal(op.Variable.Type) || len(t.Data) != t.Type.Elements() {
			return nil, fmt.Errorf("variable %s has no value of type %s", op.Variable.Name, op.Variable.Type)
		}
		return []*Tensor{t.Clone()}, nil
	case ir.Assign:
		variables[op.Variable.Name] = in[0].Clone()
		return nil, nil
	case ir.Fusion:
		env := map[*ir.Value]*Tensor{}
		for i, v := range op.Body.Inputs {
			env[v] = in[i]
		}
		if err := evaluate(op.Body, env, nil); err != nil {
			return nil, err
		}
		var out []*Tensor
		for _, r := range op.Body.Results {
			out = append(out, env[r.Value])
		}
		return out, nil
	case ir.Scan:
		return scan(ir.LoopOf(op), in)
	}
	def := table[op.Kind]
	if def == nil || def.Eval == nil {
		return nil, fmt.Errorf("has no reference evaluation")
	}
	return def.Eval(op, in), nil
}

// Variables returns the variables of a module, all zero but for constant initial values, by name. Random initial
// values are the caller's to set.
func Variables(m *ir.Module) map[string]*Tensor {
	all := map[string]*Tensor{}
	for _, v := range m.Variables {
		t := NewTensor(v.Type)
		if v.Init.Distribution == ir.Constant {
			for i := range t.Data {
				t.Data[i] = v.Init.Value
			}
		}
		all[v.Name] = t
	}
	return all
}
