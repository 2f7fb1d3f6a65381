package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/dartsc/dartsc/internal/atomicfile"
)

// Encode writes the tensors in the order given, with the metadata sorted by key: the same arguments give the same bytes.
// The tensors are checked before the first byte is written. Nil or empty metadata writes none.
func Encode(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	header, err := encodeHeader(tensors, metadata)
	if err != nil {
		return fmt.Errorf("encode safetensors: %w", err)
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range tensors {
		if _, err := w.Write(t.Data); err != nil {
			return err
		}
	}
	return nil
}

// Write makes the file at path hold the tensors; on an error the file that was there before stays as it was.
func Write(path string, tensors []Tensor, metadata map[string]string) error {
	file, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer file.Abort()
	if err := Encode(file, tensors, metadata); err != nil {
		return err
	}
	return file.Commit()
}

// encodeHeader returns the length and the JSON, padded so that the data begins at a multiple of 8 bytes.
func encodeHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	var header bytes.Buffer
	header.Write(make([]byte, lengthSize))
	header.WriteByte('{')
	if len(metadata) > 0 {
		header.WriteString(`"` + metadataKey + `":{`)
		for i, key := range slices.Sorted(maps.Keys(metadata)) {
			if err := writeStrings(&header, i, key, metadata[key]); err != nil {
				return nil, fmt.Errorf("metadata %q: %w", key, err)
			}
		}
		header.WriteByte('}')
		if len(tensors) > 0 {
			header.WriteByte(',')
		}
	}
	if err := writeEntries(&header, tensors); err != nil {
		return nil, err
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 {
		header.WriteByte(' ')
	}
	length := header.Len() - lengthSize
	if length > maxHeader {
		return nil, fmt.Errorf("the header has %d bytes, at most %d are allowed", length, maxHeader)
	}
	binary.LittleEndian.PutUint64(header.Bytes(), uint64(length))
	return header.Bytes(), nil
}

func writeEntries(header *bytes.Buffer, tensors []Tensor) error {
	seen := make(map[string]bool, len(tensors))
	offset := 0
	for i, t := range tensors {
		if t.Name == metadataKey || seen[t.Name] {
			return fmt.Errorf("tensor %q: the name is taken", t.Name)
		}
		seen[t.Name] = true
		if err := t.check(); err != nil {
			return err
		}
		if i > 0 {
			header.WriteByte(',')
		}
		if err := writeString(header, t.Name); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		header.WriteString(`:{"dtype":"` + t.DType + `","shape":[`)
		for k, d := range t.Shape {
			if k > 0 {
				header.WriteByte(',')
			}
			header.WriteString(strconv.Itoa(d))
		}
		fmt.Fprintf(header, `],"data_offsets":[%d,%d]}`, offset, offset+len(t.Data))
		offset += len(t.Data)
	}
	return nil
}

// writeStrings writes the i-th pair of a JSON object.
func writeStrings(header *bytes.Buffer, i int, key, value string) error {
	if i > 0 {
		header.WriteByte(',')
	}
	if err := writeString(header, key); err != nil {
		return err
	}
	header.WriteByte(':')
	return writeString(header, value)
}

func writeString(header *bytes.Buffer, s string) error {
	if !utf8.ValidString(s) {
		return errors.New("is not valid UTF-8")
	}
	quoted, err := json.Marshal(s)
	if err != nil {
		return err
	}
	header.Write(quoted)
	return nil
}
