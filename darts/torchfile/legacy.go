package torchfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
)

// legacyArchive is the serialisation before PyTorch 1.6: five pickles (a magic number, the version, the sizes of types, the
// object, the keys of its storages), then every storage as its number of elements and the elements.
type legacyArchive struct {
	file     io.ReaderAt
	value    any
	storages map[string]section
	used     map[string]*storage // by key: the whole storages, not views
}

// section is where the elements of a storage lie.
type section struct{ begin, bytes int64 }

const protocolVersion = 1001

var magicNumber, _ = new(big.Int).SetString("1950a86a20f9469cfc6c", 16)

// window is how much of a file is searched for its pickles.
const window = 2*maxPickle + 1<<16

func openLegacy(r io.ReaderAt, size int64) (*legacyArchive, error) {
	head := make([]byte, min(size, window))
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, size), head); err != nil {
		return nil, err
	}
	a := &legacyArchive{file: r, storages: map[string]section{}, used: map[string]*storage{}}
	rest, err := checkHeader(head)
	if err != nil {
		return nil, err
	}
	if a.value, rest, err = unpickle(rest, a.persistent); err != nil {
		return nil, fmt.Errorf("the saved object: %w", err)
	}
	keys, rest, err := unpickle(rest, nil)
	if err != nil {
		return nil, fmt.Errorf("the keys of the storages: %w", err)
	}
	list, ok := items(keys)
	if !ok {
		return nil, errors.New("the keys of the storages are not a list")
	}
	return a, a.index(list, int64(len(head)-len(rest)), size)
}

// checkHeader reads the three pickles before the object.
func checkHeader(content []byte) ([]byte, error) {
	magic, rest, err := unpickle(content, nil)
	if n, ok := magic.(*big.Int); err != nil || !ok || n.Cmp(magicNumber) != 0 {
		return nil, errors.New("a pickle, but not one that torch.save wrote: its magic number is missing")
	}
	version, rest, err := unpickle(rest, nil)
	if err != nil {
		return nil, fmt.Errorf("the version: %w", err)
	}
	if version != protocolVersion {
		return nil, fmt.Errorf("the version is %s, want %d", brief(version), protocolVersion)
	}
	system, rest, err := unpickle(rest, nil)
	if err != nil {
		return nil, fmt.Errorf("the sizes of types: %w", err)
	}
	little := true
	each(system, func(key, value any) {
		if key == "little_endian" {
			little = value == true
		}
	})
	if !little {
		return nil, errors.New("a file of a big-endian machine, which is not read")
	}
	return rest, nil
}

// persistent resolves ("storage", class, key, location, elements, view) and ("module", class, file, source): the source
// text of a module's class, which is not looked at.
func (a *legacyArchive) persistent(id []any) (any, error) {
	if len(id) >= 2 && id[0] == "module" {
		return id[1], nil
	}
	if len(id) == 0 || id[0] != "storage" {
		return nil, errors.New("a persistent id that is neither a storage nor a module")
	}
	s, err := newStorage(id)
	if err != nil {
		return nil, err
	}
	if a.used[s.key] == nil {
		whole := *s
		a.used[s.key] = &whole
	}
	if len(id) < 6 || id[5] == nil {
		return s, nil
	}
	view, ok := items(id[5]) // (key of the view, offset, elements)
	if !ok || len(view) != 3 {
		return nil, fmt.Errorf("storage %.40q: a view of something else than three values", s.key)
	}
	offset, ok1 := view[1].(int)
	elements, ok2 := view[2].(int)
	if !ok1 || !ok2 || offset < 0 || elements < 0 || offset > s.elements || elements > s.elements-offset {
		return nil, fmt.Errorf("storage %.40q of %d elements: a view of %s elements from %s", s.key, s.elements, brief(view[2]), brief(view[1]))
	}
	return &storage{s.key, s.class, elements, offset}, nil
}

// index finds the storages, in the order of their keys from the given place on.
func (a *legacyArchive) index(keys []any, at, size int64) error {
	for _, k := range keys {
		key, ok := k.(string)
		if !ok {
			return errors.New("the key of a storage is not a string")
		}
		s := a.used[key]
		if s == nil {
			return fmt.Errorf("storage %.40q belongs to no tensor", key)
		}
		width, err := s.width()
		if err != nil {
			return err
		}
		var word [8]byte
		if size-at < int64(len(word)) {
			return fmt.Errorf("truncated: storage %.40q of %d elements is missing", key, s.elements)
		}
		if _, err := a.file.ReadAt(word[:], at); err != nil {
			return err
		}
		at += int64(len(word))
		if count := binary.LittleEndian.Uint64(word[:]); count != uint64(s.elements) {
			return fmt.Errorf("storage %.40q has %d elements, its tensors say %d", key, count, s.elements)
		}
		n := int64(s.elements) * int64(width)
		if n > size-at {
			return fmt.Errorf("truncated: storage %.40q has %d bytes, only %d follow", key, n, size-at)
		}
		a.storages[key] = section{at, n}
		at += n
	}
	if at < size {
		return fmt.Errorf("%d bytes after the last storage belong to none", size-at)
	}
	return nil
}

func (a *legacyArchive) root() any { return a.value }

func (a *legacyArchive) storage(s *storage) ([]byte, error) {
	where, ok := a.storages[s.key]
	if !ok {
		return nil, fmt.Errorf("storage %.40q is not in the file", s.key)
	}
	data := make([]byte, where.bytes)
	if _, err := io.ReadFull(io.NewSectionReader(a.file, where.begin, where.bytes), data); err != nil {
		return nil, err
	}
	return data, nil
}
