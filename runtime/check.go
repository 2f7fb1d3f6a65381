package runtime

import (
	"fmt"
	"math"

	"github.com/dartsc/dartsc/compiler/plan"
)

// maxRank is the most dimensions of a tensor.
const maxRank = 8

// Check reports the first thing in a plan that would make it unsafe to run: a tensor outside its space or misaligned,
// an index to nothing, a name given twice. Devices check on top of it that they have the kernels and that these accept
// their launches.
func Check(p *plan.Plan) error {
	if p == nil {
		return fmt.Errorf("no plan")
	}
	if p.VariableBytes < 0 || p.ArenaBytes < 0 {
		return fmt.Errorf("plan %s: sizes of memory %d and %d are negative", p.Name, p.VariableBytes, p.ArenaBytes)
	}
	names := map[string]bool{}
	for i := range p.Variables {
		v := &p.Variables[i]
		if names[v.Name] {
			return fmt.Errorf("plan %s: two variables are called %q", p.Name, v.Name)
		}
		names[v.Name] = true
		if err := checkVariable(p, v); err != nil {
			return fmt.Errorf("plan %s: variable %s: %w", p.Name, v.Name, err)
		}
	}
	programs := map[string]bool{}
	for i, program := range p.Programs {
		if program == nil {
			return fmt.Errorf("plan %s: program %d is missing", p.Name, i)
		}
		if programs[program.Name] {
			return fmt.Errorf("plan %s: two programs are called %q", p.Name, program.Name)
		}
		programs[program.Name] = true
		if err := checkProgram(p, program); err != nil {
			return fmt.Errorf("plan %s: program %s: %w", p.Name, program.Name, err)
		}
	}
	return nil
}

func checkVariable(p *plan.Plan, v *plan.Variable) error {
	if err := checkTensor(v.Tensor, v.Offset, p.VariableBytes); err != nil {
		return err
	}
	switch v.Init.Distribution {
	case "constant":
	case "uniform", "normal":
		if v.DType != plan.F32 {
			return fmt.Errorf("starts %s, which wants f32, not %s", v.Init.Distribution, v.DType)
		}
	default:
		return fmt.Errorf("starts %q: want constant, uniform or normal", v.Init.Distribution)
	}
	return nil
}

func checkProgram(p *plan.Plan, program *plan.Program) error {
	for i, b := range program.Buffers {
		var size int64
		switch b.Space {
		case plan.Arena:
			size = p.ArenaBytes
		case plan.Variables:
			size = p.VariableBytes
		default:
			return fmt.Errorf("buffer %d lies in unknown space %d", i, b.Space)
		}
		if err := checkTensor(b.Tensor, b.Offset, size); err != nil {
			return fmt.Errorf("buffer %d: %w", i, err)
		}
	}
	if err := checkPorts("input", program.Inputs, len(program.Buffers)); err != nil {
		return err
	}
	if err := checkPorts("result", program.Results, len(program.Buffers)); err != nil {
		return err
	}
	for i := range program.Launches {
		l := &program.Launches[i]
		for _, list := range [][]int{l.Operands, l.Results} {
			for _, b := range list {
				if b < 0 || b >= len(program.Buffers) {
					return fmt.Errorf("launch %d (%s): buffer %d of %d", i, l.Kernel, b, len(program.Buffers))
				}
			}
		}
	}
	return nil
}

func checkPorts(what string, ports []plan.Port, buffers int) error {
	names := map[string]bool{}
	for _, port := range ports {
		if names[port.Name] {
			return fmt.Errorf("two %ss are called %q", what, port.Name)
		}
		names[port.Name] = true
		if port.Buffer < 0 || port.Buffer >= buffers {
			return fmt.Errorf("%s %s: buffer %d of %d", what, port.Name, port.Buffer, buffers)
		}
	}
	return nil
}

// checkTensor checks a tensor and that it lies within size bytes.
func checkTensor(t plan.Tensor, offset, size int64) error {
	if t.DType <= plan.Invalid || t.DType > plan.F64 {
		return fmt.Errorf("invalid element type %d", uint8(t.DType))
	}
	if len(t.Shape) > maxRank {
		return fmt.Errorf("shape %v has more than %d dimensions", t.Shape, maxRank)
	}
	bytes := t.DType.Size()
	for _, d := range t.Shape {
		if d <= 0 || int64(d) > math.MaxInt64/4/bytes {
			return fmt.Errorf("shape %v is not positive or too large", t.Shape)
		}
		bytes *= int64(d)
	}
	if t.Order != nil {
		if len(t.Order) != len(t.Shape) {
			return fmt.Errorf("layout %v does not fit shape %v", t.Order, t.Shape)
		}
		var seen [maxRank]bool
		for _, axis := range t.Order {
			if axis < 0 || axis >= len(t.Shape) || seen[axis] {
				return fmt.Errorf("layout %v is not an order of %d dimensions", t.Order, len(t.Shape))
			}
			seen[axis] = true
		}
	}
	if offset < 0 || bytes > size || offset > size-bytes {
		return fmt.Errorf("%d bytes at offset %d lie outside of the %d bytes of memory", bytes, offset, size)
	}
	if offset%t.DType.Size() != 0 {
		return fmt.Errorf("offset %d is not aligned for %s", offset, t.DType)
	}
	return nil
}
