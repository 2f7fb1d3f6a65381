package data

import (
	"context"
	"fmt"
	"image"
	"runtime"
)

// Files is an image folder whose images stay on disk, for sets that do not fit into memory: every batch is decoded when
// it is due, some batches ahead. Images to train on are cropped, mirrored and recoloured at random as ImageNet networks
// want it (see randomImage); images to evaluate on are scaled and cropped about the centre (see centredImage).
type Files struct {
	summary     Summary
	train, test []imageFile
	seed        uint64
	workers     int
}

// DefaultFilesSize is the size that images of Files get where none is asked for.
var DefaultFilesSize = Size{224, 224}

var (
	imageNetMean = []float32{0.485, 0.456, 0.406}
	imageNetStd  = []float32{0.229, 0.224, 0.225}
)

// OpenFiles lists an image folder, laid out as for Open, and decodes nothing yet. Images are RGB and normalised with
// ImageNet's constants. Options.Seed is that of the random crops, flips and colours.
func OpenFiles(ctx context.Context, options Options) (*Files, error) {
	size := options.Size
	if size == (Size{}) {
		size = DefaultFilesSize
	}
	if err := size.check(); err != nil {
		return nil, fmt.Errorf("--image-size: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, found := findFolder(options.Path)
	if options.Path == "" || options.Path == "shapes" || !found {
		return nil, fmt.Errorf("data: %q is no image folder (train/<class>/*.jpg, .jpeg or .png), which images that are read as they are needed come from", options.Path)
	}
	classes, train, test, err := listFolder(root)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	f := &Files{train: train, test: test, seed: options.Seed, workers: options.Workers}
	if f.workers <= 0 {
		f.workers = runtime.GOMAXPROCS(0)
	}
	f.summary = Summary{
		Name: folderName(root), Path: root, Classes: classes, Height: size.Height, Width: size.Width, Channels: 3,
		Train: len(train), Test: len(test), Mean: imageNetMean, Std: imageNetStd,
	}
	return f, nil
}

// Summary describes the set.
func (f *Files) Summary() Summary { return f.summary }

// Sampled gives random batches of the training images, augmented.
func (f *Files) Sampled(by *Sampler) Batches { return f.batches(f.train, by, randomImage) }

// WalkedTrain gives the batches of an evaluation on training images, without augmentation.
func (f *Files) WalkedTrain(by *Evaluation) Batches { return f.batches(f.train, by, centredImage) }

// WalkedTest gives those of an evaluation on the test images.
func (f *Files) WalkedTest(by *Evaluation) Batches { return f.batches(f.test, by, centredImage) }

// placing puts an image on a canvas of the size wanted.
type placing func(source image.Image, canvas *image.RGBA, random *draws)

// augmentStream tells the randomness of images apart from that of batches, under one seed.
const augmentStream = 0x4a50_4547

func (f *Files) batches(files []imageFile, order order, place placing) Batches {
	s := f.summary
	stride := s.Height * s.Width * s.Channels
	return newAhead(order, stride, func(ctx context.Context, step int64, indices []int, images []uint8, labels []int32) error {
		return parallel(ctx, f.workers, len(indices), func(row int) error {
			file := files[indices[row]]
			labels[row] = file.label
			source, err := decodeImage(file.path)
			if err != nil {
				return err
			}
			canvas := whiteCanvas(Size{s.Height, s.Width})
			place(source, canvas, newDraws(f.seed, step, row))
			packRGB(canvas, images[row*stride:(row+1)*stride])
			return nil
		})
	})
}
