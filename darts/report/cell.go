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

// Cell draws one cell from left to right, after the original's visualize.py: inputs c_{k-2} and c_{k-1}, the numbered
// intermediate nodes, edges labelled with their primitives, and the output c_{k}, which the concatenated nodes lead to.
func Cell(edges []space.Edge, concat []int) (Drawing, error) {
	if err := space.ValidateCell("cell", edges, concat); err != nil {
		return Drawing{}, fmt.Errorf("draw: %w", err)
	}
	var b strings.Builder
	b.WriteString(cellHeader)
	nodes := len(edges) / space.EdgesPerNode
	for state := range space.InputStates {
		fmt.Fprintf(&b, "  %s [fillcolor=darkseagreen2];\n", stateName(state))
	}
	for node := range nodes {
		fmt.Fprintf(&b, "  %s [fillcolor=lightblue];\n", stateName(node+space.InputStates))
	}
	b.WriteString("  \"c_{k}\" [fillcolor=palegoldenrod];\n")
	for i, edge := range edges {
		node := i/space.EdgesPerNode + space.InputStates
		fmt.Fprintf(&b, "  %s -> %s [label=\"%s\"];\n", stateName(edge.State), stateName(node), edge.Primitive)
	}
	for _, state := range concat {
		fmt.Fprintf(&b, "  %s -> \"c_{k}\";\n", stateName(state))
	}
	b.WriteString("}\n")
	return Drawing{b.String()}, nil
}

func stateName(state int) string {
	switch state {
	case 0:
		return `"c_{k-2}"`
	case 1:
		return `"c_{k-1}"`
	}
	return fmt.Sprintf(`"%d"`, state-space.InputStates)
}
