package cuda

import (
	"fmt"
	"strings"

	"github.com/dartsc/dartsc/compiler/fuse"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// groups are the patterns of package fuse that have kernels of their own. A function looks at the body of a group and
// lowers it; where the body is not as it knows it, it does nothing and says so.
var groups map[string]func(l *lowering, body *ir.Program) (done bool, err error)

func init() { // the functions refer to tables that refer to groups
	groups = map[string]func(l *lowering, body *ir.Program) (bool, error){
		fuse.Accumulate:    accumulateGroup,
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
	n := result.Type.Elements()
	wholes, ones, names := leavesOf(body)
	c := l.call("elementwise", "Elementwise")
	c.typename("T", result.Type.DType)
	order := usualOrder(result.Type)
	for _, v := range wholes {
		if len(v.Type.Shape) == 4 {
			order = l.order(l.operand(v))
			break
		}
	}
	for i, v := range wholes {
		c.in(l.in(v, order))
		c.inPlace(0, i)
	}
	if len(wholes) == 0 {
		c.none(1)
	}
	for _, v := range ones {
		c.in(l.exact(l.operand(v)))
	}
	if len(ones) == 0 {
		c.none(1)
	}
	y := l.result(result, order)
	c.out(y)
	c.image(y)
	c.int("wholes", len(wholes))
	c.int("ones", len(ones))
	c.text(l.apply(body, names))
	v := 1
	if result.Type.DType == ir.F32 {
		v = pack(n)
	}
	c.elements(n, v)
	c.emit()
	return nil
}

// leavesOf lists what a tree reads: values like its result, and those of one element; and the name that apply has for each.
func leavesOf(body *ir.Program) (wholes, ones []*ir.Value, names map[*ir.Value]string) {
	result := body.Results[0].Value
	names = map[*ir.Value]string{}
	inside := map[*ir.Value]bool{}
	for _, op := range body.Ops {
		for _, v := range op.Results {
			inside[v] = true
		}
	}
	for _, op := range body.Ops {
		for _, v := range op.Operands {
			if inside[v] || names[v] != "" || ops.IsConstant(v) {
				continue
			}
			if v.Type.Equal(result.Type) {
				names[v] = fmt.Sprintf("x[%d]", len(wholes))
				wholes = append(wholes, v)
			} else {
				names[v] = fmt.Sprintf("one[%d]", len(ones))
				ones = append(ones, v)
			}
		}
	}
	if len(body.Ops) == 0 { // the value itself
		names[result] = "x[0]"
		wholes = append(wholes, result)
	}
	return wholes, ones, names
}

// apply writes the function of one element.
func (l *lowering) apply(body *ir.Program, names map[*ir.Value]string) string {
	var w strings.Builder
	w.WriteString("  __device__ static inline T apply(const T* x) {\n    const T* one = x + wholes;\n")
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
