package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"unicode/utf8"
)

const (
	lengthSize  = 8           // the header length before the header
	maxHeader   = 100_000_000 // as the reference implementation limits it
	metadataKey = "__metadata__"
)

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
	file, err := ReadFrom(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
}

// ReadFrom reads the size bytes of r. The header is checked against size before the data is allocated.
func ReadFrom(r io.ReaderAt, size int64) (*File, error) {
	var length [lengthSize]byte
	if size >= lengthSize {
		if _, err := io.ReadFull(io.NewSectionReader(r, 0, lengthSize), length[:]); err != nil {
			return nil, fmt.Errorf("read the header length: %w", err)
		}
	}
	headerSize, err := headerLength(length, size)
	if err != nil {
		return nil, err
	}
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(io.NewSectionReader(r, lengthSize, headerSize), header); err != nil {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	dataSize := size - lengthSize - headerSize
	h, err := parseHeader(header, dataSize)
	if err != nil {
		return nil, err
	}
	data := make([]byte, dataSize)
	if _, err := io.ReadFull(io.NewSectionReader(r, lengthSize+headerSize, dataSize), data); err != nil {
		return nil, fmt.Errorf("read the data: %w", err)
	}
	return h.file(data), nil
}

// Parse reads the content of a safetensors file. The tensors' data are parts of content, not copies.
func Parse(content []byte) (*File, error) {
	var length [lengthSize]byte
	copy(length[:], content)
	size := int64(len(content))
	headerSize, err := headerLength(length, size)
	if err != nil {
		return nil, err
	}
	data := content[lengthSize+headerSize:]
	h, err := parseHeader(content[lengthSize:lengthSize+headerSize], int64(len(data)))
	if err != nil {
		return nil, err
	}
	return h.file(data), nil
}

func headerLength(prefix [lengthSize]byte, size int64) (int64, error) {
	if size < lengthSize {
		return 0, fmt.Errorf("not a safetensors file: %d bytes, want at least %d", size, lengthSize)
	}
	length := binary.LittleEndian.Uint64(prefix[:])
	if length > maxHeader {
		return 0, fmt.Errorf("not a safetensors file: a header of %d bytes, at most %d are allowed", length, maxHeader)
	}
	if rest := uint64(size - lengthSize); length > rest {
		return 0, fmt.Errorf("truncated: the header has %d bytes, only %d follow", length, rest)
	}
	return int64(length), nil
}

// header is what the JSON says, checked; begin and end place each tensor in the data.
type header struct {
	metadata map[string]string
	entries  []entry
}

type entry struct {
	name, dtype string
	shape       []int
	begin, end  int
}

func (h *header) file(data []byte) *File {
	f := &File{Metadata: h.metadata, Tensors: make([]Tensor, len(h.entries)), index: make(map[string]int, len(h.entries))}
	for i, e := range h.entries {
		// The capacity ends with the tensor, so that an append cannot run into the next.
		f.Tensors[i] = Tensor{Name: e.name, DType: e.dtype, Shape: e.shape, Data: data[e.begin:e.end:e.end]}
		f.index[e.name] = i
	}
	return f
}

func parseHeader(text []byte, dataSize int64) (*header, error) {
	if len(text) == 0 || text[0] != '{' {
		return nil, errors.New("not a safetensors file: the header does not begin with {")
	}
	if !utf8.Valid(text) {
		return nil, errors.New("header: not valid UTF-8")
	}
	var h header
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // offsets above 2^53 must not be rounded
	err := parseObject(decoder, func(name string) (err error) {
		if name == metadataKey {
			h.metadata, err = parseMetadata(decoder)
			return err
		}
		e, err := parseEntry(decoder, name)
		h.entries = append(h.entries, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if rest := bytes.Trim(text[decoder.InputOffset():], " "); len(rest) > 0 {
		return nil, fmt.Errorf("header: %d bytes after its end that are not spaces", len(rest))
	}
	return &h, h.place(dataSize)
}

// place sorts the entries by their data and checks that they fill it exactly.
func (h *header) place(dataSize int64) error {
	slices.SortStableFunc(h.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	end := 0
	for _, e := range h.entries {
		if e.begin != end {
			return fmt.Errorf("tensor %q: begins at byte %d, the one before ends at %d", e.name, e.begin, end)
		}
		end = e.end
	}
	if int64(end) > dataSize {
		return fmt.Errorf("truncated: the tensors have %d bytes, the file has %d for them", end, dataSize)
	}
	if int64(end) < dataSize {
		return fmt.Errorf("%d bytes after the last tensor belong to none", dataSize-int64(end))
	}
	return nil
}

// parseObject reads one JSON object, calling value to read the value of each key. A key that comes twice is an error:
// which of the two counts would be the reader's guess.
func parseObject(decoder *json.Decoder, value func(key string) error) error {
	token, err := decoder.Token()
	if err != nil {
		return syntax(err)
	}
	if token != json.Delim('{') {
		return errors.New("want an object")
	}
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return syntax(err)
		}
		key, ok := token.(string)
		if !ok {
			return errors.New("want a string as key")
		}
		if seen[key] {
			return fmt.Errorf("%q stands twice", key)
		}
		seen[key] = true
		if err := value(key); err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
	}
	_, err = decoder.Token()
	return syntax(err)
}

func parseMetadata(decoder *json.Decoder) (map[string]string, error) {
	metadata := map[string]string{}
	err := parseObject(decoder, func(key string) error {
		value, err := parseString(decoder)
		metadata[key] = value
		return err
	})
	return metadata, err
}

func parseEntry(decoder *json.Decoder, name string) (entry, error) {
	e := entry{name: name}
	var offsets []int
	fields := 0
	err := parseObject(decoder, func(key string) (err error) {
		fields++
		switch key {
		case "dtype":
			e.dtype, err = parseString(decoder)
		case "shape":
			e.shape, err = parseInts(decoder)
		case "data_offsets":
			offsets, err = parseInts(decoder)
		default:
			err = errors.New("unknown field, want dtype, shape and data_offsets")
		}
		return err
	})
	if err != nil {
		return e, err
	}
	if fields != 3 || len(offsets) != 2 {
		return e, errors.New("want dtype, shape and two data_offsets")
	}
	e.begin, e.end = offsets[0], offsets[1]
	want, err := byteLength(e.dtype, e.shape)
	if err != nil {
		return e, err
	}
	if e.end < e.begin || e.end-e.begin != want {
		return e, fmt.Errorf("shape %s of %s is %d bytes, data_offsets are [%d,%d]", shapeText(e.shape), e.dtype, want, e.begin, e.end)
	}
	return e, nil
}

func parseString(decoder *json.Decoder) (string, error) {
	token, err := decoder.Token()
	if err != nil {
		return "", syntax(err)
	}
	s, ok := token.(string)
	if !ok {
		return "", errors.New("want a string")
	}
	return s, nil
}

func parseInts(decoder *json.Decoder) ([]int, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, syntax(err)
	}
	if token != json.Delim('[') {
		return nil, errors.New("want a list of numbers")
	}
	values := []int{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, syntax(err)
		}
		number, ok := token.(json.Number)
		if !ok {
			return nil, errors.New("want a list of numbers")
		}
		value, err := strconv.ParseUint(number.String(), 10, 64)
		if err != nil || value > math.MaxInt {
			return nil, fmt.Errorf("%.40q is not a size", number.String())
		}
		values = append(values, int(value))
	}
	_, err = decoder.Token()
	return values, syntax(err)
}

// syntax names the one failure of the JSON reader that would otherwise be a bare "EOF".
func syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("ends in the middle")
	}
	return err
}
