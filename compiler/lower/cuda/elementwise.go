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
	leaves := leavesOf(body)
	if leaves.onImages {
		l.node(body, leaves)
		return nil
	}
	n := result.Type.Elements()
	c := l.call("elementwise", "Elementwise")
	c.typename("T", result.Type.DType)
	order := usualOrder(result.Type)
	for _, x := range leaves.wholes {
		if len(x.Type.Shape) == 4 {
			order = l.order(l.operand(x.Value))
			break
		}
	}
	for i, x := range leaves.wholes {
		c.in(l.in(x.Value, order))
		c.inPlace(0, i)
	}
	if len(leaves.wholes) == 0 {
		c.none(1)
	}
	c.ones(leaves)
	y := l.result(result, order)
	c.out(y)
	c.image(y)
	c.apply(body, leaves)
	v := 1
	if result.Type.DType == ir.F32 {
		v = pack(n)
	}
	c.elements(n, v)
	c.emit()
	return nil
}

// ones adds the leaves of one element.
func (c *call) ones(x *leaves) {
	for _, v := range x.ones {
		c.in(c.l.exact(c.l.operand(v)))
	}
	if len(x.ones) == 0 {
		c.none(1)
	}
}

// leaves are what a tree reads: tensors like its result, parts of such with more channels, single elements, and what kernel
// Node makes numbers of.
type leaves struct {
	wholes       []whole
	ones         []*ir.Value
	norms, drops []*ir.Op
	names        map[*ir.Value]string // that apply has for leaves and results
	onImages     bool
}

// whole is a tensor that has an element, from channel start on, for each of the result.
type whole struct {
	*ir.Value
	start int
}

func leavesOf(body *ir.Program) *leaves {
	result := body.Results[0].Value
	x := &leaves{names: map[*ir.Value]string{}}
	inside := map[*ir.Value]bool{}
	for _, op := range body.Ops {
		x.onImages = x.onImages || fuse.OnImages(op)
		for _, v := range op.Results {
			inside[v] = true
		}
	}
	for _, op := range body.Ops {
		operands := op.Operands
		switch op.Kind {
		case "slice": // is a leaf itself
			x.names[op.Result()] = x.whole(op.Operands[0], op.Attrs.Ints("starts")[1])
			continue
		case "batch_norm":
			x.norms, operands = append(x.norms, op), operands[:1]
		case "drop_path":
			x.drops, operands = append(x.drops, op), operands[:1]
		}
		for _, v := range operands {
			if inside[v] || x.names[v] != "" || ops.IsConstant(v) {
				continue
			}
			if v.Type.Equal(result.Type) {
				x.names[v] = x.whole(v, 0)
			} else {
				x.names[v] = fmt.Sprintf("one[%d]", len(x.ones))
				x.ones = append(x.ones, v)
			}
		}
	}
	if len(body.Ops) == 0 { // the value itself
		x.names[result] = x.whole(result, 0)
	}
	return x
}

// whole adds a tensor and returns its name.
func (x *leaves) whole(v *ir.Value, start int) string {
	x.wholes = append(x.wholes, whole{v, start})
	return fmt.Sprintf("x[%d]", len(x.wholes)-1)
}

// apply writes the function of one element, which finds the leaves in x in the order of their kinds.
func (c *call) apply(body *ir.Program, x *leaves) {
	c.int("wholes", len(x.wholes))
	c.int("ones", len(x.ones))
	var w strings.Builder
	w.WriteString("  __device__ static inline T apply(const T* x) {\n    const T* one = x + wholes;\n")
	if x.onImages {
		w.WriteString("    const T *norm = one + ones, *drop = norm + 3 * norms;\n")
	}
	norms, drops := 0, 0
	for _, op := range body.Ops {
		var text string
		switch op.Kind {
		case "slice":
			continue
		case "constant":
			text = "T(" + literal(op.Attrs.Float("value")) + ")"
		case "batch_norm":
			text = fmt.Sprintf("(%s - norm[%d]) * norm[%d] + norm[%d]", x.name(op.Operands[0]), 3*norms, 3*norms+1, 3*norms+2)
			norms++
		case "drop_path":
			text = fmt.Sprintf("drop[%d] > T(0) ? %s * drop[%d] : T(0)", drops, x.name(op.Operands[0]), drops)
			drops++
		default:
			var arguments []string
			for _, v := range op.Operands {
				arguments = append(arguments, x.name(v))
			}
			text = expressions[op.Kind](op, arguments)
		}
		name := fmt.Sprintf("r%d", len(x.names))
		x.names[op.Result()] = name
		fmt.Fprintf(&w, "    T %s = %s;\n", name, text)
	}
	fmt.Fprintf(&w, "    return %s;\n  }\n", x.name(body.Results[0].Value))
	c.text(w.String())
}

// name is that of a value in apply, or the number where it is a constant outside of the tree.
func (x *leaves) name(v *ir.Value) string {
	if name := x.names[v]; name != "" {
		return name
	}
	return "T(" + literal(v.Def.Attrs.Float("value")) + ")"
}
