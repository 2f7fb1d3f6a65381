package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/protobuf/proto"

	"github.com/dartsc/dartsc/compiler/plan/planpb"
	"github.com/dartsc/dartsc/internal/atomicfile"
)

//go:generate protoc --go_out=. --go_opt=paths=source_relative planpb/plan.proto

// A .dplan file is a header and a payload. The header is the magic, the version (u32), the SHA-256 of the payload and
// its length (u64), numbers little-endian; the payload is a planpb.Plan.
const (
	magic        = "DPLAN\n"
	version      = 3 // 2: loops; 3: sets of operands
	headerBytes  = len(magic) + 4 + sha256.Size + 8
	largestBytes = 1 << 30 // a file beyond this is none of ours, and is not read
)

// Encode returns the content of a plan's file. The same plan gives the same bytes. A plan that Validate refuses is not
// encoded.
func Encode(p *Plan) ([]byte, error) {
	payload, err := encodePayload(p)
	if err != nil {
		return nil, err
	}
	data := make([]byte, 0, headerBytes+len(payload))
	data = append(data, magic...)
	data = binary.LittleEndian.AppendUint32(data, version)
	sum := sha256.Sum256(payload)
	data = append(data, sum[:]...)
	data = binary.LittleEndian.AppendUint64(data, uint64(len(payload)))
	return append(data, payload...), nil
}

// Decode is the inverse of Encode. What it returns has passed Validate: a runtime may trust every index, size and
// offset in it. Launches with equal parameters share one map, buffers of one type share shape and order; treat a
// decoded plan as constant.
func Decode(data []byte) (*Plan, error) {
	payload, err := open(data)
	if err != nil {
		return nil, err
	}
	return decodePayload(payload)
}

// open checks the header and returns the payload.
func open(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte(magic)) {
		return nil, errors.New("not a plan file (a .dplan made by dartsc compile)")
	}
	if len(data) < headerBytes {
		return nil, fmt.Errorf("plan file is truncated: %d bytes, the header alone has %d", len(data), headerBytes)
	}
	rest := data[len(magic):]
	if v := binary.LittleEndian.Uint32(rest); v > version {
		return nil, fmt.Errorf("plan file was made by a newer dartsc: version %d, this dartsc reads %d", v, version)
	} else if v < version {
		return nil, fmt.Errorf("plan file was made by an older dartsc: version %d, this dartsc reads %d; compile it again", v, version)
	}
	sum, length := rest[4:4+sha256.Size], binary.LittleEndian.Uint64(rest[4+sha256.Size:])
	payload := data[headerBytes:]
	if uint64(len(payload)) < length {
		return nil, fmt.Errorf("plan file is truncated: %d of %d bytes after the header", len(payload), length)
	}
	if uint64(len(payload)) > length {
		return nil, fmt.Errorf("plan file is damaged: %d bytes after the header, which says %d", len(payload), length)
	}
	if sha256.Sum256(payload) != [sha256.Size]byte(sum) {
		return nil, errors.New("plan file is damaged: its checksum does not match")
	}
	return payload, nil
}

func encodePayload(p *Plan) ([]byte, error) {
	if err := Validate(p); err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(toProto(p))
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return payload, nil
}

func decodePayload(payload []byte) (*Plan, error) {
	var message planpb.Plan
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(payload, &message); err != nil {
		return nil, fmt.Errorf("plan file is malformed: %w", err)
	}
	p, err := fromProto(&message)
	if err == nil {
		err = Validate(p)
	}
	if err != nil {
		return nil, fmt.Errorf("plan file is malformed: %w", err)
	}
	return p, nil
}

// WriteFile writes a plan to a file, atomically.
func WriteFile(path string, p *Plan) error {
	data, err := Encode(p)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.Write(path, data)
}

// ReadFile reads a plan from a file.
func ReadFile(path string) (*Plan, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, largestBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	if len(data) > largestBytes {
		return nil, fmt.Errorf("read %s: not a plan file: larger than %d bytes", path, largestBytes)
	}
	p, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return p, nil
}
