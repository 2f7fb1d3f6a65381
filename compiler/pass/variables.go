package pass

import "github.com/dartsc/dartsc/ir"

// Variables turns variables into values: after it, every variable is read at most once, at the start of a program, and
// assigned at most once, at its end. A read in between becomes the value last assigned. So the order of operations is
// free from here on, and the later passes see state as plain operands.
var Variables = outermost(func(m *ir.Module, p *ir.Program) error {
	replaced := substitution{}
	reads := map[*ir.Variable]*ir.Op{}
	current := map[*ir.Variable]*ir.Value{}
	var head, body []*ir.Op
	for _, op := range p.Ops {
		replaced.operands(op)
		switch op.Kind {
		case ir.Read:
			if now := current[op.Variable]; now != nil {
				replaced[op.Result()] = now
				continue
			}
			reads[op.Variable], current[op.Variable] = op, op.Result()
			op.Phase, op.Scope = "", ""
			head = append(head, op)
		case ir.Assign:
			current[op.Variable] = op.Operands[0]
		default:
			body = append(body, op)
		}
	}
	replaced.results(p)
	p.Ops = append(head, body...)
	for _, v := range m.Variables {
		value := current[v]
		if read := reads[v]; value == nil || read != nil && read.Result() == value {
			continue
		}
		p.Ops = append(p.Ops, &ir.Op{Kind: ir.Assign, Operands: []*ir.Value{value}, Variable: v})
	}
	p.Number()
	return nil
})
