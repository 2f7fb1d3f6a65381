package space

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const (
	// InputStates is the number of inputs of a cell, which are its states 0 and 1: the outputs of the cell before
	// the previous one and of the previous one.
	InputStates = 2
	// EdgesPerNode is the number of edges that derivation keeps into each intermediate node.
	EdgesPerNode = 2
)

// Edge is one kept edge of a cell: the primitive applied, and the state that it reads.
type Edge struct {
	Primitive Primitive
	State     int
}

// Genotype is a pair of cells as Liu et al. 2019, sec. 2.4 derive them. Edges are listed node by node, two for each
// intermediate node; states 0 and 1 are the cell's inputs, node i is state i+2. The output of a cell is the
// concatenation, in the order given, of the states that its concat names; these need not be all nodes.
type Genotype struct {
	Normal       []Edge `json:"normal"`
	NormalConcat []int  `json:"normal_concat"`
	Reduce       []Edge `json:"reduce"`
	ReduceConcat []int  `json:"reduce_concat"`
}

// Validate returns an error that names the cell and the edge or concat entry that cannot be built, and what would be
// right.
func (g Genotype) Validate() error {
	if err := ValidateCell("normal", g.Normal, g.NormalConcat); err != nil {
		return fmt.Errorf("genotype: %w", err)
	}
	if err := ValidateCell("reduce", g.Reduce, g.ReduceConcat); err != nil {
		return fmt.Errorf("genotype: %w", err)
	}
	return nil
}

// ValidateCell checks one convolutional cell by itself; name is what errors call it.
func ValidateCell(name string, edges []Edge, concat []int) error {
	return convolutionalCell.validate(name, name+"_concat", edges, concat)
}

func (r rules) validate(name, concatName string, edges []Edge, concat []int) error {
	if len(edges) == 0 {
		return fmt.Errorf("%s has no edges: want %d for each intermediate node", name, r.edgesPerNode)
	}
	if len(edges)%r.edgesPerNode != 0 {
		return fmt.Errorf("%s has %d edges: want %d for each intermediate node", name, len(edges), r.edgesPerNode)
	}
	for i, edge := range edges {
		node := i / r.edgesPerNode
		if !slices.Contains(r.known, edge.Primitive) {
			return fmt.Errorf("%s edge %d (%q, %d): unknown primitive; the known ones are %s", name, i, edge.Primitive, edge.State, r.list())
		}
		if last := node + r.inputStates - 1; edge.State < 0 || edge.State > last {
			return fmt.Errorf("%s edge %d (%q, %d): node %d may only read states 0 to %d", name, i, edge.Primitive, edge.State, node, last)
		}
	}
	return r.validateConcat(concatName, len(edges)/r.edgesPerNode, concat)
}

// validateConcat admits intermediate nodes only: the inputs of a reduction cell have another image size than its nodes.
func (r rules) validateConcat(name string, nodes int, concat []int) error {
	first, last := r.inputStates, r.inputStates+nodes-1
	if len(concat) == 0 {
		return fmt.Errorf("%s is empty: want at least one of the nodes' states %d to %d", name, first, last)
	}
	for i, state := range concat {
		if state < first || state > last {
			return fmt.Errorf("%s entry %d is %d: want one of the nodes' states %d to %d", name, i, state, first, last)
		}
		if slices.Contains(concat[:i], state) {
			return fmt.Errorf("%s entry %d is %d again: want each state at most once", name, i, state)
		}
	}
	return nil
}

// Equal says whether two genotypes are the same cells, written the same way.
func (g Genotype) Equal(other Genotype) bool {
	return slices.Equal(g.Normal, other.Normal) && slices.Equal(g.NormalConcat, other.NormalConcat) &&
		slices.Equal(g.Reduce, other.Reduce) && slices.Equal(g.ReduceConcat, other.ReduceConcat)
}

// Clone returns a copy that shares nothing with g.
func (g Genotype) Clone() Genotype {
	return Genotype{
		Normal: slices.Clone(g.Normal), NormalConcat: slices.Clone(g.NormalConcat),
		Reduce: slices.Clone(g.Reduce), ReduceConcat: slices.Clone(g.ReduceConcat),
	}
}

// String returns the form that the original prints to its logs, on one line.
func (g Genotype) String() string { return printed(genotypeFields(&g)) }

// printed writes fields as Python prints a named tuple.
func printed(fields []field) string {
	var b strings.Builder
	b.WriteString("Genotype(")
	for i, f := range fields {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(f.name + "=")
		if f.edges != nil {
			writeEdges(&b, *f.edges)
		} else {
			writeStates(&b, *f.states)
		}
	}
	b.WriteString(")")
	return b.String()
}

func writeEdges(b *strings.Builder, edges []Edge) {
	b.WriteByte('[')
	for i, edge := range edges {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(b, "('%s', %d)", edge.Primitive, edge.State)
	}
	b.WriteByte(']')
}

func writeStates(b *strings.Builder, states []int) {
	b.WriteByte('[')
	for i, state := range states {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(b, state)
	}
	b.WriteByte(']')
}

// MarshalJSON writes an edge as the pair ["sep_conv_3x3", 0].
func (e Edge) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{string(e.Primitive), e.State})
}

// UnmarshalJSON reads the pair that MarshalJSON writes. Whether a cell may hold the edge is for ValidateCell to say.
func (e *Edge) UnmarshalJSON(data []byte) error {
	edge, err := (&reader{text: string(data)}).edge()
	if err != nil {
		return err
	}
	*e = edge
	return nil
}

// UnmarshalJSON reads the JSON form and validates it; on an error g is left as it was.
func (g *Genotype) UnmarshalJSON(data []byte) error {
	parsed, err := convolutional.parseJSON(string(data))
	if err != nil {
		return err
	}
	*g = parsed
	return nil
}

func genotypeFields(g *Genotype) []field {
	return []field{
		{name: "normal", edges: &g.Normal}, {name: "normal_concat", states: &g.NormalConcat},
		{name: "reduce", edges: &g.Reduce}, {name: "reduce_concat", states: &g.ReduceConcat},
	}
}
