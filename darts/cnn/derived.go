package cnn

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Derived is the network of a genotype (cnn/model.py of the original: NetworkCIFAR, and NetworkImageNet with two stems
// that divide the image by eight).
type Derived struct {
	Genotype  space.Genotype
	Channels  int // of the first cell (--init-channels)
	Layers    int // cells; those at ⌊layers/3⌋ and ⌊2·layers/3⌋ reduce the image
	Classes   int
	ImageNet  bool
	Auxiliary bool // a second head after the second reduction, in training only
}

// Validate reports settings from which no network can be built.
func (n Derived) Validate() error {
	if err := n.Genotype.Validate(); err != nil {
		return err
	}
	if err := cmp.Or(checkNodes("normal", n.Genotype.Normal), checkNodes("reduce", n.Genotype.Reduce)); err != nil {
		return err
	}
	return checkSizes(n.Channels, n.Layers, n.Classes)
}

// checkNodes refuses nodes that would always be zero.
func checkNodes(cell string, edges []space.Edge) error {
	for node, pair := range slices.Collect(slices.Chunk(edges, space.EdgesPerNode)) {
		if !slices.ContainsFunc(pair, func(e space.Edge) bool { return e.Primitive != space.None }) {
			return fmt.Errorf("genotype: %s node %d: all of its edges are %q, so there is nothing in it", cell, node, space.None)
		}
	}
	return nil
}

// Forward builds the network. In training, Scope.DropPath drops paths, and the auxiliary head gives a second value.
func (n Derived) Forward(s *Scope, images *ir.Value) (*ir.Value, []*ir.Value) {
	b := s.Builder
	if err := n.Validate(); err != nil {
		b.Fail(err)
		return images, nil
	}
	_, _, h, w := dims(images)
	shrunk := 1
	if n.ImageNet {
		shrunk = 8
	}
	if err := CheckImage(ceil(h, shrunk), ceil(w, shrunk), n.Layers); err != nil {
		b.Fail(err)
		return images, nil
	}
	var previous, current *ir.Value
	b.At("stem", func() { previous, current = n.stem(s, images) })
	var auxiliary []*ir.Value
	for i, cell := range n.cells() {
		b.At(cell.title, func() { previous, current = current, cell.build(s, previous, current) })
		if i == 2*n.Layers/3 && n.Auxiliary && s.Train {
			b.At("auxiliary head", func() {
				// The original's head begins with a ReLU in place, which the rest of the network sees. It changes
				// nothing in the networks of the paper, whose next cells begin with ReLU themselves; it does where this
				// cell is the last.
				current = b.Relu(current)
				auxiliary = append(auxiliary, n.auxiliaryHead(s, current))
			})
		}
	}
	var logits *ir.Value
	b.At("classifier", func() { logits = s.classifier("classifier", current, n.Classes) })
	return logits, auxiliary
}

// cells are the cells of the network in order.
func (n Derived) cells() []derivedCell {
	list := make([]derivedCell, n.Layers)
	channels, reduced := n.Channels, n.ImageNet
	for i := range list {
		cell := derivedCell{
			name: fmt.Sprintf("cells.%d", i), title: fmt.Sprintf("cell %d (normal)", i),
			edges: n.Genotype.Normal, concat: n.Genotype.NormalConcat, afterReduction: reduced,
		}
		if reduced = reduces(i, n.Layers); reduced {
			channels *= 2
			cell.title = fmt.Sprintf("cell %d (reduction)", i)
			cell.reduction, cell.edges, cell.concat = true, n.Genotype.Reduce, n.Genotype.ReduceConcat
		}
		cell.channels = channels
		list[i] = cell
	}
	return list
}

// FirstCell is the number of the first cell that reduces the image, or that does not; of the latter preferably one
// whose inputs are both of such cells. It is -1 where the network has none.
func (n Derived) FirstCell(reduction bool) int {
	found := -1
	for i, cell := range n.cells() {
		if cell.reduction != reduction {
			continue
		}
		inner := i > 1 && !reduces(i-1, n.Layers) && !reduces(i-2, n.Layers)
		if reduction || inner {
			return i
		}
		if found < 0 {
			found = i
		}
	}
	return found
}

// Cell builds one cell of the network, by its number, on the results of the two before it. In the network they have the
// types of CellInputs.
func (n Derived) Cell(s *Scope, number int, before, last *ir.Value) (y *ir.Value) {
	cell := n.cells()[number]
	s.Builder.At(cell.title, func() { y = cell.build(s, before, last) })
	return y
}

// CellInputs are the types of a cell's two inputs in a network on images of the given type.
func (n Derived) CellInputs(number int, images ir.Type) (before, last ir.Type, err error) {
	if err := n.Validate(); err != nil {
		return before, last, err
	}
	if number < 0 || number >= n.Layers {
		return before, last, fmt.Errorf("cell %d: the network has cells 0 to %d", number, n.Layers-1)
	}
	b := ops.NewBuilder(ir.NewModule("shapes"), "forward")
	s := &Scope{Builder: b, Weights: &model.Weights{}}
	first, second := n.stem(s, b.Input("images", images))
	for _, cell := range n.cells()[:number] {
		first, second = second, cell.build(s, first, second)
	}
	return first.Type, second.Type, b.Err()
}

// stem returns the two inputs of the first cell.
func (n Derived) stem(s *Scope, images *ir.Value) (before, last *ir.Value) {
	conv := func(name string, x *ir.Value, outputs, stride int) *ir.Value {
		return s.conv(name, x, outputs, [2]int{3, 3}, ops.Conv(stride, 1))
	}
	if !n.ImageNet {
		x := s.norm("stem.1", conv("stem.0", images, stemMultiplier*n.Channels, 1), true)
		return x, x
	}
	if n.Channels < 2 {
		s.Builder.Fail(fmt.Errorf("--init-channels is %d, the ImageNet stem needs at least 2", n.Channels))
		return images, images
	}
	relu := s.Builder.Relu
	before = s.norm("stem0.1", conv("stem0.0", images, n.Channels/2, 2), true)
	before = s.norm("stem0.4", conv("stem0.3", relu(before), n.Channels, 2), true)
	last = s.norm("stem1.2", conv("stem1.1", relu(before), n.Channels, 2), true)
	return before, last
}

// auxiliaryHead classifies from the rectified features in the middle of the network. After the second convolution the original's ImageNet head
// has no BatchNorm (kept for the sake of its published numbers). It is written for 8x8 (CIFAR) and 7x7 (ImageNet)
// features, where its last image has one pixel; larger ones are averaged.
func (n Derived) auxiliaryHead(s *Scope, x *ir.Value) *ir.Value {
	b := s.Builder
	name := func(i int) string { return fmt.Sprintf("auxiliary_head.features.%d", i) }
	pool, least := ops.Pool(5, 3, 0), 8
	if n.ImageNet {
		pool, least = ops.Pool(5, 2, 0), 7
	}
	if _, _, h, w := dims(x); h < least || w < least {
		b.Fail(fmt.Errorf("it needs features of %dx%d at least, here they are %dx%d: use larger images, or --auxiliary=false", least, least, h, w))
		return x
	}
	x = b.AvgPool2D(x, pool)
	x = b.Relu(s.norm(name(3), s.conv(name(2), x, 128, [2]int{1, 1}, ops.Conv(1, 0)), true))
	x = s.conv(name(5), x, 768, [2]int{2, 2}, ops.Conv(1, 0))
	if !n.ImageNet {
		x = s.norm(name(6), x, true)
	}
	return s.classifier("auxiliary_head.classifier", b.Relu(x), n.Classes)
}

// derivedCell is one cell of a derived network.
type derivedCell struct {
	name           string // prefix of its variables
	title          string // for people
	channels       int
	edges          []space.Edge
	concat         []int
	reduction      bool
	afterReduction bool
}

func (c derivedCell) build(s *Scope, before, last *ir.Value) *ir.Value {
	b := s.Builder
	states := preprocess(s, c.name, before, last, c.channels, c.afterReduction, true)
	for node := range len(c.edges) / space.EdgesPerNode {
		var sum *ir.Value
		for k := range space.EdgesPerNode {
			at := node*space.EdgesPerNode + k
			edge := c.edges[at]
			if edge.Primitive == space.None { // which adds nothing, and would be a constant of this batch in an exported network
				continue
			}
			b.At(fmt.Sprintf("edge %d→%d", edge.State, node+space.InputStates), func() {
				y := c.path(s, at, edge, states[edge.State])
				if sum == nil {
					sum = y
				} else {
					sum = b.Add(sum, y)
				}
			})
		}
		states = append(states, sum)
	}
	joined := make([]*ir.Value, len(c.concat))
	for i, state := range c.concat {
		joined[i] = states[state]
	}
	return b.Concat(1, joined...)
}

// path is one edge: its primitive, and drop path unless it is the identity.
func (c derivedCell) path(s *Scope, at int, edge space.Edge, x *ir.Value) *ir.Value {
	op := PrimitiveOp{Name: fmt.Sprintf("%s._ops.%d", c.name, at), Primitive: edge.Primitive, Stride: 1, Affine: true}
	if c.reduction && edge.State < space.InputStates {
		op.Stride = 2
	}
	y := op.Build(s, x)
	if s.Train && s.DropPath != nil && !(edge.Primitive == space.SkipConnect && op.Stride == 1) {
		d := s.DropPath
		d.Stream++
		y = s.Builder.DropPath(y, d.P, d.Seed, d.Step, d.Stream)
	}
	return y
}
