package report

import (
	"fmt"
	"strings"
)

// The look of the original's drawings.
const dotHeader = `digraph cell {
  graph [rankdir=LR];
  node [shape=box, style=filled, fontname="Times,serif", fontsize=20, width=0.5, height=0.5, penwidth=2];
  edge [fontname="Times,serif", fontsize=20];
`

// DOT returns the drawing as text in Graphviz' language.
func (d Drawing) DOT() string {
	var out strings.Builder
	out.WriteString(dotHeader)
	for _, box := range d.boxes {
		fmt.Fprintf(&out, "  %s [fillcolor=%s];\n", quoted(box.name), colours[box.kind].dot)
	}
	for _, arrow := range d.arrows {
		fmt.Fprintf(&out, "  %s -> %s", quoted(d.boxes[arrow.from].name), quoted(d.boxes[arrow.to].name))
		if arrow.label != "" {
			fmt.Fprintf(&out, " [label=%s]", quoted(arrow.label))
		}
		out.WriteString(";\n")
	}
	out.WriteString("}\n")
	return out.String()
}

// quoted is a name in DOT; ours hold no quotes.
func quoted(name string) string { return `"` + name + `"` }
