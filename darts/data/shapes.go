package data

import (
	"context"
	"fmt"
	"math"

	"github.com/dartsc/dartsc/internal/philox"
)

// shape is one class of the generated set: its name, and whether a point belongs to it. Points are in the shape's own
// coordinates, where it fills most of [-1, 1] x [-1, 1] and v points down. No shape becomes another one when it is
// mirrored, turned by maxTurn, or cut at one side by a few pixels, so crop and flip keep the classes.
type shape struct {
	name   string
	inside func(u, v float64) bool
}

var shapes = []shape{
	{"disc", func(u, v float64) bool { return u*u+v*v <= 1 }},
	{"ring", func(u, v float64) bool { r := u*u + v*v; return r <= 1 && r >= 0.55*0.55 }},
	{"square", func(u, v float64) bool { return within(u, v, 0.85) }},
	{"frame", func(u, v float64) bool { return within(u, v, 0.9) && !within(u, v, 0.5) }},
	{"triangle", func(u, v float64) bool { return v <= 0.8 && math.Abs(u) <= (v+1)/1.8 }},
	{"cross", func(u, v float64) bool {
		return within(u, v, 0.9) && (math.Abs(u-v) <= 0.38 || math.Abs(u+v) <= 0.38)
	}},
	{"plus", func(u, v float64) bool { return within(u, v, 1) && min(math.Abs(u), math.Abs(v)) <= 0.27 }},
	{"horizontal stripes", func(u, v float64) bool { return within(u, v, 0.95) && band(v, 5)%2 == 0 }},
	{"vertical stripes", func(u, v float64) bool { return within(u, v, 0.95) && band(u, 5)%2 == 0 }},
	{"checkerboard", func(u, v float64) bool { return within(u, v, 0.95) && (band(u, 4)+band(v, 4))%2 == 0 }},
}

func within(u, v, half float64) bool { return math.Abs(u) <= half && math.Abs(v) <= half }

// band numbers the n equal bands of [-0.95, 0.95] from 0.
func band(x float64, n int) int { return int((x + 0.95) / 1.9 * float64(n)) }

const (
	shapesSide    = 32
	minShapesSide = 16 // in fewer pixels the stripes blur
	maxShapes     = 1_000_000

	minRadius, maxRadius = 0.26, 0.40 // of the shorter side
	maxTurn              = 0.2        // radians, either way
	minContrast          = 0.4        // distance of the two colours, in RGB of [0, 1]
	noise                = 0.22       // largest deviation of a pixel; triangular, so the standard deviation is 0.09

	// Streams of the seed: the training images, the test images.
	shapesTrainStream = 0x5348_0001
	shapesTestStream  = 0x5348_0002
)

// openShapes draws a ten-class set: one shape an image, of random place, size, turn and colour, on a ground of a darker
// colour under noise. (With shapes darker as often as lighter, a small network needs some three times the steps: every
// edge detector has to be learnt twice.) Classes take turns, so every stretch of the training images is balanced.
func openShapes(ctx context.Context, options Options) (*Dataset, error) {
	size := options.Size
	if size == (Size{}) {
		size = Size{shapesSide, shapesSide}
	}
	if min(size.Height, size.Width) < minShapesSide {
		return nil, fmt.Errorf("--image-size %v: shapes need %d pixels on each side", size, minShapesSide)
	}
	train, test := options.ShapesTrain, options.ShapesTest
	if train == 0 {
		train = 2000
	}
	if test == 0 {
		test = 500
	}
	if train < len(shapes) || test < len(shapes) || train > maxShapes || test > maxShapes {
		return nil, fmt.Errorf("shapes: %s training and %s test images; want %d to %s of each", grouped(train), grouped(test), len(shapes), grouped(maxShapes))
	}
	if err := checkMemory("shapes", train+test, size, chosenBytes); err != nil {
		return nil, err
	}
	d := &Dataset{Name: "shapes", Height: size.Height, Width: size.Width, Channels: 3}
	for _, shape := range shapes {
		d.Classes = append(d.Classes, shape.name)
	}
	var err error
	if d.Train, err = drawShapes(ctx, train, size, options, shapesTrainStream); err != nil {
		return nil, err
	}
	if d.Test, err = drawShapes(ctx, test, size, options, shapesTestStream); err != nil {
		return nil, err
	}
	return d, nil
}

func drawShapes(ctx context.Context, count int, size Size, options Options, stream uint64) (Split, error) {
	stride := size.Height * size.Width * 3
	split := Split{Images: make([]uint8, count*stride), Labels: make([]int32, count)}
	err := parallel(ctx, options.Workers, count, func(i int) error {
		class := i % len(shapes)
		split.Labels[i] = int32(class)
		random := philox.New(options.Seed, uint64(i), stream)
		drawShape(shapes[class], random, size, split.Images[i*stride:(i+1)*stride])
		return nil
	})
	return split, err
}

// noisePosition is where the noise begins in an image's random numbers, far behind those that place the shape.
const noisePosition = 1 << 16

func drawShape(shape shape, random philox.Stream, size Size, rgb []uint8) {
	position := uint64(0)
	between := func(low, high float64) float64 {
		position++
		return low + (high-low)*float64(random.Float32(position-1))
	}
	radius := between(minRadius, maxRadius) * float64(min(size.Height, size.Width))
	x := between(radius, float64(size.Width)-radius)
	y := between(radius, float64(size.Height)-radius)
	sine, cosine := math.Sincos(between(-maxTurn, maxTurn))

	colour := func(low, high float64) (c [3]float64) {
		for i := range c {
			c[i] = between(low, high)
		}
		return c
	}
	ground, ink := colour(0.05, 0.55), colour(0.45, 0.95)
	for distance(ground, ink) < minContrast {
		ink = colour(0.45, 0.95)
	}

	covered := func(px, py float64) bool {
		dx, dy := (px-x)/radius, (py-y)/radius
		return shape.inside(dx*cosine+dy*sine, dy*cosine-dx*sine)
	}
	for row := range size.Height {
		for column := range size.Width {
			share := coverage(covered, float64(column), float64(row))
			at := (row*size.Width + column) * 3
			for c := range 3 {
				word := random.Uint32(noisePosition + uint64(at+c))
				deviation := (float64(word>>16) + float64(word&0xffff)) / 0xffff // in [0, 2]
				value := ground[c] + share*(ink[c]-ground[c]) + noise*(deviation-1)
				rgb[at+c] = uint8(min(max(value, 0), 1)*255 + 0.5)
			}
		}
	}
}

// coverage is the part of the pixel at (x, y) that the shape covers, from four points in it.
func coverage(covered func(x, y float64) bool, x, y float64) float64 {
	share := 0.0
	for _, dy := range [2]float64{0.25, 0.75} {
		for _, dx := range [2]float64{0.25, 0.75} {
			if covered(x+dx, y+dy) {
				share += 0.25
			}
		}
	}
	return share
}

func distance(a, b [3]float64) float64 {
	return math.Sqrt((a[0]-b[0])*(a[0]-b[0]) + (a[1]-b[1])*(a[1]-b[1]) + (a[2]-b[2])*(a[2]-b[2]))
}
