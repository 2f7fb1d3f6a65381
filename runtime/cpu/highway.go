package cpu

import "math"

// Portable highway connections, element by element in float64.

// fewStates is up to how many elements of a state these are used on every processor: nothing is lost by it, and what
// BatchNorm over few rows makes of the last bits is not lost either.
const fewStates = 256

// loops is the set of loops for so many states.
func (h *highway) loops() *vector {
	if h.rows*h.n <= fewStates {
		return &portable
	}
	return &vec
}

// gateAt is a connection at one element, as in package ops.
type gateAt struct{ open, mixed, slope float64 }

func (m *gateMixture) at(gate, x float32) gateAt {
	g := gateAt{open: sigmoid(float64(gate))}
	for i, w := range m.exact {
		if i > mixAll && w != 0 {
			y, slope := activate(i, float64(x))
			g.mixed, g.slope = g.mixed+w*y, g.slope+w*slope
		}
	}
	return g
}

// activate returns an activation, by its place in a mixture, and its slope.
func activate(at int, x float64) (y, slope float64) {
	switch at {
	case mixTanh:
		y = math.Tanh(x)
		return y, 1 - y*y
	case mixSigmoid:
		y = sigmoid(x)
		return y, y * (1 - y)
	case mixRelu:
		if !(x > 0) {
			return math.Max(x, 0), 0
		}
	}
	return x, 1
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func highwayRow(y, gate, x, state []float32, m *gateMixture) {
	for i := range y {
		g, kept := m.at(gate[i], x[i]), m.exact[mixAll]*float64(state[i])
		y[i] += float32(kept + g.open*(g.mixed-kept))
	}
}

func highwayProductGradRow(dGate, dX, gate, x, state, g []float32, m *gateMixture) {
	for i := range dGate {
		at, d := m.at(gate[i], x[i]), float64(g[i])
		dGate[i] = float32(d * at.open * (1 - at.open) * (at.mixed - m.exact[mixAll]*float64(state[i])))
		dX[i] = float32(d * at.open * at.slope)
	}
}

func highwayStateGradRow(y, gate, g []float32, m *gateMixture) {
	for i := range y {
		y[i] += float32(float64(g[i]) * m.exact[mixAll] * (1 - sigmoid(float64(gate[i]))))
	}
}

func highwayWeightGradRow(sums []float64, gate, x, state, g []float32) {
	for i, d := range g {
		open := sigmoid(float64(gate[i]))
		sums[mixAll] += float64(d) * (1 - open) * float64(state[i])
		for at := mixTanh; at <= mixIdentity; at++ {
			y, _ := activate(at, float64(x[i]))
			sums[at] += float64(d) * open * y
		}
	}
}
