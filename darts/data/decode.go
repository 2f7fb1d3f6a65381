package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	stddraw "image/draw"
	_ "image/jpeg" // image.Decode reads JPEG
	_ "image/png"  // image.Decode reads PNG
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/image/draw"
)

// maxPixels bounds one image file, whose header alone decides how much memory decoding it takes.
const maxPixels = 1 << 27

// decodeFiles decodes the files into one split of RGB images of the given size. coloured tells whether any pixel of
// any image is not grey.
func decodeFiles(ctx context.Context, files []imageFile, size Size, workers int) (split Split, coloured bool, err error) {
	stride := size.Height * size.Width * 3
	split = Split{Images: make([]uint8, len(files)*stride), Labels: make([]int32, len(files))}
	var anyColour atomic.Bool
	err = parallel(ctx, workers, len(files), func(i int) error {
		rgb := split.Images[i*stride : (i+1)*stride]
		if err := decodeFile(files[i].path, size, 1, rgb); err != nil {
			return err
		}
		split.Labels[i] = files[i].label
		if !anyColour.Load() && !isGrey(rgb) {
			anyColour.Store(true)
		}
		return nil
	})
	if err != nil {
		return Split{}, false, err
	}
	return split, anyColour.Load(), nil
}

// readSize reads the size of an image from its header.
func readSize(path string) (Size, error) {
	file, err := os.Open(path)
	if err != nil {
		return Size{}, err
	}
	defer file.Close()
	return headerSize(path, file)
}

func headerSize(path string, r io.Reader) (Size, error) {
	config, _, err := image.DecodeConfig(r)
	if err != nil {
		return Size{}, imageError(path, err)
	}
	if config.Width < 1 || config.Height < 1 || config.Width > maxPixels/config.Height {
		return Size{}, fmt.Errorf("%s: %dx%d pixels; want an image of 1 to %s", path, config.Height, config.Width, grouped(maxPixels))
	}
	return Size{config.Height, config.Width}, nil
}

func imageError(path string, err error) error {
	if errors.Is(err, image.ErrFormat) {
		return fmt.Errorf("%s: not a JPEG or PNG image", path)
	}
	return fmt.Errorf("%s: the image is damaged or cut off: %w", path, err)
}

// decodeImage reads an image file.
func decodeImage(path string) (image.Image, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if _, err := headerSize(path, bytes.NewReader(content)); err != nil {
		return nil, err
	}
	source, _, err := image.Decode(bytes.NewReader(content))
	if err != nil {
		return nil, imageError(path, err)
	}
	return source, nil
}

// decodeFile writes the image as RGB of the given size to rgb.
func decodeFile(path string, size Size, crop float64, rgb []uint8) error {
	source, err := decodeImage(path)
	if err != nil {
		return err
	}
	packRGB(fit(source, size, crop), rgb)
	return nil
}

// ReadImage reads one image file as pixels [H,W,C], with 3 channels or 1 (grey): the largest part in its middle that has
// the shape of size, scaled to it. Crop makes that part smaller, 1 leaves it.
func ReadImage(path string, size Size, channels int, crop float64) ([]uint8, error) {
	if err := size.check(); err != nil {
		return nil, err
	}
	if !(crop > 0 && crop <= 1) || channels != 1 && channels != 3 {
		return nil, fmt.Errorf("%d channels and a crop of %v: want 1 or 3, and a part of 1", channels, crop)
	}
	rgb := make([]uint8, size.Height*size.Width*3)
	if err := decodeFile(path, size, crop, rgb); err != nil {
		return nil, err
	}
	if channels == 1 {
		return greyImages(rgb), nil
	}
	return rgb, nil
}

// packRGB copies the colours of a canvas.
func packRGB(canvas *image.RGBA, rgb []uint8) {
	for from, to := 0, 0; to < len(rgb); from, to = from+4, to+3 {
		rgb[to], rgb[to+1], rgb[to+2] = canvas.Pix[from], canvas.Pix[from+1], canvas.Pix[from+2]
	}
}

// whiteCanvas is what images are drawn on: their transparent parts show white.
func whiteCanvas(size Size) *image.RGBA {
	canvas := image.NewRGBA(image.Rect(0, 0, size.Width, size.Height))
	for i := range canvas.Pix {
		canvas.Pix[i] = 0xff
	}
	return canvas
}

// fit draws the largest centred part of the image that has the target's shape, made smaller by crop, scaled to the
// target's size. An image of that size already keeps its pixels as they are.
func fit(source image.Image, size Size, crop float64) *image.RGBA {
	canvas := whiteCanvas(size)
	bounds := source.Bounds()
	if bounds.Dx() == size.Width && bounds.Dy() == size.Height && crop == 1 {
		stddraw.Draw(canvas, canvas.Bounds(), source, bounds.Min, stddraw.Over)
		return canvas
	}
	part := centredPart(bounds, size)
	if crop < 1 {
		smaller := image.Pt(max(1, int(float64(part.Dx())*crop+0.5)), max(1, int(float64(part.Dy())*crop+0.5)))
		corner := part.Min.Add(part.Size().Sub(smaller).Div(2))
		part = image.Rectangle{Min: corner, Max: corner.Add(smaller)}
	}
	draw.CatmullRom.Scale(canvas, canvas.Bounds(), source, part, draw.Over, nil)
	return canvas
}

// centredPart is the largest rectangle in the middle of bounds that has the shape of size, to the nearest pixel.
func centredPart(bounds image.Rectangle, size Size) image.Rectangle {
	width, height := bounds.Dx(), bounds.Dy()
	if width*size.Height > height*size.Width {
		width = max((height*size.Width+size.Height/2)/size.Height, 1)
	} else {
		height = max((width*size.Height+size.Width/2)/size.Width, 1)
	}
	corner := bounds.Min.Add(image.Pt((bounds.Dx()-width)/2, (bounds.Dy()-height)/2))
	return image.Rectangle{Min: corner, Max: corner.Add(image.Pt(width, height))}
}

func isGrey(rgb []uint8) bool {
	for i := 0; i < len(rgb); i += 3 {
		if rgb[i] != rgb[i+1] || rgb[i] != rgb[i+2] {
			return false
		}
	}
	return true
}

// greyImages turns RGB images into one channel of luma (ITU-R BT.601), which leaves grey values as they were. A new
// slice, so that the larger one can be freed.
func greyImages(rgb []uint8) []uint8 {
	const red, green, blue = 19595, 38470, 7471 // 0.299, 0.587 and 0.114 in units of 2^-16, with sum 2^16
	grey := make([]uint8, len(rgb)/3)
	for i := range grey {
		r, g, b := uint32(rgb[3*i]), uint32(rgb[3*i+1]), uint32(rgb[3*i+2])
		grey[i] = uint8((red*r + green*g + blue*b + 1<<15) >> 16)
	}
	return grey
}
