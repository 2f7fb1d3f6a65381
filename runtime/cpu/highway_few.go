package cpu

import "math"

// fewStates is up to how many elements of a state highway connections are worked out element by element in float64: on
// a handful of rows nothing is lost by it, and what BatchNorm over few rows makes of the last bits is not lost either.
const fewStates = 256

func (h *highway) few() bool { return h.rows*h.n <= fewStates }

// gateAt is a connection at one element, as in package ops.
type gateAt struct{ open, all, mixed, slope float64 }

func (h *highway) at(term int, gate, x float32) (g gateAt) {
	g.open = 1 / (1 + math.Exp(-float64(gate)))
	k := len(h.activations)
	for i, weight := range h.weights[h.edges[term]*k:][:k] {
		if h.activations[i] != "none" {
			w := float64(weight)
			y, slope := activate(h.activations[i], float64(x))
			g.all, g.mixed, g.slope = g.all+w, g.mixed+w*y, g.slope+w*slope
		}
	}
	return g
}

// activate returns an activation and its slope.
func activate(name string, x float64) (y, slope float64) {
	switch name {
	case "tanh":
		y = math.Tanh(x)
		return y, 1 - y*y
	case "sigmoid":
		y = 1 / (1 + math.Exp(-x))
		return y, y * (1 - y)
	case "relu":
		if !(x > 0) {
			return math.Max(x, 0), 0
		}
	}
	return x, 1
}

// each calls f for every element: its row, and its position in the row and in the state.
func (h *highway) each(f func(row, c, i int)) phase {
	return phase{1, func(int, []float32) {
		for i := range h.rows * h.n {
			f(i/h.n, i%h.n, i)
		}
	}}
}

func (h *highway) forwardFew(y []float32, products []halves, states [][]float32) task {
	return oneTask(h.each(func(row, c, i int) {
		sum := 0.0
		for t, p := range products {
			g, s := h.at(t, p.gate(row)[c], p.candidate(row)[c]), float64(states[t][i])
			sum += g.all*s + g.open*(g.mixed-g.all*s)
		}
		y[i] = float32(sum)
	}))
}

func (h *highway) productGradFew(whole tensor, grads, products []halves, s []float32, cotangents [][]float32) task {
	return oneTask(fill(whole, 0), h.each(func(row, c, i int) {
		for t, p := range products {
			g, d := h.at(t, p.gate(row)[c], p.candidate(row)[c]), float64(cotangents[t][i])
			grads[t].gate(row)[c] = float32(d * g.open * (1 - g.open) * (g.mixed - g.all*float64(s[i])))
			grads[t].candidate(row)[c] = float32(d * g.open * g.slope)
		}
	}))
}

func (h *highway) stateGradFew(ds []float32, products []halves, cotangents [][]float32) task {
	return oneTask(h.each(func(row, c, i int) {
		sum := 0.0
		for t, p := range products {
			g := h.at(t, p.gate(row)[c], 0)
			sum += float64(cotangents[t][i]) * g.all * (1 - g.open)
		}
		ds[i] = float32(sum)
	}))
}

func (h *highway) weightSumsFew(sums []float64, gate, x, s, g []float32) {
	for c, x := range x {
		open, state := 1/(1+math.Exp(-float64(gate[c]))), float64(s[c])
		for k, name := range h.activations {
			if name != "none" {
				y, _ := activate(name, float64(x))
				sums[k] += float64(g[c]) * (state + open*(y-state))
			}
		}
	}
}
