package drawing

import "fmt"

// The cells in which buffers too small to be seen are drawn together.
const (
	cellWidth, cellHeight = 4, 3
	columns               = plotWidth / cellWidth
	rows                  = (plotHeight + cellHeight - 1) / cellHeight
	shades                = 4 // of a colour, by how much of a cell is filled
)

// together fills cells by the phase that takes most of them, in runs of equal cells of a row.
func (d *arena) together(small []placed) {
	if len(small) == 0 {
		return
	}
	filled := make([][]float64, len(d.phases)) // area by phase and cell
	index := map[string]int{}
	for i, phase := range d.phases {
		filled[i], index[phase] = make([]float64, rows*columns), i
	}
	for _, r := range small {
		if phase, ok := index[d.phaseOf(r.Placed)]; ok {
			spread(filled[phase], r)
		}
	}
	d.out.WriteString("<g><title>small buffers</title>\n")
	for row := range rows {
		for from := 0; from < columns; {
			phase, shade := look(filled, row*columns+from)
			to := from + 1
			for ; to < columns; to++ {
				if p, s := look(filled, row*columns+to); p != phase || s != shade {
					break
				}
			}
			if shade > 0 {
				fmt.Fprintf(&d.out, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s" opacity="%.2f"/>`+"\n",
					left+from*cellWidth, top+row*cellHeight, (to-from)*cellWidth, cellHeight, d.colour(d.phases[phase]), float64(shade)/shades)
			}
			from = to
		}
	}
	d.out.WriteString("</g>\n")
}

// spread adds the area of a rectangle to the cells that it lies in.
func spread(cells []float64, r placed) {
	x, y := r.x-left, r.y-top
	for row := max(int(y/cellHeight), 0); row < rows && float64(row)*cellHeight < y+r.h; row++ {
		h := overlap(y, y+r.h, float64(row)*cellHeight, float64(row+1)*cellHeight)
		for column := max(int(x/cellWidth), 0); column < columns && float64(column)*cellWidth < x+r.w; column++ {
			cells[row*columns+column] += h * overlap(x, x+r.w, float64(column)*cellWidth, float64(column+1)*cellWidth)
		}
	}
}

func overlap(from, to, low, high float64) float64 { return max(min(to, high)-max(from, low), 0) }

// look returns the phase that fills most of a cell, and its shade: 0 for a cell that is nearly empty.
func look(filled [][]float64, cell int) (phase, shade int) {
	sum := 0.0
	for i := range filled {
		sum += filled[i][cell]
		if filled[i][cell] > filled[phase][cell] {
			phase = i
		}
	}
	shade = min(int(sum/(cellWidth*cellHeight)*shades+0.5), shades)
	if shade == 0 {
		phase = 0
	}
	return phase, shade
}
