package data

import (
	"image"
	"math"

	"github.com/dartsc/dartsc/internal/philox"
	"golang.org/x/image/draw"
)

// draws are the random numbers of one image of one step, in the order in which they are asked for.
type draws struct {
	stream philox.Stream
	next   uint64
}

// perImage is more draws than an image takes.
const perImage = 64

func newDraws(seed uint64, step int64, row int) *draws {
	return &draws{philox.New(seed, uint64(step), augmentStream), uint64(row) * perImage}
}

func (d *draws) uniform(from, to float64) float64 {
	d.next++
	return from + (to-from)*float64(d.stream.Float32(d.next-1))
}

func (d *draws) intn(n int) int {
	d.next++
	return d.stream.Intn(d.next-1, n)
}

// randomImage is the augmentation of the original's train_imagenet.py: a crop of random size, shape and place, mirrored
// every other time, and colours changed by up to 0.4 in brightness, contrast and saturation and by up to 0.2 in hue.
// Each follows torchvision's definition, but for the rounding of pixels.
func randomImage(source image.Image, canvas *image.RGBA, random *draws) {
	draw.BiLinear.Scale(canvas, canvas.Bounds(), source, randomPart(source.Bounds(), random), draw.Over, nil)
	if random.intn(2) == 1 {
		mirror(canvas)
	}
	jitter(canvas.Pix, random)
}

// randomPart is torchvision's RandomResizedCrop: 8 % to 100 % of the area, at 3:4 to 4:3; where ten tries do not fit,
// the largest part about the centre with a shape in that range.
func randomPart(bounds image.Rectangle, random *draws) image.Rectangle {
	const narrow, wide = 3.0 / 4, 4.0 / 3
	width, height := bounds.Dx(), bounds.Dy()
	for range 10 {
		area := float64(width*height) * random.uniform(0.08, 1)
		ratio := math.Exp(random.uniform(math.Log(narrow), math.Log(wide)))
		w, h := int(math.RoundToEven(math.Sqrt(area*ratio))), int(math.RoundToEven(math.Sqrt(area/ratio)))
		if w > 0 && w <= width && h > 0 && h <= height {
			corner := bounds.Min.Add(image.Pt(random.intn(width-w+1), random.intn(height-h+1)))
			return image.Rectangle{Min: corner, Max: corner.Add(image.Pt(w, h))}
		}
	}
	w, h := width, height
	switch ratio := float64(width) / float64(height); {
	case ratio < narrow:
		h = max(int(math.RoundToEven(float64(w)/narrow)), 1)
	case ratio > wide:
		w = max(int(math.RoundToEven(float64(h)*wide)), 1)
	}
	corner := bounds.Min.Add(image.Pt((width-w)/2, (height-h)/2))
	return image.Rectangle{Min: corner, Max: corner.Add(image.Pt(w, h))}
}

// centredImage is what ImageNet networks are evaluated on: the image scaled so that it covers 256/224 of the canvas, and of
// that the middle.
func centredImage(source image.Image, canvas *image.RGBA, _ *draws) {
	bounds, target := source.Bounds(), canvas.Bounds()
	width, height := (target.Dx()*256+112)/224, (target.Dy()*256+112)/224
	if bounds.Dx()*height < bounds.Dy()*width {
		height = width * bounds.Dy() / bounds.Dx()
	} else {
		width = height * bounds.Dx() / bounds.Dy()
	}
	left, top := roundHalf(target.Dx()-width), roundHalf(target.Dy()-height)
	draw.BiLinear.Scale(canvas, image.Rect(left, top, left+width, top+height), source, bounds, draw.Over, nil)
}

// roundHalf is n/2 rounded to even, as torchvision places a centre crop.
func roundHalf(n int) int { return int(math.RoundToEven(float64(n) / 2)) }

// mirror exchanges left and right.
func mirror(canvas *image.RGBA) {
	for y := range canvas.Rect.Dy() {
		row := canvas.Pix[y*canvas.Stride : y*canvas.Stride+4*canvas.Rect.Dx()]
		for i, j := 0, len(row)-4; i < j; i, j = i+4, j-4 {
			left, right := [4]uint8(row[i:]), [4]uint8(row[j:])
			copy(row[i:], right[:])
			copy(row[j:], left[:])
		}
	}
}
