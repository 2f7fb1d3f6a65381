package cpu

import (
	"math"

	"github.com/dartsc/dartsc/compiler/plan"
)

func init() { register("linear_loss", bindLinearLoss) }

// linearLoss is the cross entropy of logits x·wᵀ + bias for x [M,K] and a large vocabulary w [V,K], with the gradients
// that are wanted. It takes a chunk of rows of x at a time, whose logits stay in the caches. They lie by classes: a line
// for each, with a column for every row of x. So w is read as it lies, never packed: as the left factor of the logits,
// and as the right one of dx = gᵀ·w, which is a sum of outer products of lines. Classes go by blocks.
//
// The exponentials of a block are to its own largest logit, so that they are made right where the logits are. What they
// lack then is a factor for each row of x, known when all blocks are done.
type linearLoss struct {
	targets       // of logits that are nowhere whole
	x, w, bias    []float32
	dx, dw, dbias []float32 // nil: not wanted
	m, k          int
	cotangent     float64

	stride         int              // elements from a class to the next
	logits         func() []float32 // [V,stride], later their cotangent
	largest, sums  func() []float32 // of a block's logits and exponentials [blocks,stride]
	target         func() []float32 // the logits of the labels [stride]
	losses         func() []float64 // [M]
	right, rightDW func() []float32 // x of a chunk, packed as the right factor of the logits and of dw
	partial        func() []float32 // of dx, by group of blocks
	weight         float64          // what a row contributes by
	ones           []float32
	sub, mul, exp  rowFunc
}

const (
	chunkLogits = 5 << 19 // the most logits of a chunk
	chunkRows   = 32      // its rows are a multiple of this
	classBlock  = 96
)

// linear_loss(x [M,K], w [V,K], bias [V], labels [M]) → loss[, dx][, dw][, dbias] for a constant cotangent of the loss.
func bindLinearLoss(l *launch) (task, error) {
	c := check(l, 4, 4, len(l.out))
	x, w, bias, labels, y := c.operand(0, plan.F32), c.operand(1, plan.F32), c.operand(2, plan.F32), c.operand(3, plan.I32), c.result(0, plan.F32)
	p := &linearLoss{cotangent: c.floatParam("cotangent")}
	p.m, p.k = c.matrix(x, false)
	p.classes, _ = c.matrix(w, false)
	c.shape(w, p.classes, p.k)
	c.vector(bias, p.classes)
	c.vector(labels, p.m)
	c.shape(y)
	p.targets.labels, p.x, p.w, p.bias = labels.i32, x.f32, w.f32, bias.f32
	p.targets = c.smoothed(p.targets)
	if c.err == nil && p.smoothing != 0 {
		c.failf("label_smoothing is %v, wants 0", p.smoothing)
	}
	results := 1
	for _, g := range []struct {
		name string
		like tensor
		to   *[]float32
	}{{"dx", x, &p.dx}, {"dw", w, &p.dw}, {"dbias", bias, &p.dbias}} {
		if c.boolParam(g.name) {
			d := c.result(results, plan.F32)
			c.like(d, g.like)
			*g.to, results = d.f32, results+1
		}
	}
	if c.err == nil && results != len(l.out) {
		c.failf("has %d results, wants %d", len(l.out), results)
	}
	if c.err != nil {
		return task{}, c.err
	}
	return p.task(l, y.f32), nil
}

