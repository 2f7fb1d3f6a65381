package cpu

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
)

func init() { register("elementwise", bindElementwise) }

// A chain of elementwise operations is a program for a register machine whose registers are blocks of some
// elements, whole pixels where an instruction goes by channels, and parts of an image where one goes by images. All
// instructions run on one block before the next, so that what passes between them stays in a cache and the
// operands are read and the results written once. Results may be operands.
//
// Short blocks stay in the first cache. Long ones stay in the second, and memory is read for long enough that the processor
// fetches ahead: they are for chains over more than the caches hold.
const (
	shortBlock = 1 << 9
	longBlock  = 1 << 14
	inCaches   = 1 << 21 // elements of operands and results
)

// blockSize is how many elements a block of a chain has at most.
func (c *checker) blockSize() int {
	all := 0
	for _, list := range [][]tensor{c.in, c.out} {
		for _, t := range list {
			all += len(t.f32)
		}
	}
	if all > inCaches {
		return longBlock
	}
	return shortBlock
}

// longestChain bounds the operands, the instructions and so the scratch of a launch.
const longestChain = 4096

// bindElementwise binds Code (see plan.Instruction). Operands have the type, shape and layout of the results or are
// single elements, but for those that only instructions on images read (see onImages).
func bindElementwise(l *launch) (task, error) {
	c := check(l, 0, longestChain, len(l.out))
	results := c.intsOf("results", len(l.out), 0, len(l.in)+len(l.Code)-1)
	if c.err == nil && (len(l.out) == 0 || len(l.Code) > longestChain) {
		c.failf("has %d results and %d instructions, wants at least 1 and at most %d", len(l.out), len(l.Code), longestChain)
	}
	if c.err != nil {
		return task{}, c.err
	}
	y := l.out[0]
	for i := range l.out {
		c.like(l.out[i], y)
	}
	for i, x := range l.in {
		switch {
		case c.isSeed(i, results):
			c.scalar(i, plan.I64)
		case x.Elements() == 1, c.readByChannel(i):
			c.operand(i, y.DType)
		default:
			c.like(x, y)
		}
	}
	if c.err != nil {
		return task{}, c.err
	}
	switch y.DType {
	case plan.F32:
		return bindChain(c, results)
	case plan.I64:
		return bindCounters(c, results)
	}
	return task{}, fmt.Errorf("results are %s, wants f32 or i64", y.DType)
}

// location is where a register lies: in the memory of a tensor, or in a slot of the scratch.
type location struct {
	memory   []float32
	channels channels // of the memory; the zero value is all
	slot     int
}

// step is an instruction with its registers in their places.
type step struct {
	run       rowFunc
	dst, x, y location
	a, b      float32
	factor    []float32 // by image: it is a; nil: a is what it is
}

// uniform is a slot whose elements are all one value, a constant or a single element; it is filled before the first
// block of a part.
type uniform struct {
	slot   int
	memory []float32 // nil: value
	value  float32
}

// chain is a bound program.
type chain struct {
	block    int // elements that an instruction runs on at a time
	perImage int // elements of an image, which has whole blocks where a step has factors
	uniforms []uniform
	steps    []step
}

func (ch *chain) run(from, to int, scratch []float32) {
	for _, u := range ch.uniforms {
		if u.memory != nil {
			u.value = u.memory[0]
		}
		fillRow(scratch[u.slot*ch.block:][:min(ch.block, to-from)], u.value)
	}
	for ; from < to; from += ch.block {
		n := min(ch.block, to-from)
		at := func(l location) []float32 {
			switch {
			case l.memory == nil:
				return scratch[l.slot*ch.block:][:n]
			case l.channels.of > 0:
				return l.channels.rows(l.memory, from)
			}
			return l.memory[from : from+n]
		}
		for i := range ch.steps {
			s := &ch.steps[i]
			a := s.a
			if s.factor != nil {
				a = s.factor[from/ch.perImage]
			}
			s.run(at(s.dst), at(s.x), at(s.y), a, s.b)
		}
	}
}

