package cuda

import (
	"github.com/dartsc/dartsc/compiler/lower"
	"github.com/dartsc/dartsc/compiler/plan"
)

const (
	threads         = 256                 // of every block; see kernels/common.cuh
	multiprocessors = 132                 // of an H100 or H200, which work is divided for
	mostBlocks      = 8 * multiprocessors // of a launch whose threads loop: what fills multiprocessors of 2048 threads
)

// call is a launch in the making. Fields of the kernel's struct are its arguments: in and out are called in their order.
type call struct {
	*specialisation
	l         *lowering
	template  string
	launch    lower.Launch
	arguments []plan.Argument
	blocks    int
	shared    int
	counters  int
	resident  int    // see function
	tiles     int    // see function
	groups    int    // see function
	few       int    // see function
	alone     bool   // how many blocks there are is not a matter of the specialisation
	family    string // see function
}

// call begins a launch of a kernel template. Kernel is what plans and profiles call it.
func (l *lowering) call(kernel, template string) *call {
	c := &call{specialisation: &specialisation{}, l: l, template: template, blocks: 1, resident: 1}
	c.launch.Kernel = kernel
	if l.at != nil {
		c.launch.Phase, c.launch.Scope = l.at.Phase, l.at.Scope
	}
	return c
}

// in adds operands; it returns the position of the first.
func (c *call) in(tensors ...int) int {
	first := len(c.launch.Operands)
	for _, t := range tensors {
		c.arguments = append(c.arguments, plan.Argument{Kind: plan.OperandArgument, Index: len(c.launch.Operands)})
		c.launch.Operands = append(c.launch.Operands, t)
	}
	return first
}

// none fills arguments that the specialisation does not look at.
func (c *call) none(n int) {
	kind := plan.OperandArgument
	if len(c.launch.Operands) == 0 {
		kind = plan.ResultArgument
	}
	for range n {
		c.arguments = append(c.arguments, plan.Argument{Kind: kind})
	}
}

// optional adds the tensors, or fills so many arguments where there are none.
func (c *call) optional(n int, tensors ...int) {
	c.in(tensors...)
	c.none(n - len(tensors))
}

// out adds results; it returns the position of the first.
func (c *call) out(tensors ...int) int {
	first := len(c.launch.Results)
	for _, t := range tensors {
		c.arguments = append(c.arguments, plan.Argument{Kind: plan.ResultArgument, Index: len(c.launch.Results)})
		c.launch.Results = append(c.launch.Results, t)
	}
	return first
}

// inPlace lets a result lie where operands are.
func (c *call) inPlace(result int, operands ...int) {
	for _, o := range operands {
		c.launch.InPlace = append(c.launch.InPlace, lower.Alias{Operand: o, Result: result})
	}
}

// integers adds numbers that are arguments, not constants of the specialisation; they follow all addresses.
func (c *call) integers(list ...int) {
	for _, v := range list {
		c.arguments = append(c.arguments, plan.Argument{Kind: plan.Int32Argument, Integer: int64(v)})
	}
}

// image is the type that a tensor has in memory, and all images of the launch with it.
func (c *call) image(t int) { c.typename("Image", c.l.dtype(t)) }

// elements divides work on so many elements, V at a time, among threads that loop: fields size, V and blocks.
func (c *call) elements(n, v int) {
	c.int("size", n)
	c.int("V", v)
	c.loop(ceiling(n, v))
}

// loop gives as many threads as there are items of work, up to what fills a device; each takes further items in turn.
func (c *call) loop(items int) {
	c.blocks = max(1, min(ceiling(items, threads), mostBlocks))
	c.int("blocks", c.blocks)
}

// emit appends the launch; join gives it its function.
func (c *call) emit() {
	f := c.l.target.code.add(c.specialisation, function{
		template: c.template, joins: !c.alone, family: c.family, resident: c.resident, tiles: c.tiles, groups: c.groups, few: c.few, counters: c.counters,
	})
	if c.counters > 0 {
		c.integers(0) // join knows the number
	}
	if c.tiles > 0 {
		c.integers(0) // and this one
	}
	c.launch.Device = &plan.DeviceLaunch{
		Grid: [3]int{c.blocks, 1, 1}, Block: [3]int{threads, 1, 1}, SharedBytes: c.shared, Arguments: c.arguments,
	}
	if c.launch.Kernel != lower.Copy && c.launch.Kernel != "fill" {
		c.launch.FLOPs, c.l.flops = c.l.flops, 0
	}
	c.launch.Bytes = c.l.bytes(&c.launch)
	c.l.append(c.launch, f)
}

// append adds a launch of a function; that of a loop has none.
func (l *lowering) append(launch lower.Launch, f function) {
	l.out.Launches, l.functions = append(l.out.Launches, launch), append(l.functions, f)
}

func ceiling(a, b int) int { return (a + b - 1) / b }

// pack is how many neighbouring elements a thread takes at once: rows of this length must be whole packs.
func pack(length int) int {
	if length%4 == 0 {
		return 4
	}
	return 1
}
