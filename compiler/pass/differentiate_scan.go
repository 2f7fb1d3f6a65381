package pass

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// The gradient of a loop is a loop that runs the other way. It carries the cotangents of what the loop carries, and sums
// of those of the values that the loop captures; it reads the stacked cotangents of the outputs, and what its body needs
// of the forward steps: they are stacked as outputs of the forward loop, but for what is cheap to make again. The body is
// differentiated once, however many steps there are.

// scanGradient appends the gradient of a loop and returns the cotangents of its operands, given those of its results
// (nil: zero).
func scanGradient(b *ops.Builder, l ir.Loop, phase string, depends map[*ir.Value]bool, results []*ir.Value) ([]*ir.Value, error) {
	r := &reversal{b: b, loop: l, body: ops.Continue(b.Module), depends: innerDepends(l, depends), cotangents: map[*ir.Value]*ir.Value{}}
	r.seed(results)
	for i := len(l.Body.Ops) - 1; i >= 0; i-- {
		if err := propagate(r.body, l.Body.Ops[i], phase, r.depends, r.cotangents); err != nil {
			return nil, fmt.Errorf("%s: %w", l.Body.Ops[i].Position(), err)
		}
	}
	r.body.Place(&ir.Op{Phase: phase, Scope: l.Scope})
	return r.finish()
}

// innerDepends carries to the body which values the derivative is with respect to.
func innerDepends(l ir.Loop, depends map[*ir.Value]bool) map[*ir.Value]bool {
	inner := map[*ir.Value]bool{}
	for i, in := range l.Body.Inputs {
		inner[in] = depends[l.Outer(i)]
	}
	for again := true; again; {
		again = false
		for _, op := range l.Body.Ops {
			for _, v := range op.Operands {
				if inner[v] {
					for _, made := range op.Results {
						inner[made] = true
					}
				}
			}
		}
		for i, in := range l.Body.Inputs[:l.Carried] {
			if inner[l.Body.Results[i].Value] && !inner[in] {
				inner[in], again = true, true
			}
		}
	}
	return inner
}

// reversal writes the gradient of one loop.
type reversal struct {
	b          *ops.Builder // of the program around the loop
	loop       ir.Loop
	body       *ops.Builder // of the gradient's body
	depends    map[*ir.Value]bool
	cotangents map[*ir.Value]*ir.Value // of values of the forward body, as values of the gradient's body

	active                     []int // forward inputs that are carried and have a cotangent
	carried, stacked, captured operands
}

// operands are inputs of a body with what they are outside of it.
type operands struct{ inner, outer []*ir.Value }

func (o *operands) add(inner ir.Type, outer *ir.Value) *ir.Value {
	v := &ir.Value{Type: inner}
	o.inner, o.outer = append(o.inner, v), append(o.outer, outer)
	return v
}

// seed begins with the cotangents of the results.
func (r *reversal) seed(results []*ir.Value) {
	add := func(v, g *ir.Value) {
		if old := r.cotangents[v]; old != nil {
			g = r.body.Add(old, g)
		}
		r.cotangents[v] = g
	}
	for i, result := range r.loop.Body.Results {
		v := result.Value
		if i < r.loop.Carried {
			in := r.loop.Body.Inputs[i]
			if !r.depends[in] || !in.Type.DType.Float() {
				continue
			}
			g := results[i]
			if g == nil {
				g = r.b.Constant(in.Type, 0)
			}
			r.active = append(r.active, i)
			add(v, r.carried.add(in.Type, g))
		} else if results[i] != nil && r.depends[v] {
			add(v, r.stacked.add(v.Type, results[i]))
		}
	}
}

