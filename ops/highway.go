package ops

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/dartsc/dartsc/ir"
)

// The recurrent cell of DARTS (Liu et al. 2019, sec. 3.2; the original's rnn/model.py and rnn/model_search.py) is made of
// highway connections (Srivastava et al. 2015): out of a state s and its product with a matrix, whose halves are a gate
// c and a candidate h, comes s + σ(c)·(act(h) - s). A node of a supernet sums that over states and over activations,
// weighed by the softmax of the alphas; as with weighted_sum the weights stay one tensor, and the whole node is one
// operation. In a derived cell a node has one term and one activation of weight 1.
//
// A product serves several nodes: it holds a pair of halves for each, [N, blocks·2·C], and a node names its block.

// Activations of a highway connection; none contributes nothing, not even the state.
var highwayActivations = map[string]activation{
	"none":     {},
	"tanh":     {math.Tanh, func(x float64) float64 { y := math.Tanh(x); return 1 - y*y }, "Tanh"},
	"relu":     {func(x float64) float64 { return math.Max(x, 0) }, step, "Relu"},
	"sigmoid":  {sigmoid, func(x float64) float64 { y := sigmoid(x); return y * (1 - y) }, "Sigmoid"},
	"identity": {func(x float64) float64 { return x }, func(float64) float64 { return 1 }, ""},
}