// task takes the memory of a chunk and lists the phases of all chunks.
func (p *linearLoss) task(l *launch, y []float32) task {
	most := max(1, chunkLogits/p.classes/chunkRows) * chunkRows
	chunks := (p.m + most - 1) / most
	rows := min((p.m+chunks-1)/chunks+chunkRows-1, most) / chunkRows * chunkRows
	p.stride = rows
	if p.stride%64 == 0 {
		p.stride += 16 // lines a power of two apart take each other's place in the cache
	}
	p.sub, p.mul, p.exp = pointwiseRow("sub"), pointwiseRow("mul"), pointwiseRow("exp")
	p.right = l.shared(packingOf(p.k, rows).size)
	p.largest, p.sums, p.target = l.shared(p.blocks()*p.stride), l.shared(p.blocks()*p.stride), l.shared(p.stride)
	p.losses = l.shared64(p.m)
	scratch := 2 * p.stride
	if p.gradients() {
		p.logits, p.rightDW = l.shared(p.classes*p.stride), l.shared(packingOf(rows, p.k).size)
		if p.dx != nil {
			p.partial = l.shared(p.groups() * rows * p.k)
		}
		p.ones = make([]float32, rows)
		for i := range p.ones {
			p.ones[i] = 1
		}
	} else {
		scratch = classBlock * p.stride
	}
	phases := []phase{{1, func(int, []float32) { p.weight = p.scale() }}}
	for first := 0; first < p.m; first += rows {
		n := min(rows, p.m-first)
		c := &lossChunk{p, first, n, p.x[first*p.k : (first+n)*p.k], packingOf(p.k, n), packingOf(n, p.k)}
		phases = append(phases, c.pack(), c.exponentials(), c.normalize())
		if p.gradients() {
			phases = append(phases, c.back())
		}
		if p.dx != nil {
			phases = append(phases, c.addUp())
		}
	}
	phases = append(phases, phase{1, func(int, []float32) {
		sum := 0.0
		for _, v := range p.losses() {
			sum += v
		}
		y[0] = float32(sum * p.weight)
	}})
	return task{scratch: scratch, phases: phases}
}

func (p *linearLoss) gradients() bool { return p.dx != nil || p.dw != nil || p.dbias != nil }

// blocks is the number of blocks of classes; block returns the classes of one.
func (p *linearLoss) blocks() int { return (p.classes + classBlock - 1) / classBlock }

// groups is the number of parts of the way back.
func (p *linearLoss) groups() int { return min(p.blocks(), 16) }

func (p *linearLoss) block(b int) (from, to int) {
	return b * classBlock, min((b+1)*classBlock, p.classes)
}

// lossChunk is n rows of x, from the first on.
type lossChunk struct {
	*linearLoss
	first, n       int
	rows           []float32
	columns, lines *packing // of the rows as right factor of the logits, and of dw
}

// pack makes right factors of the rows.
func (c *lossChunk) pack() phase {
	parts := len(c.columns.blocks)
	if c.dw != nil {
		parts += len(c.lines.blocks)
	}
	return phase{parts, func(part int, _ []float32) {
		if n := len(c.columns.blocks); part < n {
			c.columns.pack(c.right(), part, c.rows, 1, c.k)
		} else {
			c.lines.pack(c.rightDW(), part-n, c.rows, c.k, 1)
		}
	}}
}

// exponentials makes those of the logits of a block of classes, their sums, and notes the logits of labels.
func (c *lossChunk) exponentials() phase {
	return phase{c.blocks(), func(part int, scratch []float32) {
		from, to := c.block(part)
		all := scratch
		if c.gradients() {
			all = c.logits()[from*c.stride:]
		}
		line := func(class int) []float32 { return all[(class-from)*c.stride:][:c.n] }
		for class := from; class < to; class++ {
			fillRow(line(class), c.bias[class])
		}
		for b, columns := range c.columns.blocks {
			vec.gemm(all[columns[0]:], c.stride, c.w[from*c.k:], c.k, c.columns.of(c.right(), b), to-from, columns[1]-columns[0], c.k, true, nil)
		}
		c.eachLabel(from, to, func(class, row int) { c.target()[row] = line(class)[row] })
		largest, sum := c.largest()[part*c.stride:][:c.n], c.sums()[part*c.stride:][:c.n]
		copy(largest, line(from))
		for class := from + 1; class < to; class++ {
			vec.maximum(largest, line(class))
		}
		clear(sum)
		for class := from; class < to; class++ {
			line := line(class)
			c.sub(line, line, largest, 0, 0)
			c.exp(line, line, line, 0, 0)
			vec.add(sum, line)
		}
	}}
}

// eachLabel calls f for the rows whose label is in [from, to).
func (c *lossChunk) eachLabel(from, to int, f func(class, row int)) {
	for row, label := range c.labels[c.first : c.first+c.n] {
		if class := int(label); from <= class && class < to {
			f(class, row)
		}
	}
}

