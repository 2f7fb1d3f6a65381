package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"

	"github.com/dartsc/dartsc/compiler/plan"
)

// makeData fills a folder with small inputs, good and bad:
//
//	images/       an image folder of 3 classes, 40 images of 8x8 each
//	cifar/        CIFAR-10 with 4 images a file
//	cifar100/     CIFAR-100 with 10 training and 5 test images
//	truncated/    the same with half an image missing in data_batch_3.bin
//	emptyclass/   an image folder with a class folder without images
//	badjpeg/      an image folder with a JPEG that is cut off
//	text/         a corpus of six words
//	halftext/     a corpus without a training text; badtext/ one that is not UTF-8; emptytext/ one with an empty file
//	foreign.dplan a plan of an unknown target
func makeData(root string) error {
	files := map[string][]byte{}
	for class := range 3 {
		for i := range 40 {
			files[fmt.Sprintf("images/train/class%d/%02d.png", class, i)] = encoded(class, i, png.Encode)
		}
	}
	asJPEG := func(w io.Writer, m image.Image) error { return jpeg.Encode(w, m, nil) }
	for i := range 4 {
		picture := encoded(i%2, i, asJPEG)
		files[fmt.Sprintf("emptyclass/train/full/%d.jpg", i)] = picture
		files[fmt.Sprintf("badjpeg/train/class%d/%d.jpg", i%2, i)] = picture
	}
	files["emptyclass/train/hollow/readme.txt"] = []byte("no image\n")
	files["badjpeg/train/class0/9.jpg"] = encoded(0, 9, asJPEG)[:100]
	for batch, name := range []string{"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"} {
		records := cifarRecords(batch)
		files["cifar/"+name+".bin"] = records
		if batch == 2 {
			records = records[:len(records)-1500]
		}
		files["truncated/"+name+".bin"] = records
	}
	for name, sentences := range map[string]int{"train": 24, "valid": 14, "test": 6} {
		files["text/"+name+".txt"] = sentencesOf(sentences)
		files["badtext/"+name+".txt"] = []byte("the\ncat \xff\n")
		files["emptytext/"+name+".txt"] = sentencesOf(2)
	}
	files["emptytext/valid.txt"] = nil
	files["halftext/valid.txt"] = sentencesOf(2)
	for name, images := range map[string]int{"train": 10, "test": 5} {
		var records []byte
		for i := range images {
			records = append(append(records, byte(i), byte(99-i)), cifarPlanes(i)...)
		}
		files["cifar100/"+name+".bin"] = records
	}
	for name, content := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o666); err != nil {
			return err
		}
	}
	return plan.WriteFile(filepath.Join(root, "foreign.dplan"), &plan.Plan{Name: "search", Target: "abacus"})
}

// encoded is an image whose colour tells its class.
func encoded(class, i int, encode func(io.Writer, image.Image) error) []byte {
	const side = 8
	m := image.NewRGBA(image.Rect(0, 0, side, side))
	for p := range side * side {
		shade := uint8(60 + (p*13+i*29)%80)
		c := color.RGBA{shade, shade, shade, 255}
		switch class {
		case 0:
			c.R += 100
		case 1:
			c.G += 100
		case 2:
			c.B += 100
		}
		m.SetRGBA(p%side, p/side, c)
	}
	var b bytes.Buffer
	if err := encode(&b, m); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// cifarRecords are 4 images of CIFAR-10's binary form.
func cifarRecords(batch int) []byte {
	var b bytes.Buffer
	for i := range 4 {
		b.WriteByte(byte((batch*4 + i) % 10))
		b.Write(cifarPlanes(i*50 + batch*11))
	}
	return b.Bytes()
}

// sentencesOf is a text in which no stretch repeats the one before.
func sentencesOf(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		for j := range 2 + i*i%3 {
			fmt.Fprint(&b, []string{"the ", "cat ", "dog ", "sat ", "ran "}[(i*i+j*(i+2))%5])
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// cifarPlanes are the pixels of a CIFAR image.
func cifarPlanes(start int) []byte {
	planes := make([]byte, 3*32*32)
	for p := range planes {
		planes[p] = byte(p*7 + start)
	}
	return planes
}
