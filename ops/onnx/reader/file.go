package reader

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
)

// file is a graph whose names hold: nodes are in an order in which they can run, every input of a node is defined, and
// all operations are known.
type file struct {
	inputs    []*onnxpb.ValueInfoProto // without those that have an initializer
	outputs   []string
	constants map[string]*constant            // initializers and results of Constant nodes
	nodes     []*onnxpb.NodeProto             // without Constant nodes
	fills     map[*onnxpb.NodeProto]*constant // the values of ConstantOfShape nodes
}

func newFile(g *onnxpb.GraphProto) (*file, error) {
	f := &file{constants: map[string]*constant{}, fills: map[*onnxpb.NodeProto]*constant{}}
	if err := supported(g.Node); err != nil {
		return nil, err
	}
	for _, t := range g.Initializer {
		if t.GetName() == "" || f.constants[t.GetName()] != nil {
			return nil, fmt.Errorf("initializer %q: want a name that no other has", t.GetName())
		}
		c, err := tensorOf(t)
		if err != nil {
			return nil, fmt.Errorf("initializer %s: %w", t.GetName(), err)
		}
		f.constants[t.GetName()] = c
	}
	for _, in := range g.Input {
		if f.constants[in.GetName()] == nil { // before IR version 4, initializers were inputs too
			f.inputs = append(f.inputs, in)
		}
	}
	for i, n := range g.Node {
		if err := f.node(n); err != nil {
			return nil, fmt.Errorf("%s: %w", title(n, i), err)
		}
	}
	for _, out := range g.Output {
		f.outputs = append(f.outputs, out.GetName())
	}
	if len(f.outputs) == 0 {
		return nil, fmt.Errorf("the graph has no outputs")
	}
	if len(f.nodes) == 0 {
		return nil, fmt.Errorf("the graph holds constants only")
	}
	return f, f.sort()
}

// title names a node for messages.
func title(n *onnxpb.NodeProto, position int) string {
	if n.GetName() != "" {
		return fmt.Sprintf("node %q (%s)", n.GetName(), n.GetOpType())
	}
	return fmt.Sprintf("node %d (%s)", position, n.GetOpType())
}

// mostListed is how many nodes a message names.
const mostListed = 20

// supported lists all nodes whose operations have no translation, at once.
func supported(nodes []*onnxpb.NodeProto) error {
	var list []string
	for i, n := range nodes {
		if n.GetOpType() == "Constant" || operations[n.GetOpType()].run != nil {
			if slices.Contains(ownDomains, n.GetDomain()) {
				continue
			}
		}
		name := title(n, i)
		if n.GetDomain() != "" {
			name += " of domain " + n.GetDomain()
		}
		list = append(list, name)
	}
	if len(list) == 0 {
		return nil
	}
	count := len(list)
	if count > mostListed {
		list = append(list[:mostListed], fmt.Sprintf("and %d more", count-mostListed))
	}
	return fmt.Errorf("unsupported operations (%d): %s", count, strings.Join(list, ", "))
}

// node checks a node and keeps it, or what it says where it is a Constant.
func (f *file) node(n *onnxpb.NodeProto) error {
	if n.GetOpType() == "Constant" {
		return f.constant(n)
	}
	if len(n.Output) == 0 || n.Output[0] == "" {
		return fmt.Errorf("has no output")
	}
	o := operations[n.GetOpType()]
	if len(n.Input) < o.least || len(n.Input) > o.most {
		return fmt.Errorf("has %d inputs, want %s", len(n.Input), span(o.least, o.most))
	}
	for k, name := range n.Input[:o.least] {
		if name == "" {
			return fmt.Errorf("input %d is left out", k)
		}
	}
	for _, a := range n.Attribute {
		switch {
		case a.T == nil && !slices.Contains(plainAttributes, a.GetType()):
			return fmt.Errorf("attribute %s is of type %s, which is not read", a.GetName(), a.GetType())
		case a.T != nil:
			c, err := tensorOf(a.T)
			if err != nil {
				return fmt.Errorf("attribute %s: %w", a.GetName(), err)
			}
			f.fills[n] = c
		}
	}
	f.nodes = append(f.nodes, n)
	return nil
}

// plainAttributes are the types of attributes that operations are read with, besides a tensor.
var plainAttributes = []onnxpb.AttributeProto_AttributeType{
	onnxpb.AttributeProto_UNDEFINED, // older files, see typed
	onnxpb.AttributeProto_FLOAT, onnxpb.AttributeProto_INT, onnxpb.AttributeProto_STRING,
	onnxpb.AttributeProto_FLOATS, onnxpb.AttributeProto_INTS, onnxpb.AttributeProto_STRINGS,
}

