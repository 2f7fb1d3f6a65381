package report

import (
	"cmp"
	"slices"
)

// Lengths in pixels, for a font of 20.
const (
	fontSize   = 20
	charWidth  = 10 // wide enough for most of what primitives are called
	boxHeight  = 36
	textHeight = 26 // of a label, which stands on its arrow
	rankGap    = 34 // between columns
	boxGap     = 14 // between what stands in one
)

// place is something that stands in a column: a box, or a point of an arrow that passes there, perhaps with its label.
type place struct {
	rank          int
	x, y          float64 // of its middle
	width, height float64
	before, after []*place // what it is joined to in the columns beside
}

// layout is where everything of a drawing stands.
type layout struct {
	boxes         []*place   // one for each box
	routes        [][]*place // for each arrow, from its first box to its last
	labels        []*place   // for each arrow, where its label stands
	width, height float64
}

// layout finds places in the four steps of Sugiyama, Tagawa and Toda (1981): ranks, which are columns; places for the
// arrows in every column that they cross; an order in each column with few crossings; coordinates.
func (d Drawing) layout() layout {
	var l layout
	ranks := d.ranks()
	columns := make([][]*place, slices.Max(ranks)+1)
	put := func(p *place) *place {
		columns[p.rank] = append(columns[p.rank], p)
		return p
	}
	for i, box := range d.boxes {
		l.boxes = append(l.boxes, put(&place{rank: ranks[i], width: max(boxHeight, textWidth(box.name)), height: boxHeight}))
	}
	for _, arrow := range d.arrows {
		route := []*place{l.boxes[arrow.from]}
		// The label stands in the odd column, which no box is in, that is nearest to the middle.
		middle := (ranks[arrow.from]+ranks[arrow.to])/2 | 1
		var label *place
		for rank := ranks[arrow.from] + 1; rank < ranks[arrow.to]; rank++ {
			p := put(&place{rank: rank})
			if rank == middle && arrow.label != "" {
				p.width, p.height, label = textWidth(arrow.label), textHeight, p
			}
			route = append(route, p)
		}
		route = append(route, l.boxes[arrow.to])
		for i, p := range route[1:] {
			p.before, route[i].after = append(p.before, route[i]), append(route[i].after, p)
		}
		l.routes, l.labels = append(l.routes, route), append(l.labels, label)
	}
	order(columns)
	l.width = across(columns)
	l.height = down(columns)
	return l
}

func textWidth(text string) float64 { return float64(charWidth * (len(text) + 1)) }

// ranks are the columns of the boxes, even numbers: the longest way to a box decides, but an input stands just before
// what reads it first. Arrows go to later boxes, as states of cells do.
func (d Drawing) ranks() []int {
	ranks := make([]int, len(d.boxes))
	for to := range d.boxes {
		for _, arrow := range d.arrows {
			if arrow.to == to {
				ranks[to] = max(ranks[to], ranks[arrow.from]+2)
			}
		}
	}
	for i, box := range d.boxes {
		if box.kind != input {
			continue
		}
		first := slices.Max(ranks)
		for _, arrow := range d.arrows {
			if arrow.from == i {
				first = min(first, ranks[arrow.to]-2)
			}
		}
		ranks[i] = max(first, 0)
	}
	return ranks
}

// order sorts every column by where the neighbours of its places stand in the column before, then after, and so on,
// and keeps the order that crossed least.
func order(columns [][]*place) {
	const sweeps = 24
	best, fewest := copied(columns), crossings(columns)
	for sweep := range sweeps {
		for i := range columns {
			column, neighbours := columns[i], func(p *place) []*place { return p.before }
			if sweep%2 == 1 {
				column, neighbours = columns[len(columns)-1-i], func(p *place) []*place { return p.after }
			}
			number(columns)
			for at, p := range column {
				p.y = mean(neighbours(p), float64(at))
			}
			slices.SortStableFunc(column, func(a, b *place) int { return cmp.Compare(a.y, b.y) })
		}
		if n := crossings(columns); n < fewest {
			best, fewest = copied(columns), n
		}
	}
	copy(columns, best)
}

