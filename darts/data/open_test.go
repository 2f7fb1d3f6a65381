package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// wantError checks that err is one line and contains want.
func wantError(t *testing.T, name string, err error, want string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: got no error, want one with %q", name, want)
	case !strings.Contains(err.Error(), want):
		t.Errorf("%s: got error %q\nwant it to contain %q", name, err, want)
	case strings.Contains(err.Error(), "\n"):
		t.Errorf("%s: got an error of several lines: %q", name, err)
	}
}

// write puts a file into a folder that it makes.
func write(t *testing.T, content []byte, parts ...string) {
	t.Helper()
	path := filepath.Join(parts...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOpenErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		lay  func(dir string) // what the folder holds
		path string           // in the folder
		size Size
		want string
	}{
		{name: "no such folder", path: "nowhere", want: "nowhere: no such folder; --data takes a folder, or the word shapes"},
		{name: "a file", path: "a.tar", lay: func(dir string) { write(t, nil, dir, "a.tar") },
			want: "a.tar: a file; --data takes a folder (unpack an archive first)"},
		{name: "nothing known", want: "no data set found; looked for CIFAR-10 binary (data_batch_1.bin to data_batch_5.bin, test_batch.bin), " +
			"CIFAR-100 binary (train.bin, test.bin), image folder (train/<class>/*.jpg, .jpeg or .png)"},
		{name: "Python set", lay: func(dir string) { write(t, nil, dir, "cifar-10-batches-py", "data_batch_1") },
			want: "holds a CIFAR set for Python (cifar-10-batches-py); take the binary version"},
		{name: "inside a Python set", lay: func(dir string) { write(t, nil, dir, "data_batch_1") },
			want: "holds a CIFAR set for Python (data_batch_1); take the binary version"},
		{name: "two sets", lay: func(dir string) {
			write(t, nil, dir, "cifar-10-batches-bin", "test_batch.bin")
			write(t, nil, dir, "cifar-100-binary", "test.bin")
		}, want: "holds two data sets, CIFAR-10 binary in"},
		{name: "image size of CIFAR", lay: func(dir string) { write(t, nil, dir, "train.bin") }, size: Size{16, 16},
			want: "--image-size 16x16: CIFAR-100 images are 32x32; only an image folder and shapes come in other sizes"},
		{name: "impossible image size", size: Size{0, 32}, want: "--image-size: image size 0x32: each side must be 1 to 4096 pixels"},
	} {
		dir := t.TempDir()
		if c.lay != nil {
			c.lay(dir)
		}
		_, err := Open(t.Context(), Options{Path: filepath.Join(dir, c.path), Size: c.size})
		wantError(t, c.name, err, c.want)
	}
}

func TestFormats(t *testing.T) {
	for _, f := range Formats() {
		if f.Name == "" || f.Files == "" || f.find == nil || f.open == nil {
			t.Errorf("format %q: a field is empty", f.Name)
		}
	}
	Formats()[0].Name = "changed"
	if formats[0].Name == "changed" {
		t.Error("a caller can change the table of formats")
	}
}

func TestParallel(t *testing.T) {
	for _, workers := range []int{1, 4} {
		done := make([]int, 100)
		if err := parallel(t.Context(), workers, len(done), func(i int) error { done[i]++; return nil }); err != nil {
			t.Fatal(err)
		}
		for i, times := range done {
			if times != 1 {
				t.Errorf("%d workers: number %d was worked on %d times, want once", workers, i, times)
			}
		}
		err := parallel(t.Context(), workers, 100, func(i int) error {
			if i%10 == 7 {
				return fmt.Errorf("number %d", i)
			}
			return nil
		})
		wantError(t, fmt.Sprintf("%d workers", workers), err, "number 7")

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := parallel(ctx, workers, 100, func(int) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("%d workers, cancelled: got %v, want %v", workers, err, context.Canceled)
		}
	}
}

// TestRealData opens the set at DARTSC_DATA, whatever it is.
func TestRealData(t *testing.T) {
	path := os.Getenv("DARTSC_DATA")
	if path == "" {
		t.Skip("DARTSC_DATA names no data set")
	}
	d, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(d.Summary(), d.Mean, d.Std)
	checkDataset(t, d)
	weights, _ := SplitTrain(d.Train.Len(), 0.5)
	counts := make([]int, len(d.Classes))
	for _, i := range weights {
		counts[d.Train.Labels[i]]++
	}
	for class, count := range counts {
		if count == 0 {
			t.Errorf("class %s is not in the first half of the training images", d.Classes[class])
		}
	}
}

// checkDataset checks what must hold of any data set.
func checkDataset(t *testing.T, d *Dataset) {
	t.Helper()
	size := d.Height * d.Width * d.Channels
	for _, split := range []Split{d.Train, d.Test} {
		if len(split.Images) != split.Len()*size {
			t.Errorf("%s: got %d bytes for %d images of %d", d.Name, len(split.Images), split.Len(), size)
		}
		for i, label := range split.Labels {
			if label < 0 || int(label) >= len(d.Classes) {
				t.Errorf("%s: image %d has label %d of %d classes", d.Name, i, label, len(d.Classes))
			}
		}
	}
	if len(d.Mean) != d.Channels || len(d.Std) != d.Channels {
		t.Errorf("%s: got %d means and %d deviations for %d channels", d.Name, len(d.Mean), len(d.Std), d.Channels)
	}
	for c, std := range d.Std {
		if !(std > 0) {
			t.Errorf("%s: channel %d has deviation %v", d.Name, c, std)
		}
	}
}
