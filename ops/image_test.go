package ops_test

import (
	"slices"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// augment runs a random operation over images that are all the same: pixels 1, 2, 3, … of one channel. It returns the
// results, one slice an image.
func augment(t *testing.T, typ ir.Type, build func(b *ops.Builder, in []*ir.Value)) [][]float64 {
	t.Helper()
	p := opCase{name: "augmentation", in: types(typ, i64, i64), build: build}.program(t)
	pixels := typ.Elements() / typ.Shape[0]
	x := ops.NewTensor(typ)
	for i := range x.Data {
		x.Data[i] = float64(1 + i%pixels)
	}
	y := run(t, p, map[string]*ops.Tensor{"x0": x, "x1": ops.Scalar(ir.I64, 3), "x2": ops.Scalar(ir.I64, 4)})["y0"]
	return slices.Collect(slices.Chunk(y.Data, pixels))
}

func TestRandomFlip(t *testing.T) {
	flipped := 0
	for _, image := range augment(t, ir.T(ir.U8, 100, 2, 3, 1), func(b *ops.Builder, in []*ir.Value) { b.RandomFlip(in[0], in[1], in[2], 0) }) {
		switch {
		case slices.Equal(image, []float64{3, 2, 1, 6, 5, 4}):
			flipped++
		case !slices.Equal(image, []float64{1, 2, 3, 4, 5, 6}):
			t.Fatalf("got %v, want the image or its mirror image", image)
		}
	}
	if flipped < 25 || flipped > 75 { // five deviations
		t.Errorf("got %d of 100 flipped", flipped)
	}
}

// window is a place in an image of h by w.
type window struct{ y, x int }

// TestRandomCrop looks for the place that each image was cut at: all of them occur, and no others.
func TestRandomCrop(t *testing.T) {
	const h, w, padding = 5, 4, 2
	want := map[window][]float64{}
	for dy := -padding; dy <= padding; dy++ {
		for dx := -padding; dx <= padding; dx++ {
			shifted := make([]float64, h*w)
			for i := range shifted {
				if y, x := i/w+dy, i%w+dx; y >= 0 && y < h && x >= 0 && x < w {
					shifted[i] = float64(1 + y*w + x)
				}
			}
			want[window{dy, dx}] = shifted
		}
	}
	images := augment(t, ir.T(ir.U8, 400, h, w, 1), func(b *ops.Builder, in []*ir.Value) { b.RandomCrop(in[0], in[1], in[2], padding, 0) })
	occursEach(t, images, want)
}

// TestCutout: a square of 2·⌊length/2⌋ pixels a side is zero, around every pixel of the image, clipped at the borders.
func TestCutout(t *testing.T) {
	const h, w = 5, 4
	for _, length := range []int{0, 3, 4} {
		half := length / 2
		want := map[window][]float64{}
		for cy := range h {
			for cx := range w {
				cut := make([]float64, h*w)
				for i := range cut {
					if y, x := i/w, i%w; y < cy-half || y >= cy+half || x < cx-half || x >= cx+half {
						cut[i] = float64(1 + i)
					}
				}
				want[window{cy, cx}] = cut
			}
		}
		images := augment(t, f32(400, 1, h, w), func(b *ops.Builder, in []*ir.Value) { b.Cutout(in[0], in[1], in[2], length, 0) })
		occursEach(t, images, want)
	}
}

// occursEach checks that every image is one of the wanted, and every wanted is there.
func occursEach(t *testing.T, images [][]float64, want map[window][]float64) {
	t.Helper()
	seen := map[window]bool{}
	for _, image := range images {
		found := false
		for at, wanted := range want {
			if slices.Equal(image, wanted) {
				found, seen[at] = true, true
			}
		}
		if !found {
			t.Fatalf("got image %v, want one of %v", image, want)
		}
	}
	for at := range want {
		if !seen[at] {
			t.Errorf("no image of %d is cut at %v", len(images), at)
		}
	}
}
