package data

import (
	"slices"
	"strings"
	"testing"
)

func TestAbsent(t *testing.T) {
	for _, test := range []struct {
		classes  int
		size     Size
		channels int
		name     string
		mean     []float32
	}{
		{10, Size{32, 32}, 3, "cifar10", []float32{0.49139968, 0.48215827, 0.44653124}},
		{1000, Size{224, 224}, 3, "imagenet", []float32{0.485, 0.456, 0.406}},
		{10, Size{28, 28}, 1, "unnamed", []float32{0}},
	} {
		s, err := Absent(test.classes, test.size, test.channels)
		if err != nil {
			t.Fatal(err)
		}
		if s.Name != test.name || len(s.Classes) != test.classes || s.Height != test.size.Height || s.Channels != test.channels ||
			!slices.Equal(s.Mean, test.mean) || len(s.Std) != test.channels {
			t.Errorf("%d classes of %v: got %+v", test.classes, test.size, s)
		}
	}
	for _, test := range []struct {
		classes  int
		size     Size
		channels int
		want     string
	}{
		{1, Size{32, 32}, 3, "--classes is 1"},
		{10, Size{32, 32}, 0, "--channels is 0"},
		{10, Size{0, 32}, 3, "--image-size"},
	} {
		if _, err := Absent(test.classes, test.size, test.channels); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got error %v, want one with %q", err, test.want)
		}
	}
}
