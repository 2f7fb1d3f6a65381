package data

import (
	"reflect"
	"testing"
)

func TestShapes(t *testing.T) {
	d, err := Open(t.Context(), Options{ShapesTrain: 200, ShapesTest: 50})
	if err != nil {
		t.Fatal(err)
	}
	checkDataset(t, d)
	if d.Name != "shapes" || len(d.Classes) != 10 || d.Height != 32 || d.Width != 32 || d.Channels != 3 || d.Train.Len() != 200 || d.Test.Len() != 50 {
		t.Errorf("got %v", d.Summary())
	}
	weights, alphas := SplitTrain(d.Train.Len(), 0.5)
	for _, half := range [][]int{weights, alphas} {
		counts := make([]int, len(d.Classes))
		for _, i := range half {
			counts[d.Train.Labels[i]]++
		}
		for class, count := range counts {
			if count != 10 {
				t.Errorf("class %s: got %d images in a half, want 10", d.Classes[class], count)
			}
		}
	}
}

func TestShapesSeed(t *testing.T) {
	open := func(seed uint64, workers int) *Dataset {
		d, err := Open(t.Context(), Options{Path: "shapes", ShapesTrain: 40, ShapesTest: 20, Seed: seed, Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	one := open(7, 1)
	if !reflect.DeepEqual(one, open(7, 4)) {
		t.Error("1 and 4 workers draw different images from one seed")
	}
	if reflect.DeepEqual(one.Train.Images, open(8, 1).Train.Images) {
		t.Error("two seeds give the same images")
	}
	if reflect.DeepEqual(one.Train.Images[:20*32*32*3], one.Test.Images) {
		t.Error("the test images are training images")
	}
}

func TestShapesSize(t *testing.T) {
	d, err := Open(t.Context(), Options{ShapesTrain: 20, ShapesTest: 10, Size: Size{16, 40}})
	if err != nil {
		t.Fatal(err)
	}
	checkDataset(t, d)
	if d.Height != 16 || d.Width != 40 {
		t.Errorf("got %dx%d, want 16x40", d.Height, d.Width)
	}
	_, err = Open(t.Context(), Options{Size: Size{32, 8}})
	wantError(t, "too small", err, "--image-size 32x8: shapes need 16 pixels on each side")
	_, err = Open(t.Context(), Options{ShapesTrain: 5})
	wantError(t, "too few", err, "shapes: 5 training and 500 test images; want 10 to 1,000,000 of each")
	_, err = Open(t.Context(), Options{ShapesTrain: 1_000_000, Size: Size{1024, 1024}})
	wantError(t, "too much memory", err, "shapes: 1,000,500 images of 1024x1024 take 2931 GiB of memory; choose a smaller size")
}

// TestShapesVisible holds every shape against its ground: enough of it must stand out, and enough must be left of the
// ground, however the shape was placed.
func TestShapesVisible(t *testing.T) {
	d, err := Open(t.Context(), Options{ShapesTrain: 500, ShapesTest: 10})
	if err != nil {
		t.Fatal(err)
	}
	const size = 32 * 32 * 3
	for i := range d.Train.Len() {
		pixels := d.Train.Images[i*size : (i+1)*size]
		low, high := 255*3, 0
		sums := make([]int, 0, 32*32)
		for at := 0; at < size; at += 3 {
			sum := int(pixels[at]) + int(pixels[at+1]) + int(pixels[at+2])
			sums = append(sums, sum)
			low, high = min(low, sum), max(high, sum)
		}
		bright := 0
		for _, sum := range sums {
			if sum > (low+high)/2 {
				bright++
			}
		}
		if share := float64(bright) / (32 * 32); share < 0.05 || share > 0.75 {
			t.Errorf("image %d (%s): %.0f%% of the pixels are bright", i, d.Classes[d.Train.Labels[i]], 100*share)
		}
	}
}

// TestShapesMirrored checks that a mirrored shape is still of its class: each shape covers the mirror image of what it
// covers.
func TestShapesMirrored(t *testing.T) {
	for _, shape := range shapes {
		differ, covered := 0, 0
		for v := -0.975; v < 1; v += 0.05 {
			for u := -0.975; u < 1; u += 0.05 {
				if shape.inside(u, v) {
					covered++
				}
				if shape.inside(u, v) != shape.inside(-u, v) {
					differ++
				}
			}
		}
		// A mirrored checkerboard is the other checkerboard: another shape of the same class.
		if shape.name != "checkerboard" && differ > 0 {
			t.Errorf("%s: %d points change when it is mirrored", shape.name, differ)
		}
		if covered < 1600/5 || covered > 1600*4/5 {
			t.Errorf("%s: covers %d of 1600 points, want a fifth to four fifths", shape.name, covered)
		}
	}
}