// placer decides where every register of a chain lies.
type placer struct {
	*checker
	chain
	norms     []*normalisation
	paths     []*drops // that drop images
	results   []int
	n         int // elements
	locations []location
	lastUse   []int // by register: the instruction that reads it last; len(Code): it is a result; -1: nothing
	inside    []int // by instruction: the one that does it, or -1, see joinTerms
	slots     int
	free      []int
}

func bindChain(c *checker, results []int) (task, error) {
	p := &placer{checker: c, results: results, n: c.out[0].Elements()}
	if err := p.findLastUses(); err != nil {
		return task{}, err
	}
	var unit int
	unit, p.block = p.units()
	if shape := c.out[0].Shape; len(shape) > 0 {
		p.perImage = p.n / shape[0]
	}
	for _, x := range c.in {
		switch {
		case x.DType == plan.I64: // a seed is no register
			p.locations = append(p.locations, location{memory: []float32{}})
		case len(x.f32) == 1 && p.n > 1:
			p.locations = append(p.locations, p.uniform(uniform{memory: x.f32}))
		default:
			p.locations = append(p.locations, location{memory: x.f32})
		}
	}
	for i := range c.Code {
		p.instruction(i)
	}
	if c.err != nil {
		return task{}, c.err
	}
	p.store()
	n, parts, program := p.n/unit, min(p.n/unit, partsOf(p.n)), p.chain
	run := func(part int, scratch []float32) {
		from, to := span(part, parts, n)
		program.run(from*unit, to*unit, scratch)
	}
	return task{scratch: p.slots * p.block, phases: append(p.prepare(), phase{parts: parts, run: run})}, nil
}

// findLastUses also checks the instructions.
func (p *placer) findLastUses() error {
	p.lastUse = make([]int, len(p.in)+len(p.Code))
	for i := range p.lastUse {
		p.lastUse[i] = -1
	}
	for i, c := range p.Code {
		op, known := pointwise[c.Op]
		if onImages(c) {
			op, known = pointwiseOp{args: len(c.Args), constants: 1}, true
		}
		if err := checkInstruction(i, c, known, op.args, op.constants, len(p.in)+i); err != nil {
			return err
		}
		for _, r := range c.Args {
			p.lastUse[r] = i
		}
	}
	for _, r := range p.results {
		p.lastUse[r] = len(p.Code)
	}
	p.joinTerms()
	return nil
}

func checkInstruction(i int, c plan.Instruction, known bool, args, constants, registers int) error {
	if !known {
		return fmt.Errorf("instruction %d is %q, which elementwise does not know", i, c.Op)
	}
	if len(c.Args) != args || len(c.Constants) != constants {
		return fmt.Errorf("instruction %d (%s) has %d registers and %d constants, wants %d and %d",
			i, c.Op, len(c.Args), len(c.Constants), args, constants)
	}
	for _, r := range c.Args {
		if r < 0 || r >= registers {
			return fmt.Errorf("instruction %d (%s) reads register %d of %d", i, c.Op, r, registers)
		}
	}
	return nil
}

func (p *placer) instruction(i int) {
	c := p.Code[i]
	op := pointwise[c.Op]
	if c.Op == "constant" {
		p.locations = append(p.locations, p.uniform(uniform{value: float32(c.Constants[0])}))
		return
	}
	if p.inside[i] >= 0 {
		p.locations = append(p.locations, location{})
		return
	}
	var s step
	switch {
	case c.Op == "add" && (p.isInside(c.Args[0]) || p.isInside(c.Args[1])):
		s = p.addTerm(c)
	case c.Op == "batch_norm":
		s = p.normalize(c)
	case c.Op == "slice":
		s = p.slice(c)
	case c.Op == "drop_path":
		s = p.drop(c)
	default:
		s = step{run: pointwiseRow(c.Op), x: p.locations[c.Args[0]], y: p.locations[c.Args[op.args-1]]}
	}
	if op.constants == 2 {
		s.a, s.b = float32(c.Constants[0]), float32(c.Constants[1])
	}
	args := p.reads(i)
	for k, r := range args {
		if p.lastUse[r] == i && !slices.Contains(args[:k], r) {
			p.release(r)
		}
	}
	s.dst = p.destination(i)
	p.locations = append(p.locations, s.dst)
	p.steps = append(p.steps, s)
	if r := len(p.in) + i; p.lastUse[r] < 0 {
		p.release(r)
	}
}

