package emulation_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// recurrentCases are the operations of language models: words, masks, and highway connections with random blocks.
func recurrentCases() (list []kernelCase) {
	number := ir.T(ir.I64)
	for _, s := range [][2]int{{5, 7}, {70, 12}, {300, 33}} {
		words, n := s[0], s[1]
		list = append(list,
			kernelCase{name: fmt.Sprint("embedding ", s), in: []ir.Type{ir.T(ir.I32, words, 2), f32(7, n), f32(words, 2, n)}, fill: fills{0: word}, build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				return []*ir.Value{b.Embedding(in[0], in[1]), b.EmbeddingGrad(in[2], in[0], 7), b.EmbeddingGrad(in[2], in[0], 3000)}
			}},
			kernelCase{name: fmt.Sprint("mask ", s), in: []ir.Type{number, number, f32(9, words, n), number}, fill: fills{0: whole(1 << 20), 1: whole(99), 3: whole(10)}, build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				return []*ir.Value{b.DropoutMask(f32(words, n), 0.3, in[0], in[1], 4), b.MaskSteps(in[2], in[3])}
			}},
		)
	}
	for _, s := range [][2]int{{2, 5}, {40, 12}, {600, 7}} {
		list = append(list, cellCase(s[0], s[1]))
	}
	r := rand.New(rand.NewPCG(5, 6))
	for _, activations := range []string{"none,tanh,relu,sigmoid,identity", "relu", "identity,tanh"} {
		for range 3 {
			list = append(list, highwayCase(r, activations))
		}
	}
	return list
}

// highwayCase is a node of some terms, out of products with more blocks than it reads, and its gradients; those of the
// product of which all terms are blocks too.
func highwayCase(r *rand.Rand, names string) kernelCase {
	columns := 1
	for _, c := range names {
		if c == ',' {
			columns++
		}
	}
	rows, n, terms, edges := 1+r.IntN(40), 1+r.IntN(90), 1+r.IntN(5), 9
	state, all := f32(rows, n), f32(rows, 2*n*(terms+1))
	in := []ir.Type{f32(edges, columns), all, state}
	a, of := ops.HighwayAttrs{Activations: names}, ops.HighwayAttrs{Activations: names}
	for t := range terms {
		blocks := 1 + r.IntN(3)
		in = append(in, f32(rows, 2*n*blocks), state)
		a.Edges, a.Blocks = append(a.Edges, (t*4+1)%edges), append(a.Blocks, r.IntN(blocks))
		of.Edges, of.Blocks = append(of.Edges, r.IntN(edges)), append(of.Blocks, (t+1)%(terms+1))
	}
	return kernelCase{name: fmt.Sprint("highway ", rows, n, terms, names), in: in, tolerance: 5e-6, build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
		var products, states []*ir.Value
		for i := 3; i < len(in); i += 2 {
			products, states = append(products, in[i]), append(states, in[i+1])
		}
		shifted := of
		shifted.Edges = append([]int{edges - 1}, of.Edges[1:]...)
		return []*ir.Value{
			b.Highway(in[0], products, states, a), b.HighwayWeightGrad(in[2], products, states, []int{edges, columns}, a),
			b.HighwayProductGrad(in[0], in[1], in[2], states, of), b.HighwayStateGrad(in[0], in[1], states, of), // one launch
			b.HighwayProductGrad(in[0], in[1], states[0], states, shifted), // one alone
		}
	}}
}

// cellCase are a node that is normalised and masked, and a tree whose gradient goes back through the normalisation: one launch
// each; then others that are not, for something else reads what is between.
func cellCase(rows, n int) kernelCase {
	state, row := f32(rows, n), f32(n)
	one := ops.HighwayAttrs{Activations: "tanh,relu", Edges: []int{1}, Blocks: []int{0}}
	in := []ir.Type{f32(3, 2), f32(rows, 2*n), state, state, state, row, f32()}
	return kernelCase{name: fmt.Sprint("cell ", rows, n), in: in, fill: fills{5: between(0.2, 3)}, tolerance: 5e-6, build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
		node := func(edge int) *ir.Value {
			a := one
			a.Edges = []int{edge}
			return b.Highway(in[0], in[1:2], in[2:3], a)
		}
		y := node(0)
		mean, variance := b.BatchStats(y)
		normed := b.BatchNorm(y, mean, variance, nil, 1e-5)
		plain := node(1)
		m, v := b.BatchStats(plain)
		back := func(g *ir.Value) []*ir.Value {
			sum, along := b.BatchNormSums(g, in[4], in[5], in[5], 1e-5)
			return []*ir.Value{b.BatchNormInputGrad(g, in[4], in[5], in[5], sum, along, nil, 1e-5)}
		}
		g := b.Mul(b.Add(in[2], in[6]), in[3])
		shared := b.Add(in[2], in[3])
		return append(append(append([]*ir.Value{y, mean, variance, normed, b.Mul(in[3], normed), m, v, b.BatchNorm(plain, m, v, nil, 1e-3)}, back(g)...), append(back(shared), shared)...), back(in[3])...)
	}}
}

// word is the number of one of seven words or images, or of one that is not there.
func word(r *rand.Rand) float64 { return float64(r.IntN(9) - 1) }
