package cpu

// interleaved is the way back of a depthwise convolution with any stride: pixels of x whose positions are the same modulo
// the stride depend on the same taps, and on neighbours in dy, so they are convolutions with stride 1 of dy, whose
// results take turns.
type interleaved struct {
	rows, columns           []turn // by position modulo the stride
	top, left               int    // pads of dy, in pixels
	height, width           int    // of padded dy
	imageWidth, channels    int
	rowStride, columnStride int
}

// turn are the positions of x first, first + stride, … along an axis.
type turn struct {
	positions int
	taps      []int // of the kernel; the first is at dy's position from for the first position of x, others follow a distance apart
	from      int
	apart     int
}

// turns finds those of an axis of so many positions, and the range of dy that they reach: [low, high).
func turns(positions, kernel, stride, dilation, pad int) (all []turn, low, high int) {
	for first := range stride {
		t := turn{positions: max(0, (positions-first+stride-1)/stride), apart: 1}
		for tap := kernel - 1; tap >= 0; tap-- {
			reach := first + pad - tap*dilation // stride times the position in dy
			if reach%stride != 0 {
				continue
			}
			switch len(t.taps) {
			case 0:
				t.from = reach / stride
			case 1:
				t.apart = reach/stride - t.from
			}
			t.taps = append(t.taps, tap)
		}
		if len(t.taps) > 0 && t.positions > 0 {
			low = min(low, t.from)
			high = max(high, t.from+(len(t.taps)-1)*t.apart+t.positions)
		}
		all = append(all, t)
	}
	return all, low, high
}

// interleaved is the way back of a depthwise convolution.
func (g *convolution) interleaved() *interleaved {
	rows, top, bottom := turns(g.h, g.kh, g.sh, g.dh, g.top)
	columns, left, right := turns(g.w, g.kw, g.sw, g.dw, g.left)
	return &interleaved{rows: rows, columns: columns, top: -top, left: -left, height: bottom - top, width: right - left,
		imageWidth: g.w, channels: g.c, rowStride: g.sh, columnStride: g.sw}
}

// weights brings the weights [KH][KW][C] into the order of the turns: every tap belongs to one of the rows and one of
// the columns.
func (s *interleaved) weights(dst, w []float32, kw int) {
	for _, row := range s.rows {
		for _, column := range s.columns {
			for _, kh := range row.taps {
				for _, tap := range column.taps {
					copy(dst[:s.channels], w[(kh*kw+tap)*s.channels:])
					dst = dst[s.channels:]
				}
			}
		}
	}
}

// add adds to the rows [from, from+count) of x's cotangent, given padded dy, whose rows lie so far apart, and the weights.
func (s *interleaved) add(dx, dy, weights []float32, line, from, count int) {
	c := s.channels
	for h, row := range s.rows {
		first := max(0, (from-h+s.rowStride-1)/s.rowStride)
		rows := min(row.positions, (from+count-h+s.rowStride-1)/s.rowStride) - first
		for w, column := range s.columns {
			taps := len(row.taps) * len(column.taps)
			if taps == 0 {
				continue
			}
			if rows > 0 && column.positions > 0 {
				at := (row.from+s.top+first)*line + (column.from+s.left)*c
				vec.depthwise(dx[((h+first*s.rowStride-from)*s.imageWidth+w)*c:], dy[at:], weights, window{
					channels: c, pixels: column.positions, rows: rows, kh: len(row.taps), kw: len(column.taps), step: 1, dilation: column.apart,
					line: row.apart * line, xRow: line, yRow: s.rowStride * s.imageWidth * c, apart: s.columnStride - 1, add: true,
				})
			}
			weights = weights[taps*c:]
		}
	}
}
