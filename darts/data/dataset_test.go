package data

import (
	"context"
	"math"
	"slices"
	"testing"
)

func TestSplitTrain(t *testing.T) {
	for _, c := range []struct {
		name    string
		n       int
		portion float64
		weights int
	}{
		{"half", 10, 0.5, 5},
		{"rounded down", 7, 0.5, 3},
		{"all for the weights", 4, 1, 4},
		{"all for the alphas", 4, 0, 0},
		{"beyond the end", 4, 1.5, 4},
		{"negative", 4, -1, 0},
		{"not a number", 4, math.NaN(), 0},
		{"no images", 0, 0.5, 0},
	} {
		weights, alphas := SplitTrain(c.n, c.portion)
		if len(weights) != c.weights {
			t.Errorf("%s: got %d images for the weights, want %d", c.name, len(weights), c.weights)
		}
		all := append(slices.Clone(weights), alphas...)
		for i, index := range all {
			if index != i {
				t.Errorf("%s: got index %d at place %d, want them in order", c.name, index, i)
			}
		}
		if len(all) != c.n {
			t.Errorf("%s: got %d indices in both parts, want %d", c.name, len(all), c.n)
		}
	}
	weights, alphas := SplitTrain(4, 0.5)
	_ = append(weights, 99)
	if alphas[0] != 2 {
		t.Errorf("appending to the first part changed the second: got %d, want 2", alphas[0])
	}
}

func TestGather(t *testing.T) {
	split := Split{Images: []uint8{0, 1, 10, 11, 20, 21}, Labels: []int32{5, 6, 7}}
	images, labels := make([]uint8, 6), make([]int32, 3)
	if err := split.Gather([]int{2, 0, 2}, images, labels); err != nil {
		t.Fatal(err)
	}
	if want := []uint8{20, 21, 0, 1, 20, 21}; !slices.Equal(images, want) {
		t.Errorf("images: got %v, want %v", images, want)
	}
	if want := []int32{7, 5, 7}; !slices.Equal(labels, want) {
		t.Errorf("labels: got %v, want %v", labels, want)
	}
	indices := []int{1, 1, 0}
	if n := testing.AllocsPerRun(10, func() { _ = split.Gather(indices, images, labels) }); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}

func TestGatherErrors(t *testing.T) {
	split := Split{Images: []uint8{0, 1, 10, 11}, Labels: []int32{5, 6}}
	for _, c := range []struct {
		name    string
		split   Split
		indices []int
		images  int
		labels  int
		want    string
	}{
		{"index too large", split, []int{2}, 2, 1, "gather image 2: the split has images 0 to 1"},
		{"negative index", split, []int{-1}, 2, 1, "gather image -1: the split has images 0 to 1"},
		{"too little room", split, []int{0, 1}, 3, 2, "gather 2 images of 2 bytes: room for 3 bytes and 2 labels"},
		{"too much room", split, []int{0, 1}, 4, 3, "gather 2 images of 2 bytes: room for 4 bytes and 3 labels"},
		{"empty split", Split{}, []int{0}, 2, 1, "gather 1 images: the split is empty"},
	} {
		err := c.split.Gather(c.indices, make([]uint8, c.images), make([]int32, c.labels))
		wantError(t, c.name, err, c.want)
	}
}

func TestChannelStatistics(t *testing.T) {
	// Two channels: 0 and 255 in turn, and 51 throughout.
	mean, std := channelStatistics([]uint8{0, 51, 255, 51, 0, 51, 255, 51}, 2)
	if want := []float32{0.5, 0.2}; !slices.Equal(mean, want) {
		t.Errorf("mean: got %v, want %v", mean, want)
	}
	if want := []float32{0.5, 1}; !slices.Equal(std, want) {
		t.Errorf("std: got %v, want %v", std, want)
	}
}

func TestSummary(t *testing.T) {
	d := &Dataset{
		Name: "pets", Path: "/data/pets", Classes: []string{"cat", "dog"}, Height: 24, Width: 32, Channels: 3,
		Train: Split{Labels: make([]int32, 1234567)}, Test: Split{Labels: make([]int32, 12)},
	}
	want := "pets: 2 classes, 24x32 RGB, 1,234,567 training and 12 test images, from /data/pets"
	if got := d.Summary().String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		text string
		want Size
		err  string
	}{
		{text: "32", want: Size{32, 32}},
		{text: "24x48", want: Size{24, 48}},
		{text: "", err: "want HEIGHTxWIDTH"},
		{text: "32x", err: "want HEIGHTxWIDTH"},
		{text: "3x4x5", err: "want HEIGHTxWIDTH"},
		{text: "0x32", err: "each side must be 1 to 4096 pixels"},
		{text: "-3", err: "each side must be 1 to 4096 pixels"},
		{text: "32x5000", err: "each side must be 1 to 4096 pixels"},
	} {
		got, err := ParseSize(c.text)
		if c.err != "" {
			wantError(t, c.text, err, c.err)
		} else if err != nil || got != c.want {
			t.Errorf("%q: got %v, %v, want %v", c.text, got, err, c.want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, text := range []string{"32", "24x48", "", "x", "3x4x5", "-1x2", "99999999999999999999x1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		size, err := ParseSize(text)
		if err != nil {
			return
		}
		if again, err := ParseSize(size.String()); err != nil || again != size {
			t.Errorf("%q is %v, which reads back as %v, %v", text, size, again, err)
		}
	})
}

// TestNumbers: a batch with room for numbers gets those that its images have in the data set, test images after the others.
func TestNumbers(t *testing.T) {
	d, err := openShapes(context.Background(), Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	walk, err := NewEvaluation(sequence(3, 5), 4)
	if err != nil {
		t.Fatal(err)
	}
	size := d.Height * d.Width * d.Channels
	for _, over := range []Batches{d.WalkedTrain(walk), d.WalkedTest(walk)} {
		for step := range int64(2) {
			whole := Batch{Images: make([]uint8, 4*size), Labels: make([]int32, 4)}
			numbered := Batch{Indices: make([]int32, 4), Labels: make([]int32, 4)}
			for _, b := range []Batch{whole, numbered} {
				if err := over.Read(context.Background(), step, b); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(whole.Labels, numbered.Labels) {
				t.Errorf("step %d: labels %v with numbers, %v with images", step, numbered.Labels, whole.Labels)
			}
			all, err := d.First(d.Train.Len() + d.Test.Len())
			if err != nil {
				t.Fatal(err)
			}
			for row, number := range numbered.Indices {
				if !slices.Equal(all[int(number)*size:int(number+1)*size], whole.Images[row*size:(row+1)*size]) {
					t.Errorf("step %d, row %d: image %d is another", step, row, number)
				}
			}
		}
		if err := over.Read(context.Background(), 0, Batch{Indices: make([]int32, 3), Labels: make([]int32, 4)}); err == nil {
			t.Error("a batch with too little room is filled")
		}
	}
	if _, err := d.First(d.Train.Len() + d.Test.Len() + 1); err == nil {
		t.Error("there are more images than there are")
	}
}
