package torchfile

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/dartsc/dartsc/darts/safetensors"
)

// storageClass is the storage of each element type.
var storageClass = func() map[string]string {
	classes := map[string]string{}
	for class, t := range elementTypes {
		classes[t.dtype] = class
	}
	return classes
}()

// Encode writes the tensors as torch.save writes a state_dict: a zip archive that torch.load reads, also with
// weights_only, and PyTorch 1.6 at the earliest. The same tensors give the same bytes.
func Encode(w io.Writer, tensors []safetensors.Tensor) error {
	program, err := statePickle(tensors)
	if err != nil {
		return fmt.Errorf("encode a state_dict: %w", err)
	}
	archive := zip.NewWriter(w)
	if err := store(archive, "data.pkl", program); err != nil {
		return err
	}
	if err := store(archive, "byteorder", []byte("little")); err != nil {
		return err
	}
	for i, t := range tensors {
		if err := store(archive, fmt.Sprintf("data/%d", i), t.Data); err != nil {
			return err
		}
	}
	if err := store(archive, "version", []byte("3\n")); err != nil {
		return err
	}
	return archive.Close()
}

// zipVersion is that of the zip format that plain records need.
const zipVersion = 20

// store adds a record as it is, its size and sum before it.
func store(archive *zip.Writer, name string, data []byte) error {
	w, err := archive.CreateRaw(&zip.FileHeader{
		Name: "archive/" + name, CreatorVersion: zipVersion, ReaderVersion: zipVersion, Method: zip.Store, CRC32: crc32.ChecksumIEEE(data),
		CompressedSize64: uint64(len(data)), UncompressedSize64: uint64(len(data)),
	})
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// statePickle is the program, in protocol 2, of an OrderedDict of tensors, the i-th of which has storage "i" to itself.
func statePickle(tensors []safetensors.Tensor) ([]byte, error) {
	p := &pickler{}
	p.WriteString("\x80\x02")
	p.emptyOrderedDict()
	p.WriteByte('(')
	seen := map[string]bool{}
	for i, t := range tensors {
		class, ok := storageClass[t.DType]
		if !ok {
			return nil, fmt.Errorf("tensor %q: PyTorch has no storage of %s", t.Name, t.DType)
		}
		if seen[t.Name] {
			return nil, fmt.Errorf("tensor %q stands twice", t.Name)
		}
		seen[t.Name] = true
		elements, strides := t.Elements(), make([]int, len(t.Shape))
		if elements*elementTypes[class].width != len(t.Data) {
			return nil, fmt.Errorf("tensor %q of shape %v has %d bytes", t.Name, t.Shape, len(t.Data))
		}
		stride := 1
		for d := len(t.Shape) - 1; d >= 0; d-- {
			strides[d] = stride
			stride *= max(t.Shape[d], 1)
		}
		p.text(t.Name)
		p.global("torch._utils", "_rebuild_tensor_v2")
		p.WriteString("((")
		p.text("storage")
		p.global("torch", class)
		p.text(fmt.Sprint(i))
		p.text("cpu")
		p.int(elements)
		p.WriteString("tQ") // the storage, by its persistent id
		p.int(0)
		p.tuple(t.Shape)
		p.tuple(strides)
		p.WriteByte('\x89') // needs no gradient
		p.emptyOrderedDict()
		p.WriteString("tR")
	}
	p.WriteString("u.")
	return p.Bytes(), nil
}

// pickler writes pickle instructions.
type pickler struct{ bytes.Buffer }

func (p *pickler) global(module, name string) { p.WriteString("c" + module + "\n" + name + "\n") }

func (p *pickler) emptyOrderedDict() {
	p.global("collections", "OrderedDict")
	p.WriteString(")R")
}

func (p *pickler) text(s string) {
	p.WriteByte('X')
	p.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(s))))
	p.WriteString(s)
}

func (p *pickler) int(n int) {
	if n <= math.MaxInt32 {
		p.WriteByte('J')
		p.Write(binary.LittleEndian.AppendUint32(nil, uint32(n)))
		return
	}
	p.WriteString("\x8a\x08") // a long of 8 bytes
	p.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func (p *pickler) tuple(values []int) {
	p.WriteByte('(')
	for _, v := range values {
		p.int(v)
	}
	p.WriteByte('t')
}