func span(least, most int) string {
	switch {
	case least == most:
		return fmt.Sprint(least)
	case most == many:
		return fmt.Sprintf("%d or more", least)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

// constant reads a Constant node.
func (f *file) constant(n *onnxpb.NodeProto) error {
	if len(n.Output) != 1 || n.Output[0] == "" || f.constants[n.Output[0]] != nil {
		return fmt.Errorf("outputs %q: want one with a name of its own", n.Output)
	}
	if len(n.Attribute) != 1 {
		return fmt.Errorf("has %d attributes, want the value alone", len(n.Attribute))
	}
	c, err := constantOf(n.Attribute[0])
	f.constants[n.Output[0]] = c
	return err
}

func constantOf(a *onnxpb.AttributeProto) (*constant, error) {
	switch a.GetName() {
	case "value":
		if a.T == nil {
			return nil, fmt.Errorf("attribute value holds no tensor")
		}
		return tensorOf(a.T)
	case "value_float":
		return &constant{shape: []int{}, floats: []float32{a.GetF()}}, nil
	case "value_floats":
		return &constant{shape: []int{len(a.Floats)}, floats: a.Floats}, nil
	case "value_int":
		return &constant{shape: []int{}, ints: []int64{a.GetI()}, whole: true}, nil
	case "value_ints":
		return &constant{shape: []int{len(a.Ints)}, ints: a.Ints, whole: true}, nil
	}
	return nil, fmt.Errorf("attribute %s: want value, value_float, value_floats, value_int or value_ints", a.GetName())
}

// sort brings the nodes into an order in which they can run, that of the file where it is one, and checks all names.
func (f *file) sort() error {
	defined := map[string]bool{}
	for name := range f.constants {
		defined[name] = true
	}
	for _, in := range f.inputs {
		if in.GetName() == "" || defined[in.GetName()] {
			return fmt.Errorf("input %q: want a name that nothing else has", in.GetName())
		}
		defined[in.GetName()] = true
	}
	maker := map[string]int{} // node by output
	for i, n := range f.nodes {
		for _, name := range n.Output {
			if name == "" {
				continue
			}
			if _, twice := maker[name]; twice || defined[name] {
				return fmt.Errorf("%s: output %q is defined before", title(n, i), name)
			}
			maker[name] = i
		}
	}
	waiting := make([]int, len(f.nodes)) // inputs that other nodes have yet to make
	users := map[int][]int{}
	for i, n := range f.nodes {
		for _, name := range n.Input {
			if name == "" || defined[name] {
				continue
			}
			from, ok := maker[name]
			if !ok {
				return fmt.Errorf("%s: input %q is defined nowhere", title(n, i), name)
			}
			waiting[i]++
			users[from] = append(users[from], i)
		}
	}
	for _, name := range f.outputs {
		if _, ok := maker[name]; !ok && !defined[name] {
			return fmt.Errorf("output %q is defined nowhere", name)
		}
	}
	return f.reorder(waiting, users)
}

// reorder sorts the nodes, first come first served; what cannot be sorted is in a cycle, or behind one.
func (f *file) reorder(waiting []int, users map[int][]int) error {
	var ready []int
	for i, n := range waiting {
		if n == 0 {
			ready = append(ready, i)
		}
	}
	var order []int
	for len(ready) > 0 {
		i := ready[0]
		ready = ready[1:]
		order = append(order, i)
		for _, user := range users[i] {
			if waiting[user]--; waiting[user] == 0 {
				ready = append(ready, user)
			}
		}
	}
	if len(order) < len(f.nodes) {
		for i, n := range waiting {
			if n > 0 {
				return fmt.Errorf("%s: its inputs depend on its outputs: the graph has a cycle", title(f.nodes[i], i))
			}
		}
	}
	inOrder := true
	seen := make([]bool, len(f.nodes))
	for i := range f.nodes { // keep the file's order where it is one: people know their network by it
		seen[i] = true
		for _, user := range users[i] {
			inOrder = inOrder && !seen[user]
		}
	}
	if inOrder {
		return nil
	}
	sorted := make([]*onnxpb.NodeProto, len(order))
	for k, i := range order {
		sorted[k] = f.nodes[i]
	}
	f.nodes = sorted
	return nil
}

// used are the outputs of the graph and the inputs of nodes.
func (f *file) used() map[string]bool {
	used := map[string]bool{}
	for _, name := range f.outputs {
		used[name] = true
	}
	for _, n := range f.nodes {
		for _, name := range n.Input {
			used[name] = true
		}
	}
	return used
}

// bare is the graph for onnx-go: nodes and names, no tensors, types or descriptions.
func (f *file) bare() *onnxpb.GraphProto {
	g := &onnxpb.GraphProto{Name: proto.String("graph")}
	given := map[string]bool{}
	for _, in := range f.inputs {
		g.Input = append(g.Input, &onnxpb.ValueInfoProto{Name: in.Name})
		given[in.GetName()] = true
	}
	for _, name := range f.outputs {
		if f.constants[name] == nil && !given[name] {
			g.Output = append(g.Output, &onnxpb.ValueInfoProto{Name: proto.String(name)})
		}
	}
	if len(g.Output) == 0 { // onnx-go wants one
		g.Output = append(g.Output, &onnxpb.ValueInfoProto{Name: proto.String(f.nodes[0].Output[0])})
	}
	for i, n := range f.nodes {
		node := &onnxpb.NodeProto{OpType: n.OpType, Name: n.Name, Input: n.Input}
		for k, name := range n.Output {
			if name == "" { // which would be the same value as every input that is left out
				name = fmt.Sprintf("\x00%d/%d", i, k)
			}
			node.Output = append(node.Output, name)
		}
		for _, a := range n.Attribute {
			if a.T == nil {
				node.Attribute = append(node.Attribute, typed(a))
			}
		}
		g.Node = append(g.Node, node)
	}
	return g
}

// typed is an attribute that says its type, which files did not always do, and has no description.
func typed(a *onnxpb.AttributeProto) *onnxpb.AttributeProto {
	out := &onnxpb.AttributeProto{Name: a.Name, Type: a.Type, F: a.F, I: a.I, S: a.S, Floats: a.Floats, Ints: a.Ints, Strings: a.Strings}
	if a.GetType() != onnxpb.AttributeProto_UNDEFINED {
		return out
	}
	switch {
	case a.F != nil:
		out.Type = onnxpb.AttributeProto_FLOAT.Enum()
	case a.I != nil:
		out.Type = onnxpb.AttributeProto_INT.Enum()
	case a.S != nil:
		out.Type = onnxpb.AttributeProto_STRING.Enum()
	case len(a.Floats) > 0:
		out.Type = onnxpb.AttributeProto_FLOATS.Enum()
	default:
		out.Type = onnxpb.AttributeProto_INTS.Enum()
	}
	return out
}
