package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// content is a file with this header text and this many zero bytes of data.
func content(header string, dataSize int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	return append(b, make([]byte, dataSize)...)
}

func TestParseRejects(t *testing.T) {
	for _, c := range []struct {
		name    string
		content []byte
		want    string // part of the error
	}{
		{"empty", nil, "0 bytes, want at least 8"},
		{"header too long for the file", []byte{9, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, "truncated"},
		{"header over the limit", []byte{0, 0, 0, 0, 0, 0, 0, 0x80}, "at most 100000000"},
		{"no header", content("", 0), "does not begin with {"},
		{"leading space", content(" {}", 0), "does not begin with {"},
		{"not JSON", content("{x}", 0), "invalid character"},
		{"cut JSON", content(`{"a":{"dtype":"U8"`, 0), "ends in the middle"},
		{"trailing comma", content(`{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},}`, 1), "invalid character"},
		{"text after the header", content(`{}x`, 0), "not spaces"},
		{"invalid UTF-8", content("{\"\xff\":1}", 0), "UTF-8"},
		{"entry is no object", content(`{"a":[]}`, 0), `"a": want an object`},
		{"unknown type", content(`{"a":{"dtype":"F31","shape":[],"data_offsets":[0,4]}}`, 4), `unknown element type "F31"`},
		{"type null", content(`{"a":{"dtype":null,"shape":[],"data_offsets":[0,4]}}`, 4), "want a string"},
		{"field missing", content(`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, 4), "want dtype, shape and two data_offsets"},
		{"field unknown", content(`{"a":{"dtype":"F32","shape":[],"offset":4}}`, 4), "unknown field"},
		{"field twice", content(`{"a":{"dtype":"F32","dtype":"F32","shape":[]}}`, 4), `"dtype" stands twice`},
		{"three offsets", content(`{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1,1]}}`, 1), "two data_offsets"},
		{"shape does not fit", content(`{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,20]}}`, 20), "shape [2,3] of F32 is 24 bytes, data_offsets are [0,20]"},
		{"offsets reversed", content(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, 1), "data_offsets are [1,0]"},
		{"negative dimension", content(`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, 1), `"-1" is not a size`},
		{"fraction", content(`{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, 1), `"1.5" is not a size`},
		{"dimension over 63 bits", content(`{"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]}}`, 1), "is not a size"},
		{"product wraps round to 0", content(`{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0), "too large"},
		{"overlap", content(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3), `"b": begins at byte 1, the one before ends at 2`},
		{"gap", content(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}}`, 5), `"b": begins at byte 3`},
		{"data missing", content(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 1), "truncated"},
		{"data left over", content(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 3), "1 bytes after the last tensor"},
		{"name twice", content(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), `"a" stands twice`},
		{"metadata not strings", content(`{"__metadata__":{"n":1}}`, 0), "want a string"},
		{"metadata key twice", content(`{"__metadata__":{"n":"1","n":"2"}}`, 0), `"n" stands twice`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.content)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Parse: got error %v, want one with %q", err, c.want)
			}
			_, err = ReadFrom(bytes.NewReader(c.content), int64(len(c.content)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("ReadFrom: got error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	for _, c := range []struct {
		name    string
		content []byte
		want    []string // the tensors' names in order
	}{
		{"nothing", content("{}", 0), nil},
		{"padded", content("{}      ", 0), nil},
		{"header order is not data order", content(`{"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"a":{"dtype":"BOOL","shape":[],"data_offsets":[0,1]}}`, 3), []string{"a", "b"}},
		{"no values between others", content(`{"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"z":{"dtype":"F64","shape":[3,0],"data_offsets":[1,1]},"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}`, 3), []string{"a", "z", "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Parse(c.content)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, tensor := range f.Tensors {
				got = append(got, tensor.Name)
				if found, ok := f.Lookup(tensor.Name); !ok || !reflect.DeepEqual(found, tensor) {
					t.Errorf("Lookup(%q) = %v, %v, want %v", tensor.Name, found, ok, tensor)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("tensors %q, want %q", got, c.want)
			}
			if _, ok := f.Lookup("absent"); ok {
				t.Error("Lookup finds a tensor that is not there")
			}
		})
	}
}

// smallReader is a file that claims to be huge; reading what a bad header does not justify fails the test.
type smallReader struct {
	t      *testing.T
	prefix []byte
}

func (r smallReader) ReadAt(b []byte, offset int64) (int, error) {
	if offset+int64(len(b)) > int64(len(r.prefix)) {
		r.t.Errorf("reads %d bytes at %d, the header ends at %d", len(b), offset, len(r.prefix))
		return 0, io.EOF
	}
	return copy(b, r.prefix[offset:]), nil
}

func TestReadFromChecksTheHeaderFirst(t *testing.T) {
	_, err := ReadFrom(smallReader{t, content(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 0)}, 1<<60)
	if err == nil || !strings.Contains(err.Error(), "belong to none") {
		t.Errorf("got error %v, want one about bytes that belong to no tensor", err)
	}
}

func TestEncodeLayout(t *testing.T) {
	var b bytes.Buffer
	err := Encode(&b, []Tensor{FromInt64s("n", nil, []int64{-2}), FromFloat32s("w", []int{2}, []float32{1, 0.5})}, map[string]string{"b": "2", "a": "1"})
	if err != nil {
		t.Fatal(err)
	}
	header := `{"__metadata__":{"a":"1","b":"2"},"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	want := content(header, 0)
	want = append(want, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x3f)
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("got  %q\nwant %q", b.Bytes(), want)
	}
}

func TestEncodeRejects(t *testing.T) {
	for _, c := range []struct {
		name     string
		tensors  []Tensor
		metadata map[string]string
		want     string
	}{
		{"shape does not fit", []Tensor{FromFloat32s("w", []int{3}, []float32{1, 2})}, nil, `tensor "w": shape [3] of F32 is 12 bytes, the data has 8`},
		{"negative dimension", []Tensor{FromUint8s("w", []int{-1, -2}, []uint8{1, 2})}, nil, "negative dimension"},
		{"name twice", []Tensor{FromUint8s("w", []int{0}, nil), FromUint8s("w", []int{0}, nil)}, nil, "the name is taken"},
		{"reserved name", []Tensor{FromUint8s("__metadata__", []int{0}, nil)}, nil, "the name is taken"},
		{"unknown type", []Tensor{{Name: "w", DType: "X"}}, nil, "unknown element type"},
		{"name not UTF-8", []Tensor{FromUint8s("\xff", []int{0}, nil)}, nil, "UTF-8"},
		{"metadata not UTF-8", nil, map[string]string{"k": "\xff"}, "UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			err := Encode(&b, c.tensors, c.metadata)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
			if b.Len() > 0 {
				t.Errorf("wrote %d bytes before the error", b.Len())
			}
		})
	}
}

func TestConversionsRoundTrip(t *testing.T) {
	f64 := []float64{0, math.Copysign(0, -1), 1e-310, math.Inf(1), math.MaxFloat64}
	f32 := []float32{0, -1.5, math.SmallestNonzeroFloat32, math.MaxFloat32}
	i64 := []int64{math.MinInt64, -1, math.MaxInt64}
	i32 := []int32{math.MinInt32, -1, math.MaxInt32}
	u8 := []uint8{0, 255}
	check(t, "Float64s", f64, FromFloat64s("t", []int{5}, f64).Float64s)
	check(t, "Float32s", f32, FromFloat32s("t", []int{2, 2}, f32).Float32s)
	check(t, "Int64s", i64, FromInt64s("t", []int{3}, i64).Int64s)
	check(t, "Int32s", i32, FromInt32s("t", []int{3}, i32).Int32s)
	check(t, "Uint8s", u8, FromUint8s("t", []int{2}, u8).Uint8s)
	check(t, "Float64s of F32", []float64{0, -1.5, math.SmallestNonzeroFloat32, math.MaxFloat32}, FromFloat32s("t", []int{4}, f32).Float64s)
	if n := FromFloat32s("t", []int{2, 3, 4}, nil).Elements(); n != 24 {
		t.Errorf("Elements = %d, want 24", n)
	}
}

func check[T comparable](t *testing.T, name string, want []T, convert func() ([]T, error)) {
	t.Helper()
	got, err := convert()
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s = %v, %v, want %v", name, got, err, want)
	}
}

func TestNarrowFloatsWiden(t *testing.T) {
	for _, c := range []struct {
		name, dtype string
		bits        uint16
		want        float64
	}{
		{"half one", F16, 0x3c00, 1},
		{"half largest", F16, 0x7bff, 65504},
		{"half smallest subnormal", F16, 0x0001, 0x1p-24},
		{"half largest subnormal", F16, 0x03ff, 1023 * 0x1p-24},
		{"half smallest normal, negative", F16, 0x8400, -0x1p-14},
		{"half third", F16, 0x3555, 1365.0 / 4096},
		{"half infinity", F16, 0xfc00, math.Inf(-1)},
		{"half NaN", F16, 0x7e00, math.NaN()},
		{"bfloat one", BF16, 0x3f80, 1},
		{"bfloat pi", BF16, 0x4049, 3.140625},
		{"bfloat infinity", BF16, 0xff80, math.Inf(-1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			tensor := Tensor{Name: "t", DType: c.dtype, Data: binary.LittleEndian.AppendUint16(nil, c.bits)}
			got, err := tensor.Float64s()
			if err != nil {
				t.Fatal(err)
			}
			if got[0] != c.want && !(math.IsNaN(got[0]) && math.IsNaN(c.want)) {
				t.Errorf("got %v, want %v", got[0], c.want)
			}
		})
	}
}

func TestConversionsRejectOtherTypes(t *testing.T) {
	ints, floats := FromInt64s("t", []int{1}, []int64{1}), FromFloat64s("t", []int{1}, []float64{1})
	_, asFloat64 := ints.Float64s()
	_, asFloat32 := floats.Float32s()
	_, asInt64 := floats.Int64s()
	_, cut := Tensor{Name: "t", DType: F32, Shape: []int{1}, Data: make([]byte, 3)}.Float32s()
	for want, err := range map[string]error{
		`tensor "t": has type I64, want F64`: asFloat64,
		`tensor "t": has type F64, want F32`: asFloat32,
		`tensor "t": has type F64, want I64`: asInt64,
		`is 4 bytes, the data has 3`:         cut,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
}

func TestWriteAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	want := []Tensor{FromFloat32s("w<1>", []int{1, 2}, []float32{3, 4}), FromUint8s("empty", []int{0, 7}, []uint8{})}
	if err := Write(path, want, map[string]string{"what": "a \"test\"\n"}); err != nil {
		t.Fatal(err)
	}
	f, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	assertSame(t, f, want, map[string]string{"what": "a \"test\"\n"})

	if err := Write(path, []Tensor{{Name: "bad", DType: "X"}}, nil); err == nil {
		t.Error("Write takes a tensor of an unknown type")
	}
	if f, err = Read(path); err != nil {
		t.Fatalf("the file of before is gone: %v", err)
	}
	assertSame(t, f, want, map[string]string{"what": "a \"test\"\n"})

	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), path+": truncated") {
		t.Errorf("got error %v, want %s: truncated", err, path)
	}
	if _, err := Read(path + ".absent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got error %v, want one about a missing file", err)
	}
}

// TestGoldenFilesRead reads every golden case; DARTSC_GOLDEN names their folder.
func TestGoldenFilesRead(t *testing.T) {
	folder := os.Getenv("DARTSC_GOLDEN")
	if folder == "" {
		t.Skip("DARTSC_GOLDEN is not set")
	}
	paths, err := filepath.Glob(filepath.Join(folder, "*.safetensors"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no *.safetensors in DARTSC_GOLDEN=%s (%v)", folder, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := Read(path)
			if err != nil {
				t.Fatal(err)
			}
			if f.Metadata["what"] == "" || len(f.Tensors) == 0 {
				t.Errorf("metadata %v, %d tensors; want both", f.Metadata, len(f.Tensors))
			}
			for _, tensor := range f.Tensors {
				if tensor.DType == I64 {
					_, err = tensor.Int64s()
				} else {
					_, err = tensor.Float64s()
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func assertSame(t *testing.T, f *File, tensors []Tensor, metadata map[string]string) {
	t.Helper()
	if !maps.Equal(f.Metadata, metadata) {
		t.Errorf("metadata %q, want %q", f.Metadata, metadata)
	}
	equal := func(a, b Tensor) bool {
		return a.Name == b.Name && a.DType == b.DType && slices.Equal(a.Shape, b.Shape) && bytes.Equal(a.Data, b.Data)
	}
	if !slices.EqualFunc(f.Tensors, tensors, equal) {
		t.Errorf("tensors %v, want %v", f.Tensors, tensors)
	}
}

func FuzzParse(f *testing.F) {
	var b bytes.Buffer
	err := Encode(&b, []Tensor{FromFloat32s("w", []int{1, 2}, []float32{1, 2}), FromInt64s("n", nil, []int64{3})}, map[string]string{"a": "b"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(content(`{"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"z":{"dtype":"F16","shape":[3,0],"data_offsets":[1,1]},"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}`, 3))
	f.Add(content(`{"__metadata__":{"n":"\ud800","m":null}}  `, 0))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, input []byte) {
		parsed, err := Parse(input)
		read, readErr := ReadFrom(bytes.NewReader(input), int64(len(input)))
		if (err == nil) != (readErr == nil) {
			t.Fatalf("Parse says %v, ReadFrom says %v", err, readErr)
		}
		if err != nil {
			return
		}
		assertSame(t, read, parsed.Tensors, parsed.Metadata)
		var first, second bytes.Buffer
		if err := Encode(&first, parsed.Tensors, parsed.Metadata); err != nil {
			t.Fatalf("what was parsed does not encode: %v", err)
		}
		again, err := Parse(first.Bytes())
		if err != nil {
			t.Fatalf("what was encoded does not parse: %v", err)
		}
		assertSame(t, again, parsed.Tensors, parsed.Metadata)
		if err := Encode(&second, again.Tensors, again.Metadata); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("encoding again gives other bytes (%v)", err)
		}
	})
}
