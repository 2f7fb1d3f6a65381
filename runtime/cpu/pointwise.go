package cpu

import "math"

// pointwiseOp is one operation of an elementwise chain on a row: dst[i] = f(x[i], y[i]) with constants a and b. The rows
// have one length; dst may be x or y, and y is x where there is one argument.
type pointwiseOp struct {
	args, constants int
	run             rowFunc // nil: a constant
}

type rowFunc func(dst, x, y []float32, a, b float32)

var pointwise = map[string]pointwiseOp{
	"neg":       {1, 0, negRow},
	"exp":       {1, 0, expRow},
	"log":       {1, 0, logRow},
	"sqrt":      {1, 0, sqrtRow},
	"tanh":      {1, 0, tanhRow},
	"sigmoid":   {1, 0, sigmoidRow},
	"relu":      {1, 0, reluRow},
	"add":       {2, 0, addRow},
	"sub":       {2, 0, subRow},
	"mul":       {2, 0, mulRow},
	"div":       {2, 0, divRow},
	"relu_grad": {2, 0, reluGradRow},
	"axpby":     {2, 2, axpbyRow},
	"constant":  {0, 1, nil},
}

// pointwiseRow returns the fastest loop of an operation.
func pointwiseRow(op string) rowFunc {
	if fast := vec.rows[op]; fast != nil {
		return fast
	}
	return pointwise[op].run
}

func copyRow(dst, x, _ []float32, _, _ float32) { copy(dst, x) }

func negRow(dst, x, _ []float32, _, _ float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = -x[i]
	}
}

// expRow computes exp(x + a), for which elementwise chains have a = 0.
func expRow(dst, x, _ []float32, a, _ float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = float32(math.Exp(float64(x[i] + a)))
	}
}

func logRow(dst, x, _ []float32, _, _ float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = float32(math.Log(float64(x[i])))
	}
}

func sqrtRow(dst, x, _ []float32, _, _ float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = float32(math.Sqrt(float64(x[i])))
	}
}

func tanhRow(dst, x, _ []float32, _, _ float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = float32(math.Tanh(float64(x[i])))
	}
}

func sigmoidRow(dst, x, _ []float32, _, _ float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = float32(1 / (1 + math.Exp(-float64(x[i]))))
	}
}

func reluRow(dst, x, _ []float32, _, _ float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = max(x[i], 0)
	}
}

func addRow(dst, x, y []float32, _, _ float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] = x[i] + y[i]
	}
}

func subRow(dst, x, y []float32, _, _ float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] = x[i] - y[i]
	}
}

func mulRow(dst, x, y []float32, _, _ float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] = x[i] * y[i]
	}
}

func divRow(dst, x, y []float32, _, _ float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] = x[i] / y[i]
	}
}

// reluGradRow selects bits rather than numbers: the compiler turns that into a conditional move, where a branch on
// random signs would be mispredicted half of the time.
func reluGradRow(dst, g, x []float32, _, _ float32) {
	g, x = g[:len(dst)], x[:len(dst)]
	for i := range dst {
		bits, kept := uint32(0), math.Float32bits(g[i])
		if x[i] > 0 {
			bits = kept
		}
		dst[i] = math.Float32frombits(bits)
	}
}

func axpbyRow(dst, x, y []float32, a, b float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] = a*x[i] + b*y[i]
	}
}