type activation struct {
	value, slope func(x float64) float64
	onnx         string // type of node, "" for none
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func step(x float64) float64 {
	if x > 0 {
		return 1
	}
	return 0
}

var highwayAttrs = []AttrDef{{"activations", ""}, {"blocks", []int{}}, {"edges", []int{}}}

var highwayDefs = []*Def{
	{
		// highway(weights [E,A], product…, state…) → Σ over terms i and activations a of
		// weights[edges[i], a]·(state + σ(c)·(act_a(h) - state)), c and h the halves of block blocks[i] of product i.
		// Attribute activations names the A columns of weights, with commas.
		Kind: "highway", Operands: "weights, product…, state…", Attrs: highwayAttrs,
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			terms := len(op.Attrs.Ints("edges"))
			if len(op.Operands) != 1+2*terms || terms == 0 {
				return nil, fmt.Errorf("has %d operands, wants weights and a product and a state for each of %d edges", len(op.Operands), terms)
			}
			state := op.Operands[1+terms].Type
			if err := first(wantFloat(op, 0), wantHighway(op, op.Operands[0].Type)); err != nil {
				return nil, err
			}
			for i := range terms {
				if err := first(wantType(op, 1+terms+i, state), wantProduct(op, 1+i, state, op.Attrs.Ints("blocks")[i])); err != nil {
					return nil, err
				}
			}
			return []ir.Type{state}, nil
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			y, terms := NewTensor(op.Results[0].Type), len(op.Attrs.Ints("edges"))
			for i := range terms {
				eachGate(op, in[0], in[1+i], in[1+terms+i], i, func(g gate) { y.Data[g.at] += g.value() })
			}
			return []*Tensor{y}
		},
		Gradient: func(b *Builder, op *ir.Op, g []*ir.Value) []*ir.Value {
			a := highwayOf(op)
			terms := len(a.Edges)
			weights, products, states := op.Operands[0], op.Operands[1:1+terms], op.Operands[1+terms:]
			grads := values(b.HighwayWeightGrad(g[0], products, states, weights.Type.Shape, a))
			for i, p := range products {
				grads = append(grads, b.HighwayProductGrad(weights, p, states[i], g, a.term(i)))
			}
			for i, p := range products {
				grads = append(grads, b.HighwayStateGrad(weights, p, g, a.term(i)))
			}
			return grads
		},
		FLOPs: func(op *ir.Op) float64 {
			return 20 * float64(len(op.Attrs.Ints("edges"))*op.Results[0].Type.Elements())
		},
		ONNX: highwayONNX,
	},
	{
		// highway_product_grad(weights, product, state, g…): the cotangent of a product that is used by nodes of cotangents
		// g, each with an edge and a block; zero in the blocks of no node.
		Kind: "highway_product_grad", Operands: "weights, product, state, g…", Attrs: highwayAttrs,
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantHighwayGrad(op, 3); err != nil {
				return nil, err
			}
			return []ir.Type{op.Operands[1].Type}, wantType(op, 2, op.Operands[3].Type)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			d := NewTensor(op.Results[0].Type)
			for i := range op.Attrs.Ints("edges") {
				eachGate(op, in[0], in[1], in[2], i, func(g gate) {
					mixed, slope := g.mixed()
					d.Data[g.gate] = in[3+i].Data[g.at] * g.open * (1 - g.open) * (mixed - g.weight()*g.state)
					d.Data[g.candidate] = in[3+i].Data[g.at] * g.open * slope
				})
			}
			return []*Tensor{d}
		},
		NoGradient: "is itself a gradient; second derivatives are not needed (the unrolled step uses finite differences)",
		FLOPs:      func(op *ir.Op) float64 { return 20 * float64(op.Results[0].Type.Elements()) },
		NoONNX:     trainingOnly,
	},
	{
		// highway_state_grad(weights, product, g…): the cotangent of a state, as of a product.
		Kind: "highway_state_grad", Operands: "weights, product, g…", Attrs: highwayAttrs,
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantHighwayGrad(op, 2); err != nil {
				return nil, err
			}
			return []ir.Type{op.Operands[2].Type}, nil
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			d := NewTensor(op.Results[0].Type)
			for i := range op.Attrs.Ints("edges") {
				eachGate(op, in[0], in[1], d, i, func(g gate) { d.Data[g.at] += in[2+i].Data[g.at] * g.weight() * (1 - g.open) })
			}
			return []*Tensor{d}
		},
		NoGradient: "is itself a gradient; second derivatives are not needed (the unrolled step uses finite differences)",
		FLOPs:      func(op *ir.Op) float64 { return 8 * float64(op.Operands[1].Type.Elements()) },
		NoONNX:     trainingOnly,
	},
	{
		// highway_weight_grad(g, product…, state…): zero but for the edges of the terms.
		Kind: "highway_weight_grad", Operands: "g, product…, state…", Attrs: append([]AttrDef{{"shape", []int{}}}, highwayAttrs...),
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			terms := len(op.Attrs.Ints("edges"))
			if len(op.Operands) != 1+2*terms || terms == 0 {
				return nil, fmt.Errorf("has %d operands, wants a cotangent and a product and a state for each of %d edges", len(op.Operands), terms)
			}
			state := op.Operands[0].Type
			weights := ir.Type{DType: state.DType, Shape: op.Attrs.Ints("shape")}
			if err := first(wantFloat(op, 0), wantShape(op, state.DType, 2), wantHighway(op, weights)); err != nil {
				return nil, err
			}
			for i := range terms {
				if err := first(wantType(op, 1+terms+i, state), wantProduct(op, 1+i, state, op.Attrs.Ints("blocks")[i])); err != nil {
					return nil, err
				}
			}
			return []ir.Type{weights}, nil
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			d, terms := NewTensor(op.Results[0].Type), len(op.Attrs.Ints("edges"))
			for i, edge := range op.Attrs.Ints("edges") {
				row := d.Data[edge*d.Type.Shape[1]:]
				eachGate(op, d, in[1+i], in[1+terms+i], i, func(g gate) {
					for k, act := range g.activations {
						if act.value != nil {
							row[k] += in[0].Data[g.at] * (g.state + g.open*(act.value(g.input)-g.state))
						}
					}
				})
			}
			return []*Tensor{d}
		},
		NoGradient: "is itself a gradient; second derivatives are not needed (the unrolled step uses finite differences)",
		FLOPs: func(op *ir.Op) float64 {
			return 20 * float64(len(op.Attrs.Ints("edges"))*op.Operands[0].Type.Elements())
		},
		NoONNX: trainingOnly,
	},
}

