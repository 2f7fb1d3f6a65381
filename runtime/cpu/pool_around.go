package cpu

// What poolings of windows of 3×3 around each pixel do, the ones that supernets have, see vector.

// around says whether the windows are of that kind, in rows of at least two pixels.
func (p *pooling) around() bool {
	return p.kh == 3 && p.kw == 3 && p.sh == 1 && p.sw == 1 && p.oh == p.h && p.ow == p.w && p.w > 1 && p.columns[0].size == 2 && p.rows[0].size == min(2, p.h)
}

// row is a row of one number.
func (p *pooling) row(l *launch, v float32) []float32 { return l.repeated(v, p.w*p.c) }

// rowsInside is how many of three rows around one are inside the image.
func (p *pooling) rowsInside(row int) int { return min(row+2, p.h) - max(row-1, 0) }

// bands calls run for the rows [first, last): together where all three around them are inside.
func (p *pooling) bands(first, last int, run func(row, rows int)) {
	for row, rows := first, 0; row < last; row += rows {
		if rows = 1; p.rowsInside(row) == 3 {
			rows = min(last, p.h-1) - row
		}
		run(row, rows)
	}
}

// three are the rows of an image around one, and what follows them; beside stands for those outside.
func (p *pooling) three(image, beside []float32, row int) [3][]float32 {
	three := [3][]float32{beside, image[row*len(beside):], beside}
	if row > 0 {
		three[0] = image[(row-1)*len(beside):]
	}
	if row < p.h-1 {
		three[2] = image[(row+1)*len(beside):]
	}
	return three
}

// rowShares are shares of the windows of a row, by how many rows of them are inside.
func (p *pooling) rowShares(l *launch) (all [4][]float32) {
	type row struct {
		inside, channels, width int
		countPads               bool
	}
	for _, rows := range p.rows {
		all[rows.size] = l.workspace.table(row{rows.size, p.c, p.w, p.countPads}, func() (shares []float32) {
			for _, columns := range p.columns {
				for range columns.count {
					shares = append(shares, p.share(rows.size*columns.size)...)
				}
			}
			return shares
		})
	}
	return all
}