// destination is the memory of the result that instruction i defines, unless that memory is also an operand that is
// read later; else a slot.
func (p *placer) destination(i int) location {
	if k := slices.Index(p.results, len(p.in)+i); k >= 0 {
		y := p.out[k].f32
		if !p.readsAfter(i, y) {
			return location{memory: y}
		}
	}
	return location{slot: p.take()}
}

// readsAfter says whether an operand in the same memory as y is read after instruction i.
func (p *placer) readsAfter(i int, y []float32) bool {
	for r, x := range p.in {
		if len(x.f32) > 0 && &x.f32[0] == &y[0] && p.lastUse[r] > i {
			return true
		}
	}
	return false
}

// store moves the results that are not in their memory yet. Those that lie in an operand which a result overwrites are
// saved in slots first.
func (p *placer) store() {
	var last []step
	for k, r := range p.results {
		y, from := p.out[k].f32, p.locations[r]
		if from.memory != nil && &from.memory[0] == &y[0] {
			continue
		}
		if r < len(p.in) && from.memory != nil && p.overwritten(from.memory) {
			saved := location{slot: p.take()}
			p.steps = append(p.steps, step{run: copyRow, dst: saved, x: from, y: from})
			from = saved
		}
		last = append(last, step{run: copyRow, dst: location{memory: y}, x: from, y: from})
	}
	p.steps = append(p.steps, last...)
}

func (p *placer) overwritten(x []float32) bool {
	return slices.ContainsFunc(p.out, func(y tensor) bool { return &y.f32[0] == &x[0] })
}

// uniform takes a slot that no instruction ever writes to: it is filled once for all blocks.
func (p *placer) uniform(u uniform) location {
	u.slot = p.slots
	p.slots++
	p.uniforms = append(p.uniforms, u)
	return location{slot: u.slot}
}

func (p *placer) take() int {
	if n := len(p.free); n > 0 {
		slot := p.free[n-1]
		p.free = p.free[:n-1]
		return slot
	}
	p.slots++
	return p.slots - 1
}

// release frees the slot of a register that no instruction reads again. A uniform slot stays for the next block.
func (p *placer) release(r int) {
	at := p.locations[r]
	if at.memory == nil && !slices.ContainsFunc(p.uniforms, func(u uniform) bool { return u.slot == at.slot }) {
		p.free = append(p.free, at.slot)
	}
}

// bindCounters binds a chain over i64, which only counters use: element by element, in one part.
func bindCounters(c *checker, results []int) (task, error) {
	for i, in := range c.Code {
		args, constants, known := 2, 0, slices.Contains([]string{"add", "sub", "mul"}, in.Op)
		if in.Op == "constant" {
			args, constants, known = 0, 1, true
		}
		if err := checkInstruction(i, in, known, args, constants, len(c.in)+i); err != nil {
			return task{}, err
		}
	}
	in, out, code, n := c.in, c.out, c.Code, c.out[0].Elements()
	registers := make([]int64, len(in)+len(code))
	return oneTask(phase{parts: 1, run: func(int, []float32) {
		for at := range n {
			for i, x := range in {
				if at == 0 || len(x.i64) > 1 { // a single element is read once
					registers[i] = x.i64[at]
				}
			}
			for i := range code {
				registers[len(in)+i] = count(&code[i], registers)
			}
			for k, r := range results {
				out[k].i64[at] = registers[r]
			}
		}
	}}), nil
}

func count(c *plan.Instruction, registers []int64) int64 {
	switch c.Op {
	case "add":
		return registers[c.Args[0]] + registers[c.Args[1]]
	case "sub":
		return registers[c.Args[0]] - registers[c.Args[1]]
	case "mul":
		return registers[c.Args[0]] * registers[c.Args[1]]
	}
	return int64(c.Constants[0])
}