// highwayONNX writes a node term by term: s + σ(c)·(act(h) - s) for each activation, times its weight unless that is 1.
func highwayONNX(e Exporter, op *ir.Op) error {
	a, terms := highwayOf(op), len(op.Attrs.Ints("edges"))
	state := op.Results[0].Type
	node := onnxNamed(e, state)
	half := func(product string, i int) string {
		c := state.Shape[1]
		return node("Slice", product, onnxInts(e, []int{i * c}), onnxInts(e, []int{(i + 1) * c}), onnxInts(e, []int{1}))
	}
	var sum []string
	for i, edge := range a.Edges {
		product, s := e.Name(op.Operands[1+i]), e.Name(op.Operands[1+terms+i])
		gate, candidate := node("Sigmoid", half(product, 2*a.Blocks[i])), half(product, 2*a.Blocks[i]+1)
		for k, name := range strings.Split(a.Activations, ",") {
			act := highwayActivations[name]
			if act.value == nil {
				continue
			}
			activated := candidate
			if act.onnx != "" {
				activated = node(act.onnx, candidate)
			}
			term := node("Add", s, node("Mul", gate, node("Sub", activated, s)))
			sum = append(sum, onnxWeighted(node, e, term, op.Operands[0], edge*op.Operands[0].Type.Shape[1]+k))
		}
	}
	return onnxSum(e, sum, op)
}

// wantHighway checks the attributes against the type of the weights.
func wantHighway(op *ir.Op, weights ir.Type) error {
	edges, blocks := op.Attrs.Ints("edges"), op.Attrs.Ints("blocks")
	names := strings.Split(op.Attrs.Text("activations"), ",")
	if len(weights.Shape) != 2 || weights.Shape[1] != len(names) {
		return fmt.Errorf("weights are %s, want a column for each of %s", weights, op.Attrs.Text("activations"))
	}
	for _, name := range names {
		if _, known := highwayActivations[name]; !known {
			return fmt.Errorf("activation %q: want none, tanh, relu, sigmoid or identity", name)
		}
	}
	if len(blocks) != len(edges) {
		return fmt.Errorf("has %d edges and %d blocks", len(edges), len(blocks))
	}
	for i, e := range edges {
		if e < 0 || e >= weights.Shape[0] || blocks[i] < 0 || blocks[i] > attrLimit {
			return fmt.Errorf("edge %d, block %d: weights are %s", e, blocks[i], weights)
		}
	}
	return nil
}

// wantProduct checks that operand at has the block, two columns for each of the state's.
func wantProduct(op *ir.Op, at int, state ir.Type, block int) error {
	p := operandType(op, at)
	if len(state.Shape) != 2 || len(p.Shape) != 2 || p.DType != state.DType || p.Shape[0] != state.Shape[0] || p.Shape[1]%(2*state.Shape[1]) != 0 {
		return fmt.Errorf("operand %d is %s, wants two columns or a multiple of it for each of state %s", at, p, state)
	}
	if blocks := p.Shape[1] / (2 * state.Shape[1]); block >= blocks {
		return fmt.Errorf("operand %d has %d blocks, no block %d", at, blocks, block)
	}
	return nil
}

// wantHighwayGrad checks a gradient whose cotangents begin at an operand.
func wantHighwayGrad(op *ir.Op, at int) error {
	terms := len(op.Attrs.Ints("edges"))
	if len(op.Operands) != at+terms || terms == 0 {
		return fmt.Errorf("has %d operands, wants %d and a cotangent for each of %d edges", len(op.Operands), at, terms)
	}
	if err := first(wantFloat(op, 0), wantHighway(op, op.Operands[0].Type)); err != nil {
		return err
	}
	var seen []int
	for i, block := range op.Attrs.Ints("blocks") {
		if slices.Contains(seen, block) {
			return fmt.Errorf("block %d is there twice", block)
		}
		seen = append(seen, block)
		if err := first(wantType(op, at+i, op.Operands[at].Type), wantProduct(op, 1, op.Operands[at].Type, block)); err != nil {
			return err
		}
	}
	return nil
}

