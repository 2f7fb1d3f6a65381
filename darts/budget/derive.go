package budget

import (
	"fmt"
	"math"

	"github.com/dartsc/dartsc/darts/space"
)

// Limit is what a derived network may cost in a form; zero bounds nothing.
type Limit struct {
	Form         Form
	Parameters   int
	MultiplyAdds int64
}

// Bounds tells whether there is anything to keep to.
func (l Limit) Bounds() bool { return l.Parameters > 0 || l.MultiplyAdds > 0 }

func (l Limit) allows(c Cost) bool {
	return (l.Parameters <= 0 || c.Parameters <= l.Parameters) && (l.MultiplyAdds <= 0 || c.MultiplyAdds <= l.MultiplyAdds)
}

// share is a cost in units of the limit.
func (l Limit) share(c Cost) (share float64) {
	if l.Parameters > 0 {
		share += float64(c.Parameters) / float64(l.Parameters)
	}
	if l.MultiplyAdds > 0 {
		share += float64(c.MultiplyAdds) / float64(l.MultiplyAdds)
	}
	return share
}

// Check is an error if no cell keeps to the limit.
func (l Limit) Check() error {
	if !l.Bounds() {
		return nil
	}
	least, err := Of(l.Form, pools())
	if err != nil || l.allows(least) {
		return err
	}
	return fmt.Errorf("--max-params and --max-flops: no cell keeps to them: in the %s form, one of poolings alone has %d parameters and %d multiply-adds",
		l.Form.Name, least.Parameters, least.MultiplyAdds)
}

// Derived is a genotype, and its cost where that is limited.
type Derived struct {
	Genotype space.Genotype
	Cost     Cost
	// Penalty is what every operation's alpha was lowered by for each share of the limit that the operation takes, in
	// nats. It is 0 where the alphas' own genotype keeps to the limit.
	Penalty float64
}

// Derive returns the genotype of alphas, as space.Derive does, if its network keeps to the limit. Otherwise operations
// are penalised by their cost, evenly over all edges, and by no more than it takes: alpha - penalty·cost is an operation's
// probability times exp(-penalty·cost), so what the search is sure of outlasts what it is undecided about.
func (l Limit) Derive(normal, reduce [][]float64) (Derived, error) {
	if !l.Bounds() {
		g, err := space.Derive(normal, reduce)
		return Derived{Genotype: g}, err
	}
	free, err := l.penalised(normal, reduce, nil, 0)
	if err != nil || l.allows(free.Cost) {
		return free, err
	}
	if err := l.Check(); err != nil {
		return Derived{}, err
	}
	costs, err := l.operations()
	if err != nil {
		return Derived{}, err
	}
	// The first power of two that is enough, then bisection.
	low, high := 0.0, 1.0
	best, err := l.penalised(normal, reduce, costs, high)
	for ; err == nil && !l.allows(best.Cost); best, err = l.penalised(normal, reduce, costs, high) {
		if low, high = high, 2*high; math.IsInf(high, 0) {
			return Derived{}, fmt.Errorf("no penalty brings the genotype below --max-params and --max-flops")
		}
	}
	const rounds = 30
	for range rounds {
		if err != nil {
			return Derived{}, err
		}
		middle := (low + high) / 2
		var d Derived
		if d, err = l.penalised(normal, reduce, costs, middle); l.allows(d.Cost) {
			best, high = d, middle
		} else {
			low = middle
		}
	}
	return best, err
}

// penalised derives from alphas that are lowered by penalty times the cost of their operations.
func (l Limit) penalised(normal, reduce [][]float64, costs map[place][]float64, penalty float64) (Derived, error) {
	lowered := func(alphas [][]float64, reduction bool) [][]float64 {
		if costs == nil {
			return alphas
		}
		out := make([][]float64, len(alphas))
		state, states := 0, space.InputStates
		for i, row := range alphas {
			out[i] = make([]float64, len(row))
			for column, alpha := range row {
				out[i][column] = alpha - penalty*costs[placeOf(reduction, state)][column]
			}
			if state++; state == states {
				state, states = 0, states+1
			}
		}
		return out
	}
	g, err := space.Derive(lowered(normal, false), lowered(reduce, true))
	if err != nil {
		return Derived{}, err
	}
	cost, err := Of(l.Form, g)
	return Derived{g, cost, penalty}, err
}

// place is where in a network an operation costs the same.
type place int

const (
	inNormal    place = iota
	inReduction       // from one of the cell's own states
	intoReduced       // from an input of the cell: with stride 2
)

func placeOf(reduction bool, state int) place {
	switch {
	case !reduction:
		return inNormal
	case state < space.InputStates:
		return intoReduced
	}
	return inReduction
}

// operations is what each primitive takes of the limit in each place: the difference that it makes to a network.
func (l Limit) operations() (map[place][]float64, error) {
	base, err := Of(l.Form, pools())
	if err != nil {
		return nil, err
	}
	costs := map[place][]float64{}
	for where, edge := range map[place]func(*space.Genotype) *space.Edge{
		inNormal:    func(g *space.Genotype) *space.Edge { return &g.Normal[0] },
		intoReduced: func(g *space.Genotype) *space.Edge { return &g.Reduce[0] },
		inReduction: func(g *space.Genotype) *space.Edge { return &g.Reduce[3] },
	} {
		for _, primitive := range space.CNN() {
			if primitive == space.None {
				costs[where] = append(costs[where], 0)
				continue
			}
			g := pools()
			edge(&g).Primitive = primitive
			c, err := Of(l.Form, g)
			if err != nil {
				return nil, err
			}
			costs[where] = append(costs[where], l.share(Cost{c.Parameters - base.Parameters, c.MultiplyAdds - base.MultiplyAdds}))
		}
	}
	return costs, nil
}

// pools is a genotype of the cheapest operations, with four nodes as those that are searched.
func pools() space.Genotype {
	var edges []space.Edge
	var concat []int
	const nodes = 4
	for node := range nodes {
		edges = append(edges, space.Edge{Primitive: space.MaxPool3x3, State: 0}, space.Edge{Primitive: space.MaxPool3x3, State: node + 1})
		concat = append(concat, space.InputStates+node)
	}
	g := space.Genotype{Normal: edges, NormalConcat: concat, Reduce: edges, ReduceConcat: concat}
	return g.Clone()
}
