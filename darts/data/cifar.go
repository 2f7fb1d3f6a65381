package data

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	cifarSide   = 32
	cifarPlane  = cifarSide * cifarSide
	cifarPixels = 3 * cifarPlane
)

// cifarFormat is one of the two binary CIFAR layouts: records of a few label bytes, then the red, the green and the
// blue plane. The published files hold 10,000 or 50,000 records; any number from one up is accepted.
type cifarFormat struct {
	name, title string
	folder      string // what the published archive unpacks to
	train       []string
	test        string
	labelCounts []int // how many classes each label byte of a record tells apart; the last is the one we take
	namesFile   string
	names       []string // class names where namesFile is absent
	mean, std   []float32
}

var cifar10 = cifarFormat{
	name: "cifar10", title: "CIFAR-10", folder: "cifar-10-batches-bin",
	train:       []string{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
	test:        "test_batch.bin",
	labelCounts: []int{10},
	namesFile:   "batches.meta.txt",
	names:       []string{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
	mean:        []float32{0.49139968, 0.48215827, 0.44653124},
	std:         []float32{0.24703233, 0.24348505, 0.26158768},
}

// cifar100 records carry the coarse class, of 20, before the fine one; its classes are numbers where the file of names
// is missing.
var cifar100 = cifarFormat{
	name: "cifar100", title: "CIFAR-100", folder: "cifar-100-binary",
	train:       []string{"train.bin"},
	test:        "test.bin",
	labelCounts: []int{20, 100},
	namesFile:   "fine_label_names.txt",
	names:       numbers(100),
	mean:        []float32{0.50707516, 0.48654887, 0.44091784},
	std:         []float32{0.26733429, 0.25643846, 0.27615047},
}

func numbers(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names
}

// find looks for any of the files, not all, so that a set with one missing is reported as that and not as unknown.
func (f cifarFormat) find(dir string) (root string, found bool) {
	for _, root := range []string{dir, filepath.Join(dir, f.folder)} {
		for _, file := range append([]string{f.test}, f.train...) {
			if exists(filepath.Join(root, file)) {
				return root, true
			}
		}
	}
	return "", false
}

func (f cifarFormat) open(ctx context.Context, root string, options Options) (*Dataset, error) {
	if own := (Size{cifarSide, cifarSide}); options.Size != (Size{}) && options.Size != own {
		return nil, fmt.Errorf("--image-size %v: %s images are %v; only an image folder and shapes come in other sizes", options.Size, f.title, own)
	}
	classes, err := f.classes(root)
	if err != nil {
		return nil, err
	}
	d := &Dataset{
		Name: f.name, Path: root, Classes: classes,
		Height: cifarSide, Width: cifarSide, Channels: 3,
		Mean: slices.Clone(f.mean), Std: slices.Clone(f.std),
	}
	if d.Train, err = f.readFiles(ctx, root, f.train); err != nil {
		return nil, err
	}
	if d.Test, err = f.readFiles(ctx, root, []string{f.test}); err != nil {
		return nil, err
	}
	return d, nil
}

func (f cifarFormat) classes(root string) ([]string, error) {
	path := filepath.Join(root, f.namesFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return slices.Clone(f.names), nil
	}
	if err != nil {
		return nil, err
	}
	names := strings.Fields(string(text))
	if want := len(f.names); len(names) != want {
		return nil, fmt.Errorf("%s: %d class names, want %d, one a line", path, len(names), want)
	}
	return names, nil
}

func (f cifarFormat) recordBytes() int { return len(f.labelCounts) + cifarPixels }

// readFiles reads the files one behind the other into a split of the right size from the start: growing it on the way
// would hold the set twice.
func (f cifarFormat) readFiles(ctx context.Context, root string, files []string) (Split, error) {
	total := 0
	for _, file := range files {
		path := filepath.Join(root, file)
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			return Split{}, fmt.Errorf("%s: missing; %s is %s and %s", path, f.title, strings.Join(f.train, ", "), f.test)
		}
		if err != nil {
			return Split{}, err
		}
		if err := f.checkLength(path, int(info.Size())); err != nil {
			return Split{}, err
		}
		total += int(info.Size()) / f.recordBytes()
	}
	split := Split{Images: make([]uint8, 0, total*cifarPixels), Labels: make([]int32, 0, total)}
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return Split{}, err
		}
		if err := f.readFile(filepath.Join(root, file), &split); err != nil {
			return Split{}, err
		}
	}
	return split, nil
}

func (f cifarFormat) readFile(path string, into *Split) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return f.readRecords(path, bufio.NewReaderSize(file, 1<<20), into)
}

// readRecords appends the records of one file to a split, with the planes interleaved.
func (f cifarFormat) readRecords(path string, r io.Reader, into *Split) error {
	record := make([]byte, f.recordBytes())
	for count := 0; ; count++ {
		n, err := io.ReadFull(r, record)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return f.checkLength(path, count*len(record)+n)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for i, classes := range f.labelCounts {
			if int(record[i]) >= classes {
				return fmt.Errorf("%s: record %d (counting from 0) has label %d, want 0 to %d", path, count, record[i], classes-1)
			}
		}
		labels, planes := record[:len(f.labelCounts)], record[len(f.labelCounts):]
		into.Labels = append(into.Labels, int32(labels[len(labels)-1]))
		for i := range cifarPlane {
			into.Images = append(into.Images, planes[i], planes[cifarPlane+i], planes[2*cifarPlane+i])
		}
	}
}

func (f cifarFormat) checkLength(path string, bytes int) error {
	if bytes == 0 {
		return fmt.Errorf("%s: empty; want %s-byte %s records", path, grouped(f.recordBytes()), f.title)
	}
	if bytes%f.recordBytes() != 0 {
		return fmt.Errorf("%s: %s bytes is not a whole number of %s-byte records", path, grouped(bytes), grouped(f.recordBytes()))
	}
	return nil
}
