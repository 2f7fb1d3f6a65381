package cnn

import (
	"fmt"

	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// The names of the alphas [edges, primitives] of both kinds of cells.
const (
	AlphasNormal = "alphas_normal"
	AlphasReduce = "alphas_reduce"
)

// nodes is the number of intermediate nodes of a searched cell, all of which are joined to its output.
const nodes = 4

// stemMultiplier is how many times the channels of the first cell the stem has.
const stemMultiplier = 3

// Network is what a search or a training builds programs of: logits [N,classes] of images [N,C,H,W]. The second value
// holds the logits of auxiliary heads, of which there may be none.
type Network interface {
	Forward(s *Scope, images *ir.Value) (logits *ir.Value, auxiliary []*ir.Value)
}

// Supernet is the network of a search: cells in which every edge is a softmax-weighted sum of all primitives.
type Supernet struct {
	Channels int // of the first cell (--init-channels)
	Layers   int // cells; those at ⌊layers/3⌋ and ⌊2·layers/3⌋ reduce the image
	Classes  int
}

// Validate reports settings from which no network can be built.
func (n Supernet) Validate() error { return checkSizes(n.Channels, n.Layers, n.Classes) }

func checkSizes(channels, layers, classes int) error {
	for _, c := range []struct {
		flag  string
		value int
		least int
	}{{"--init-channels", channels, 1}, {"--layers", layers, 1}, {"classes", classes, 2}} {
		if c.value < c.least {
			return fmt.Errorf("%s is %d, must be at least %d", c.flag, c.value, c.least)
		}
	}
	return nil
}

// CheckImage reports an image too small for the number of reductions of a network of so many cells: every reduction
// halves it.
func CheckImage(height, width, layers int) error {
	reductions := 0
	for i := range layers {
		if reduces(i, layers) {
			reductions++
		}
	}
	if least := 1 << reductions; height < least || width < least {
		return fmt.Errorf("images of %dx%d are too small: %d reductions halve them %d times and need at least %dx%d (set --image-size)",
			height, width, reductions, reductions, least, least)
	}
	return nil
}

// reduces says whether cell i of a network halves the image.
func reduces(i, layers int) bool { return i == layers/3 || i == 2*layers/3 }

// edges is the number of edges of a searched cell: node i reads both inputs and all nodes before it.
func edges() int { return nodes * (nodes + 3) / 2 }

// Forward builds the supernet.
func (n Supernet) Forward(s *Scope, images *ir.Value) (*ir.Value, []*ir.Value) {
	b := s.Builder
	if err := n.Validate(); err != nil {
		b.Fail(err)
		return images, nil
	}
	_, _, h, w := dims(images)
	if err := CheckImage(h, w, n.Layers); err != nil {
		b.Fail(err)
		return images, nil
	}
	var weights [2]*ir.Value
	for i, name := range []string{AlphasNormal, AlphasReduce} {
		// 1e-3·N(0,1), as the original's code; the paper says 0.
		alphas := s.parameter(name, ir.Alpha, []int{edges(), len(space.CNN())}, ir.Init{Distribution: ir.Normal, Value: 1e-3})
		weights[i] = b.Softmax(alphas)
	}
	var x *ir.Value
	b.At("stem", func() {
		x = s.norm("stem.1", s.conv("stem.0", images, stemMultiplier*n.Channels, [2]int{3, 3}, ops.Conv(1, 1)), true)
	})
	previous, current, channels, reduced := x, x, n.Channels, false
	for i := range n.Layers {
		cell := supercell{name: fmt.Sprintf("cells.%d", i), weights: weights[0], afterReduction: reduced}
		kind := "normal"
		if reduced = reduces(i, n.Layers); reduced {
			channels *= 2
			cell.reduction, cell.weights, kind = true, weights[1], "reduction"
		}
		cell.channels = channels
		b.At(fmt.Sprintf("cell %d (%s)", i, kind), func() {
			previous, current = current, cell.build(s, previous, current)
		})
	}
	var logits *ir.Value
	b.At("classifier", func() { logits = s.classifier("classifier", current, n.Classes) })
	return logits, nil
}

// supercell is one cell of the supernet.
type supercell struct {
	name           string
	channels       int
	weights        *ir.Value // softmax of the alphas [edges, primitives]
	reduction      bool
	afterReduction bool // the input before the last is twice as large as the last
}

func (c supercell) build(s *Scope, before, last *ir.Value) *ir.Value {
	b := s.Builder
	states := preprocess(s, c.name, before, last, c.channels, c.afterReduction, false)
	edge := 0
	for node := range nodes {
		var sum *ir.Value
		for j, state := range states[:node+2] {
			b.At(fmt.Sprintf("edge %d→%d", j, node+2), func() {
				y := c.mixed(s, edge, j, state)
				if sum == nil {
					sum = y
				} else {
					sum = b.Add(sum, y)
				}
			})
			edge++
		}
		states = append(states, sum)
	}
	return b.Concat(1, states[2:]...)
}

// mixed is the mixed operation of one edge (eq. 2): all primitives, weighed by the softmax of the edge's alphas.
func (c supercell) mixed(s *Scope, edge, from int, x *ir.Value) *ir.Value {
	stride := 1
	if c.reduction && from < space.InputStates {
		stride = 2
	}
	primitives := space.CNN()
	var terms []*ir.Value
	var selected []int
	for k, primitive := range primitives {
		op := PrimitiveOp{Name: fmt.Sprintf("%s._ops.%d._ops.%d", c.name, edge, k), Primitive: primitive, Stride: stride, NormPool: true}
		terms = append(terms, op.Build(s, x))
		selected = append(selected, edge*len(primitives)+k)
	}
	return s.Builder.WeightedSum(c.weights, terms, selected)
}

// preprocess brings both inputs of a cell to its number of channels and to one size.
func preprocess(s *Scope, name string, before, last *ir.Value, channels int, afterReduction, affine bool) []*ir.Value {
	var states [2]*ir.Value
	s.Builder.At("preprocess 0", func() {
		if afterReduction {
			states[0] = factorizedReduce(s, name+".preprocess0", before, channels, affine)
		} else {
			states[0] = reluConvBN(s, name+".preprocess0", before, channels, affine)
		}
	})
	s.Builder.At("preprocess 1", func() { states[1] = reluConvBN(s, name+".preprocess1", last, channels, affine) })
	return states[:]
}
