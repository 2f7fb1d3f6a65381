package report

import (
	"bytes"
	"fmt"
)

// SVG returns the drawing as an SVG document.
func (d Drawing) SVG() []byte {
	var out bytes.Buffer
	if len(d.boxes) == 0 {
		return []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>` + "\n")
	}
	l := d.layout()
	const margin = 8
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="%d %d %.0f %.0f" font-family="Times,serif" font-size="%d" text-anchor="middle">
<defs><marker id="head" viewBox="0 0 10 8" refX="10" refY="4" markerWidth="10" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L10 4L0 8z"/></marker></defs>
<rect x="%d" y="%d" width="100%%" height="100%%" fill="white"/>
`, l.width+2*margin, l.height+2*margin, -margin, -margin, l.width+2*margin, l.height+2*margin, fontSize, -margin, -margin)
	for i, arrow := range d.arrows {
		fmt.Fprintf(&out, "<path d=%q fill=\"none\" stroke=\"black\" marker-end=\"url(#head)\"><title>%s to %s</title></path>\n", curve(l.routes[i]), d.boxes[arrow.from].name, d.boxes[arrow.to].name)
	}
	for i, arrow := range d.arrows {
		if at := l.labels[i]; at != nil {
			text(&out, at, arrow.label, ` stroke="white" stroke-width="6" paint-order="stroke"`) // the arrow ends around it
		}
	}
	for i, at := range l.boxes {
		fmt.Fprintf(&out, "<rect x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"%.0f\" fill=%q stroke=\"black\" stroke-width=\"2\"/>\n",
			at.x-at.width/2, at.y-at.height/2, at.width, at.height, colours[d.boxes[i].kind].svg)
		text(&out, at, d.boxes[i].name, "")
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}

// text writes in the middle of a place; a third of the font's size is half the height of its letters.
func text(out *bytes.Buffer, at *place, text, style string) {
	fmt.Fprintf(out, "<text x=\"%.0f\" y=\"%.0f\"%s>%s</text>\n", at.x, at.y+fontSize/3, style, text)
}

// curve is the path of an arrow: level through its places, between them Bézier curves that begin and end level.
func curve(route []*place) string {
	var out bytes.Buffer
	first, last := route[0], len(route)-1
	x := first.x + first.width/2
	fmt.Fprintf(&out, "M%.0f %.0f", x, first.y)
	for i, p := range route[1:] {
		left := p.x - p.width/2
		middle := (x + left) / 2
		fmt.Fprintf(&out, "C%.0f %.0f %.0f %.0f %.0f %.0f", middle, route[i].y, middle, p.y, left, p.y)
		if x = p.x + p.width/2; i+1 != last && p.width > 0 {
			fmt.Fprintf(&out, "H%.0f", x)
		}
	}
	return out.String()
}