// finish ends the body and appends the loop.
func (r *reversal) finish() ([]*ir.Value, error) {
	l := r.loop
	body := &ir.Program{Name: ir.Scan}
	result := func(name string, v *ir.Value) {
		body.Results = append(body.Results, ir.Result{Name: fmt.Sprintf("%s%d", name, len(body.Results)), Value: v})
	}
	of := make([]int, len(l.Operands)) // which result of the gradient is an operand's cotangent, counted from 1
	for _, i := range r.active {
		g := r.cotangents[l.Body.Inputs[i]]
		if g == nil {
			g = r.body.Constant(l.Body.Inputs[i].Type, 0)
		}
		result("carried", g)
		of[1+i] = len(body.Results)
	}
	for i := l.Carried + l.Stacked; i < l.Inputs; i++ {
		if in := l.Body.Inputs[i]; r.cotangents[in] != nil {
			sum := r.carried.add(in.Type, r.b.Constant(in.Type, 0))
			result("carried", r.body.Add(sum, r.cotangents[in]))
			of[1+i] = len(body.Results)
		}
	}
	for i := l.Carried; i < l.Carried+l.Stacked; i++ {
		if g := r.cotangents[l.Body.Inputs[i]]; g != nil {
			result("output", g)
			of[1+i] = len(body.Results)
		}
	}
	if err := r.body.Err(); err != nil {
		return nil, err
	}
	body.Ops = r.body.Program.Ops
	removeDead(body, func(*ir.Value) bool { return false })
	r.bringForward(body)
	body.Inputs = append(append(append([]*ir.Value{}, r.carried.inner...), r.stacked.inner...), r.captured.inner...)
	body.Number()
	all := append([]*ir.Value{l.Length()}, r.carried.outer...)
	all = append(append(all, r.stacked.outer...), r.captured.outer...)
	made := r.b.Loop(body, all, ir.Loop{Steps: l.Steps, Carried: len(r.carried.inner), Stacked: len(r.stacked.inner), Reverse: !l.Reverse})
	cotangents := make([]*ir.Value, len(l.Operands))
	for i, at := range of {
		if at > 0 {
			cotangents[i] = made[at-1]
		}
	}
	return cotangents, r.b.Err()
}

// bringForward gives the gradient's body the values of the forward body that it uses: captured and stacked ones from
// where the forward loop has them, constants and pointwise results by making them again, all others stacked by the
// forward loop.
func (r *reversal) bringForward(body *ir.Program) {
	needed := r.foreign(body)
	here := substitution{}
	for i, in := range r.loop.Body.Inputs {
		switch {
		case !needed[in]:
		case i < r.loop.Carried:
			here[in] = r.stacked.add(in.Type, r.keep(in))
		case i < r.loop.Carried+r.loop.Stacked:
			here[in] = r.stacked.add(in.Type, r.loop.Outer(i))
		default:
			here[in] = r.captured.add(in.Type, r.loop.Outer(i))
		}
	}
	var again []*ir.Op
	for _, op := range r.loop.Body.Ops {
		makeAgain := false
		for _, v := range op.Results {
			makeAgain = makeAgain || needed[v] && cheap(op, here)
		}
		if makeAgain {
			copied := &ir.Op{Kind: op.Kind, Attrs: op.Attrs, Phase: r.b.Phase(), Scope: op.Scope}
			for _, v := range op.Operands {
				copied.Operands = append(copied.Operands, here.of(v))
			}
			for _, v := range op.Results {
				w := &ir.Value{Type: v.Type, Def: copied}
				copied.Results = append(copied.Results, w)
				here[v] = w
			}
			again = append(again, copied)
			continue
		}
		for _, v := range op.Results {
			if needed[v] {
				here[v] = r.stacked.add(v.Type, r.keep(v))
			}
		}
	}
	for _, op := range body.Ops {
		here.operands(op)
	}
	here.results(body)
	body.Ops = append(again, body.Ops...)
}

// foreign are the values that a body uses and that are neither made in it nor its inputs.
func (r *reversal) foreign(body *ir.Program) map[*ir.Value]bool {
	own := map[*ir.Value]bool{}
	for _, o := range []operands{r.carried, r.stacked} {
		for _, v := range o.inner {
			own[v] = true
		}
	}
	needed := map[*ir.Value]bool{}
	use := func(v *ir.Value) {
		if !own[v] {
			needed[v] = true
		}
	}
	for _, op := range body.Ops {
		for _, v := range op.Operands {
			use(v)
		}
		for _, v := range op.Results {
			own[v] = true
		}
	}
	for _, result := range body.Results {
		use(result.Value)
	}
	return needed
}

// cheap says whether an operation of the forward body is made again: it is constant or pointwise, and all of its
// operands are there.
func cheap(op *ir.Op, here substitution) bool {
	def := ops.Lookup(op.Kind)
	if op.Kind != "constant" && (def == nil || !def.Pointwise) {
		return false
	}
	for _, v := range op.Operands {
		if here[v] == nil {
			return false
		}
	}
	return true
}

// keep stacks a value of the forward body as an output of the forward loop, unless it is one, and returns the stack.
func (r *reversal) keep(v *ir.Value) *ir.Value {
	op := r.loop.Op
	for i := r.loop.Carried; i < len(op.Body.Results); i++ {
		if op.Body.Results[i].Value == v {
			return op.Results[i]
		}
	}
	op.Body.Results = append(op.Body.Results, ir.Result{Name: fmt.Sprintf("kept%d", len(op.Body.Results)), Value: v})
	stack := &ir.Value{Type: ir.StackedType(r.loop.Steps, v.Type), Def: op, At: len(op.Results)}
	op.Results = append(op.Results, stack)
	return stack
}
