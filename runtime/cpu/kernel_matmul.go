package cpu

import "github.com/dartsc/dartsc/compiler/plan"

func init() {
	register("matmul", matMul)
	register("bias_add", biasAdd)
}

// matrix requires a row-major matrix and returns its rows and columns as a product sees them.
func (c *checker) matrix(t tensor, transposed bool) (rows, columns int) {
	c.rank(t, 2)
	c.layout(t, nil)
	switch {
	case c.err != nil:
		return 0, 0
	case transposed:
		return t.Shape[1], t.Shape[0]
	}
	return t.Shape[0], t.Shape[1]
}

// matmul(a, b[, sum]) → y, the product or, with a third operand, that and the product together; y may be the sum. Both
// are packed first: b as the product wants it, a transposed a to rows.
func matMul(l *launch) (task, error) {
	c := check(l, 2, 3, 1)
	a, b, y := c.operand(0, plan.F32), c.operand(1, plan.F32), c.result(0, plan.F32)
	transposeA, transposeB := c.boolParam("transpose_a"), c.boolParam("transpose_b")
	m, k := c.matrix(a, transposeA)
	k2, n := c.matrix(b, transposeB)
	c.layout(y, nil)
	c.shape(y, m, n)
	if c.err == nil && k != k2 {
		c.failf("inner dimensions %d and %d differ", k, k2)
	}
	var sum []float32
	if len(l.in) == 3 {
		s := c.operand(2, plan.F32)
		c.like(s, y)
		sum = s.f32
	}
	if c.err == nil && (&y.f32[0] == &a.f32[0] || &y.f32[0] == &b.f32[0]) {
		c.failf("the result is where a factor is")
	}
	if c.err != nil {
		return task{}, c.err
	}
	if m*n*k <= smallProduct {
		return smallMatMul(y.f32, a.f32, b.f32, sum, m, n, k, transposeA, transposeB), nil
	}
	p := product{y: y.f32, a: a.f32, b: b.f32, sum: sum, m: m, n: n, k: k}
	if transposeA && !transposeB {
		return p.outer(), nil
	}
	return p.bind(l, b.fixed, transposeA, transposeB), nil
}

// product is y = a·b, or sum + a·b, of m×n×k.
type product struct {
	y, a, b, sum []float32
	m, n, k      int
}

// A product goes by blocks of rows and columns, so small that a block of the result stays in the first cache while the
// products are added to it a few at a time, and its columns of b in the second while the rows go by.
const (
	blockRows    = 48
	blockColumns = 64
)

// columnBlocks cuts n columns into blocks; the last takes what is too little for one of its own.
func columnBlocks(n int) (blocks [][2]int) {
	for from := 0; from < n; {
		to := from + blockColumns
		if n-to < blockColumns/2 {
			to = n
		}
		blocks = append(blocks, [2]int{from, to})
		from = to
	}
	return blocks
}

// packing is how the right factor of a product, of k rows, lies in memory: packed by blocks of columns.
type packing struct {
	k       int
	blocks  [][2]int
	offsets []int // of the blocks
	size    int
}

func packingOf(k, n int) *packing {
	p := &packing{k: k, blocks: columnBlocks(n)}
	for _, b := range p.blocks {
		p.offsets = append(p.offsets, p.size)
		p.size += vec.packed(k, b[1]-b[0])
	}
	return p
}

// of returns a block of the packed factor.
func (p *packing) of(packed []float32, block int) []float32 { return packed[p.offsets[block]:] }

// pack packs a block of the factor with element (l, j) at b[l·row + j·column].
func (p *packing) pack(packed []float32, block int, b []float32, row, column int) {
	from, to := p.blocks[block][0], p.blocks[block][1]
	vec.pack(p.of(packed, block), b[from*column:], row, column, p.k, to-from)
}

// eachBlock is a phase over all blocks; those of the same columns follow one another.
func (p *product) eachBlock(columns [][2]int, run func(block, first, last int)) phase {
	rows := (p.m + blockRows - 1) / blockRows
	return phase{rows * len(columns), func(part int, _ []float32) {
		first := part % rows * blockRows
		run(part/rows, first, min(first+blockRows, p.m))
	}}
}

