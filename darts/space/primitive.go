// Package space is the search space of DARTS as data: the primitives an edge may hold, genotypes in their text forms,
// the published architectures by name, and the derivation of a genotype from alphas. There are two kinds of genotype:
// Genotype for a pair of convolutional cells, Recurrent for a recurrent cell.
//
// Text comes in (a name, JSON, or the original's `Genotype(...)`) and a validated genotype goes out; rows of alphas
// come in and a genotype goes out. Nothing is evaluated, whatever the text says. The package knows nothing of graphs,
// tensors, devices or files other than the one that ParseFile reads. Start reading at Genotype.
package space

import (
	"slices"
	"strings"
)

// Primitive is the name of an operation that an edge of a cell may hold. The names are the original's.
type Primitive string

// The ten primitives of convolutional cells. The last two occur only in NASNet and AmoebaNet and are not searched over.
const (
	None        Primitive = "none"
	MaxPool3x3  Primitive = "max_pool_3x3"
	AvgPool3x3  Primitive = "avg_pool_3x3"
	SkipConnect Primitive = "skip_connect"
	SepConv3x3  Primitive = "sep_conv_3x3"
	SepConv5x5  Primitive = "sep_conv_5x5"
	DilConv3x3  Primitive = "dil_conv_3x3"
	DilConv5x5  Primitive = "dil_conv_5x5"
	SepConv7x7  Primitive = "sep_conv_7x7"
	Conv7x1x1x7 Primitive = "conv_7x1_1x7"
)

// primitives begins with the search space; CNN and Primitives hand out copies, so that its order cannot be changed.
var primitives = [...]Primitive{
	None, MaxPool3x3, AvgPool3x3, SkipConnect, SepConv3x3, SepConv5x5, DilConv3x3, DilConv5x5,
	SepConv7x7, Conv7x1x1x7,
}

const searched = 8

// CNN returns the convolutional search space: the primitives in the order of the columns of the alphas.
func CNN() []Primitive { return slices.Clone(primitives[:searched]) }

// Primitives returns every known primitive of convolutional cells: the search space first, then those of the published architectures only.
func Primitives() []Primitive { return slices.Clone(primitives[:]) }

// Valid says whether p is one of the known primitives of convolutional cells.
func (p Primitive) Valid() bool { return slices.Contains(primitives[:], p) }

// The primitives of a recurrent cell beside None: the activation h of a state s becomes s + c·(h(sW) - s), where c is
// a gate (Liu et al. 2019, A.1.2).
const (
	Tanh     Primitive = "tanh"
	ReLU     Primitive = "relu"
	Sigmoid  Primitive = "sigmoid"
	Identity Primitive = "identity"
)

var activations = [...]Primitive{None, Tanh, ReLU, Sigmoid, Identity}

// RNN returns the recurrent search space: the primitives in the order of the columns of the alphas.
func RNN() []Primitive { return slices.Clone(activations[:]) }

// rules are what a kind of cell is made of.
type rules struct {
	searched     []Primitive // the columns of the alphas
	known        []Primitive // what a genotype may hold
	inputStates  int
	edgesPerNode int
}

var (
	convolutionalCell = rules{primitives[:searched], primitives[:], InputStates, EdgesPerNode}
	recurrentCell     = rules{activations[:], activations[1:], 1, 1}
)

func (r rules) list() string {
	names := make([]string, len(r.known))
	for i, p := range r.known {
		names[i] = string(p)
	}
	return strings.Join(names, ", ")
}
