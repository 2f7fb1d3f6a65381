package data

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

// paint fills an image, of any kind, with a colour that depends on the place.
func paint(kind interface {
	image.Image
	Set(x, y int, c color.Color)
}, at func(x, y int) color.Color) image.Image {
	for y := range kind.Bounds().Dy() {
		for x := range kind.Bounds().Dx() {
			kind.Set(x, y, at(x, y))
		}
	}
	return kind
}

func plain(c color.Color) func(x, y int) color.Color { return func(int, int) color.Color { return c } }

func pngBytes(t *testing.T, picture image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, picture); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func jpegBytes(t *testing.T, picture image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := jpeg.Encode(&out, picture, &jpeg.Options{Quality: 100}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func square(side int) image.Rectangle { return image.Rect(0, 0, side, side) }

var red, blue, green = color.RGBA{R: 255, A: 255}, color.RGBA{B: 255, A: 255}, color.RGBA{G: 255, A: 255}

// writeFolder lays out two classes of 8x8 images, red cats and blue dogs.
func writeFolder(t *testing.T, dir string) {
	for i := range 10 {
		write(t, pngBytes(t, paint(image.NewRGBA(square(8)), plain(red))), dir, "train", "cat", fmt.Sprintf("%d.png", i))
		write(t, pngBytes(t, paint(image.NewRGBA(square(8)), plain(blue))), dir, "train", "dog", fmt.Sprintf("%d.PNG", i))
	}
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pets")
	writeFolder(t, dir)
	write(t, pngBytes(t, paint(image.NewRGBA(square(8)), plain(green))), dir, "val", "dog", "a.png")
	write(t, []byte("notes"), dir, "train", "README")
	write(t, []byte("junk"), dir, "train", "cat", ".DS_Store")
	write(t, []byte("junk"), dir, "train", "cat", ".hidden.png")
	write(t, []byte("junk"), dir, "train", ".cache", "x.png")
	if err := os.Symlink("0.png", filepath.Join(dir, "train", "cat", "link.png")); err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	checkDataset(t, d)
	if want := (Size{8, 8}); d.Name != "pets" || d.Channels != 3 || (Size{d.Height, d.Width}) != want || !slices.Equal(d.Classes, []string{"cat", "dog"}) {
		t.Errorf("got %v", d.Summary())
	}
	if d.Train.Len() != 21 || d.Test.Len() != 1 || d.Test.Labels[0] != 1 {
		t.Errorf("got %d training images, test labels %v; want 21 and [1]", d.Train.Len(), d.Test.Labels)
	}
	for i, label := range d.Train.Labels {
		want := []uint8{255, 0, 0}
		if label == 1 {
			want = []uint8{0, 0, 255}
		}
		if got := d.Train.Images[i*8*8*3:][:3]; !slices.Equal(got, want) {
			t.Errorf("training image %d with label %d: got pixel %v, want %v", i, label, got, want)
		}
	}
	if slices.IsSorted(d.Train.Labels) {
		t.Errorf("training labels %v are in the order of the classes, want them mixed", d.Train.Labels)
	}
}

func TestFolderPrefersTest(t *testing.T) {
	dir := t.TempDir()
	writeFolder(t, dir)
	picture := pngBytes(t, image.NewRGBA(square(8)))
	write(t, picture, dir, "val", "dog", "a.png")
	write(t, picture, dir, "test", "cat", "a.png")
	d, err := Open(t.Context(), Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int32{0}; !slices.Equal(d.Test.Labels, want) {
		t.Errorf("got test labels %v, want those of test/, %v", d.Test.Labels, want)
	}
}

// TestFolderPixels holds what each kind of file becomes against known pixels.
func TestFolderPixels(t *testing.T) {
	checks := func(x, y int) color.Color { return color.Gray{uint8(x*16 + y)} }
	halves := func(x, _ int) color.Color {
		if x < 8 {
			return red
		}
		return blue
	}
	middle := func(_, y int) color.Color { // a green band, red above and below it
		if y >= 8 && y < 16 {
			return green
		}
		return red
	}
	for _, c := range []struct {
		name    string
		content []byte
		want    func(x, y int) [3]uint8
		off     int // how far a value may be off: JPEG, and scaling near an edge
	}{
		{"grey PNG", pngBytes(t, paint(image.NewGray(square(8)), checks)),
			func(x, y int) [3]uint8 { v := uint8(x*16 + y); return [3]uint8{v, v, v} }, 0},
		{"16-bit PNG", pngBytes(t, paint(image.NewRGBA64(square(8)), checks)),
			func(x, y int) [3]uint8 { v := uint8(x*16 + y); return [3]uint8{v, v, v} }, 0},
		{"palette PNG", pngBytes(t, paint(image.NewPaletted(square(8), color.Palette{green, red}), plain(red))),
			func(int, int) [3]uint8 { return [3]uint8{255, 0, 0} }, 0},
		{"transparent PNG", pngBytes(t, image.NewNRGBA(square(8))),
			func(int, int) [3]uint8 { return [3]uint8{255, 255, 255} }, 0},
		{"half transparent PNG", pngBytes(t, paint(image.NewNRGBA(square(8)), plain(color.NRGBA{R: 255, A: 128}))),
			func(int, int) [3]uint8 { return [3]uint8{255, 127, 127} }, 1},
		{"JPEG", jpegBytes(t, paint(image.NewRGBA(square(8)), plain(color.RGBA{200, 100, 50, 255}))),
			func(int, int) [3]uint8 { return [3]uint8{200, 100, 50} }, 2},
		{"grey JPEG", jpegBytes(t, paint(image.NewGray(square(8)), plain(color.Gray{77}))),
			func(int, int) [3]uint8 { return [3]uint8{77, 77, 77} }, 1},
		{"larger", pngBytes(t, paint(image.NewRGBA(square(16)), halves)), func(x, _ int) [3]uint8 {
			if x < 4 {
				return [3]uint8{255, 0, 0}
			}
			return [3]uint8{0, 0, 255}
		}, 20},
		{"smaller", pngBytes(t, paint(image.NewRGBA(square(3)), plain(blue))),
			func(int, int) [3]uint8 { return [3]uint8{0, 0, 255} }, 1},
		{"tall: the middle stays", pngBytes(t, paint(image.NewRGBA(image.Rect(0, 0, 8, 24)), middle)),
			func(int, int) [3]uint8 { return [3]uint8{0, 255, 0} }, 0},
		{"wide, one pixel high", pngBytes(t, paint(image.NewRGBA(image.Rect(0, 0, 40, 1)), plain(red))),
			func(int, int) [3]uint8 { return [3]uint8{255, 0, 0} }, 1},
	} {
		path := filepath.Join(t.TempDir(), "image")
		write(t, c.content, path)
		rgb := make([]uint8, 8*8*3)
		if err := decodeFile(path, Size{8, 8}, 1, rgb); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for y := range 8 {
			for x := range 8 {
				got, want := rgb[(y*8+x)*3:][:3], c.want(x, y)
				for i := range 3 {
					if difference := int(got[i]) - int(want[i]); difference > c.off || -difference > c.off {
						t.Errorf("%s at (%d, %d): got %v, want %v to within %d", c.name, x, y, got, want, c.off)
					}
				}
			}
		}
	}
}

func TestCentredPart(t *testing.T) {
	for _, c := range []struct {
		bounds image.Rectangle
		size   Size
		want   image.Rectangle
	}{
		{image.Rect(0, 0, 10, 10), Size{5, 5}, image.Rect(0, 0, 10, 10)},
		{image.Rect(0, 0, 30, 10), Size{5, 5}, image.Rect(10, 0, 20, 10)},
		{image.Rect(0, 0, 10, 31), Size{32, 32}, image.Rect(0, 10, 10, 20)},
		{image.Rect(5, 5, 25, 15), Size{4, 4}, image.Rect(10, 5, 20, 15)},
		{image.Rect(0, 0, 20, 20), Size{8, 16}, image.Rect(0, 5, 20, 15)},
		{image.Rect(0, 0, 1000, 1), Size{1000, 1}, image.Rect(499, 0, 500, 1)},
	} {
		if got := centredPart(c.bounds, c.size); got != c.want {
			t.Errorf("%v of %v: got %v, want %v", c.size, c.bounds, got, c.want)
		}
	}
}

func TestFolderSize(t *testing.T) {
	for _, c := range []struct {
		name  string
		sides [][2]int // height and width of the images
		asked Size
		want  Size
	}{
		{"all the same, not square", [][2]int{{6, 9}, {6, 9}}, Size{}, Size{6, 9}},
		{"most common", [][2]int{{6, 9}, {4, 4}, {6, 9}}, Size{}, Size{6, 9}},
		{"two as common: the smaller", [][2]int{{6, 9}, {4, 4}}, Size{}, Size{4, 4}},
		{"two as common and as large: the flatter", [][2]int{{6, 4}, {4, 6}}, Size{}, Size{4, 6}},
		{"asked for", [][2]int{{6, 9}, {6, 9}}, Size{12, 10}, Size{12, 10}},
	} {
		dir := t.TempDir()
		for i, side := range c.sides {
			picture := pngBytes(t, paint(image.NewRGBA(image.Rect(0, 0, side[1], side[0])), plain(red)))
			write(t, picture, dir, "train", fmt.Sprintf("class%d", i%2), fmt.Sprintf("%d.png", i))
		}
		d, err := Open(t.Context(), Options{Path: dir, Size: c.asked})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		checkDataset(t, d)
		if got := (Size{d.Height, d.Width}); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestFolderGrey(t *testing.T) {
	dir := t.TempDir()
	grey := plain(color.Gray{51})
	write(t, pngBytes(t, paint(image.NewGray(square(4)), grey)), dir, "train", "a", "grey.png")
	write(t, pngBytes(t, paint(image.NewRGBA(square(4)), grey)), dir, "train", "b", "grey-as-rgb.png")
	write(t, pngBytes(t, paint(image.NewRGBA(square(4)), plain(red))), dir, "test", "b", "red.png")
	d, err := Open(t.Context(), Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	checkDataset(t, d)
	if d.Channels != 1 || d.Train.Images[0] != 51 || d.Test.Images[0] != 76 {
		t.Errorf("got %d channels, training pixel %d, test pixel %d; want 1, 51, and 76, the luma of red", d.Channels, d.Train.Images[0], d.Test.Images[0])
	}
	if d.Mean[0] != 0.2 || d.Std[0] != 1 {
		t.Errorf("got mean %v and deviation %v, want 0.2 and 1", d.Mean[0], d.Std[0])
	}

	write(t, pngBytes(t, paint(image.NewRGBA(square(4)), plain(red))), dir, "train", "b", "red.png")
	if d, err = Open(t.Context(), Options{Path: dir}); err != nil {
		t.Fatal(err)
	}
	if d.Channels != 3 {
		t.Errorf("with a red training image: got %d channels, want 3", d.Channels)
	}
}

func TestFolderWorkers(t *testing.T) {
	dir := t.TempDir()
	for i := range 24 {
		picture := paint(image.NewRGBA(image.Rect(0, 0, 9+i%5, 11)), func(x, y int) color.Color {
			return color.RGBA{uint8(x * i), uint8(y * 9), uint8(i), 255}
		})
		write(t, jpegBytes(t, picture), dir, "train", fmt.Sprintf("class%d", i%3), fmt.Sprintf("%d.jpeg", i))
	}
	one, err := Open(t.Context(), Options{Path: dir, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	four, err := Open(t.Context(), Options{Path: dir, Workers: 4})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(one, four) {
		t.Error("1 and 4 workers read different data sets")
	}
}

func TestFolderErrors(t *testing.T) {
	good := pngBytes(t, paint(image.NewRGBA(square(32)), func(x, y int) color.Color { return color.RGBA{uint8(x * y), uint8(x), uint8(y), 255} }))
	photo := jpegBytes(t, paint(image.NewRGBA(square(32)), func(x, y int) color.Color { return color.RGBA{uint8(x * y), uint8(x), uint8(y), 255} }))
	huge := slices.Clone(good)
	copy(huge[16:], []byte{0x7f, 0xff, 0xff, 0xff}) // the width; the checksum behind the header is wrong then
	for _, c := range []struct {
		name    string
		file    string // in the folder, beside two good classes
		content []byte
		want    string
	}{
		{"no image", "train/cat/bad.jpg", []byte("hello"), "train/cat/bad.jpg: not a JPEG or PNG image"},
		{"empty file", "train/cat/bad.png", nil, "train/cat/bad.png: not a JPEG or PNG image"},
		{"truncated JPEG", "train/dog/bad.jpg", photo[:len(photo)-200], "train/dog/bad.jpg: the image is damaged or cut off: "},
		{"truncated PNG", "test/dog/bad.png", good[:len(good)-40], "test/dog/bad.png: the image is damaged or cut off: "},
		{"damaged header", "train/dog/bad.png", huge, "train/dog/bad.png: the image is damaged or cut off: png: invalid format: invalid checksum"},
		{"class without images", "train/eel/notes.txt", []byte("later"), "train/eel: a class folder without .jpg, .jpeg or .png images"},
		{"unknown test class", "test/eel/1.png", good, `test/eel: the training images have no class "eel"`},
		{"other image kind", "train/cat/1.webp", good, "train/cat/1.webp: images of this kind are not read; convert it to PNG or JPEG"},
		{"nested folder", "train/cat/more/1.png", good, "train/cat/more: a folder inside a class folder; images lie directly in"},
	} {
		dir := t.TempDir()
		write(t, good, dir, "train", "cat", "0.png")
		write(t, photo, dir, "train", "dog", "0.jpg")
		write(t, c.content, dir, c.file)
		for _, size := range []Size{{}, {16, 16}} {
			_, err := Open(t.Context(), Options{Path: dir, Size: size})
			wantError(t, c.name, err, filepath.FromSlash(c.want))
		}
	}
}

func TestFolderClassCount(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "train"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Options{Path: dir})
	wantError(t, "no class", err, "train: the number of class folders is 0, want two or more")
	write(t, pngBytes(t, image.NewRGBA(square(4))), dir, "train", "cat", "0.png")
	_, err = Open(t.Context(), Options{Path: dir})
	wantError(t, "one class", err, "train: the number of class folders is 1, want two or more")
}

func TestFolderDanglingLink(t *testing.T) {
	dir := t.TempDir()
	writeFolder(t, dir)
	if err := os.Symlink("nowhere", filepath.Join(dir, "train", "cat", "link.png")); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Options{Path: dir})
	wantError(t, "dangling link", err, filepath.Join("train", "cat", "link.png"))
}

func TestFolderTooLarge(t *testing.T) {
	dir := t.TempDir()
	for i := range 30 {
		write(t, pngHeader(10000), dir, "train", fmt.Sprintf("class%d", i%2), fmt.Sprintf("%d.png", i))
	}
	_, err := Open(t.Context(), Options{Path: dir})
	wantError(t, "the set", err, "30 images of 10000x10000 take 8 GiB of memory; choose a smaller size with --image-size")

	write(t, pngHeader(20000), dir, "train", "class0", "0.png")
	_, err = Open(t.Context(), Options{Path: dir})
	wantError(t, "one image", err, "0.png: 20000x20000 pixels; want an image of 1 to 134,217,728")
	err = decodeFile(filepath.Join(dir, "train", "class0", "0.png"), Size{32, 32}, 1, make([]uint8, 32*32*3))
	wantError(t, "one image of a size asked for", err, "0.png: 20000x20000 pixels; want an image of 1 to 134,217,728")
}

// pngHeader is the start of a square RGB PNG, all that it takes to learn its size.
func pngHeader(side uint32) []byte {
	header := []byte("IHDR")
	header = binary.BigEndian.AppendUint32(header, side)
	header = binary.BigEndian.AppendUint32(header, side)
	header = append(header, 8, 2, 0, 0, 0)
	content := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\r"), header...)
	return binary.BigEndian.AppendUint32(content, crc32.ChecksumIEEE(header))
}

func TestFolderCancel(t *testing.T) {
	dir := t.TempDir()
	writeFolder(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Options{Path: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
