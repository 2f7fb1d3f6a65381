package rnn

import (
	"fmt"
	"strings"

	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// nodes is the number of intermediate nodes of a searched cell (STEPS of the original); their mean is the new hidden
// state.
const nodes = 8

// BatchNorm's constants in PyTorch.
const (
	normEps      = 1e-5
	normMomentum = 0.1
)

// node is how a state of a cell is made: a sum over edges out of earlier states, weighed by rows of a tensor.
type node struct {
	from        []int // states
	rows        []int // of weights, by edge
	weights     *ir.Value
	activations string // the columns of weights
}

// cell is the recurrent cell of a search or of a genotype, ready to be built into the body of a loop.
type cell struct {
	scope   *Scope
	hidden  int
	nodes   []node
	mean    []int       // states whose mean is the new hidden state
	entry   *ir.Value   // W0's lower half [N,2N]: what the hidden state is multiplied by
	fans    []fan       // by state
	mask    *ir.Value   // [B,N], or nil
	one     *ir.Value   // [1,1]
	running []*ir.Value // mean and variance, where states are normalised with them (evaluation of a supernet)
	norm    bool
}

// fan is what goes out of a state: the weights of all nodes that read it, side by side, so that one product serves all.
type fan struct {
	nodes   []int
	weights *ir.Value // [N,len(nodes)·2N]; nil: no node
}

// recur runs the cell over the embedded words x [T,B,N].
func (l Language) recur(s *Scope, x, hidden, length *ir.Value) (out Output) {
	b := s.Builder
	steps, rows, n := x.Type.Shape[0], x.Type.Shape[1], l.Hidden
	if s.Train && l.Genotype == nil && rows < 2 {
		b.Fail(fmt.Errorf("BatchNorm needs more than one row of text in a search: use a larger batch"))
		return out
	}
	b.At("cell", func() {
		// The input's part of the first product does not wait for the hidden state: one product for all steps.
		w0 := s.parameter("rnns.0._W0", 2*n, 2*n)
		entry := b.MatMul(b.Reshape(x, steps*rows, n), b.Slice(w0, []int{0, 0}, []int{n, 2 * n}), false, false)
		c := l.newCell(s)
		c.mask = s.mask(l.Dropout.Hidden, hidden.Type)
		c.entry = b.Slice(w0, []int{n, 0}, []int{2 * n, 2 * n})
		statistics, keep := c.statistics()
		last, all := b.Scan(length, steps, append([]*ir.Value{hidden}, statistics...), []*ir.Value{b.Reshape(entry, steps, rows, 2*n)}, false,
			func(b *ops.Builder, in ir.LoopBody) (next, outputs []*ir.Value) {
				h, moved := c.step(b, in.Carried[0], in.Stacked[0], in.Carried[1:])
				return append([]*ir.Value{h}, moved...), []*ir.Value{h}
			})
		keep(last[1:])
		out.Hidden, out.Raw = last[0], all[0]
	})
	return out
}

// newCell decides the edges of the cell and declares its weights.
func (l Language) newCell(s *Scope) *cell {
	b := s.Builder
	c := &cell{scope: s, hidden: l.Hidden, one: b.Constant(ir.T(ir.F32, 1, 1), 1), norm: l.Genotype == nil}
	if l.Genotype == nil {
		names := make([]string, 0, 5)
		for _, p := range space.RNN() {
			names = append(names, string(p))
		}
		edges := nodes * (nodes + 1) / 2
		// 1e-3·N(0,1), as the original's code.
		alphas := s.Weights.Parameter(b, ir.Variable{
			Name: Alphas, Kind: ir.Alpha, Type: ir.T(ir.F32, edges, len(names)), Init: ir.Init{Distribution: ir.Normal, Value: 1e-3},
		})
		weights, row := b.Softmax(alphas), 0
		for i := range nodes {
			d := node{weights: weights, activations: strings.Join(names, ",")}
			for j := range i + 1 {
				d.from, d.rows = append(d.from, j), append(d.rows, row)
				row++
			}
			c.nodes, c.mean = append(c.nodes, d), append(c.mean, i+1)
		}
	} else {
		for _, e := range l.Genotype.Edges {
			c.nodes = append(c.nodes, node{from: []int{e.State}, rows: []int{0}, weights: c.one, activations: string(e.Primitive)})
		}
		c.mean = l.Genotype.Concat
	}
	c.declareFans()
	return c
}

// declareFans joins the weights of the nodes that read each state.
func (c *cell) declareFans() {
	s, n := c.scope, c.hidden
	parts := make([][]*ir.Value, len(c.nodes)+1)
	c.fans = make([]fan, len(c.nodes)+1)
	for i, d := range c.nodes {
		w := s.parameter(fmt.Sprintf("rnns.0._Ws.%d", i), n, 2*n)
		for _, j := range d.from {
			c.fans[j].nodes, parts[j] = append(c.fans[j].nodes, i), append(parts[j], w)
		}
	}
	for j := range c.fans {
		if len(parts[j]) > 0 {
			c.fans[j].weights = s.Builder.Concat(1, parts[j]...)
		}
	}
}

// statistics returns the running statistics that a loop carries in the training of a supernet, and what stores them
// after it. In evaluation they are read, or not used, and nothing is carried.
func (c *cell) statistics() (carried []*ir.Value, keep func(last []*ir.Value)) {
	keep = func([]*ir.Value) {}
	if !c.norm {
		return nil, keep
	}
	b := c.scope.Builder
	var variables []*ir.Variable
	for i, name := range []string{"rnns.0.bn.running_mean", "rnns.0.bn.running_var"} {
		variables = append(variables, b.Declare(ir.Variable{Name: name, Kind: ir.Statistic, Type: ir.T(ir.F32, c.hidden), Init: ir.Init{Value: float64(i)}}))
	}
	if !c.scope.Train && !c.scope.BatchStatistics {
		c.running = []*ir.Value{b.Read(variables[0]), b.Read(variables[1])}
		return nil, keep
	}
	if c.scope.KeepStatistics || !c.scope.Train {
		return nil, keep
	}
	for _, v := range variables {
		carried = append(carried, b.Read(v))
	}
	return carried, func(last []*ir.Value) {
		for i, v := range variables {
			b.Assign(v, last[i])
		}
	}
}

// step is one step of time: from the hidden state [B,N] and the input's product [B,2N] to the new hidden state. The
// running statistics, where they are carried, are moved on by every state that is normalised.
func (c *cell) step(b *ops.Builder, h, x *ir.Value, statistics []*ir.Value) (next *ir.Value, moved []*ir.Value) {
	moved = statistics
	var states, products []*ir.Value
	add := func(s *ir.Value) {
		if c.norm {
			s, moved = c.normalize(b, s, moved)
		}
		var p *ir.Value
		if w := c.fans[len(states)].weights; w != nil {
			p = b.MatMul(c.masked(b, s), w, false, false)
		}
		states, products = append(states, s), append(products, p)
	}
	b.At("state 0", func() {
		p := b.Add(x, b.MatMul(c.masked(b, h), c.entry, false, false))
		add(b.Highway(c.one, []*ir.Value{p}, []*ir.Value{h}, ops.HighwayAttrs{Activations: "tanh", Edges: []int{0}, Blocks: []int{0}}))
	})
	for i, d := range c.nodes {
		b.At(fmt.Sprintf("state %d", i+1), func() {
			var from, by []*ir.Value
			a := ops.HighwayAttrs{Activations: d.activations, Edges: d.rows}
			for _, j := range d.from {
				from, by = append(from, states[j]), append(by, products[j])
				a.Blocks = append(a.Blocks, indexOf(c.fans[j].nodes, i))
			}
			add(b.Highway(d.weights, by, from, a))
		})
	}
	var terms []*ir.Value
	for _, i := range c.mean {
		terms = append(terms, states[i])
	}
	share := b.Constant(ir.T(ir.F32, 1), 1/float64(len(terms)))
	return b.WeightedSum(share, terms, make([]int, len(terms))), moved
}

func indexOf(list []int, v int) int {
	for i, u := range list {
		if u == v {
			return i
		}
	}
	return -1
}

func (c *cell) masked(b *ops.Builder, s *ir.Value) *ir.Value {
	if c.mask == nil {
		return s
	}
	return b.Mul(s, c.mask)
}

// normalize is BatchNorm over the rows of text, without scale and shift, as the cell of a search has it: one set of
// running statistics for all of its states.
func (c *cell) normalize(b *ops.Builder, s *ir.Value, statistics []*ir.Value) (y *ir.Value, moved []*ir.Value) {
	if c.running != nil {
		return b.BatchNorm(s, c.running[0], c.running[1], nil, normEps), statistics
	}
	rows := float64(s.Type.Shape[0])
	y, mean, variance := b.BatchNormTrain(s, nil, normEps)
	if len(statistics) == 0 {
		return y, nil
	}
	return y, []*ir.Value{
		b.Axpby(statistics[0], b.Detach(mean), 1-normMomentum, normMomentum),
		b.Axpby(statistics[1], b.Detach(variance), 1-normMomentum, normMomentum*rows/(rows-1)),
	}
}
