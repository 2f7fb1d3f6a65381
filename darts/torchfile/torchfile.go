// Package torchfile reads the files that torch.save writes, and writes state_dicts that torch.load reads. It reads both
// serialisations (the zip archive of PyTorch 1.6 and later, and the pickles one after the other of before), state_dicts,
// training checkpoints that hold one, and whole pickled modules, from the CPU or a GPU.
//
// A pickle is a program. Nothing in one is executed here: classes become inert objects that only remember what they were
// given, and the few functions that tensors are made of are our own. Any other call is an error, as is whatever would
// take more memory or time than the size of the file justifies: lengths and counts are checked before anything is
// allocated for them.
//
// The package knows no architecture: names and values go out as the file has them. Start reading at Read.
package torchfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dartsc/dartsc/darts/safetensors"
)

// File is what a PyTorch file holds.
type File struct {
	// Tensors are the parameters and buffers under their state_dict names, in the file's order and element types, each
	// contiguous. The prefix "module." that a network in DataParallel gives all its names is left out.
	Tensors []safetensors.Tensor

	// Class is the Python class of a whole pickled module ("model.RNNModel"), "" for a state_dict.
	Class string

	// Attributes are the plain attributes of a whole pickled module and the modules in it under their dotted names
	// ("ninp", "rnns.0.genotype"): int, float64, bool or string. A named tuple Genotype is the text that Python prints
	// for it. For a checkpoint with a state_dict they are the plain entries beside it ("epoch").
	Attributes map[string]any

	// Legacy says that the file is of the serialisation before PyTorch 1.6.
	Legacy bool
}

// Read reads the file at path.
func Read(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a folder, want a PyTorch file", path)
	}
	file, err := ReadFrom(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
}

// The beginnings of files.
var (
	zipMagic    = []byte("PK\x03\x04")
	pickleMagic = []byte("\x80")
	textMagic   = []byte("L1195470371460388") // the magic number in a pickle of protocol 0 or 1
)

// Recognised tells whether a file that begins with these bytes may be one that Read reads.
func Recognised(start []byte) bool {
	return bytes.HasPrefix(start, zipMagic) || isPickle(start)
}

func isPickle(start []byte) bool {
	return bytes.HasPrefix(start, pickleMagic) || bytes.HasPrefix(start, textMagic)
}

// ReadFrom reads the size bytes of r.
func ReadFrom(r io.ReaderAt, size int64) (file *File, err error) {
	// gopickle trusts its input in some places: an index or a type that it did not expect is the input's fault.
	defer func() {
		if p := recover(); p != nil {
			file, err = nil, fmt.Errorf("a malformed pickle: %v", p)
		}
	}()
	source, err := open(r, size)
	if err != nil {
		return nil, err
	}
	found, err := find(source.root())
	if err != nil {
		return nil, err
	}
	file = &File{Class: found.class, Attributes: found.attributes}
	_, file.Legacy = source.(*legacyArchive)
	prefix := commonPrefix(found.tensors)
	m := materialiser{source: source, copies: copyLimit(size), read: map[string][]byte{}}
	for _, named := range found.tensors {
		t, err := m.tensor(strings.TrimPrefix(named.name, prefix), named.value)
		if err != nil {
			return nil, err
		}
		file.Tensors = append(file.Tensors, t)
	}
	return file, nil
}

// open tells the serialisations apart by how the file begins.
func open(r io.ReaderAt, size int64) (archive, error) {
	head := make([]byte, min(size, 512))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, zipMagic):
		return openZip(r, size)
	case isPickle(head):
		return openLegacy(r, size)
	case len(head) > 262 && bytes.Equal(head[257:262], []byte("ustar")):
		return nil, errors.New("a tar archive, as PyTorch wrote before 0.1.10: load it there and save it again")
	}
	return nil, fmt.Errorf("not a PyTorch file: it begins with %q, want a zip archive or a pickle", head[:min(len(head), 4)])
}

// archive is one of the two serialisations, opened: its pickle has been read, its storages have not.
type archive interface {
	root() any
	// storage returns the bytes of a storage; there is at least one for every byte that its elements need.
	storage(s *storage) ([]byte, error)
}

// commonPrefix is "module." if all tensors are named so.
func commonPrefix(tensors []namedTensor) string {
	const prefix = "module."
	for _, t := range tensors {
		if !strings.HasPrefix(t.name, prefix) {
			return ""
		}
	}
	return prefix
}
