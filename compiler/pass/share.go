package pass

import (
	"encoding/binary"
	"fmt"

	"github.com/dartsc/dartsc/ir"
)

// Share computes equal things once: operations of one kind with the same attributes and operands. In a supernet it
// finds that ReLU, both poolings and their BatchNorms on one state are the same for every edge out of it. Every
// operation is a function of its operands, random ones included (seed, step and stream are operands and attribute).
//
// It shares within one phase of a step only: two passes over one batch begin alike, but keeping the activations of the
// first for the second would cost more memory than computing them again costs time.
var Share = each(func(m *ir.Module, p *ir.Program) error {
	p.Number()
	replaced := substitution{}
	seen := map[string]*ir.Op{}
	kept := make([]*ir.Op, 0, len(p.Ops))
	var key []byte
	for _, op := range p.Ops {
		replaced.operands(op)
		if op.Kind == ir.Read || op.Kind == ir.Assign || op.Kind == "gradient" || op.Body != nil {
			kept = append(kept, op)
			continue
		}
		key = appendKey(key[:0], op)
		if old := seen[string(key)]; old != nil {
			for i, v := range op.Results {
				replaced[v] = old.Results[i]
			}
			continue
		}
		seen[string(key)] = op
		kept = append(kept, op)
	}
	replaced.results(p)
	p.Ops = kept
	p.Number()
	return nil
})

// appendKey writes what makes an operation what it is.
func appendKey(key []byte, op *ir.Op) []byte {
	key = append(key, op.Kind...)
	key = append(key, 0)
	key = append(key, op.Phase...)
	key = append(key, 0)
	for _, v := range op.Operands {
		key = binary.AppendUvarint(key, uint64(v.ID))
	}
	key = append(key, 0)
	for _, a := range op.Attrs {
		key = append(key, a.Name...)
		key = append(key, '=')
		switch v := a.Value.(type) {
		case int:
			key = binary.AppendVarint(key, int64(v))
		case []int:
			key = binary.AppendUvarint(key, uint64(len(v)))
			for _, i := range v {
				key = binary.AppendVarint(key, int64(i))
			}
		default:
			key = fmt.Appendf(key, "%T %v", v, v)
		}
		key = append(key, 0)
	}
	return key
}
