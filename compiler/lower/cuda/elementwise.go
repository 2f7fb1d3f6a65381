package cuda

import (
	"fmt"
	"strings"

	"github.com/dartsc/dartsc/compiler/fuse"
	"github.com/dartsc/dartsc/ir"
)

// groups are the patterns of package fuse that have kernels of their own. A function looks at the body of a group and
// lowers it; where the body is not as it knows it, it does nothing and says so.
var groups map[string]func(l *lowering, body *ir.Program) (done bool, err error)

func init() { // the functions refer to tables that refer to groups
	groups = map[string]func(l *lowering, body *ir.Program) (bool, error){
		fuse.Separable:     separableGroup,
		fuse.SeparableGrad: separableGradGroup,
		fuse.Prologue:      prologueGroup,
		fuse.NormRelu:      normReluGroup,
		fuse.Mixture:       mixtureGroup,
		fuse.Scaled:        scaledGroup,
	}
}

// pointwise operations are instructions of the trees of tree.go.
func pointwise(op *ir.Op) bool { return fuse.Pointwise(op) && expressions[op.Kind] != nil }

// expressions are the pointwise operations in C++, of elements of type T.
var expressions = map[string]func(op *ir.Op, x []string) string{
	"neg":       formula("-$0"),
	"exp":       formula("expf($0)"),
	"log":       formula("logf($0)"),
	"sqrt":      formula("sqrtf($0)"),
	"tanh":      formula("tanhf($0)"),
	"sigmoid":   formula("T(1) / (T(1) + expf(-$0))"),
	"relu":      formula("fmaxf($0, T(0))"),
	"add":       formula("$0 + $1"),
	"sub":       formula("$0 - $1"),
	"mul":       formula("$0 * $1"),
	"div":       formula("$0 / $1"),
	"relu_grad": formula("$1 > T(0) ? $0 : T(0)"),
	"axpby": func(op *ir.Op, x []string) string {
		return fmt.Sprintf("T(%s) * %s + T(%s) * %s", literal(op.Attrs.Float("a")), x[0], literal(op.Attrs.Float("b")), x[1])
	},
}

func formula(text string) func(*ir.Op, []string) string {
	return func(_ *ir.Op, x []string) string {
		var pairs []string
		for i, name := range x {
			pairs = append(pairs, fmt.Sprintf("$%d", i), name)
		}
		return strings.NewReplacer(pairs...).Replace(text)
	}
}

// elementwise lowers a tree of pointwise operations to one kernel, whose function apply is written here.
func (l *lowering) elementwise(body *ir.Program) error {
	result := body.Results[0].Value
	external, names := leavesOf(body)
	c := l.call("elementwise", "Elementwise")
	c.typename("T", result.Type.DType)
	c.text(l.apply(body, names))
	order := usualOrder(result.Type)
	for _, v := range external {
		if len(v.Type.Shape) == 4 {
			order = l.order(l.operand(v))
			break
		}
	}
	n := result.Type.Elements()
	scalars := make([]int, len(external))
	for i, v := range external {
		c.in(l.in(v, order))
		if v.Type.Elements() != n {
			scalars[i] = 1
			continue
		}
		c.inPlace(0, i)
	}
	c.out(l.result(result, order))
	c.int("inputs", len(external))
	c.ints("scalar", scalars)
	v := 1
	if result.Type.DType == ir.F32 {
		v = pack(n)
	}
	c.elements(n, v)
	c.emit()
	return nil
}

// leavesOf lists what a tree reads, and gives each the name that apply has for it.
func leavesOf(body *ir.Program) (external []*ir.Value, names map[*ir.Value]string) {
	names = map[*ir.Value]string{}
	inside := map[*ir.Value]bool{}
	for _, op := range body.Ops {
		for _, v := range op.Results {
			inside[v] = true
		}
	}
	add := func(v *ir.Value) {
		names[v] = fmt.Sprintf("x[%d]", len(external))
		external = append(external, v)
	}
	for _, op := range body.Ops {
		for _, v := range op.Operands {
			if !inside[v] && names[v] == "" && !isConstant(v) {
				add(v)
			}
		}
	}
	switch {
	case len(body.Ops) == 0: // the value itself
		add(body.Results[0].Value)
	case len(external) == 0: // all constants: the kernel wants one operand
		add(body.Ops[0].Operands[0])
	}
	return external, names
}

// apply writes the function of one element.
func (l *lowering) apply(body *ir.Program, names map[*ir.Value]string) string {
	var w strings.Builder
	w.WriteString("  __device__ static inline T apply(const T* x) {\n")
	for _, op := range body.Ops {
		name := fmt.Sprintf("r%d", len(names))
		var text string
		if op.Kind == "constant" {
			text = "T(" + literal(op.Attrs.Float("value")) + ")"
		} else {
			x := make([]string, len(op.Operands))
			for i, v := range op.Operands {
				if x[i] = names[v]; x[i] == "" { // a constant outside of the group
					x[i] = "T(" + literal(v.Def.Attrs.Float("value")) + ")"
				}
			}
			text = expressions[op.Kind](op, x)
		}
		names[op.Result()] = name
		fmt.Fprintf(&w, "    T %s = %s;\n", name, text)
	}
	fmt.Fprintf(&w, "    return %s;\n  }\n", names[body.Results[0].Value])
	return w.String()
}
