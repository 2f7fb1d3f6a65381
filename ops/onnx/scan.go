package onnx

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
)

// scan writes a loop as ONNX's Scan, whose body is a graph: carried values are its state variables, stacked ones its scan
// inputs, and what is captured it sees by name. A Scan has as many steps as the axis it runs along.
func (e *exporter) scan(l ir.Loop) error {
	if length := l.Length().Def; length == nil || length.Kind != "constant" || int(length.Attrs.Float("value")) != l.Steps {
		return fmt.Errorf("runs over a length of its own: an exported loop runs over all of its %d steps", l.Steps)
	}
	if l.Stacked == 0 {
		return fmt.Errorf("has no stacked value, of which a Scan would know how many steps to make")
	}
	var inputs, outputs []string
	for i, in := range l.Body.Inputs {
		e.outer[in] = e.Source(l.Outer(i))
		if i >= l.Carried+l.Stacked {
			e.names[in] = e.Name(l.Outer(i))
			continue
		}
		inputs = append(inputs, e.Name(l.Outer(i)))
	}
	for _, v := range l.Results {
		outputs = append(outputs, e.Name(v))
	}
	body, err := e.body(l)
	if err != nil {
		return err
	}
	attrs := []*onnxpb.AttributeProto{
		{Name: proto.String("body"), Type: onnxpb.AttributeProto_GRAPH.Enum(), G: body},
		e.attribute(ir.A("num_scan_inputs", l.Stacked)),
	}
	if l.Reverse {
		attrs = append(attrs, e.attribute(ir.A("scan_input_directions", ones(l.Stacked))), e.attribute(ir.A("scan_output_directions", ones(len(l.Results)-l.Carried))))
	}
	e.node("Scan", inputs, outputs)
	e.graph.Node[len(e.graph.Node)-1].Attribute = attrs
	return nil
}

// body is the graph of a loop's step. A result of it is one node's, and no input or captured value.
func (e *exporter) body(l ir.Loop) (*onnxpb.GraphProto, error) {
	around, op := e.graph, e.op
	defer func() { e.graph, e.op = around, op }()
	e.graph = &onnxpb.GraphProto{Name: proto.String(e.place("step"))}
	for i, in := range l.Body.Inputs[:l.Carried+l.Stacked] {
		kind := "carried"
		if i >= l.Carried {
			kind = "stacked"
		}
		e.names[in] = unique(e.used, e.place(kind))
		e.graph.Input = append(e.graph.Input, e.valueInfo(e.names[in], in))
	}
	if err := e.ops(l.Body); err != nil {
		return nil, err
	}
	e.op = op
	for i, r := range l.Body.Results {
		kind := "carried"
		if i >= l.Carried {
			kind = "output"
		}
		name := unique(e.used, e.place(kind))
		e.node("Identity", []string{e.Name(r.Value)}, []string{name})
		e.graph.Output = append(e.graph.Output, e.valueInfo(name, r.Value))
	}
	return e.graph, e.err
}

// dropUnused removes the nodes, last ones first, and then the initializers that nothing uses: constants that nodes have in
// themselves, as Scan its length.
func dropUnused(g *onnxpb.GraphProto) {
	used := map[string]bool{}
	for _, v := range g.Output {
		used[v.GetName()] = true
	}
	kept := len(g.Node)
	for i := len(g.Node) - 1; i >= 0; i-- {
		n := g.Node[i]
		if !slices.ContainsFunc(n.Output, func(name string) bool { return used[name] }) {
			continue
		}
		markUsed(n, used)
		kept--
		g.Node[kept] = n
	}
	g.Node = g.Node[kept:]
	g.Initializer = slices.DeleteFunc(g.Initializer, func(t *onnxpb.TensorProto) bool { return !used[t.GetName()] })
	written := map[string]bool{}
	for _, n := range g.Node {
		for _, name := range n.Output {
			written[name] = true
		}
	}
	g.ValueInfo = slices.DeleteFunc(g.ValueInfo, func(v *onnxpb.ValueInfoProto) bool { return !written[v.GetName()] })
}

// markUsed marks what a node and the graphs within it read.
func markUsed(n *onnxpb.NodeProto, used map[string]bool) {
	for _, name := range n.Input {
		used[name] = true
	}
	for _, a := range n.Attribute {
		for _, inner := range a.GetG().GetNode() {
			markUsed(inner, used)
		}
	}
}

func ones(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = 1
	}
	return list
}
