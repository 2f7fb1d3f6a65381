// Package report draws what a search has found.
//
// A cell comes in as edges and a concat, and DOT text or an SVG picture goes out as bytes, the same bytes for the same
// cell; where they are written is for the caller to say. Graphviz runs inside the process, so no dot program is needed.
// The package knows genotypes and nothing of graphs, plans or runs. Start reading at Cell.
package report

import (
	"fmt"
	"strings"

	"github.com/dartsc/dartsc/darts/space"
)

// Drawing is a picture that this package has composed.
type Drawing struct{ dot string }

// DOT returns the drawing as text in Graphviz' language.
func (d Drawing) DOT() string { return d.dot }

// The look of the original's drawings, in which inputs, nodes and output differ in colour.
const cellHeader = `digraph cell {
  graph [rankdir=LR];
  node [shape=box, style=filled, fontname="Times,serif", fontsize=20, width=0.5, height=0.5, penwidth=2];
  edge [fontname="Times,serif", fontsize=20];
`

// Cell draws one convolutional cell from left to right, after the original's visualize.py: inputs c_{k-2} and c_{k-1},
// the numbered intermediate nodes, edges labelled with their primitives, and the output c_{k}, which the concatenated
// nodes lead to.
func Cell(edges []space.Edge, concat []int) (Drawing, error) {
	if err := space.ValidateCell("cell", edges, concat); err != nil {
		return Drawing{}, fmt.Errorf("draw: %w", err)
	}
	states := append([]string{"c_{k-2}", "c_{k-1}"}, numbers(len(edges)/space.EdgesPerNode)...)
	d := begin(states[:space.InputStates], states[space.InputStates:], "c_{k}")
	for i, edge := range edges {
		d.edge(states[edge.State], states[i/space.EdgesPerNode+space.InputStates], string(edge.Primitive))
	}
	return d.end(states, concat), nil
}

// Recurrent draws a recurrent cell from left to right, after the original's visualize.py: the input x_{t} and the hidden
// state h_{t-1} lead to state 0, edges labelled with their activations to the others, and those that are averaged to
// the new hidden state h_{t}.
func Recurrent(g space.Recurrent) (Drawing, error) {
	if err := g.Validate(); err != nil {
		return Drawing{}, fmt.Errorf("draw: %w", err)
	}
	inputs, states := []string{"x_{t}", "h_{t-1}"}, numbers(len(g.Edges)+1)
	d := begin(inputs, states, "h_{t}")
	for _, input := range inputs {
		d.edge(input, states[0], "")
	}
	for i, edge := range g.Edges {
		d.edge(states[edge.State], states[i+1], string(edge.Primitive))
	}
	return d.end(states, g.Concat), nil
}

func numbers(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	return names
}

// drawer composes the DOT text of a cell.
type drawer struct {
	strings.Builder
	output string
}

func begin(inputs, nodes []string, output string) *drawer {
	d := &drawer{output: output}
	d.WriteString(cellHeader)
	d.nodes("darkseagreen2", inputs...)
	d.nodes("lightblue", nodes...)
	d.nodes("palegoldenrod", output)
	return d
}

func (d *drawer) nodes(colour string, names ...string) {
	for _, name := range names {
		fmt.Fprintf(d, "  %s [fillcolor=%s];\n", quoted(name), colour)
	}
}

func (d *drawer) edge(from, to, label string) {
	fmt.Fprintf(d, "  %s -> %s", quoted(from), quoted(to))
	if label != "" {
		fmt.Fprintf(d, " [label=%s]", quoted(label))
	}
	d.WriteString(";\n")
}

// end draws the edges into the output.
func (d *drawer) end(states []string, concat []int) Drawing {
	for _, state := range concat {
		d.edge(states[state], d.output, "")
	}
	d.WriteString("}\n")
	return Drawing{d.String()}
}

// quoted is a name in DOT; ours hold no quotes.
func quoted(name string) string { return `"` + name + `"` }
