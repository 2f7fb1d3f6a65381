package run

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

const stateFormat = 1

// record is state.json: the caller's state, and what is needed to trust it and to take the logs back.
type record struct {
	Format         int             `json:"format"`
	Step           int64           `json:"step"`
	MetricsBytes   int64           `json:"metrics_bytes"`
	GenotypesBytes int64           `json:"genotypes_bytes"`
	TensorsSHA256  string          `json:"tensors_sha256"`
	State          json.RawMessage `json:"state"`
	RecordSHA256   string          `json:"record_sha256"` // of this record, in compact form, with this field empty
}

func (r record) checksum() (string, error) {
	r.RecordSHA256 = ""
	text, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	return hexSum(text), nil
}

func (r record) encode() ([]byte, error) {
	var err error
	if r.RecordSHA256, err = r.checksum(); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	return append(text, '\n'), err
}

func parseRecord(text []byte) (record, error) {
	var r record
	// The version first: a later one may have fields that this program does not know.
	var version struct{ Format *int }
	if err := json.Unmarshal(text, &version); err != nil {
		return r, plain(err)
	}
	if version.Format == nil {
		return r, errors.New(`has no field "format"`)
	}
	if *version.Format != stateFormat {
		return r, fmt.Errorf("has format %d, this program reads format %d", *version.Format, stateFormat)
	}
	if err := decodeStrict(text, &r); err != nil {
		return r, err
	}
	sum, err := r.checksum()
	if err != nil {
		return r, plain(err)
	}
	if sum != r.RecordSHA256 {
		return r, errors.New("is damaged: its checksum does not match")
	}
	if r.Step < 0 || r.MetricsBytes < 0 || r.GenotypesBytes < 0 || len(r.State) == 0 {
		return r, errors.New("has a negative count, or no state")
	}
	var state bytes.Buffer
	if err := json.Compact(&state, r.State); err != nil {
		return r, plain(err)
	}
	r.State = state.Bytes()
	return r, nil
}

// decodeStrict reads one JSON value and nothing else; a field that the value pointed to does not have is an error.
func decodeStrict(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return plain(err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("has more after its end, at byte %d", decoder.InputOffset())
	}
	return nil
}

// plain puts the JSON reader's errors into words that need no knowledge of Go.
func plain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("ends in the middle")
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		return fmt.Errorf("field %q is a %s, want %s", e.Field, e.Value, e.Type)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
