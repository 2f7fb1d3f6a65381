package torchfile

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"testing"
)

// Pickle instructions for files made by hand; %q-like helpers return the bytes that pickle would write.

const (
	proto2     = "\x80\x02"
	emptyDict  = "}"
	emptyTuple = ")"
	reduce     = "R"
	newObject  = "\x81"
	build      = "b"
	null       = "N"
)

func global(module, name string) string { return "c" + module + "\n" + name + "\n" }

func text(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

// short and framed are of protocol 4.
func short(s string) string { return "\x8c" + string([]byte{byte(len(s))}) + s }

func framed(object string) string {
	return "\x80\x04\x95" + string(binary.LittleEndian.AppendUint64(nil, uint64(len(object)))) + object
}

func number(n int) string { return "J" + string(binary.LittleEndian.AppendUint32(nil, uint32(n))) }

func tuple(items ...string) string { return "(" + join(items) + "t" }

func list(items ...string) string { return "](" + join(items) + "e" }

// dict is made of keys and values in turn.
func pairs(items ...string) string { return "(" + join(items) + "u" }

func join(items []string) (all string) {
	for _, s := range items {
		all += s
	}
	return all
}

func ints(values ...int) string {
	var items []string
	for _, v := range values {
		items = append(items, number(v))
	}
	return tuple(items...)
}

// storageID refers to a storage; view is null or a tuple.
func storageID(class, key, location string, elements int, view string) string {
	return tuple(text("storage"), class, text(key), text(location), number(elements), view) + "Q"
}

func floats(key string, elements int) string {
	return storageID(global("torch", "FloatStorage"), key, "cpu", elements, null)
}

func tensorOf(storage string, offset int, shape, strides string) string {
	return global("torch._utils", "_rebuild_tensor_v2") + tuple(storage, number(offset), shape, strides, "\x89", global("collections", "OrderedDict")+emptyTuple+reduce) + reduce
}

func orderedDictOf(items ...string) string {
	return global("collections", "OrderedDict") + emptyTuple + reduce + pairs(items...)
}

// section of a file made by hand: the elements of a storage, and their number.
type part struct {
	key      string
	elements int
	data     []byte
}

func floatPart(key string, values ...float32) part {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return part{key, len(values), data}
}

// The magic number at the beginning of the old serialisation, in protocol 2 and in protocol 0 or 1.
const (
	binaryMagic = proto2 + "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
	oldMagic    = "L119547037146038801333356L\n."
)

// legacyFile is the old serialisation of an object.
func legacyFile(object string, storages ...part) []byte {
	var b bytes.Buffer
	b.WriteString(binaryMagic)
	b.WriteString(proto2 + "M\xe9\x03.")
	b.WriteString(proto2 + emptyDict + pairs(text("little_endian"), "\x88") + ".")
	b.WriteString(proto2 + object + ".")
	var keys []string
	for _, s := range storages {
		keys = append(keys, text(s.key))
	}
	b.WriteString(proto2 + list(keys...) + ".")
	for _, s := range storages {
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(s.elements)))
		b.Write(s.data)
	}
	return b.Bytes()
}

// zipFile is the new serialisation.
func zipFile(t testing.TB, method uint16, object string, storages ...part) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	add := func(name string, data []byte) {
		f, err := w.CreateHeader(&zip.FileHeader{Name: "model/" + name, Method: method})
		if err == nil {
			_, err = f.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("data.pkl", []byte(proto2+object+"."))
	for _, s := range storages {
		add("data/"+s.key, s.data)
	}
	add("version", []byte("3\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(content []byte) (*File, error) {
	return ReadFrom(bytes.NewReader(content), int64(len(content)))
}

// values prints the tensors of a file: "name[shape]=values".
func values(t *testing.T, f *File) (lines []string) {
	t.Helper()
	for _, tensor := range f.Tensors {
		v, err := tensor.Float64s()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprint(tensor.Name, tensor.Shape, "=", v))
	}
	return lines
}
