package data

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// gradient is brighter in red towards the right and in green towards the bottom.
func gradient(width, height int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			m.SetRGBA(x, y, color.RGBA{uint8(255 * x / (width - 1)), uint8(255 * y / (height - 1)), 100, 255})
		}
	}
	return m
}

// photoFolder has train/ and val/ with two classes of JPEGs of several sizes.
func photoFolder(t testing.TB, each int) string {
	t.Helper()
	root := t.TempDir()
	for i := range 2 * each {
		var b bytes.Buffer
		if err := jpeg.Encode(&b, gradient(40+3*i%17, 30+5*i%23), nil); err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"train", "val"} {
			folder := filepath.Join(root, part, fmt.Sprintf("class%d", i%2))
			if err := os.MkdirAll(folder, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.JPEG", i)), b.Bytes(), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

func openFiles(t testing.TB, o Options) *Files {
	t.Helper()
	f, err := OpenFiles(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// read reads one batch of 24x16 images.
func read(t *testing.T, b Batches, step int64, batch int) ([]uint8, []int32) {
	t.Helper()
	images, labels := make([]uint8, batch*24*16*3), make([]int32, batch)
	if err := b.Read(context.Background(), step, Batch{Images: images, Labels: labels}); err != nil {
		t.Fatal(err)
	}
	return images, labels
}

// TestFilesFollowTheStep: what a step gets depends on the seed and the step alone, not on workers or on what was read
// before.
func TestFilesFollowTheStep(t *testing.T) {
	const batch = 4
	root := photoFolder(t, 8)
	sampled := func(seed uint64, workers int) Batches {
		f := openFiles(t, Options{Path: root, Size: Size{24, 16}, Seed: seed, Workers: workers})
		return f.Sampled(newSampler(t, sequence(0, f.Summary().Train), batch, seed, 1))
	}
	walk := sampled(3, 1)
	var images [6][]uint8
	var labels [6][]int32
	for step := range images {
		images[step], labels[step] = read(t, walk, int64(step), batch)
	}
	if bytes.Equal(images[0], images[4]) {
		t.Error("an image looks the same in two epochs")
	}
	jumping := sampled(3, 3)
	for _, step := range []int64{4, 5, 1, 2, 0} {
		got, classes := read(t, jumping, step, batch)
		if !bytes.Equal(got, images[step]) || !slices.Equal(classes, labels[step]) {
			t.Errorf("step %d differs between one worker that walks and three that jump", step)
		}
	}
	if other, _ := read(t, sampled(4, 3), 0, batch); bytes.Equal(other, images[0]) {
		t.Error("another seed gives the same images")
	}
}

// TestFilesEvaluation: every test image once, in order, the padding marked; and again in the next epoch.
func TestFilesEvaluation(t *testing.T) {
	const batch = 6
	f := openFiles(t, Options{Path: photoFolder(t, 4), Size: Size{24, 16}})
	walk, err := NewEvaluation(sequence(0, f.Summary().Test), batch)
	if err != nil {
		t.Fatal(err)
	}
	over := f.WalkedTest(walk)
	for range 2 {
		first, labels := read(t, over, 0, batch)
		if want := []int32{0, 0, 0, 0, 1, 1}; !slices.Equal(labels, want) {
			t.Errorf("first batch: classes %v, want %v", labels, want)
		}
		last, labels := read(t, over, 1, batch)
		if want := []int32{1, 1, -1, -1, -1, -1}; !slices.Equal(labels, want) {
			t.Errorf("last batch: classes %v, want %v", labels, want)
		}
		if const1 := 24 * 16 * 3; !bytes.Equal(last[2*const1:3*const1], first[:const1]) {
			t.Error("the padding is not the first image")
		}
	}
}

// TestOrientation: whatever is done to a training image, up stays up, and about half are mirrored.
func TestOrientation(t *testing.T) {
	source := gradient(60, 45)
	for i := 0; i < len(source.Pix); i += 4 { // grey, which no change of colours turns over
		grey := source.Pix[i]/2 + source.Pix[i+1]/2
		source.Pix[i], source.Pix[i+1], source.Pix[i+2] = grey, grey, grey
	}
	mirrored := 0
	const tries = 200
	for i := range tries {
		canvas := whiteCanvas(Size{20, 28})
		random := newDraws(1, int64(i), 0)
		randomImage(source, canvas, random)
		if random.next > perImage {
			t.Fatalf("an image takes %d draws, there are %d", random.next, perImage)
		}
		light := func(x, y int) uint8 { return canvas.RGBAAt(x, y).R }
		if light(14, 0) > light(14, 19) {
			t.Fatalf("try %d: upside down", i)
		}
		if light(0, 10) > light(27, 10) {
			mirrored++
		}
	}
	if mirrored < tries*35/100 || mirrored > tries*65/100 {
		t.Errorf("%d of %d are mirrored, want about half", mirrored, tries)
	}
}

func TestMirror(t *testing.T) {
	for _, width := range []int{1, 4, 5} {
		canvas, want := gradient(max(width, 2), 3), gradient(max(width, 2), 3)
		mirror(canvas)
		for y := range 3 {
			for x := range canvas.Rect.Dx() {
				if canvas.RGBAAt(x, y) != want.RGBAAt(canvas.Rect.Dx()-1-x, y) {
					t.Fatalf("width %d: pixel %d, %d is %v", width, x, y, canvas.RGBAAt(x, y))
				}
			}
		}
	}
}

// TestCentredImage: torchvision's Resize(256) and CenterCrop(224), by the place in the source that a pixel comes from.
func TestCentredImage(t *testing.T) {
	for _, c := range []struct {
		width, height int
		target        Size
		column, row   float64 // of the source, for the canvas's first pixel
		scale         float64 // source pixels a canvas pixel
	}{
		{300, 200, Size{224, 224}, (80.5) * 300 / 384, 16.5 * 200 / 256, 200.0 / 256},
		{200, 400, Size{224, 224}, 16.5 * 200 / 256, 144.5 * 400 / 512, 200.0 / 256},
		{300, 300, Size{56, 56}, 4.5 * 300 / 64, 4.5 * 300 / 64, 300.0 / 64},
		{300, 300, Size{56, 112}, 8.5 * 300 / 128, 36.5 * 300 / 128, 300.0 / 128}, // 64x128 must be covered
	} {
		canvas := whiteCanvas(c.target)
		centredImage(gradient(c.width, c.height), canvas, nil)
		for _, at := range []image.Point{{0, 0}, {c.target.Width - 1, c.target.Height - 1}, {c.target.Width / 2, 3}} {
			got := canvas.RGBAAt(at.X, at.Y)
			red := 255 * (c.column + c.scale*float64(at.X) - 0.5) / float64(c.width-1)
			green := 255 * (c.row + c.scale*float64(at.Y) - 0.5) / float64(c.height-1)
			if abs(float64(got.R)-red) > 1.7 || abs(float64(got.G)-green) > 1.7 {
				t.Errorf("%dx%d to %v: pixel %v is %v, want red %.1f, green %.1f", c.height, c.width, c.target, at, got, red, green)
			}
		}
	}
}

func abs(v float64) float64 { return max(v, -v) }

// TestRandomPart: crops lie in the image, have between 8 % and all of its area and a shape between 3:4 and 4:3; of an
// image in which such a crop hardly fits, the middle.
func TestRandomPart(t *testing.T) {
	bounds := image.Rect(5, 7, 505, 382)
	areas := []float64{}
	for i := range 300 {
		p := randomPart(bounds, newDraws(2, int64(i), 1))
		area, ratio := float64(p.Dx()*p.Dy())/(500*375), float64(p.Dx())/float64(p.Dy())
		if !p.In(bounds) || area < 0.079 || ratio < 0.745 || ratio > 1.345 {
			t.Errorf("part %v: area %.3f, shape %.3f", p, area, ratio)
		}
		areas = append(areas, area)
	}
	slices.Sort(areas)
	if low, high := areas[30], areas[270]; low > 0.25 || high < 0.65 {
		t.Errorf("areas spread from %.2f to %.2f only", low, high)
	}
	if p, want := randomPart(image.Rect(0, 0, 1000, 3), newDraws(2, 0, 0)), image.Rect(498, 0, 502, 3); p != want {
		t.Errorf("of a line: %v, want %v", p, want)
	}
	if p, want := randomPart(image.Rect(0, 0, 3, 1000), newDraws(2, 0, 0)), image.Rect(0, 498, 3, 502); p != want {
		t.Errorf("of a column: %v, want %v", p, want)
	}
}

func TestFilesErrors(t *testing.T) {
	ctx := context.Background()
	if _, err := OpenFiles(ctx, Options{Path: "shapes"}); err == nil || !strings.Contains(err.Error(), "no image folder") {
		t.Errorf("shapes as files: %v", err)
	}
	root := photoFolder(t, 2)
	bad := filepath.Join(root, "train", "class0", "0.JPEG")
	if err := os.Truncate(bad, 200); err != nil {
		t.Fatal(err)
	}
	f := openFiles(t, Options{Path: root, Size: Size{24, 16}})
	over := f.Sampled(newSampler(t, sequence(0, 4), 4, 0, 1))
	images, labels := make([]uint8, 4*24*16*3), make([]int32, 4)
	for range 2 { // and again on another try
		if err := over.Read(ctx, 0, Batch{Images: images, Labels: labels}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("a damaged image gives %v, want its path", err)
		}
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if err := over.Read(stopped, 0, Batch{Images: images, Labels: labels}); err == nil {
		t.Error("a stopped context reads on")
	}
}

// BenchmarkFiles decodes and augments photographs of ImageNet's usual size.
func BenchmarkFiles(b *testing.B) {
	const batch = 32
	root := b.TempDir()
	var content bytes.Buffer
	photo := gradient(500, 375)
	for i := range photo.Pix {
		photo.Pix[i] ^= uint8(i*2654435761>>13) & 15
	}
	if err := jpeg.Encode(&content, photo, &jpeg.Options{Quality: 90}); err != nil {
		b.Fatal(err)
	}
	for i := range batch {
		folder := filepath.Join(root, "train", fmt.Sprintf("class%d", i%2))
		if err := os.MkdirAll(folder, 0o777); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.jpg", i)), content.Bytes(), 0o666); err != nil {
			b.Fatal(err)
		}
	}
	f := openFiles(b, Options{Path: root})
	sampler, err := NewSampler(sequence(0, batch), batch, 0, 1)
	if err != nil {
		b.Fatal(err)
	}
	over := f.Sampled(sampler)
	images, labels := make([]uint8, batch*224*224*3), make([]int32, batch)
	step := int64(0)
	for b.Loop() {
		if err := over.Read(context.Background(), step, Batch{Images: images, Labels: labels}); err != nil {
			b.Fatal(err)
		}
		step++
	}
	b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "images/s")
}
