package data

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// cifarPixel is the value that test files have in a plane, at a place of it, in a record.
func cifarPixel(record, plane, place int) uint8 { return uint8(record*31 + plane*97 + place*7) }

// cifarRecords writes one record a label list.
func cifarRecords(labels ...[]byte) []byte {
	var content []byte
	for record, label := range labels {
		content = append(content, label...)
		for plane := range 3 {
			for place := range cifarPlane {
				content = append(content, cifarPixel(record, plane, place))
			}
		}
	}
	return content
}

func writeCIFAR10(t *testing.T, dir string) {
	for i := range 5 {
		write(t, cifarRecords([]byte{byte(i)}, []byte{byte(9 - i)}), dir, fmt.Sprintf("data_batch_%d.bin", i+1))
	}
	write(t, cifarRecords([]byte{3}, []byte{0}, []byte{9}), dir, "test_batch.bin")
}

func checkCIFARPixels(t *testing.T, split Split, recordOf func(image int) int) {
	t.Helper()
	for image := range split.Len() {
		for place := range cifarPlane {
			for plane := range 3 {
				got := split.Images[image*cifarPixels+place*3+plane]
				if want := cifarPixel(recordOf(image), plane, place); got != want {
					t.Fatalf("image %d, channel %d at %d: got %d, want %d", image, plane, place, got, want)
				}
			}
		}
	}
}

func TestCIFAR10(t *testing.T) {
	for _, folder := range []string{"", "cifar-10-batches-bin"} {
		dir := t.TempDir()
		writeCIFAR10(t, filepath.Join(dir, folder))
		d, err := Open(t.Context(), Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		checkDataset(t, d)
		if want := []int32{0, 9, 1, 8, 2, 7, 3, 6, 4, 5}; !slices.Equal(d.Train.Labels, want) {
			t.Errorf("training labels: got %v, want %v", d.Train.Labels, want)
		}
		if want := []int32{3, 0, 9}; !slices.Equal(d.Test.Labels, want) {
			t.Errorf("test labels: got %v, want %v", d.Test.Labels, want)
		}
		checkCIFARPixels(t, d.Train, func(image int) int { return image % 2 })
		checkCIFARPixels(t, d.Test, func(image int) int { return image })
		if d.Name != "cifar10" || d.Path != filepath.Join(dir, folder) || d.Classes[9] != "truck" || d.Mean[0] != 0.49139968 || d.Std[2] != 0.26158768 {
			t.Errorf("got %+v", d.Summary())
		}
		if cap(d.Train.Images) != len(d.Train.Images) {
			t.Errorf("got room for %d bytes, want %d: the images were moved while they were read", cap(d.Train.Images), len(d.Train.Images))
		}
	}
}

func TestCIFAR10ClassNames(t *testing.T) {
	dir := t.TempDir()
	writeCIFAR10(t, dir)
	write(t, []byte("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n"), dir, "batches.meta.txt")
	d, err := Open(t.Context(), Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(d.Classes, ""), "abcdefghij"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCIFAR100(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "cifar-100-binary")
	write(t, cifarRecords([]byte{19, 99}, []byte{0, 7}), root, "train.bin")
	write(t, cifarRecords([]byte{4, 50}), root, "test.bin")
	d, err := Open(t.Context(), Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	checkDataset(t, d)
	if want := []int32{99, 7}; !slices.Equal(d.Train.Labels, want) {
		t.Errorf("got labels %v, want the fine ones %v", d.Train.Labels, want)
	}
	checkCIFARPixels(t, d.Train, func(image int) int { return image })
	if d.Name != "cifar100" || len(d.Classes) != 100 || d.Classes[42] != "42" || d.Mean[1] != 0.48654887 {
		t.Errorf("got %+v", d.Summary())
	}

	write(t, []byte(strings.Repeat("apple\n", 99)+"worm\n"), root, "fine_label_names.txt")
	if d, err = Open(t.Context(), Options{Path: root}); err != nil {
		t.Fatal(err)
	}
	if d.Classes[99] != "worm" {
		t.Errorf("got class 99 %q, want worm", d.Classes[99])
	}
}

func TestCIFARErrors(t *testing.T) {
	record := cifarRecords([]byte{1})
	for _, c := range []struct {
		name    string
		file    string
		content []byte
		want    string
	}{
		{"truncated", "data_batch_3.bin", make([]byte, 30000), "data_batch_3.bin: 30,000 bytes is not a whole number of 3,073-byte records"},
		{"too long", "test_batch.bin", append(slices.Clone(record), 0), "test_batch.bin: 3,074 bytes is not a whole number of 3,073-byte records"},
		{"empty", "data_batch_2.bin", nil, "data_batch_2.bin: empty; want 3,073-byte CIFAR-10 records"},
		{"label", "data_batch_5.bin", cifarRecords([]byte{9}, []byte{10}), "data_batch_5.bin: record 1 (counting from 0) has label 10, want 0 to 9"},
		{"class names", "batches.meta.txt", []byte("cat\ndog\n"), "batches.meta.txt: 2 class names, want 10, one a line"},
	} {
		dir := t.TempDir()
		writeCIFAR10(t, dir)
		write(t, c.content, dir, c.file)
		_, err := Open(t.Context(), Options{Path: dir})
		wantError(t, c.name, err, c.want)
	}

	dir := t.TempDir()
	write(t, record, dir, "data_batch_1.bin")
	_, err := Open(t.Context(), Options{Path: dir})
	wantError(t, "missing file", err, "data_batch_2.bin: missing; CIFAR-10 is data_batch_1.bin, ")

	dir = t.TempDir()
	write(t, cifarRecords([]byte{20, 0}), dir, "train.bin")
	_, err = Open(t.Context(), Options{Path: dir})
	wantError(t, "coarse label", err, "train.bin: record 0 (counting from 0) has label 20, want 0 to 19")
}

func FuzzCIFAR(f *testing.F) {
	f.Add(cifarRecords([]byte{1}, []byte{9}), false)
	f.Add(cifarRecords([]byte{10}), false)
	f.Add(cifarRecords([]byte{19, 99}), true)
	f.Add(cifarRecords([]byte{1})[:3000], false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, content []byte, hundred bool) {
		format := cifar10
		if hundred {
			format = cifar100
		}
		var split Split
		if err := format.readRecords("fuzz.bin", bytes.NewReader(content), &split); err != nil {
			if !strings.HasPrefix(err.Error(), "fuzz.bin: ") {
				t.Errorf("error %q does not name the file", err)
			}
			return
		}
		labelBytes := len(format.labelCounts)
		if got := split.Len() * format.recordBytes(); got != len(content) || len(split.Images) != split.Len()*cifarPixels {
			t.Fatalf("got %d images in %d bytes from %d bytes", split.Len(), len(split.Images), len(content))
		}
		for image, label := range split.Labels {
			record := content[image*format.recordBytes():]
			if int(label) >= len(format.names) || byte(label) != record[labelBytes-1] {
				t.Errorf("image %d: got label %d, want %d", image, label, record[labelBytes-1])
			}
			place := (image * 37) % cifarPlane
			for plane := range 3 {
				got, want := split.Images[image*cifarPixels+place*3+plane], record[labelBytes+plane*cifarPlane+place]
				if got != want {
					t.Errorf("image %d, channel %d at %d: got %d, want %d", image, plane, place, got, want)
				}
			}
		}
	})
}
