// Package drawing draws the arena of a program over time as an SVG picture: launches from left to right, offsets from
// bottom to top, a rectangle for every buffer. It knows plans alone; where a picture is written is for the caller to
// say. Start reading at Arena.
package drawing

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"github.com/dartsc/dartsc/compiler/plan"
)

// The picture in pixels. The plot is the part between the margins.
const (
	width, height             = 1600, 900
	left, right, top, bottom  = 90, 30, 70, 60
	plotWidth, plotHeight     = width - left - right, height - top - bottom
	stretches                 = 800  // of launches, where each is too short to be seen
	mostRectangles            = 2500 // buffers that are drawn one by one, the largest on the picture first
	leastArea, leastThickness = 2.0, 0.4
)

// palette are the colours of the phases, in the order in which they begin; there are seldom more than three.
var palette = []string{"#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb"}

// Arena draws a program. Buffers too small to be seen are drawn together, so that the picture of 50,000 launches is as
// readable as that of ten, and its size is bounded. The same program gives the same bytes.
func Arena(name string, p *plan.Program) []byte {
	d := &arena{program: p, launches: max(len(p.Launches), 1), bytes: max(p.PeakBytes, p.LowerBound, 1)}
	d.colours()
	d.header(name)
	d.axes()
	d.buffers()
	d.bounds()
	d.out.WriteString("</svg>\n")
	return d.out.Bytes()
}

// arena is a picture being drawn.
type arena struct {
	out      bytes.Buffer
	program  *plan.Program
	launches int   // of the horizontal axis
	bytes    int64 // of the vertical axis
	phases   []string
}

// x is where a launch begins, y where an offset lies.
func (d *arena) x(launch int) float64 { return left + plotWidth*float64(launch)/float64(d.launches) }
func (d *arena) y(offset int64) float64 {
	return top + plotHeight*(1-float64(offset)/float64(d.bytes))
}

// colours lists the phases in their order.
func (d *arena) colours() {
	for i := range d.program.Launches {
		if phase := d.program.Launches[i].Phase; !slices.Contains(d.phases, phase) {
			d.phases = append(d.phases, phase)
		}
	}
}

func (d *arena) colour(phase string) string {
	return palette[max(slices.Index(d.phases, phase), 0)%len(palette)]
}

// phaseOf is the phase of the launch that makes a buffer, or of the first for inputs.
func (d *arena) phaseOf(b plan.Placed) string {
	if len(d.program.Launches) == 0 {
		return ""
	}
	return d.program.Launches[min(max(b.First, 0), len(d.program.Launches)-1)].Phase
}

