package data

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dartsc/dartsc/internal/philox"
)

// An image folder has train/<class>/ with JPEG or PNG images, and perhaps test/<class>/, or val/<class>/ where there is
// no test/. Its rules:
//
//   - Classes are the sorted folder names of train/. Hidden files, and files that are no images, are passed over.
//   - The training images are put into one fixed random order, because files come sorted by class and the first part
//     of the order trains the weights, the second the alphas. Test images stay in the order of their names.
//   - All images get one size: the one asked for, else the size of most training images (which is the only one in most
//     sets), the smaller of two equally common ones. Images of another size are cropped about the centre to the target's
//     shape and scaled.
//   - The set is grey (one channel) if every pixel of every training image is, whatever the files' own format; else RGB.
//   - Transparent parts show white. The orientation mark of a camera (EXIF) is not followed.

// A set may take so much memory: less where nobody chose the image size, since a folder of camera photos would
// otherwise fill the machine without a word.
const (
	defaultBytes = 8 << 30
	chosenBytes  = 64 << 30
)

func checkMemory(name string, images int, size Size, limit int) error {
	if bytes := images * size.Height * size.Width * 3; bytes > limit {
		return fmt.Errorf("%s: %s images of %v take %d GiB of memory; choose a smaller size with --image-size",
			name, grouped(images), size, bytes>>30)
	}
	return nil
}

// shuffleSeed fixes the order of the training images. It is no option: a different order would be a different split.
const shuffleSeed = 1806_09055

type imageFile struct {
	path  string
	label int32
}

func findFolder(dir string) (root string, found bool) {
	info, err := os.Stat(filepath.Join(dir, "train"))
	return dir, err == nil && info.IsDir()
}

func openFolder(ctx context.Context, root string, options Options) (*Dataset, error) {
	classes, train, test, err := listFolder(root)
	if err != nil {
		return nil, err
	}
	size, limit := options.Size, chosenBytes
	if size == (Size{}) {
		limit = defaultBytes
		if size, err = commonSize(ctx, train, options.Workers); err != nil {
			return nil, err
		}
	}
	if err := checkMemory(root, len(train)+len(test), size, limit); err != nil {
		return nil, err
	}
	d := &Dataset{Name: folderName(root), Path: root, Classes: classes, Height: size.Height, Width: size.Width, Channels: 3}
	var coloured bool
	if d.Train, coloured, err = decodeFiles(ctx, train, size, options.Workers); err != nil {
		return nil, err
	}
	if d.Test, _, err = decodeFiles(ctx, test, size, options.Workers); err != nil {
		return nil, err
	}
	if !coloured {
		d.Channels = 1
		d.Train.Images, d.Test.Images = greyImages(d.Train.Images), greyImages(d.Test.Images)
	}
	return d, nil
}

// folderName is the last part of the path, also where the path is "." or "..".
func folderName(root string) string {
	if full, err := filepath.Abs(root); err == nil {
		root = full
	}
	return filepath.Base(root)
}

// listFolder finds the classes, the training images in their shuffled order, and the test images.
func listFolder(root string) (classes []string, train, test []imageFile, err error) {
	trainRoot := filepath.Join(root, "train")
	if classes, err = listClasses(trainRoot); err != nil {
		return nil, nil, nil, err
	}
	if len(classes) < 2 {
		return nil, nil, nil, fmt.Errorf("%s: the number of class folders is %d, want two or more, one for each class", trainRoot, len(classes))
	}
	ordered, err := listImages(trainRoot, classes, classes)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, i := range philox.New(shuffleSeed, 0, 0).Permutation(len(ordered)) {
		train = append(train, ordered[i])
	}
	for _, name := range []string{"test", "val"} {
		testRoot := filepath.Join(root, name)
		if !exists(testRoot) {
			continue
		}
		present, err := listClasses(testRoot)
		if err != nil {
			return nil, nil, nil, err
		}
		test, err = listImages(testRoot, present, classes)
		return classes, train, test, err
	}
	return classes, train, nil, nil
}

// listClasses returns the names of the folders in dir, sorted.
func listClasses(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		folder, err := isFolder(dir, entry)
		if err != nil {
			return nil, err
		}
		if folder && !hidden(entry) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// listImages lists the images of the class folders present in dir, labelled by their place in classes.
func listImages(dir string, present, classes []string) ([]imageFile, error) {
	var files []imageFile
	for _, class := range present {
		folder := filepath.Join(dir, class)
		label, known := slices.BinarySearch(classes, class)
		if !known {
			return nil, fmt.Errorf("%s: the training images have no class %q", folder, class)
		}
		entries, err := os.ReadDir(folder)
		if err != nil {
			return nil, err
		}
		before := len(files)
		for _, entry := range entries {
			if hidden(entry) {
				continue
			}
			path := filepath.Join(folder, entry.Name())
			if inner, err := isFolder(folder, entry); err != nil {
				return nil, err
			} else if inner {
				return nil, fmt.Errorf("%s: a folder inside a class folder; images lie directly in %s", path, folder)
			}
			switch strings.ToLower(filepath.Ext(path)) {
			case ".jpg", ".jpeg", ".png":
				files = append(files, imageFile{path, int32(label)})
			case ".gif", ".bmp", ".tif", ".tiff", ".webp", ".avif", ".heic":
				return nil, fmt.Errorf("%s: images of this kind are not read; convert it to PNG or JPEG", path)
			}
		}
		if len(files) == before {
			return nil, fmt.Errorf("%s: a class folder without .jpg, .jpeg or .png images", folder)
		}
	}
	return files, nil
}

func hidden(entry os.DirEntry) bool { return strings.HasPrefix(entry.Name(), ".") }

// isFolder follows a symbolic link: subsets of a set are often made of links.
func isFolder(dir string, entry os.DirEntry) (bool, error) {
	if entry.Type()&os.ModeSymlink == 0 || hidden(entry) {
		return entry.IsDir(), nil
	}
	info, err := os.Stat(filepath.Join(dir, entry.Name()))
	if err != nil {
		return false, err
	}
	return info.IsDir(), nil
}

// commonSize returns the size that most of the files have, the smaller one of two equally common.
func commonSize(ctx context.Context, files []imageFile, workers int) (Size, error) {
	sizes := make([]Size, len(files))
	err := parallel(ctx, workers, len(files), func(i int) (err error) {
		sizes[i], err = readSize(files[i].path)
		return err
	})
	if err != nil {
		return Size{}, err
	}
	counts := map[Size]int{}
	for _, size := range sizes {
		counts[size]++
	}
	var candidates []Size
	for size := range counts {
		candidates = append(candidates, size)
	}
	return slices.MinFunc(candidates, func(a, b Size) int {
		return cmp.Or(
			cmp.Compare(counts[b], counts[a]),
			cmp.Compare(a.Height*a.Width, b.Height*b.Width),
			cmp.Compare(a.Height, b.Height))
	}), nil
}
