package data

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// Options says which data set to open and how. The zero value is the generated set.
type Options struct {
	// Path is a folder, or "shapes" (or "") for the generated set. A folder named shapes is "./shapes".
	Path string
	// Size is the size that images get; zero leaves the choice to the data. Images of a folder are scaled to it, shapes
	// are drawn in it, and the CIFAR sets have 32x32 only.
	Size Size
	// Seed is the seed of the shapes; files need none.
	Seed uint64
	// ShapesTrain and ShapesTest are how many shapes to draw; zero means 2000 and 500.
	ShapesTrain, ShapesTest int
	// Workers is how many images are decoded or drawn at a time; zero means one a processor. It changes no result.
	Workers int
}

// Format is a way in which a data set may lie on disk.
type Format struct {
	Name  string // "CIFAR-10 binary"
	Files string // what marks it: "data_batch_1.bin to data_batch_5.bin, test_batch.bin"
	find  func(dir string) (root string, found bool)
	open  func(ctx context.Context, root string, options Options) (*Dataset, error)
}

// formats is in the order in which Formats shows them; a folder that fits two of them is refused.
var formats = []Format{
	{Name: "CIFAR-10 binary", Files: "data_batch_1.bin to data_batch_5.bin, test_batch.bin", find: cifar10.find, open: cifar10.open},
	{Name: "CIFAR-100 binary", Files: "train.bin, test.bin", find: cifar100.find, open: cifar100.open},
	{Name: "image folder", Files: "train/<class>/*.jpg, .jpeg or .png", find: findFolder, open: openFolder},
}

// Formats lists what Open recognises in a folder.
func Formats() []Format { return append([]Format(nil), formats...) }

// Open reads a data set into memory, or generates it.
func Open(ctx context.Context, options Options) (*Dataset, error) {
	if options.Size != (Size{}) {
		if err := options.Size.check(); err != nil {
			return nil, fmt.Errorf("--image-size: %w", err)
		}
	}
	if options.Workers <= 0 {
		options.Workers = runtime.GOMAXPROCS(0)
	}
	var d *Dataset
	var err error
	if options.Path == "" || options.Path == "shapes" {
		d, err = openShapes(ctx, options)
	} else {
		d, err = openPath(ctx, options)
	}
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if d.Mean == nil {
		d.Mean, d.Std = channelStatistics(d.Train.Images, d.Channels)
	}
	return d, nil
}

// ErrNoFolder is the error of a data set whose folder is not there.
var ErrNoFolder = errors.New("no such folder")

func openPath(ctx context.Context, options Options) (*Dataset, error) {
	info, err := os.Stat(options.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w; --data takes a folder, or the word shapes", options.Path, ErrNoFolder)
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s: a file; --data takes a folder (unpack an archive first), or the word shapes", options.Path)
	}
	var format Format
	var root string
	for _, candidate := range formats {
		at, found := candidate.find(options.Path)
		if !found {
			continue
		}
		if root != "" {
			return nil, fmt.Errorf("%s: holds two data sets, %s in %s and %s in %s; name the folder of one",
				options.Path, format.Name, root, candidate.Name, at)
		}
		format, root = candidate, at
	}
	if root == "" {
		return nil, unrecognised(options.Path)
	}
	return format.open(ctx, root, options)
}

func unrecognised(dir string) error {
	for _, name := range []string{"data_batch_1", "cifar-10-batches-py", "cifar-100-python", "meta"} {
		if exists(filepath.Join(dir, name)) {
			return fmt.Errorf("%s: holds a CIFAR set for Python (%s); take the binary version, cifar-10-batches-bin or cifar-100-binary", dir, name)
		}
	}
	var wanted []string
	for _, f := range formats {
		wanted = append(wanted, fmt.Sprintf("%s (%s)", f.Name, f.Files))
	}
	return fmt.Errorf("%s: no data set found; looked for %s", dir, strings.Join(wanted, ", "))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// parallel calls work for 0…n-1 from several goroutines. It returns the error of the smallest number that failed,
// which is the same for any number of workers: numbers are handed out in order, and what was handed out is finished.
func parallel(ctx context.Context, workers, n int, work func(i int) error) error {
	var next atomic.Int64
	var stop atomic.Bool
	var group sync.WaitGroup
	var mutex sync.Mutex
	var failure error
	failed := n
	for range min(workers, n) {
		group.Go(func() {
			for !stop.Load() && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := work(i); err != nil {
					stop.Store(true)
					mutex.Lock()
					if i < failed {
						failed, failure = i, err
					}
					mutex.Unlock()
				}
			}
		})
	}
	group.Wait()
	if failure != nil {
		return failure
	}
	return ctx.Err()
}