func (d *arena) header(name string) {
	p := d.program
	title := fmt.Sprintf("%s: peak %s, lower bound %s, %d launches", name, mebibytes(p.PeakBytes), mebibytes(p.LowerBound), len(p.Launches))
	fmt.Fprintf(&d.out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", width, height)
	fmt.Fprintf(&d.out, "<title>%s</title>\n", escape(title))
	fmt.Fprintf(&d.out, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	fmt.Fprintf(&d.out, `<text x="%d" y="28" font-size="18">%s</text>`+"\n", left, escape(title))
	x := left
	for _, phase := range d.phases {
		label := cmp.Or(phase, "(no phase)")
		fmt.Fprintf(&d.out, `<rect x="%d" y="42" width="14" height="14" fill="%s"/><text x="%d" y="54">%s</text>`+"\n", x, d.colour(phase), x+20, escape(label))
		x += 50 + 8*len(label)
	}
}

// axes draws offsets, launches, and below them which phase each launch belongs to.
func (d *arena) axes() {
	const marks = 8
	for i := range marks + 1 {
		offset := d.bytes * int64(i) / marks
		fmt.Fprintf(&d.out, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#dddddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, width-right, d.y(offset), d.y(offset), left-6, d.y(offset)+4, mebibytes(offset))
		launch := d.launches * i / marks
		fmt.Fprintf(&d.out, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", d.x(launch), height-bottom+34, launch)
	}
	fmt.Fprintf(&d.out, `<text x="%d" y="%d" text-anchor="middle">launch</text>`+"\n", left+plotWidth/2, height-8)
	d.phaseBar()
}

// phaseBar shows the most common phase of each stretch of launches.
func (d *arena) phaseBar() {
	n := min(len(d.program.Launches), stretches)
	phases := make([]string, n)
	for i := range phases {
		count := map[string]int{}
		for at := i * d.launches / n; at < (i+1)*d.launches/n; at++ {
			count[d.program.Launches[at].Phase]++
		}
		phases[i] = slices.MaxFunc(d.phases, func(a, b string) int { return cmp.Compare(count[a], count[b]) })
	}
	for from := 0; from < n; {
		to := from + 1
		for to < n && phases[to] == phases[from] {
			to++
		}
		x := left + plotWidth*float64(from)/float64(n)
		fmt.Fprintf(&d.out, `<rect x="%.1f" y="%d" width="%.1f" height="8" fill="%s"/>`+"\n",
			x, height-bottom+8, plotWidth*float64(to-from)/float64(n), d.colour(phases[from]))
		from = to
	}
}

// placed is a buffer on the picture.
type placed struct {
	plan.Placed
	x, y, w, h float64
}

// buffers draws the largest ones one by one, above what the others together fill.
func (d *arena) buffers() {
	var seen, small []placed
	for _, b := range plan.ArenaMap(d.program) {
		first, last := max(b.First, 0), min(b.Last, d.launches-1)
		r := placed{Placed: b, x: d.x(first), y: d.y(b.Offset + b.Bytes), w: d.x(last+1) - d.x(first), h: d.y(b.Offset) - d.y(b.Offset+b.Bytes)}
		if r.w*r.h >= leastArea && min(r.w, r.h) >= leastThickness {
			seen = append(seen, r)
		} else {
			small = append(small, r)
		}
	}
	slices.SortStableFunc(seen, func(a, b placed) int { return cmp.Compare(b.w*b.h, a.w*a.h) })
	if len(seen) > mostRectangles {
		small = append(small, seen[mostRectangles:]...)
		seen = seen[:mostRectangles]
	}
	d.together(small)
	for _, r := range seen {
		border := "" // which would hide thin ones
		if min(r.w, r.h) >= 3 {
			border = ` stroke="white" stroke-width="0.5"`
		}
		fmt.Fprintf(&d.out, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"%s><title>%s</title></rect>`+"\n",
			r.x, r.y, r.w, r.h, d.colour(d.phaseOf(r.Placed)), border, escape(hover(r.Placed)))
	}
}

// hover says what a buffer is.
func hover(b plan.Placed) string {
	return fmt.Sprintf("%s\n%s%s, %s at %s, launches %d to %d",
		b.Made, b.DType, strings.ReplaceAll(fmt.Sprint(b.Shape), " ", ","), mebibytes(b.Bytes), mebibytes(b.Offset), b.First, b.Last)
}

// bounds draws the peak, what no placement can go below, and what lives at each launch.
func (d *arena) bounds() {
	p := d.program
	line := func(bytes int64, style, text string, dy int) {
		fmt.Fprintf(&d.out, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="black" %s/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, width-right, d.y(bytes), d.y(bytes), style, width-right, d.y(bytes)+float64(dy), escape(text))
	}
	line(p.PeakBytes, `stroke-width="1.2"`, "peak "+mebibytes(p.PeakBytes), -5)
	line(p.LowerBound, `stroke-dasharray="6 4"`, "lower bound "+mebibytes(p.LowerBound), 14)
	d.live()
}

// live draws the sum of all living buffers, the largest in each stretch of launches.
func (d *arena) live() {
	type end struct {
		launch int
		offset int64
	}
	placed, ends := plan.ArenaMap(d.program), map[end]int64{}
	for _, b := range placed {
		ends[end{b.Last, b.Offset}] = b.Bytes
	}
	changes := make([]int64, d.launches+1)
	for _, b := range placed {
		changes[max(b.First, 0)] += b.Bytes
		changes[min(b.Last, d.launches-1)+1] -= b.Bytes
		if before, inPlace := ends[end{b.First, b.Offset}]; inPlace && b.Last > b.First { // both are the same memory
			changes[b.First] -= before
			changes[b.First+1] += before
		}
	}
	n := min(stretches, d.launches)
	most, sum := make([]int64, n), int64(0)
	for at := range d.launches {
		sum += changes[at]
		i := at * n / d.launches
		most[i] = max(most[i], sum)
	}
	d.out.WriteString(`<polyline fill="none" stroke="black" stroke-width="0.8" points="`)
	for i, bytes := range most {
		x := left + plotWidth*(float64(i)+0.5)/float64(n)
		fmt.Fprintf(&d.out, "%.1f,%.1f ", x, d.y(bytes))
	}
	d.out.WriteString("\"><title>bytes alive</title></polyline>\n")
}

func mebibytes(bytes int64) string {
	switch {
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%d B", bytes)
}

func escape(text string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(text)); err != nil {
		return "" // a strings.Builder takes everything
	}
	return b.String()
}
