package cpu

import (
	"fmt"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Horizontal launches of two separable convolutions with other kernels, on one state, and of their ways back, of which the
// second adds to the result of the first; once with images cut into rows of other numbers, so that they have different
// units.
func init() {
	// Without a prologue and with negative pads, both read the images where they are.
	inside := separableCase{convCase{9, 6, 9, 7, 6, 3, 3, attrs(1, -1, 1, 6)}, 6}
	further := separableCase{convCase{9, 6, 9, 7, 6, 3, 3, attrs(1, -2, 1, 6)}, 6}
	kernelCases = append(kernelCases, horizontalForward(inside.forward(prologueCase{}, true, false), further.forward(prologueCase{}, true, false)))
	for _, n := range []int{1, 3, 9} {
		small := separableCase{convCase{n, 6, 9, 7, 6, 3, 3, attrs(1, 1, 1, 6)}, 6}
		large := separableCase{convCase{n, 6, 9, 7, 6, 5, 5, attrs(1, 4, 2, 6)}, 6}
		for _, weighted := range []bool{false, true} {
			first := wayBack{normalized: true, weights: weighted, accumulate: weighted}
			second := wayBack{normalized: true, scaled: true, accumulate: true, weights: weighted, mask: true}
			kernelCases = append(kernelCases,
				horizontalForward(small.forward(prologues[0], weighted, false), large.forward(prologues[0], true, true)),
				horizontalBack(small.back(prologues[0], first), large.back(prologues[0], second), small, first, second))
		}
	}
}

// members gathers the parameters of launches; places are the lists of operands and results of each.
func members(kernel string, places [][2][]int, cases ...kernelCase) plan.Params {
	params := plan.Params{"kernel": kernel, "members": len(cases)}
	for i, c := range cases {
		for name, v := range c.params {
			params[fmt.Sprint(i, ".", name)] = v
		}
		params[fmt.Sprint(i, ".operands")], params[fmt.Sprint(i, ".results")] = places[i][0], places[i][1]
	}
	return params
}

// upTo are the numbers [from, to).
func upTo(from, to int) (list []int) {
	for i := from; i < to; i++ {
		list = append(list, i)
	}
	return list
}

// horizontalForward joins two convolutions that read the same operand 0.
func horizontalForward(a, b kernelCase) kernelCase {
	n, m := len(a.operands), len(b.operands)
	results := 3
	if len(a.build(ops.NewBuilder(ir.NewModule("count"), "main"), nilOperands(a))) == 1 {
		results = 1
	}
	all := n + m - 1
	places := [][2][]int{{upTo(0, n), upTo(all, all+results)}, {append([]int{0}, upTo(n, all)...), upTo(all+results, all+results+3)}}
	return kernelCase{
		kernel: "horizontal", name: a.name + "_and_" + b.name, operands: append(append([]operand(nil), a.operands...), b.operands[1:]...),
		params: members("separable", places, a, b), tolerance: 5e-5,
		build: func(builder *ops.Builder, in []*ir.Value) []*ir.Value {
			return append(a.build(builder, in[:n]), b.build(builder, append(in[:1:1], in[n:]...))...)
		},
	}
}

// nilOperands declares the operands of a case, to see how many results it has.
func nilOperands(c kernelCase) []*ir.Value {
	b := ops.NewBuilder(ir.NewModule("operands"), "main")
	var values []*ir.Value
	for i, o := range c.operands {
		values = append(values, b.Input(fmt.Sprint("in", i), o.Type))
	}
	return values
}

// horizontalBack joins two ways back; the second one's sum, which all the operands but it follow, is the first one's result.
func horizontalBack(a, b kernelCase, c separableCase, first, second wayBack) kernelCase {
	n := len(a.operands)
	sum := len(b.operands) - 1 // there is no statistic behind it
	operands := append(append([]operand(nil), a.operands...), b.operands[:sum]...)
	all := len(operands)
	places := [][2][]int{{upTo(0, n), []int{all}}, {append(upTo(n, all), all), []int{all}}}
	orders := map[int]plan.Layout{}
	if first.weights {
		places[0][1], places[1][1] = append(places[0][1], all+1, all+2), append(places[1][1], all+3, all+4)
		for i := 1; i <= 4; i++ {
			orders[i] = outputsLast
		}
	}
	var inPlace []int
	if first.accumulate {
		inPlace = []int{n - 1}
	}
	return kernelCase{
		kernel: "horizontal", name: fmt.Sprintf("back_%s_%v", c.name(prologues[0]), first.weights), operands: operands, orders: orders, inPlace: inPlace,
		params: members("separable_grad", places, a, b), tolerance: 2e-5,
		build: func(builder *ops.Builder, in []*ir.Value) []*ir.Value {
			one := a.build(builder, in[:n])
			two := b.build(builder, append(append([]*ir.Value(nil), in[n:]...), one[0]))
			return append(append(two[:1:1], one[1:]...), two[1:]...)
		},
	}
}
