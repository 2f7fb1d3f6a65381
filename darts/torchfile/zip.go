package torchfile

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"strings"
)

// zipArchive is the serialisation of PyTorch 1.6 and later: NAME/data.pkl, and NAME/data/KEY for every storage.
type zipArchive struct {
	records map[string]*zip.File // by their names without NAME/
	value   any
	budget  int64 // bytes that records may still unpack to
}

// unpackLimit is what all records may unpack to: PyTorch stores them as they are, and weights hardly compress.
func unpackLimit(fileSize int64) int64 { return 8*fileSize + 64<<20 }

func openZip(r io.ReaderAt, size int64) (*zipArchive, error) {
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("not a whole zip archive: %w", err)
	}
	a := &zipArchive{records: map[string]*zip.File{}, budget: unpackLimit(size)}
	root := ""
	for _, f := range archive.File {
		if name, ok := strings.CutSuffix(f.Name, "data.pkl"); ok && strings.Count(name, "/") <= 1 && (name == "" || strings.HasSuffix(name, "/")) {
			root = name
		}
	}
	for _, f := range archive.File {
		if name, ok := strings.CutPrefix(f.Name, root); ok {
			a.records[name] = f
		}
	}
	if a.records["constants.pkl"] != nil {
		return nil, errors.New("a TorchScript archive, which is a program: save the state_dict of the module with torch.save")
	}
	if a.records["data.pkl"] == nil {
		return nil, errors.New("a zip archive without data.pkl: not what torch.save writes")
	}
	if a.records["byteorder"] != nil {
		order, err := a.unpack("byteorder", 16)
		if err != nil {
			return nil, err
		}
		if string(order) != "little" {
			return nil, fmt.Errorf("byte order %q, only little is read", order)
		}
	}
	program, err := a.unpack("data.pkl", maxPickle)
	if err != nil {
		return nil, err
	}
	a.value, _, err = unpickle(program, func(id []any) (any, error) {
		if len(id) == 0 || id[0] != "storage" {
			return nil, errors.New("a persistent id that is no storage")
		}
		return newStorage(id)
	})
	if err != nil {
		return nil, fmt.Errorf("data.pkl: %w", err)
	}
	return a, nil
}

func (a *zipArchive) root() any { return a.value }

func (a *zipArchive) storage(s *storage) ([]byte, error) {
	width, err := s.width()
	if err != nil {
		return nil, err
	}
	name := "data/" + s.key
	f := a.records[name]
	if f == nil {
		return nil, fmt.Errorf("the archive has no record %.60q", name)
	}
	if want := uint64(s.elements) * uint64(width); f.UncompressedSize64 < want {
		return nil, fmt.Errorf("storage %.40q of %d elements needs %d bytes, record %.60q has %d", s.key, s.elements, want, name, f.UncompressedSize64)
	}
	return a.unpack(name, a.budget)
}

// unpack reads a record, whose announced size is checked before memory is taken for it.
func (a *zipArchive) unpack(name string, limit int64) ([]byte, error) {
	f := a.records[name]
	if f.UncompressedSize64 > uint64(limit) {
		return nil, fmt.Errorf("record %.60q unpacks to %d bytes, at most %d are read of it: a zip bomb", name, f.UncompressedSize64, limit)
	}
	n := int64(f.UncompressedSize64)
	a.budget -= n
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("record %.60q: %w", name, err)
	}
	defer r.Close()
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("record %.60q: truncated: %w", name, err)
	}
	// Reading on to the end checks the sum, and that there is no more.
	if n, err := r.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("record %.60q is damaged: %w", name, cmpError(err))
	}
	return data, nil
}

func cmpError(err error) error {
	if err == nil {
		return errors.New("longer than it says")
	}
	return err
}
