package reader

import (
	"fmt"

	onnxgo "github.com/owulveryck/onnx-go"
	"gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/iterator"
	"google.golang.org/protobuf/proto"

	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
)

// onnx-go decodes the nodes of a graph and their attributes into a backend. It is kept behind this file: it knows one
// element type in three, gives several values one node of its graph, and panics on what it does not expect. So it gets
// the file without tensors, types and descriptions, in which every value has a name, and what it makes of that is
// recorded here.

// operation is one node of the file as onnx-go decoded it.
type operation struct {
	kind            string
	attrs           attributes
	inputs, outputs []string // names of values; an input left out is ""
}

// decode hands a graph to onnx-go and returns its operations, in the order of the file.
func decode(g *onnxpb.GraphProto) (list []operation, err error) {
	data, err := proto.Marshal(&onnxpb.ModelProto{Graph: g})
	if err != nil {
		return nil, err
	}
	defer func() {
		if problem := recover(); problem != nil {
			list, err = nil, fmt.Errorf("onnx-go cannot decode the graph: %v", problem)
		}
	}()
	recorded := &recorder{nodes: map[int64]*valueNode{}}
	if err := onnxgo.NewModel(recorded).UnmarshalBinary(data); err != nil {
		return nil, fmt.Errorf("onnx-go cannot decode the graph: %w", err)
	}
	return recorded.operations, nil
}

// recorder is onnx-go's backend: a multigraph of values, with an edge from each output of an operation to each of its
// inputs, whose weight is the input's position. A simple graph would lose one of the edges of x·x.
type recorder struct {
	nodes      map[int64]*valueNode
	operations []operation
}

// valueNode is a value of the file, by name.
type valueNode struct {
	id     int64
	name   string
	inputs []*valueEdge // of the operation that makes it
}

func (n *valueNode) ID() int64           { return n.id }
func (n *valueNode) SetName(name string) { n.name = name }
func (n *valueNode) GetName() string     { return n.name }

// valueEdge goes from a value to one of the inputs of the operation that makes it.
type valueEdge struct {
	from, to *valueNode
	position float64
}

func (e *valueEdge) From() graph.Node         { return e.from }
func (e *valueEdge) To() graph.Node           { return e.to }
func (e *valueEdge) ReversedEdge() graph.Edge { return &valueEdge{e.to, e.from, e.position} }
func (e *valueEdge) Weight() float64          { return e.position }

// ApplyOperation records an operation, whose edges are all set by now.
func (r *recorder) ApplyOperation(o onnxgo.Operation, outputs ...graph.Node) error {
	op := operation{kind: o.Name, attrs: o.Attributes}
	for _, n := range outputs {
		op.outputs = append(op.outputs, n.(*valueNode).name)
	}
	edges := outputs[0].(*valueNode).inputs
	op.inputs = make([]string, len(edges))
	for _, e := range edges {
		op.inputs[int(e.position)] = e.to.name
	}
	r.operations = append(r.operations, op)
	return nil
}

// The rest is what gonum asks of a graph.

func (r *recorder) NewNode() graph.Node { return &valueNode{id: int64(len(r.nodes))} }

func (r *recorder) AddNode(n graph.Node) { r.nodes[n.ID()] = n.(*valueNode) }

func (r *recorder) NewWeightedEdge(from, to graph.Node, weight float64) graph.WeightedEdge {
	return &valueEdge{from.(*valueNode), to.(*valueNode), weight}
}

func (r *recorder) SetWeightedEdge(e graph.WeightedEdge) {
	edge := e.(*valueEdge)
	edge.from.inputs = append(edge.from.inputs, edge)
}

func (r *recorder) Node(id int64) graph.Node {
	if n := r.nodes[id]; n != nil {
		return n
	}
	return nil
}

func (r *recorder) Nodes() graph.Nodes {
	var all []graph.Node
	for id := range int64(len(r.nodes)) {
		all = append(all, r.nodes[id])
	}
	return iterator.NewOrderedNodes(all)
}

func (r *recorder) From(id int64) graph.Nodes {
	var to []graph.Node
	if n := r.nodes[id]; n != nil {
		for _, e := range n.inputs {
			to = append(to, e.to)
		}
	}
	return iterator.NewOrderedNodes(distinct(to))
}

func (r *recorder) To(id int64) graph.Nodes {
	var from []graph.Node
	for uid := range int64(len(r.nodes)) {
		if r.HasEdgeFromTo(uid, id) {
			from = append(from, r.nodes[uid])
		}
	}
	return iterator.NewOrderedNodes(from)
}

func distinct(nodes []graph.Node) []graph.Node {
	seen := map[int64]bool{}
	kept := nodes[:0]
	for _, n := range nodes {
		if !seen[n.ID()] {
			seen[n.ID()] = true
			kept = append(kept, n)
		}
	}
	return kept
}

func (r *recorder) HasEdgeBetween(x, y int64) bool {
	return r.HasEdgeFromTo(x, y) || r.HasEdgeFromTo(y, x)
}

func (r *recorder) HasEdgeFromTo(u, v int64) bool { return r.Edge(u, v) != nil }

// Edge returns the first of the edges between two values.
func (r *recorder) Edge(u, v int64) graph.Edge {
	if n := r.nodes[u]; n != nil {
		for _, e := range n.inputs {
			if e.to.id == v {
				return e
			}
		}
	}
	return nil
}
