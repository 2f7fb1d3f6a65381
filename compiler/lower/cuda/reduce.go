package cuda

import (
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
)

var reductions = map[string]func(l *lowering, op *ir.Op) error{
	"reduce_sum":  reduce,
	"reduce_mean": reduce,
}

// mostLanes is the number of packs of channels in a tile: the rest of the threads share the rows.
const mostLanes = 64

// How many rows a thread of Columns adds at least: of those that it loads several of at once, and of those that are of many tensors.
const (
	fewestRows     = 8
	fewestWideRows = 2
)

func lanes(packs int) int { return min(packs, mostLanes) }

// columns divides sums over the rows of [outer][rows][channels]: fields of Columns, scratch and counters. Values is how
// many sums a channel has, fewest how many rows a thread adds at least. V is 1 where the kernel says so.
func (c *call) columns(outer, rows, channels, v, values, fewest int, sum plan.DType) {
	lane := lanes(channels / v)
	tiles, rowLanes, width := ceiling(channels/v, lane), threads/lane, lane*v
	chunks := max(1, min(ceiling(rows, fewest*rowLanes), 2*multiprocessors/(outer*tiles)))
	c.int("outer", outer)
	c.int("rows", rows)
	c.int("channels", channels)
	c.int("V", v)
	c.int("chunks", chunks)
	c.int("lanes", lane)
	c.out(c.l.scratch(sum, outer*chunks*values*channels))
	items := values * width
	shares := max(1, min(max(chunks, rowLanes), threads/items))
	c.shared = ceiling(rowLanes*items*int(sum.Size()), 16)*16 + 8*shares*items
	c.blocks, c.groups, c.tiles = outer*tiles*chunks, outer*tiles, ceiling(rows, fewest*rowLanes)
	c.counters = outer * tiles
	c.resident = max(1, min(3, 24/values)) // threads with many sums want registers
}

// reduce sums over neighbouring axes as columns, over any others one result a thread.
func reduce(l *lowering, op *ir.Op) error {
	x := l.operand(op.Operands[0])
	y := l.result(op.Result(), usualOrder(op.Result().Type))
	axes, shape := op.Attrs.Ints("axes"), op.Operands[0].Type.Shape
	scale := 1.0
	if op.Kind == "reduce_mean" {
		for _, a := range axes {
			scale /= float64(shape[a])
		}
	}
	outer, rows, channels, fits := 1, 1, 1, true
	var kept []int // in the order of memory
	for _, a := range memory(l.out.Tensors[x]).order {
		switch {
		case slices.Contains(axes, a):
			fits = fits && (channels == 1 || shape[a] == 1)
			rows *= shape[a]
			continue
		case rows > 1:
			channels *= shape[a]
		default:
			outer *= shape[a]
		}
		kept = append(kept, a)
	}
	if len(axes) == 0 || rows == 1 {
		outer, channels = 1, outer*channels
	}
	target := memory(l.out.Tensors[y]).order // of the kept axes by their number among them
	ascending := slices.Sorted(slices.Values(kept))
	for i, a := range target {
		fits = fits && ascending[a] == kept[i]
	}
	if !fits {
		return reduceAny(l, op, x, y, axes, scale)
	}
	c := l.call(op.Kind, "Reduce")
	c.in(x)
	c.image(x)
	c.out(y)
	c.number("scale", scale)
	c.columns(outer, rows, channels, pack(channels), 1, fewestRows, plan.F64)
	c.emit()
	return nil
}

func reduceAny(l *lowering, op *ir.Op, x, y int, axes []int, scale float64) error {
	shape, from := op.Operands[0].Type.Shape, memory(l.out.Tensors[x])
	var kept, extentsR, stepsR []int
	count := 1
	for a, d := range shape {
		if slices.Contains(axes, a) {
			extentsR, stepsR, count = append(extentsR, d), append(stepsR, from.step[a]), count*d
		} else {
			kept = append(kept, a)
		}
	}
	var extentsY, stepsY []int
	for _, i := range memory(l.out.Tensors[y]).order {
		extentsY, stepsY = append(extentsY, shape[kept[i]]), append(stepsY, from.step[kept[i]])
	}
	c := l.call(op.Kind, "ReduceAny")
	c.in(x)
	c.image(x)
	c.out(y)
	c.int("rank_y", len(extentsY))
	c.ints("extent_y", extentsY)
	c.ints("step_y", stepsY)
	c.int("rank_r", len(extentsR))
	c.ints("extent_r", extentsR)
	c.ints("step_r", stepsR)
	c.int("count", count)
	c.number("scale", scale)
	c.elements(op.Result().Type.Elements(), 1)
	c.emit()
	return nil
}