// gate is a highway connection at one element.
type gate struct {
	at, gate, candidate int // positions in the state, and of both halves in the product
	open, input, state  float64
	weights             []float64
	activations         []activation
}

// eachGate calls f for every element of a term.
func eachGate(op *ir.Op, weights, product, state *Tensor, term int, f func(gate)) {
	g := gate{}
	for _, name := range strings.Split(op.Attrs.Text("activations"), ",") {
		g.activations = append(g.activations, highwayActivations[name])
	}
	n := len(g.activations)
	edge, block := op.Attrs.Ints("edges")[term], op.Attrs.Ints("blocks")[term]
	g.weights = weights.Data[edge*n : (edge+1)*n]
	channels := state.Type.Shape[1]
	for i := range state.Data {
		row, c := i/channels, i%channels
		g.at, g.gate = i, row*product.Type.Shape[1]+2*block*channels+c
		g.candidate = g.gate + channels
		g.open, g.input, g.state = sigmoid(product.Data[g.gate]), product.Data[g.candidate], state.Data[i]
		f(g)
	}
}

// weight is the sum of the weights of all activations but none.
func (g gate) weight() (sum float64) {
	for k, act := range g.activations {
		if act.value != nil {
			sum += g.weights[k]
		}
	}
	return sum
}

// mixed is the mixture of the activations, and its slope.
func (g gate) mixed() (value, slope float64) {
	for k, act := range g.activations {
		if act.value != nil {
			value += g.weights[k] * act.value(g.input)
			slope += g.weights[k] * act.slope(g.input)
		}
	}
	return value, slope
}

func (g gate) value() float64 {
	mixed, _ := g.mixed()
	return g.weight()*g.state*(1-g.open) + g.open*mixed
}

// HighwayAttrs say which row of the weights and which block of its product each term has.
type HighwayAttrs struct {
	Activations   string // the columns of the weights, with commas: "none,tanh,relu,sigmoid,identity"
	Edges, Blocks []int
}

func highwayOf(op *ir.Op) HighwayAttrs {
	return HighwayAttrs{Activations: op.Attrs.Text("activations"), Edges: op.Attrs.Ints("edges"), Blocks: op.Attrs.Ints("blocks")}
}

func (a HighwayAttrs) term(i int) HighwayAttrs {
	return HighwayAttrs{a.Activations, a.Edges[i : i+1], a.Blocks[i : i+1]}
}

func (a HighwayAttrs) attrs() []ir.Attr {
	return []ir.Attr{ir.A("activations", a.Activations), ir.A("edges", slices.Clone(a.Edges)), ir.A("blocks", slices.Clone(a.Blocks))}
}

// Highway is a node: the weighted sum of highway connections out of states [N,C] by products [N,blocks·2·C].
func (b *Builder) Highway(weights *ir.Value, products, states []*ir.Value, a HighwayAttrs) *ir.Value {
	return b.one("highway", slices.Concat(values(weights), products, states), a.attrs()...)
}

// HighwayProductGrad is the cotangent of a product, g those of the nodes that use it.
func (b *Builder) HighwayProductGrad(weights, product, state *ir.Value, g []*ir.Value, a HighwayAttrs) *ir.Value {
	return b.one("highway_product_grad", append(values(weights, product, state), g...), a.attrs()...)
}

// HighwayStateGrad is the cotangent of a state, g those of the nodes that use it.
func (b *Builder) HighwayStateGrad(weights, product *ir.Value, g []*ir.Value, a HighwayAttrs) *ir.Value {
	return b.one("highway_state_grad", append(values(weights, product), g...), a.attrs()...)
}

// HighwayWeightGrad is the cotangent of the weights, whose shape is given, g that of the node.
func (b *Builder) HighwayWeightGrad(g *ir.Value, products, states []*ir.Value, shape []int, a HighwayAttrs) *ir.Value {
	return b.one("highway_weight_grad", slices.Concat(values(g), products, states), append(a.attrs(), ir.A("shape", slices.Clone(shape)))...)
}
