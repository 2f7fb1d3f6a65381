package cpu

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
)

// The layouts that kernels know besides row-major; see plan.Layout.
var (
	channelsLast = plan.Layout{0, 2, 3, 1} // activations [N,C,H,W]: memory [N][H][W][C]
	outputsLast  = plan.Layout{2, 3, 1, 0} // weights of a convolution [O,I,KH,KW]: memory [KH][KW][I][O]
)

// checker reads a launch and remembers the first thing that is wrong with it, so that a binder is a plain list of what
// it needs with one look at err at the end. Its methods never panic: after an error they return zero values, whose
// shapes are empty, so look at err before using them.
//
// What holds for every bound tensor, and needs no check: a valid type, positive dimensions, an order that is a
// permutation, and exactly as many elements in the slice of its type as the shape says.
type checker struct {
	*launch
	err error
}

// check starts the checks of a launch that has least to most operands and the given number of results.
func check(l *launch, least, most, results int) *checker {
	c := &checker{launch: l}
	if n := len(l.in); n < least || n > most {
		c.failf("has %d operands, wants %s", n, between(least, most))
	}
	if n := len(l.out); n != results {
		c.failf("has %d results, wants %d", n, results)
	}
	return c
}

// anyNumber is for launches with as many operands as they like.
const anyNumber = int(^uint(0) >> 1)

func between(least, most int) string {
	switch {
	case least == most:
		return fmt.Sprint(least)
	case most == anyNumber:
		return fmt.Sprintf("at least %d", least)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

// failf records an error unless there is one.
func (c *checker) failf(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// operand returns operand i, which must have the type.
func (c *checker) operand(i int, dtype plan.DType) tensor { return c.tensor(c.in, i, dtype) }

// result returns result i, which must have the type.
func (c *checker) result(i int, dtype plan.DType) tensor { return c.tensor(c.out, i, dtype) }

func (c *checker) tensor(list []tensor, i int, dtype plan.DType) tensor {
	if i >= len(list) {
		c.failf("tensor %d is missing", i)
		return tensor{}
	}
	if t := list[i]; t.DType == dtype {
		return t
	}
	c.failf("%s is %s%v, wants %s", list[i].name, list[i].DType, list[i].Shape, dtype)
	return tensor{}
}

// scalar returns operand i, which must have one element of the type.
func (c *checker) scalar(i int, dtype plan.DType) tensor {
	t := c.operand(i, dtype)
	if c.err == nil && t.Elements() != 1 {
		c.failf("%s has shape %v, wants a scalar", t.name, t.Shape)
	}
	return t
}

// rank requires a number of dimensions.
func (c *checker) rank(t tensor, rank int) {
	if c.err == nil && len(t.Shape) != rank {
		c.failf("%s has shape %v, wants %d dimensions", t.name, t.Shape, rank)
	}
}

// shape requires exactly these dimensions.
func (c *checker) shape(t tensor, want ...int) {
	if c.err == nil && !slices.Equal(t.Shape, want) {
		c.failf("%s has shape %v, wants %v", t.name, t.Shape, want)
	}
}

// layout requires an order in memory; nil is row-major.
func (c *checker) layout(t tensor, order plan.Layout) {
	if c.err == nil && !sameOrder(t.Order, order, len(t.Shape)) {
		c.failf("%s has layout %v, wants %v", t.name, t.Order, order)
	}
}

// like requires that t has the type, shape and layout of the model.
func (c *checker) like(t, model tensor) {
	if c.err == nil && t.DType != model.DType {
		c.failf("%s is %s, wants %s", t.name, t.DType, model.DType)
	}
	c.shape(t, model.Shape...)
	c.layout(t, model.Order)
}

// image requires a float32 activation [N,C,H,W], channels last.
func (c *checker) image(t tensor) {
	c.rank(t, 4)
	c.layout(t, channelsLast)
}

// vector requires one element for each of n channels.
func (c *checker) vector(t tensor, n int) { c.shape(t, n) }

// intParam returns a parameter, which must be present.
func (c *checker) intParam(name string) int { return param[int](c, name, "an integer") }

// floatParam returns a parameter, which must be present.
func (c *checker) floatParam(name string) float64 { return param[float64](c, name, "a number") }

// boolParam returns a parameter, which must be present.
func (c *checker) boolParam(name string) bool { return param[bool](c, name, "true or false") }

// intsParam returns a parameter, which must be present.
func (c *checker) intsParam(name string) []int { return param[[]int](c, name, "a list of integers") }

// floatsParam returns a parameter, which must be present.
func (c *checker) floatsParam(name string) []float64 {
	return param[[]float64](c, name, "a list of numbers")
}

// intsOf returns a parameter of n integers, each in [least, most].
func (c *checker) intsOf(name string, n, least, most int) []int {
	v := c.intsParam(name)
	if c.err == nil && len(v) != n {
		c.failf("parameter %s is %v, wants %d integers", name, v, n)
	}
	for _, x := range v {
		if c.err == nil && (x < least || x > most) {
			c.failf("parameter %s is %v, wants integers from %d to %d", name, v, least, most)
		}
	}
	if c.err != nil {
		return make([]int, n)
	}
	return v
}

func param[T any](c *checker, name, want string) T {
	v, ok := c.Params[name].(T)
	if !ok && c.Params[name] == nil {
		c.failf("parameter %s is missing, wants %s", name, want)
	} else if !ok {
		c.failf("parameter %s is %T, wants %s", name, c.Params[name], want)
	}
	return v
}

// optional returns a parameter that may be absent.
func optional[T any](c *checker, name string, otherwise T, want string) T {
	if c.Params[name] == nil {
		return otherwise
	}
	return param[T](c, name, want)
}

// sameOrder compares layouts of tensors of one rank; nil is the identity.
func sameOrder(a, b plan.Layout, rank int) bool {
	for i := range rank {
		x, y := i, i
		if a != nil {
			x = a[i]
		}
		if b != nil {
			if i >= len(b) {
				return false
			}
			y = b[i]
		}
		if x != y {
			return false
		}
	}
	return true
}

// blockElements is the smallest number of elements that is worth a part of its own.
const blockElements = 4096

// partsOf divides n elements into parts of at least blockElements, at most maxParts of them. It depends on n alone.
func partsOf(n int) int { return max(1, min(n/blockElements, maxParts)) }

// maxParts bounds the parts of a phase whose parts keep partial sums: few enough to add them cheaply, enough for many
// workers.
const maxParts = 32

// span returns the elements [from, to) of part i of n elements in so many parts.
func span(i, parts, n int) (from, to int) { return i * n / parts, (i + 1) * n / parts }
