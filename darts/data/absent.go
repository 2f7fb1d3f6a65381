package data

import (
	"fmt"
	"slices"
)

// Absent describes a data set that is not at hand, as far as a network's shape needs it. The sizes of CIFAR-10 and of
// ImageNet bring their names and the constants by which their pixels are normalised; others have numbers for classes, and
// pixels of [0, 1] as they are.
func Absent(classes int, size Size, channels int) (Summary, error) {
	if classes < 2 {
		return Summary{}, fmt.Errorf("--classes is %d, must be at least 2", classes)
	}
	if channels < 1 {
		return Summary{}, fmt.Errorf("--channels is %d, must be at least 1", channels)
	}
	if err := size.check(); err != nil {
		return Summary{}, fmt.Errorf("--image-size: %w", err)
	}
	s := Summary{Name: "unnamed", Classes: numbers(classes), Height: size.Height, Width: size.Width, Channels: channels}
	switch {
	case classes == 10 && channels == 3 && size == (Size{cifarSide, cifarSide}):
		s.Name, s.Classes = cifar10.name, slices.Clone(cifar10.names)
		s.Mean, s.Std = slices.Clone(cifar10.mean), slices.Clone(cifar10.std)
	case classes == 1000 && channels == 3:
		s.Name = "imagenet"
		s.Mean, s.Std = slices.Clone(imageNetMean), slices.Clone(imageNetStd)
	default:
		for range channels {
			s.Mean, s.Std = append(s.Mean, 0), append(s.Std, 1)
		}
	}
	return s, nil
}