// normalize works out the losses, and makes of the largest logits of the blocks what their exponentials are to be
// multiplied by.
func (c *lossChunk) normalize() phase {
	parts := max(1, c.n/chunkRows)
	return phase{parts, func(part int, scratch []float32) {
		from, to := span(part, parts, c.n)
		of := func(all []float32, block int) []float32 { return all[block*c.stride+from : block*c.stride+to] }
		largest, factor := scratch[:to-from], scratch[c.stride:][:to-from]
		copy(largest, of(c.largest(), 0))
		for b := range c.blocks() {
			vec.maximum(largest, of(c.largest(), b))
		}
		sums := c.losses()[c.first+from : c.first+to]
		clear(sums)
		for b := range c.blocks() {
			share := of(c.largest(), b)
			c.sub(share, share, largest, 0, 0)
			c.exp(share, share, share, 0, 0)
			for i, sum := range of(c.sums(), b) {
				sums[i] += float64(share[i]) * float64(sum)
			}
		}
		for i, sum := range sums {
			label := c.labels[c.first+from+i]
			factor[i], sums[i] = float32(c.cotangent*c.weight/sum), 0
			switch {
			case label < 0:
				factor[i] = 0
			case int(label) < c.classes:
				sums[i] = float64(largest[i]) + math.Log(sum) - float64(c.target()[from+i])
			}
		}
		for b := range c.blocks() {
			share := of(c.largest(), b)
			c.mul(share, share, factor, 0, 0)
		}
	}}
}

// back makes the cotangent of the logits and of it, block by block, those of w, of the bias, and of x: of this what each
// group of blocks adds to it.
func (c *lossChunk) back() phase {
	groups := c.groups()
	return phase{groups, func(group int, _ []float32) {
		first, last := span(group, groups, c.blocks())
		for b := first; b < last; b++ {
			from, to := c.block(b)
			g := c.logits()[from*c.stride:]
			c.logitsGrad(g, c.largest()[b*c.stride:][:c.n], from, to)
			if c.dbias != nil {
				c.biasGrad(g, from, to)
			}
			if c.dw != nil {
				for i, columns := range c.lines.blocks {
					vec.gemm(c.dw[from*c.k+columns[0]:], c.k, g, c.stride, c.lines.of(c.rightDW(), i), to-from, columns[1]-columns[0], c.n, c.first > 0, nil)
				}
			}
			if c.dx != nil {
				c.inputGrad(c.partialOf(group), g, from, to, b == first)
			}
		}
	}}
}

// logitsGrad makes the cotangent of the logits of some classes from their exponentials.
func (c *lossChunk) logitsGrad(g, factor []float32, from, to int) {
	for class := range to - from {
		line := g[class*c.stride:][:c.n]
		c.mul(line, line, factor, 0, 0)
	}
	c.eachLabel(from, to, func(class, row int) { g[(class-from)*c.stride+row] -= float32(c.cotangent * c.weight) })
}

func (c *lossChunk) biasGrad(g []float32, from, to int) {
	for class := from; class < to; class++ {
		sum := float32(vec.dot(g[(class-from)*c.stride:][:c.n], c.ones))
		if c.first > 0 {
			sum += c.dbias[class]
		}
		c.dbias[class] = sum
	}
}

// inputGrad adds to d what some classes add to dx, in tiles that stay in the first cache.
func (c *lossChunk) inputGrad(d, g []float32, from, to int, clean bool) {
	if clean {
		clear(d)
	}
	for _, columns := range c.lines.blocks {
		for row := 0; row < c.n; row += blockColumns {
			rows := min(blockColumns, c.n-row)
			vec.outer(d[row*c.k+columns[0]:], c.k, g[row:], c.stride, c.w[from*c.k+columns[0]:], c.k, to-from, rows, columns[1]-columns[0], nil)
		}
	}
}

// partialOf is what a group of blocks adds to the dx of the chunk.
func (c *lossChunk) partialOf(group int) []float32 {
	n := c.n * c.k
	return c.partial()[group*n : (group+1)*n]
}

// addUp makes dx of what the groups add to it.
func (c *lossChunk) addUp() phase {
	return blockParts(c.n*c.k, func(from, to int) {
		d := c.dx[c.first*c.k:][from:to]
		copy(d, c.partialOf(0)[from:to])
		for group := 1; group < c.groups(); group++ {
			vec.add(d, c.partialOf(group)[from:to])
		}
	})
}
