package space

import (
	"fmt"
	"math"
	"slices"
)

// Derive returns the genotype that the alphas of a search stand for. Alphas have a row for each edge of the supernet's
// cell, node by node (2 rows into node 0, 3 into node 1, ...), and a column for each primitive of CNN.
//
// It follows the original, ties included: rows are softmaxed; into each node the two edges stay whose best primitive
// other than none weighs most, heavier first and, of equals, the one from the earlier state first; each keeps that
// primitive, of equals the first. All nodes are concatenated.
func Derive(alphasNormal, alphasReduce [][]float64) (Genotype, error) {
	normal, normalConcat, err := convolutionalCell.derive("normal alphas", alphasNormal)
	if err != nil {
		return Genotype{}, err
	}
	reduce, reduceConcat, err := convolutionalCell.derive("reduce alphas", alphasReduce)
	if err != nil {
		return Genotype{}, err
	}
	return Genotype{Normal: normal, NormalConcat: normalConcat, Reduce: reduce, ReduceConcat: reduceConcat}, nil
}

// candidate is an edge of the supernet with the primitive that it would keep.
type candidate struct {
	edge   Edge
	weight float64
}

func (r rules) derive(name string, alphas [][]float64) (edges []Edge, concat []int, err error) {
	nodes, err := r.checkAlphas(name, alphas)
	if err != nil {
		return nil, nil, err
	}
	for node := range nodes {
		states := r.inputStates + node
		candidates := make([]candidate, states)
		for state, row := range alphas[:states] {
			candidates[state] = r.strongest(state, row)
		}
		alphas = alphas[states:]
		slices.SortStableFunc(candidates, func(a, b candidate) int {
			switch {
			case a.weight > b.weight:
				return -1
			case a.weight < b.weight:
				return 1
			}
			return 0
		})
		for _, c := range candidates[:r.edgesPerNode] {
			edges = append(edges, c.edge)
		}
		concat = append(concat, states)
	}
	return edges, concat, nil
}

// strongest compares softmaxed weights rather than alphas, since edges compete with each other after the softmax, and
// since two alphas may be told apart that have the same weight, which the original takes for a tie.
func (r rules) strongest(state int, alphas []float64) candidate {
	best := candidate{weight: -1}
	for column, weight := range softmax(alphas) {
		if primitive := r.searched[column]; primitive != None && weight > best.weight {
			best = candidate{Edge{primitive, state}, weight}
		}
	}
	return best
}

// checkAlphas returns the number of nodes that the rows belong to.
func (r rules) checkAlphas(name string, alphas [][]float64) (nodes int, err error) {
	rows := 0
	for rows < len(alphas) {
		rows += r.inputStates + nodes
		nodes++
	}
	if rows != len(alphas) || rows == 0 {
		return 0, fmt.Errorf("derive: %s have %d rows: want %d+%d+... one for each edge", name, len(alphas), r.inputStates, r.inputStates+1)
	}
	for i, row := range alphas {
		if len(row) != len(r.searched) {
			return 0, fmt.Errorf("derive: %s row %d has %d columns: want %d, one for each primitive", name, i, len(row), len(r.searched))
		}
		for column, alpha := range row {
			if math.IsNaN(alpha) || math.IsInf(alpha, 0) {
				return 0, fmt.Errorf("derive: %s row %d (%s) is %v: want a finite number", name, i, r.searched[column], alpha)
			}
		}
	}
	return nodes, nil
}

func softmax(row []float64) []float64 {
	highest := math.Inf(-1)
	for _, x := range row {
		highest = max(highest, x)
	}
	weights := make([]float64, len(row))
	sum := 0.0
	for i, x := range row {
		weights[i] = math.Exp(x - highest)
		sum += weights[i]
	}
	for i := range weights {
		weights[i] /= sum
	}
	return weights
}

// SkipConnects counts the skip connections of a cell. A search that collapses shows it by a growing count.
func SkipConnects(edges []Edge) int {
	count := 0
	for _, edge := range edges {
		if edge.Primitive == SkipConnect {
			count++
		}
	}
	return count
}

// Entropy returns how undecided the alphas of a cell are: the mean over its edges of the entropy of the softmaxed row,
// in nats. It begins near the logarithm of the number of primitives (ln 8 = 2.079, in a recurrent cell ln 5 = 1.609)
// and falls as the search decides. No rows have no entropy.
func Entropy(alphas [][]float64) float64 {
	if len(alphas) == 0 {
		return 0
	}
	total := 0.0
	for _, row := range alphas {
		for _, p := range softmax(row) {
			if p > 0 { // the limit of p ln p is 0, its float value NaN
				total -= p * math.Log(p)
			}
		}
	}
	return total / float64(len(alphas))
}
