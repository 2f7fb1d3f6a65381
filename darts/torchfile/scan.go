package torchfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// What a pickle may have. A checkpoint with the state of an optimiser has half a megabyte and some ten thousand
// containers; the limits keep the objects that gopickle makes of a hostile one within a few hundred megabytes.
const (
	maxPickle     = 8 << 20
	maxContainers = 400_000
	maxNumber     = 4096 // bytes of an integer; gopickle needs the square of them in time
)

// argument is how the argument of an opcode is written.
type argument int

const (
	unknown argument = iota // no opcode
	none
	fixed1
	fixed2
	fixed4
	fixed8
	frame    // 8 bytes: how many of the bytes that follow belong together
	counted1 // a length of 1, 4 or 8 bytes, and so many bytes
	counted4
	counted8
	line
	lines2
	number1 // as counted1 and counted4, and a number
	number4
	numberLine
	refused
)

// arguments are those of every opcode to protocol 5 (Python's pickletools lists them).
var arguments = func() (table [256]argument) {
	for _, group := range []struct {
		argument argument
		opcodes  string
	}{
		{none, "(.012NQRabd}eolst)u]\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94"},
		{fixed1, "Khq\x80"},
		{fixed2, "M"},
		{fixed4, "Jjr"},
		{fixed8, "G"},
		{frame, "\x95"},
		{counted1, "UC\x8c"},
		{counted4, "TBX"},
		{counted8, "\x8d\x8e\x96"},
		{line, "PSVgp"},
		{lines2, "ci"},
		{number1, "\x8a"},
		{number4, "\x8b"},
		{numberLine, "FIL"},
		{refused, "\x82\x83\x84\x97\x98"}, // registered extensions, buffers beside the pickle
	} {
		for i := range len(group.opcodes) {
			table[group.opcodes[i]] = group.argument
		}
	}
	return table
}()

// containers are the opcodes for which gopickle allocates more than a word or two.
const containers = "(}])\x8f\x91Ro\x81\x92it\x85\x86\x87ld\x94"

var errTruncatedPickle = errors.New("truncated: the pickle ends in the middle")

// scan walks over the pickle that begins content and returns its length. gopickle allocates what a length asks for before
// it looks whether so much is there; after a scan, everything it asks for is. It also returns a copy of the pickle with
// what gopickle does not read written in another way of the same length.
func scan(content []byte) (program []byte, err error) {
	made, at := 0, 0
	var patches []patch
	for {
		if at >= len(content) {
			return nil, errTruncatedPickle
		}
		if at > maxPickle {
			return nil, fmt.Errorf("the pickle has more than %d bytes, as no checkpoint has", maxPickle)
		}
		opcode := content[at]
		length, err := argumentLength(arguments[opcode], content[at+1:])
		if err != nil {
			return nil, fmt.Errorf("pickle, at byte %d: opcode %#x: %w", at, opcode, err)
		}
		if bytes.IndexByte([]byte(containers), opcode) >= 0 {
			if made++; made > maxContainers {
				return nil, fmt.Errorf("the pickle makes more than %d objects, as no checkpoint does", maxContainers)
			}
		}
		end := at + 1 + length
		if p, ok := patchOf(content[at:end]); ok {
			patches = append(patches, patch{at, p})
		}
		at = end
		if opcode == '.' {
			break
		}
	}
	program = bytes.Clone(content[:at])
	for _, p := range patches {
		copy(program[p.at:], p.instead)
	}
	return program, nil
}

type patch struct {
	at      int
	instead string
}

// patchOf says what gopickle is to read in place of an instruction. It panics over a long zero as Python 2 writes it, and
// knows OrderedDict by itself, but only an empty one, where Python 2 gives it the items: under another name it is ours.
func patchOf(instruction []byte) (string, bool) {
	switch string(instruction) {
	case "\x8a\x00":
		return "K\x00", true
	case "ccollections\nOrderedDict\n":
		return "c" + ourOrderedDict.module + "\n" + ourOrderedDict.name + "\n", true
	}
	return "", false
}

// ourOrderedDict has as many letters as collections.OrderedDict.
var ourOrderedDict = class{"collections", "orderedDict"}

// argumentLength is how many bytes of rest the argument takes.
func argumentLength(kind argument, rest []byte) (int, error) {
	switch kind {
	case none:
		return 0, nil
	case fixed1, fixed2, fixed4, fixed8:
		return need(rest, 1<<(kind-fixed1))
	case frame:
		if _, err := countedLength(rest, 8, len(rest)); err != nil {
			return 0, err
		}
		return 8, nil
	case counted1:
		return countedLength(rest, 1, len(rest))
	case counted4:
		return countedLength(rest, 4, len(rest))
	case counted8:
		return countedLength(rest, 8, len(rest))
	case number1:
		return countedLength(rest, 1, maxNumber)
	case number4:
		return countedLength(rest, 4, maxNumber)
	case line:
		return lineLength(rest, 1, len(rest))
	case lines2:
		return lineLength(rest, 2, len(rest))
	case numberLine:
		return lineLength(rest, 1, maxNumber)
	case refused:
		return 0, errors.New("is not one that PyTorch writes")
	}
	return 0, errors.New("is unknown")
}

func need(rest []byte, n int) (int, error) {
	if n > len(rest) {
		return 0, errTruncatedPickle
	}
	return n, nil
}

func countedLength(rest []byte, width, limit int) (int, error) {
	if _, err := need(rest, width); err != nil {
		return 0, err
	}
	var word [8]byte
	copy(word[:], rest[:width])
	count := binary.LittleEndian.Uint64(word[:])
	if count > uint64(limit) {
		if limit < len(rest) {
			return 0, fmt.Errorf("a number of %d bytes, at most %d are read", count, limit)
		}
		return 0, fmt.Errorf("%w: %d bytes are announced, %d follow", errTruncatedPickle, count, len(rest)-width)
	}
	return need(rest, width+int(count))
}

func lineLength(rest []byte, count, limit int) (int, error) {
	length := 0
	for range count {
		n := bytes.IndexByte(rest[length:], '\n')
		if n < 0 {
			return 0, errTruncatedPickle
		}
		length += n + 1
	}
	if length > limit {
		return 0, fmt.Errorf("a number of %d bytes, at most %d are read", length, limit)
	}
	return length, nil
}
