package cpu

import (
	"math"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/internal/philox"
)

// Kernels on batches of images: raw ones are u8 [N,H,W,C], row-major.

func init() {
	register("take_images", bindTakeImages)
	register("random_crop", bindRandomCrop)
	register("random_flip", bindRandomFlip)
	register("normalize_image", bindNormalizeImage)
	register("cutout", bindCutout)
}

// largestPadding keeps the range of random offsets within what philox draws from.
const largestPadding = 1 << 20

// raw are images in and out of an augmentation, of one shape.
type raw struct {
	x, y       []uint8
	n, h, w, c int
	random     randomness
}

func (c *checker) raw() raw {
	x, y := c.operand(0, plan.U8), c.result(0, plan.U8)
	random := c.randomness(1)
	c.rank(x, 4)
	c.layout(x, nil)
	c.like(y, x)
	if c.err != nil {
		return raw{}
	}
	return raw{x.u8, y.u8, x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3], random}
}

// each binds one image at a time.
func (r *raw) each(run func(image int, y, x []uint8, stream philox.Stream)) task {
	size := r.h * r.w * r.c
	return oneTask(rowParts(r.n, size, func(first, last int) {
		stream := r.random.stream()
		for i := first; i < last; i++ {
			run(i, r.y[i*size:(i+1)*size], r.x[i*size:(i+1)*size], stream)
		}
	}))
}

// take_images(set, rows) → the image of each row's number; one that the set lacks is black.
func bindTakeImages(l *launch) (task, error) {
	c := check(l, 2, 2, 1)
	set, rows, y := c.operand(0, plan.U8), c.operand(1, plan.I32), c.result(0, plan.U8)
	c.rank(set, 4)
	c.layout(set, nil)
	c.rank(rows, 1)
	c.layout(y, nil)
	if c.err == nil {
		c.shape(y, append([]int{rows.Shape[0]}, set.Shape[1:]...)...)
	}
	if c.err != nil {
		return task{}, c.err
	}
	return oneTask(takeRows(y.u8, set.u8, rows.i32, set.Shape[0])), nil
}

// random_crop(images, seed, step): pads with zeros on all sides and cuts the original size at a random place.
func bindRandomCrop(l *launch) (task, error) {
	c := check(l, 3, 3, 1)
	r, padding := c.raw(), c.intParam("padding")
	if c.err == nil && (padding < 0 || padding > largestPadding) {
		c.failf("padding is %d, wants 0 to %d", padding, largestPadding)
	}
	if c.err != nil {
		return task{}, c.err
	}
	return r.each(func(image int, y, x []uint8, stream philox.Stream) {
		down := stream.Intn(uint64(2*image), 2*padding+1) - padding
		right := stream.Intn(uint64(2*image+1), 2*padding+1) - padding
		from, to := max(0, right), r.w+min(0, right) // the columns of x that stay
		for row := range r.h {
			line := y[row*r.w*r.c : (row+1)*r.w*r.c]
			if source := row + down; source < 0 || source >= r.h || from >= to {
				clear(line)
			} else {
				clear(line[:(from-right)*r.c])
				copy(line[(from-right)*r.c:], x[(source*r.w+from)*r.c:(source*r.w+to)*r.c])
				clear(line[(to-right)*r.c:])
			}
		}
	}), nil
}

// random_flip(images, seed, step): mirrors each image left to right with probability ½.
func bindRandomFlip(l *launch) (task, error) {
	c := check(l, 3, 3, 1)
	r := c.raw()
	if c.err != nil {
		return task{}, c.err
	}
	return r.each(func(image int, y, x []uint8, stream philox.Stream) {
		if stream.Intn(uint64(image), 2) == 0 {
			copy(y, x)
			return
		}
		for row := 0; row < len(x); row += r.w * r.c {
			for left := range r.w {
				right := r.w - 1 - left
				copy(y[row+left*r.c:row+(left+1)*r.c], x[row+right*r.c:])
			}
		}
	}), nil
}

// normalize_image(images [N,H,W,C]) → f32 [N,C,H,W], channels last: (v/255 - mean[c])/std[c]. Both have the same order
// in memory, so it is one table look-up an element.
func bindNormalizeImage(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	x, y := c.operand(0, plan.U8), c.result(0, plan.F32)
	mean, std := c.floatsParam("mean"), c.floatsParam("std")
	c.rank(x, 4)
	c.layout(x, nil)
	c.image(y)
	if c.err != nil {
		return task{}, c.err
	}
	s := x.Shape
	c.shape(y, s[0], s[3], s[1], s[2])
	if channels := s[3]; c.err == nil && (len(mean) != channels || len(std) != channels) {
		c.failf("has %d means and %d deviations for %d channels", len(mean), len(std), channels)
	}
	if c.err != nil {
		return task{}, c.err
	}
	tables := make([][256]float32, s[3])
	for i := range tables {
		if std[i] == 0 || math.IsNaN(std[i]) {
			c.failf("deviation of channel %d is %v", i, std[i])
		}
		for v := range tables[i] {
			tables[i][v] = float32((float64(v)/255 - mean[i]) / std[i])
		}
	}
	return oneTask(rowParts(len(x.u8)/s[3], s[3], func(first, last int) {
		for pixel := first; pixel < last; pixel++ {
			from := x.u8[pixel*len(tables):][:len(tables)]
			into := y.f32[pixel*len(tables):][:len(tables)]
			for i, v := range from {
				into[i] = tables[i][v]
			}
		}
	})), c.err
}

// cutout(x [N,C,H,W], seed, step): zeros a square of the given length around a random centre, clipped at the borders.
// The result may be x.
func bindCutout(l *launch) (task, error) {
	c := check(l, 3, 3, 1)
	x, y := c.operand(0, plan.F32), c.result(0, plan.F32)
	random, length := c.randomness(1), c.intParam("length")
	c.rank(x, 4)
	n := c.outermost(x)
	c.like(y, x)
	if c.err == nil && length < 0 {
		c.failf("length is %d, wants at least 0", length)
	}
	if c.err != nil {
		return task{}, c.err
	}
	half, size, s, step := length/2, len(x.f32)/n, x.Shape, strides(x.Tensor)
	return oneTask(rowParts(n, size, func(first, last int) {
		stream := random.stream()
		for i := first; i < last; i++ {
			image := y.f32[i*size : (i+1)*size]
			copy(image, x.f32[i*size:])
			centreY, centreX := stream.Intn(uint64(2*i), s[2]), stream.Intn(uint64(2*i+1), s[3])
			for row := max(0, centreY-half); row < min(s[2], centreY+half); row++ {
				for column := max(0, centreX-half); column < min(s[3], centreX+half); column++ {
					for channel := range s[1] {
						image[channel*step[1]+row*step[2]+column*step[3]] = 0
					}
				}
			}
		}
	})), nil
}
