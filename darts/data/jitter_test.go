package data

import (
	"bytes"
	"slices"
	"testing"
)

func TestJitter(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func([]uint8, float64)
		by     float64
		from   []uint8 // RGBA pixels
		want   []uint8
	}{
		{"half as bright", brightness, 0.5, []uint8{200, 100, 51, 255}, []uint8{100, 50, 26, 255}},
		{"too bright", brightness, 2, []uint8{200, 100, 51, 255}, []uint8{255, 200, 102, 255}},
		{"no contrast", contrast, 0, []uint8{200, 200, 200, 255, 100, 100, 100, 255}, []uint8{150, 150, 150, 255, 150, 150, 150, 255}},
		{"more contrast", contrast, 1.4, []uint8{200, 200, 200, 255, 100, 100, 100, 255}, []uint8{220, 220, 220, 255, 80, 80, 80, 255}},
		{"no colour", saturation, 0, []uint8{100, 200, 50, 255}, []uint8{153, 153, 153, 255}}, // 29.9 + 117.4 + 5.7
		{"grey stays", saturation, 1.4, []uint8{77, 77, 77, 255}, []uint8{77, 77, 77, 255}},
		{"red to green", hue, 1.0 / 3, []uint8{200, 20, 20, 255}, []uint8{20, 200, 20, 255}},
		{"red to blue", hue, -1.0 / 3, []uint8{200, 20, 20, 255}, []uint8{20, 20, 200, 255}},
		{"red to orange", hue, 1.0 / 12, []uint8{200, 20, 20, 255}, []uint8{200, 110, 20, 255}},
		{"all the way", hue, 1, []uint8{30, 180, 90, 255, 255, 0, 255, 255, 9, 8, 7, 255}, []uint8{30, 180, 90, 255, 255, 0, 255, 255, 9, 8, 7, 255}},
		{"grey has none", hue, 0.2, []uint8{77, 77, 77, 255}, []uint8{77, 77, 77, 255}},
	} {
		got := slices.Clone(c.from)
		c.change(got, c.by)
		if !bytes.Equal(got, c.want) {
			t.Errorf("%s: %v becomes %v, want %v", c.name, c.from, got, c.want)
		}
	}
	// Every operation with nothing to change leaves all colours alone.
	colours := make([]uint8, 0, 4*17*17*17)
	for i := range 17 * 17 * 17 {
		colours = append(colours, uint8(i%17*15), uint8(i/17%17*15), uint8(i/17/17*15), 255)
	}
	for i, change := range []func([]uint8, float64){brightness, contrast, saturation, hue} {
		got := slices.Clone(colours)
		by := 1.0
		if i == 3 {
			by = 0
		}
		change(got, by)
		if !bytes.Equal(got, colours) {
			t.Errorf("change %d by nothing changes colours", i)
		}
	}
}
