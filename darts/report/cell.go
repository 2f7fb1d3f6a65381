// Package report draws what a search has found.
//
// A cell comes in as edges and a concat, and DOT text or an SVG picture goes out as bytes, the same bytes for the same
// cell; where they are written is for the caller to say. The package knows genotypes and nothing of graphs, plans or
// runs. Start reading at Cell; layout.go says where things are drawn, svg.go and dot.go write them.
package report

import (
	"fmt"
	"strconv"

	"github.com/dartsc/dartsc/darts/space"
)

// Drawing is a picture of a cell: boxes and the arrows between them, from left to right.
type Drawing struct {
	boxes  []box
	arrows []arrow
}

// box is an input, a node or the output of a cell.
type box struct {
	name string
	kind kind
}

// kind decides the colour of a box.
type kind int

const (
	input kind = iota
	node
	output
)

// colours are those of the original's drawings, as Graphviz and SVG know them.
var colours = [...]struct{ dot, svg string }{
	input:  {"darkseagreen2", "#b4eeb4"},
	node:   {"lightblue", "#add8e6"},
	output: {"palegoldenrod", "#eee8aa"},
}

// arrow is an edge of a cell: from and to count boxes, label may be empty.
type arrow struct {
	from, to int
	label    string
}

// Cell draws one convolutional cell from left to right, after the original's visualize.py: inputs c_{k-2} and c_{k-1},
// the numbered intermediate nodes, edges labelled with their primitives, and the output c_{k}, which the concatenated
// nodes lead to.
func Cell(edges []space.Edge, concat []int) (Drawing, error) {
	if err := space.ValidateCell("cell", edges, concat); err != nil {
		return Drawing{}, fmt.Errorf("draw: %w", err)
	}
	d := begin(len(edges)/space.EdgesPerNode, "c_{k-2}", "c_{k-1}")
	for i, edge := range edges {
		d.arrow(edge.State, space.InputStates+i/space.EdgesPerNode, string(edge.Primitive))
	}
	return d.end("c_{k}", concat, 0), nil
}

// Recurrent draws a recurrent cell from left to right, after the original's visualize.py: the input x_{t} and the hidden
// state h_{t-1} lead to state 0, edges labelled with their activations to the others, and those that are averaged to
// the new hidden state h_{t}.
func Recurrent(g space.Recurrent) (Drawing, error) {
	if err := g.Validate(); err != nil {
		return Drawing{}, fmt.Errorf("draw: %w", err)
	}
	d := begin(len(g.Edges)+1, "x_{t}", "h_{t-1}")
	state0 := len(d.boxes) - len(g.Edges) - 1 // the box of state 0, which stands behind the inputs
	for from := range state0 {
		d.arrow(from, state0, "")
	}
	for i, edge := range g.Edges {
		d.arrow(state0+edge.State, state0+i+1, string(edge.Primitive))
	}
	return d.end("h_{t}", g.Concat, state0), nil
}

// begin makes the boxes of the inputs and of so many nodes.
func begin(nodes int, inputs ...string) *Drawing {
	d := &Drawing{}
	for _, name := range inputs {
		d.boxes = append(d.boxes, box{name, input})
	}
	for i := range nodes {
		d.boxes = append(d.boxes, box{strconv.Itoa(i), node})
	}
	return d
}

func (d *Drawing) arrow(from, to int, label string) {
	d.arrows = append(d.arrows, arrow{from, to, label})
}

// end makes the box of the output and the arrows into it; state 0 is the box of that number.
func (d *Drawing) end(name string, concat []int, state0 int) Drawing {
	d.boxes = append(d.boxes, box{name, output})
	for _, state := range concat {
		d.arrow(state0+state, len(d.boxes)-1, "")
	}
	return *d
}