// start puts the sum into a block of the result, or says that it is not to be added to.
func (p *product) start(first, last, from, to int) (add bool) {
	if p.sum == nil {
		return false
	}
	if &p.sum[0] != &p.y[0] {
		for i := first; i < last; i++ {
			copy(p.y[i*p.n+from:i*p.n+to], p.sum[i*p.n+from:i*p.n+to])
		}
	}
	return true
}

// bind packs b, once if nothing changes it, and a transposed a into rows.
func (p *product) bind(l *launch, fixed, transposeA, transposeB bool) task {
	right := packingOf(p.k, p.n)
	packed, once := l.keep(right.size, fixed)
	pack := phase{len(right.blocks), func(block int, _ []float32) {
		if transposeB {
			right.pack(packed(), block, p.b, 1, p.k)
		} else {
			right.pack(packed(), block, p.b, p.n, 1)
		}
	}}
	var t task
	if once {
		t.once = []phase{pack}
	} else {
		t.phases = []phase{pack}
	}
	rows := func() []float32 { return p.a }
	if transposeA {
		rows = l.shared(p.m * p.k)
		t.phases = append(t.phases, rowParts(p.m, p.k, func(first, last int) {
			for i := first; i < last; i++ {
				row := rows()[i*p.k : (i+1)*p.k]
				for j := range row {
					row[j] = p.a[j*p.m+i]
				}
			}
		}))
	}
	t.phases = append(t.phases, p.eachBlock(right.blocks, func(block, first, last int) {
		from, to := right.blocks[block][0], right.blocks[block][1]
		add := p.start(first, last, from, to)
		vec.gemm(p.y[first*p.n+from:], p.n, rows()[first*p.k:], p.k, right.of(packed(), block), last-first, to-from, p.k, add, nil)
	}))
	return t
}

// outer is the product of a transposed a [k,m], which is a sum of outer products of rows: nothing is packed.
func (p *product) outer() task {
	columns := columnBlocks(p.n)
	return oneTask(p.eachBlock(columns, func(block, first, last int) {
		from, to := columns[block][0], columns[block][1]
		if !p.start(first, last, from, to) {
			for i := first; i < last; i++ {
				clear(p.y[i*p.n+from : i*p.n+to])
			}
		}
		vec.outer(p.y[first*p.n+from:], p.n, p.a[first:], p.m, p.b[from:], p.n, p.k, last-first, to-from, nil)
	}))
}

// smallProduct is the number of multiply-adds up to which a product is added up in float64, for nothing is lost by it. A
// BatchNorm over a few rows magnifies the last bits of a product a thousand times.
const smallProduct = 1 << 14

func smallMatMul(y, a, b, sum []float32, m, n, k int, transposeA, transposeB bool) task {
	aRow, aColumn, bRow, bColumn := k, 1, n, 1
	if transposeA {
		aRow, aColumn = 1, m
	}
	if transposeB {
		bRow, bColumn = 1, k
	}
	return oneTask(phase{1, func(int, []float32) {
		for i := range m {
			for j := range n {
				v := 0.0
				for l := range k {
					v += float64(a[i*aRow+l*aColumn]) * float64(b[l*bRow+j*bColumn])
				}
				if sum != nil {
					v += float64(sum[i*n+j])
				}
				y[i*n+j] = float32(v)
			}
		}
	}})
}

// bias_add(x [N,C] or [N,C,H,W], bias [C]) → x + bias
func biasAdd(l *launch) (task, error) {
	c := check(l, 2, 2, 1)
	x, bias, y := c.operand(0, plan.F32), c.operand(1, plan.F32), c.result(0, plan.F32)
	rows, n := c.pixels(x)
	c.vector(bias, n)
	c.like(y, x)
	if c.err != nil {
		return task{}, c.err
	}
	// The bias is copied first: with one row the result may take its place in memory.
	shared := l.shared(n)
	keep := func(int, []float32) { copy(shared(), bias.f32) }
	parts := pixelParts(rows, n)
	return task{phases: []phase{{1, keep}, {parts, func(part int, _ []float32) {
		from, to := span(part, parts, rows)
		for r := from; r < to; r++ {
			out, in := y.f32[r*n:(r+1)*n], x.f32[r*n:(r+1)*n]
			for i, v := range shared() {
				out[i] = in[i] + v
			}
		}
	}}}}, nil
}
