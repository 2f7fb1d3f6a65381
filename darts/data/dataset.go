// Package data holds the labelled images that a search or a training runs on: it opens a data set, divides it, puts its
// images into batches, and copies a batch out.
//
// Out go uint8 images packed as [count, height, width, channels] and int32 class numbers, always the raw pixels: crop,
// flip, normalisation and cutout are operations of the compiled step, which gets Mean and Std from here. Everything in
// this package is a pure function of the files, the seed and a step number, whatever the number of workers, so a run
// that was interrupted goes on from its step counter alone.
//
// The package must not know of graphs, plans or devices. Start reading at Open; formats lists what it recognises.
package data

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Dataset is a set of labelled images in memory, all of one size.
type Dataset struct {
	Name    string   // "shapes", "cifar10", "cifar100", or the name of the image folder
	Path    string   // the folder it was read from, "" for a generated set
	Classes []string // class names; a label is an index into them

	Height, Width, Channels int

	Train Split
	Test  Split // empty where an image folder brings neither test/ nor val/

	// Mean and Std of each channel over the training images, for pixels scaled to [0, 1]. The two CIFAR sets have the
	// constants that published results used. A channel that never varies has Std 1, so that dividing by it is harmless.
	Mean, Std []float32
}

// Split is one part of a data set. Image i is Images[i*size : (i+1)*size], where size is Height*Width*Channels.
type Split struct {
	Images []uint8
	Labels []int32
}

// Len returns the number of images.
func (s Split) Len() int { return len(s.Labels) }

// Gather copies the images at the given indices, in that order, to images, and their classes to labels. It allocates
// nothing. images and labels must have exactly the room that the indices need.
func (s Split) Gather(indices []int, images []uint8, labels []int32) error {
	if len(s.Labels) == 0 {
		return fmt.Errorf("gather %d images: the split is empty", len(indices))
	}
	size := len(s.Images) / len(s.Labels)
	if len(images) != len(indices)*size || len(labels) != len(indices) {
		return fmt.Errorf("gather %d images of %d bytes: room for %d bytes and %d labels", len(indices), size, len(images), len(labels))
	}
	return s.each(indices, labels, func(row, index int) { copy(images[row*size:(row+1)*size], s.Images[index*size:]) })
}

// each puts the images at the given indices, and their classes, where they belong.
func (s Split) each(indices []int, labels []int32, put func(row, index int)) error {
	for row, index := range indices {
		if index < 0 || index >= len(s.Labels) {
			return fmt.Errorf("gather image %d: the split has images 0 to %d", index, len(s.Labels)-1)
		}
		put(row, index)
		labels[row] = s.Labels[index]
	}
	return nil
}

// number is Gather with the numbers of images, counted from first, in place of images.
func (s Split) number(indices []int, first int, numbers, labels []int32) error {
	if len(numbers) != len(indices) || len(labels) != len(indices) {
		return fmt.Errorf("number %d images: room for %d numbers and %d labels", len(indices), len(numbers), len(labels))
	}
	return s.each(indices, labels, func(row, index int) { numbers[row] = int32(first + index) })
}

// SplitTrain divides n training images as Liu et al. do: the first floor(portion*n) train the weights, the rest train
// the alphas. Neither part is shuffled here (a Sampler does that), which is sound because every Dataset keeps its
// training images in an order without regard to class. A portion outside [0, 1] counts as the nearer end.
func SplitTrain(n int, portion float64) (weights, alphas []int) {
	split := 0
	if portion > 0 { // false for NaN too
		split = int(math.Floor(min(portion, 1) * float64(n)))
	}
	indices := make([]int, n)
	for i := range indices {
		indices[i] = i
	}
	return indices[:split:split], indices[split:]
}

// Summary is what a person, or the configuration of a run, wants to know of a data set.
type Summary struct {
	Name     string    `json:"name"`
	Path     string    `json:"path,omitempty"`
	Classes  []string  `json:"classes"`
	Height   int       `json:"height"`
	Width    int       `json:"width"`
	Channels int       `json:"channels"`
	Train    int       `json:"train"`
	Test     int       `json:"test"`
	Mean     []float32 `json:"mean"`
	Std      []float32 `json:"std"`
}

// Summary describes the data set without its images.
func (d *Dataset) Summary() Summary {
	return Summary{
		Name: d.Name, Path: d.Path, Classes: d.Classes,
		Height: d.Height, Width: d.Width, Channels: d.Channels,
		Train: d.Train.Len(), Test: d.Test.Len(),
		Mean: d.Mean, Std: d.Std,
	}
}

// String is one line: "cifar10: 10 classes, 32x32 RGB, 50,000 training and 10,000 test images, from /data/cifar".
func (s Summary) String() string {
	colour := "RGB"
	if s.Channels == 1 {
		colour = "grey"
	}
	line := fmt.Sprintf("%s: %d classes, %v %s, %s training and %s test images",
		s.Name, len(s.Classes), Size{s.Height, s.Width}, colour, grouped(s.Train), grouped(s.Test))
	if s.Path != "" {
		line += ", from " + s.Path
	}
	return line
}

// Size is the height and width of an image in pixels.
type Size struct{ Height, Width int }

// String prints a size as ParseSize reads it: height, x, width.
func (s Size) String() string { return fmt.Sprintf("%dx%d", s.Height, s.Width) }

// maxSide bounds the image sizes a user may ask for; beyond it a mistyped digit is likelier than a wish.
const maxSide = 4096

// ParseSize reads "32x48" (height x width) or "32" (square).
func ParseSize(text string) (Size, error) {
	first, second, both := strings.Cut(text, "x")
	if !both {
		second = first
	}
	height, err1 := strconv.Atoi(first)
	width, err2 := strconv.Atoi(second)
	size := Size{height, width}
	if err1 != nil || err2 != nil {
		return Size{}, fmt.Errorf("image size %q: want HEIGHTxWIDTH, as in 32x32", text)
	}
	return size, size.check()
}

func (s Size) check() error {
	if s.Height < 1 || s.Width < 1 || s.Height > maxSide || s.Width > maxSide {
		return fmt.Errorf("image size %v: each side must be 1 to %d pixels", s, maxSide)
	}
	return nil
}

// channelStatistics returns the mean and the standard deviation of each channel, in units of the pixel range. It counts
// values before it adds them up, so the result is exact and does not depend on an order of summation.
func channelStatistics(images []uint8, channels int) (mean, std []float32) {
	mean, std = make([]float32, channels), make([]float32, channels)
	for c := range channels {
		var counts [256]int
		for i := c; i < len(images); i += channels {
			counts[images[i]]++
		}
		total := float64(len(images) / channels)
		var sum, squares float64
		for value, count := range counts {
			sum += float64(value) * float64(count)
			squares += float64(value) * float64(value) * float64(count)
		}
		average := sum / total
		variance := max(squares/total-average*average, 0)
		mean[c], std[c] = float32(average/255), float32(math.Sqrt(variance)/255)
		if std[c] == 0 {
			std[c] = 1
		}
	}
	return mean, std
}

// grouped writes a count with commas between thousands.
func grouped(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
