package space

import (
	"fmt"
	"slices"
)

// Recurrent is a recurrent cell as Liu et al. 2019, sec. 2.4 derive it. Edge i leads into node i, which is state i+1;
// state 0 is made of the input and of the hidden state before. The new hidden state is the mean of the states that
// Concat names.
type Recurrent struct {
	Edges  []Edge `json:"recurrent"`
	Concat []int  `json:"concat"`
}

var recurrent = kind[Recurrent]{recurrentArchitectures, "Genotype(recurrent=[...], concat=[...])", recurrentFields}

func recurrentFields(g *Recurrent) []field {
	return []field{{name: "recurrent", edges: &g.Edges}, {name: "concat", states: &g.Concat}}
}

// LoadRecurrent reads what a command line gives for a recurrent cell, as Load does.
func LoadRecurrent(argument string) (Recurrent, error) { return recurrent.load(argument) }

// ParseRecurrentFile reads a file that holds one recurrent cell in any form that ParseRecurrent reads.
func ParseRecurrentFile(path string) (Recurrent, error) { return recurrent.parseFile(path) }

// ParseRecurrent reads a recurrent cell: the name of a published one, our JSON form
//
//	{"recurrent": [["sigmoid", 0], ["relu", 1], ...], "concat": [1, 2, ...]}
//
// or the original's Python text
//
//	Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ...], concat=range(1, 9))
//
// with the liberties that Parse takes.
func ParseRecurrent(text string) (Recurrent, error) { return recurrent.parse(text) }

// RecurrentNames returns the names that NamedRecurrent knows.
func RecurrentNames() []string { return recurrent.names() }

// NamedRecurrent returns a published recurrent cell; it is the caller's to change.
func NamedRecurrent(name string) (g Recurrent, ok bool) { return recurrent.named(name) }

// DeriveRecurrent returns the recurrent cell that the alphas of a search stand for. Alphas have a row for each edge of
// the supernet's cell, node by node (1 row into node 0, 2 into node 1, ...), and a column for each primitive of RNN. The
// one edge into each node that stays is chosen as Derive chooses its first.
func DeriveRecurrent(alphas [][]float64) (Recurrent, error) {
	edges, concat, err := recurrentCell.derive("alphas", alphas)
	return Recurrent{edges, concat}, err
}

// Validate returns an error that names the edge or concat entry that cannot be built, and what would be right.
func (g Recurrent) Validate() error {
	if err := recurrentCell.validate("recurrent", "concat", g.Edges, g.Concat); err != nil {
		return fmt.Errorf("genotype: %w", err)
	}
	return nil
}

// Clone returns a copy that shares nothing with g.
func (g Recurrent) Clone() Recurrent { return Recurrent{slices.Clone(g.Edges), slices.Clone(g.Concat)} }

// Equal says whether two genotypes are the same cell, written the same way.
func (g Recurrent) Equal(other Recurrent) bool {
	return slices.Equal(g.Edges, other.Edges) && slices.Equal(g.Concat, other.Concat)
}

// String returns the form that the original prints to its logs, on one line.
func (g Recurrent) String() string { return printed(recurrentFields(&g)) }

// UnmarshalJSON reads the JSON form and validates it; on an error g is left as it was.
func (g *Recurrent) UnmarshalJSON(data []byte) error {
	parsed, err := recurrent.parseJSON(string(data))
	if err != nil {
		return err
	}
	*g = parsed
	return nil
}

// The cells of the original's command line, where DARTS is another name for DARTS_V2. ENAS: Pham et al. 2018.
var recurrentArchitectures = []architecture[Recurrent]{
	{"ENAS", Recurrent{
		Edges: []Edge{
			{Tanh, 0}, {Tanh, 1}, {ReLU, 1}, {Tanh, 3}, {Tanh, 3}, {ReLU, 3},
			{ReLU, 4}, {ReLU, 7}, {ReLU, 8}, {ReLU, 8}, {ReLU, 8},
		},
		Concat: []int{2, 5, 6, 9, 10, 11},
	}},
	{"DARTS_V1", Recurrent{
		Edges: []Edge{
			{ReLU, 0}, {ReLU, 1}, {Tanh, 2}, {ReLU, 3}, {ReLU, 4}, {Identity, 1}, {ReLU, 5}, {ReLU, 1},
		},
		Concat: []int{1, 2, 3, 4, 5, 6, 7, 8},
	}},
	{"DARTS_V2", recurrentV2},
	{"DARTS", recurrentV2},
}

var recurrentV2 = Recurrent{
	Edges: []Edge{
		{Sigmoid, 0}, {ReLU, 1}, {ReLU, 1}, {Identity, 1}, {Tanh, 2}, {Sigmoid, 5}, {Tanh, 3}, {ReLU, 5},
	},
	Concat: []int{1, 2, 3, 4, 5, 6, 7, 8},
}