func copied(columns [][]*place) [][]*place {
	out := make([][]*place, len(columns))
	for i, column := range columns {
		out[i] = slices.Clone(column)
	}
	return out
}

// number makes the place's number in its column its y.
func number(columns [][]*place) {
	for _, column := range columns {
		for at, p := range column {
			p.y = float64(at)
		}
	}
}

// mean of where places stand, or what stands alone.
func mean(places []*place, alone float64) float64 {
	if len(places) == 0 {
		return alone
	}
	sum := 0.0
	for _, p := range places {
		sum += p.y
	}
	return sum / float64(len(places))
}

// crossings counts pairs of joins that cross.
func crossings(columns [][]*place) (n int) {
	number(columns)
	for _, column := range columns {
		for i, upper := range column {
			for _, lower := range column[i+1:] {
				for _, a := range upper.after {
					for _, b := range lower.after {
						if a.y > b.y {
							n++
						}
					}
				}
			}
		}
	}
	return n
}

// across sets the columns side by side and returns the width of all.
func across(columns [][]*place) (width float64) {
	for i, column := range columns {
		if i > 0 {
			width += rankGap
		}
		widest := 0.0
		for _, p := range column {
			widest = max(widest, p.width)
		}
		for _, p := range column {
			p.x = width + widest/2
		}
		width += widest
	}
	return width
}

// down moves everything, column by column and again, as near as its column's order allows to the mean of what it is
// joined to, and returns the height of all. Bends of an arrow weigh more, so that long arrows come out straight (the
// weights are those of Gansner, Koutsofios, North and Vo, 1993, section 4).
func down(columns [][]*place) (height float64) {
	const sweeps = 400
	for _, column := range columns {
		at := 0.0
		for _, p := range column {
			p.y = at + p.height/2
			at += p.height + boxGap
		}
	}
	weight := func(a, b *place) float64 {
		switch passes := func(p *place) bool { return p.rank%2 == 1 || p.width == 0 }; {
		case passes(a) && passes(b):
			return 8
		case passes(a) || passes(b):
			return 2
		}
		return 1
	}
	for sweep := range sweeps {
		for i := range columns {
			column := columns[i]
			if sweep%2 == 1 {
				column = columns[len(columns)-1-i]
			}
			wanted, weights := make([]float64, len(column)), make([]float64, len(column))
			for at, p := range column {
				for _, q := range slices.Concat(p.before, p.after) {
					wanted[at] += weight(p, q) * q.y
					weights[at] += weight(p, q)
				}
				if weights[at] == 0 {
					wanted[at], weights[at] = p.y, 1
				} else {
					wanted[at] /= weights[at]
				}
			}
			settle(column, wanted, weights)
		}
	}
	top := columns[0][0].y
	for _, column := range columns {
		for _, p := range column {
			top = min(top, p.y-p.height/2)
			height = max(height, p.y+p.height/2)
		}
	}
	for _, column := range columns {
		for _, p := range column {
			p.y -= top
		}
	}
	return height - top
}

// settle gives the places of a column, in their order and boxGap apart, the y that are nearest to what is wanted in
// least squares: without the heights between them it is isotonic regression, by pooling adjacent violators.
func settle(column []*place, wanted, weights []float64) {
	type pool struct {
		sum, weight float64
		places      int
	}
	var pools []pool
	offsets := make([]float64, len(column)) // how far below the first the others are at least
	for i := range column {
		if i > 0 {
			offsets[i] = offsets[i-1] + (column[i-1].height+column[i].height)/2 + boxGap
		}
		next := pool{weights[i] * (wanted[i] - offsets[i]), weights[i], 1}
		for len(pools) > 0 {
			last := pools[len(pools)-1]
			if last.sum/last.weight <= next.sum/next.weight {
				break
			}
			next = pool{last.sum + next.sum, last.weight + next.weight, last.places + next.places}
			pools = pools[:len(pools)-1]
		}
		pools = append(pools, next)
	}
	i := 0
	for _, pool := range pools {
		for range pool.places {
			column[i].y = pool.sum/pool.weight + offsets[i]
			i++
		}
	}
}
