package torchfile

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/safetensors"
)

// golden are files that PyTorch 1.13 wrote: a state_dict of a convolutional network, a whole recurrent model, and the
// state_dict of that model.
const golden = "../golden/testdata/"

// TestSerialisationsAgree: both serialisations of one object hold the same, and the state_dict of a module is what is
// found in the module.
func TestSerialisationsAgree(t *testing.T) {
	for _, pair := range [][2]string{
		{"cnn_cifar_darts_v2.zip.pt", "cnn_cifar_darts_v2.legacy.pt"},
		{"rnn_darts_v2.zip.pt", "rnn_darts_v2.legacy.pt"},
		{"rnn_darts_v2.zip.pt", "rnn_darts_v2.state_dict.pt"},
	} {
		var files [2]*File
		for i, name := range pair {
			f, err := Read(golden + name)
			if err != nil {
				t.Fatal(err)
			}
			files[i] = f
		}
		same := slices.EqualFunc(files[0].Tensors, files[1].Tensors, func(a, b safetensors.Tensor) bool {
			return a.Name == b.Name && a.DType == b.DType && slices.Equal(a.Shape, b.Shape) && bytes.Equal(a.Data, b.Data)
		})
		if !same || len(files[0].Tensors) == 0 {
			t.Errorf("%s and %s differ: %d and %d tensors", pair[0], pair[1], len(files[0].Tensors), len(files[1].Tensors))
		}
	}
}

// TestModule: the plain attributes of a whole pickled model.
func TestModule(t *testing.T) {
	f, err := Read(golden + "rnn_darts_v2.legacy.pt")
	if err != nil {
		t.Fatal(err)
	}
	if f.Class != "model.RNNModel" || !f.Legacy {
		t.Errorf("class %q, legacy %t", f.Class, f.Legacy)
	}
	for name, want := range map[string]any{
		"ntoken": 37, "nhid": 12, "dropouth": nil, "training": false, "decoder": "torch.nn.modules.linear.Linear",
		"rnns.0.genotype": "Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2), " +
			"('sigmoid', 5), ('tanh', 3), ('relu', 5)], concat=range(1, 9))",
	} {
		if got := f.Attributes[name]; got != want {
			t.Errorf("attribute %s is %v, want %v", name, got, want)
		}
	}
}

// TestFiles reads files of all ages, made by hand as PyTorch wrote them.
func TestFiles(t *testing.T) {
	four := floatPart("7", 1, 2, 3, 4)
	matrix := tensorOf(floats("7", 4), 0, ints(2, 2), ints(2, 1))
	parameter := func(tensor string) string { // PyTorch 0.3
		return global("torch.nn.parameter", "Parameter") + tuple(tensor) + reduce + tuple("\x88", "\x89", orderedDictOf()) + build
	}
	oldTensor := global("torch._utils", "_rebuild_tensor") + tuple(storageID(global("torch.cuda", "FloatStorage"), "7", "cuda:0", 4, null), "\x8a\x00", ints(4), ints(1)) + reduce
	backend := global("torch.nn.backends.thnn", "_get_thnn_function_backend") + emptyTuple + reduce
	module := func(class, attributes string) string {
		return tuple(text("module"), class, text("model.py"), text("class Net(nn.Module): …")) + "Q" + emptyTuple + newObject + emptyDict + attributes + build
	}
	inner := module(global("torch.nn.modules.linear", "Linear"), pairs(text("_backend"), backend, text("_parameters"), orderedDictOf(text("weight"), parameter(oldTensor), text("bias"), null), text("_buffers"), orderedDictOf(), text("_modules"), orderedDictOf()))
	for _, c := range []struct {
		name    string
		content []byte
		want    []string
	}{
		{"state_dict", legacyFile(orderedDictOf(text("a"), matrix), four), []string{"a[2 2]=[1 2 3 4]"}},
		{"state_dict in a zip archive", zipFile(t, zip.Store, orderedDictOf(text("a"), matrix), four), []string{"a[2 2]=[1 2 3 4]"}},
		{"compressed archive", zipFile(t, zip.Deflate, orderedDictOf(text("a"), matrix), four), []string{"a[2 2]=[1 2 3 4]"}},
		{"plain dict", legacyFile(emptyDict+pairs(text("a"), matrix, text("steps"), number(3)), four), []string{"a[2 2]=[1 2 3 4]"}},
		{"checkpoint", legacyFile(emptyDict+pairs(text("epoch"), number(3), text("state_dict"), orderedDictOf(text("a"), matrix), text("optimizer"), emptyDict), four), []string{"a[2 2]=[1 2 3 4]"}},
		{"DataParallel", legacyFile(orderedDictOf(text("module.a"), matrix, text("module.b"), matrix), four), []string{"a[2 2]=[1 2 3 4]", "b[2 2]=[1 2 3 4]"}},
		{"only some names with the prefix", legacyFile(orderedDictOf(text("module.a"), matrix, text("b"), matrix), four), []string{"module.a[2 2]=[1 2 3 4]", "b[2 2]=[1 2 3 4]"}},
		{"from a GPU in 2018", legacyFile(orderedDictOf(text("a"), oldTensor), four), []string{"a[4]=[1 2 3 4]"}},
		{"whole module of 2018", legacyFile(module(global("model", "Net"), pairs(text("_backend"), backend, text("_parameters"), orderedDictOf(), text("_buffers"), orderedDictOf(text("running_mean"), oldTensor), text("_modules"), orderedDictOf(text("fc"), inner, text("gone"), null))), four), []string{"running_mean[4]=[1 2 3 4]", "fc.weight[4]=[1 2 3 4]"}},
		{"Python 2", legacyFile(global("collections", "OrderedDict")+tuple(list(list("U\x01a", matrix)))+reduce, four), []string{"a[2 2]=[1 2 3 4]"}},
		{"protocol 4", legacyFile(framed(short("collections")+short("OrderedDict")+"\x93\x94)R\x94("+short("a")+"\x94"+tensorOf(floats("7", 4), 0, ints(2), ints(2))+"u"+emptyDict+pairs(short("_metadata"), null)+build), four), []string{"a[2]=[1 3]"}},
		{"protocol 1", append([]byte(oldMagic), legacyFile(orderedDictOf(text("a"), matrix), four)[len(binaryMagic):]...), []string{"a[2 2]=[1 2 3 4]"}},
		{"shape as torch.Size", legacyFile(orderedDictOf(text("a"), tensorOf(floats("7", 4), 0, global("torch", "Size")+tuple(ints(2, 2))+reduce, ints(2, 1))), four), []string{"a[2 2]=[1 2 3 4]"}},
		{"tensors set after they are made", legacyFile(orderedDictOf(text("a"), global("torch", "FloatTensor")+emptyTuple+newObject+tuple(floats("7", 4), number(1), ints(3), ints(1))+build), four), []string{"a[3]=[2 3 4]"}},
		{"shared storage", legacyFile(orderedDictOf(text("a"), tensorOf(floats("7", 4), 1, ints(2), ints(1)), text("transposed"), tensorOf(floats("7", 4), 0, ints(2, 2), ints(1, 2)), text("expanded"), tensorOf(floats("7", 4), 3, ints(3), ints(0)), text("scalar"), tensorOf(floats("7", 4), 2, emptyTuple, emptyTuple), text("empty"), tensorOf(floats("7", 4), 0, ints(0, 5), ints(5, 1))), four), []string{"a[2]=[2 3]", "transposed[2 2]=[1 3 2 4]", "expanded[3]=[4 4 4]", "scalar[]=[3]", "empty[0 5]=[]"}},
		{"view of a storage", legacyFile(orderedDictOf(text("a"), tensorOf(storageID(global("torch", "FloatStorage"), "7", "cpu", 4, tuple(text("8"), number(1), number(3))), 1, ints(2), ints(1))), four), []string{"a[2]=[3 4]"}},
		{"half", legacyFile(orderedDictOf(text("a"), tensorOf(storageID(global("torch", "HalfStorage"), "7", "cpu", 2, null), 0, ints(2), ints(1))), part{"7", 2, []byte{0, 0x3c, 0, 0xc0}}), []string{"a[2]=[1 -2]"}},
		{"bfloat16", legacyFile(orderedDictOf(text("a"), tensorOf(storageID(global("torch", "BFloat16Storage"), "7", "cpu", 2, null), 0, ints(2), ints(1))), part{"7", 2, []byte{0x80, 0x3f, 0, 0xc0}}), []string{"a[2]=[1 -2]"}},
		{"double", legacyFile(orderedDictOf(text("a"), tensorOf(storageID(global("torch", "DoubleStorage"), "7", "cpu", 1, null), 0, ints(1), ints(1))), part{"7", 1, []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}}), []string{"a[1]=[1]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := read(c.content)
			if err != nil {
				t.Fatal(err)
			}
			if got := values(t, f); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestBadFiles: whatever is wrong is said in one line, before memory is taken for it.
func TestBadFiles(t *testing.T) {
	four := floatPart("7", 1, 2, 3, 4)
	good := orderedDictOf(text("a"), tensorOf(floats("7", 4), 0, ints(2, 2), ints(2, 1)))
	system := global("posix", "system") + tuple(text("touch /tmp/dartsc-was-here")) + reduce
	bomb := part{"7", 20 << 20, make([]byte, 80<<20)}
	self := "]q\x00h\x00a" // a list that holds itself
	for _, c := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"empty", nil, "not a PyTorch file"},
		{"text", []byte("<html>"), `not a PyTorch file: it begins with "<htm"`},
		{"tar", append(make([]byte, 257), "ustar     "...), "before 0.1.10"},
		{"another pickle", []byte(proto2 + emptyDict + "."), "magic number is missing"},
		{"os.system", legacyFile(system, four), "wants posix.system to be called, which dartsc does not do: nothing in the file has been executed"},
		{"os.system in a zip archive", zipFile(t, zip.Store, orderedDictOf(text("a"), system), four), "wants posix.system to be called"},
		{"os.system by name on the stack", zipFile(t, zip.Store, text("os")+text("system")+"\x93"+tuple(text("ls"))+reduce, four), "wants os.system to be called"},
		{"os.system as an old class", legacyFile("("+text("ls")+"ios\nsystem\n", four), "wants os.system to be called"},
		{"eval", legacyFile(global("__builtin__", "eval")+tuple(text("1"))+reduce, four), "wants __builtin__.eval to be called"},
		{"getattr", legacyFile(global("builtins", "getattr")+tuple(text("a"), text("b"))+reduce, four), "wants builtins.getattr to be called"},
		{"call through a tensor's function", legacyFile(global("torch._tensor", "_rebuild_from_type_v2")+tuple(global("posix", "system"), null, tuple(text("ls")), null)+reduce, four), "something else than a tensor"},
		{"pickle ends in the middle", legacyFile(good)[:120], "truncated: the pickle ends in the middle"},
		{"no storage follows", legacyFile(good, four)[:len(legacyFile(good, four))-24], "storage \"7\" of 4 elements is missing"},
		{"storage ends in the middle", legacyFile(good, four)[:len(legacyFile(good, four))-3], `truncated: storage "7" has 16 bytes, only 13 follow`},
		{"bytes after the end", append(legacyFile(good, four), 0), "1 bytes after the last storage"},
		{"storage of another size", legacyFile(good, part{"7", 5, make([]byte, 20)}), `storage "7" has 5 elements, its tensors say 4`},
		{"storage larger than the file", legacyFile(orderedDictOf(text("a"), tensorOf(floats("7", 1<<30), 0, ints(4), ints(1))), part{"7", 1 << 30, nil}), "truncated: storage"},
		{"storage not in the file", legacyFile(good), `tensor a: storage "7" is not in the file`},
		{"record missing", zipFile(t, zip.Store, good), `tensor a: the archive has no record "data/7"`},
		{"record too short", zipFile(t, zip.Store, good, floatPart("7", 1, 2)), `tensor a: storage "7" of 4 elements needs 16 bytes, record "data/7" has 8`},
		{"zip bomb", zipFile(t, zip.Deflate, orderedDictOf(text("a"), tensorOf(floats("7", 20<<20), 0, ints(4), ints(1))), bomb), "a zip bomb"},
		{"pickle bomb", zipFile(t, zip.Deflate, good+strings.Repeat("0", 9<<20), four), `"data.pkl" unpacks to`},
		{"archive cut off", zipFile(t, zip.Store, good, four)[:200], "not a whole zip archive"},
		{"archive of something else", zipOf(t, "readme.txt"), "a zip archive without data.pkl"},
		{"TorchScript", zipOf(t, "m/data.pkl", "m/constants.pkl"), "TorchScript"},
		{"tensor beyond its storage", legacyFile(orderedDictOf(text("a"), tensorOf(floats("7", 4), 1, ints(4), ints(1))), four), "tensor a: shape [4] at element 1 with strides [1] reaches beyond its storage of 4 elements"},
		{"tensor of a huge shape", legacyFile(orderedDictOf(text("a"), tensorOf(floats("7", 4), 0, ints(1<<30, 1<<30, 1<<30), ints(0, 0, 0))), four), "too large"},
		{"one value expanded to a terabyte", legacyFile(orderedDictOf(text("a"), tensorOf(floats("7", 4), 0, ints(1<<20, 1<<18), ints(0, 0))), four), "tensor a: the views of the file's storages take more memory"},
		{"negative size", legacyFile(orderedDictOf(text("a"), tensorOf(floats("7", 4), 0, ints(-1), ints(1))), four), "-1 is not a size"},
		{"complex numbers", legacyFile(orderedDictOf(text("a"), tensorOf(storageID(global("torch", "ComplexFloatStorage"), "7", "cpu", 4, null), 0, ints(4), ints(1))), four), "torch.ComplexFloatStorage: its element type is not one that dartsc reads"},
		{"storage of a foreign class", legacyFile(orderedDictOf(text("a"), tensorOf(storageID(global("evil", "FloatStorage"), "7", "cpu", 4, null), 0, ints(4), ints(1))), four), "want a storage of torch"},
		{"a string of four gigabytes", legacyFile("X\xff\xff\xff\xff"), "4294967295 bytes are announced"},
		{"a string of all memory", legacyFile("\x8d\xff\xff\xff\xff\xff\xff\xff\x7f"), "bytes are announced"},
		{"a frame of all memory", legacyFile("\x95\xff\xff\xff\xff\xff\xff\xff\x7f"), "bytes are announced"},
		{"a number of a megabyte", legacyFile("\x8b\x00\x00\x10\x00" + strings.Repeat("\x01", 1<<20)), "a number of 1048576 bytes"},
		{"a million containers", legacyFile(strings.Repeat("(", 1<<20)), "makes more than 400000 objects"},
		{"unknown opcode", legacyFile("\xff"), "opcode 0xff: is unknown"},
		{"extension", legacyFile("\x82\x01"), "not one that PyTorch writes"},
		{"stack empty", legacyFile("0"), "pickle"},
		{"odd dict", legacyFile(emptyDict + "(" + text("a") + "u"), "malformed pickle"},
		{"bytes as a key", legacyFile("\x8f(C\x01a\x90", four), "malformed pickle"},
		{"self-containing list", legacyFile(self), "neither a state_dict nor a module"},
		{"a call on a self-containing list", legacyFile(self+emptyTuple+reduce, four), "REDUCE requires a Callable"},
		{"module in itself", legacyFile(global("m", "M") + emptyTuple + newObject + "q\x00" + emptyDict + pairs(text("_modules"), emptyDict+pairs(text("x"), "h\x00")) + build), "modules stand 65 deep"},
		{"only numbers", legacyFile(emptyDict + pairs(text("epoch"), number(1), text("best"), number(2))), "no state_dict found: its entries are best, epoch"},
		{"a list", legacyFile(list(number(1))), "neither a state_dict nor a module"},
		{"quantized", legacyFile(orderedDictOf(text("a"), global("torch._utils", "_rebuild_qtensor")+emptyTuple+reduce), four), "wants torch._utils._rebuild_qtensor to be called"},
		{"single tensor", legacyFile(tensorOf(floats("7", 4), 0, ints(4), ints(1)), four), "a single tensor"},
		{"one name twice", legacyFile(emptyDict+pairs(text("a"), tensorOf(floats("7", 4), 0, ints(4), ints(1)), text("a"), tensorOf(floats("7", 4), 0, ints(4), ints(1))), four), "tensor a stands twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(c.content)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if len(err.Error()) > 500 || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is not a line: %.600s", err)
			}
		})
	}
	if _, err := os.Stat("/tmp/dartsc-was-here"); err == nil {
		t.Fatal("a pickle was executed")
	}
}

func zipOf(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		if _, err := w.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestZipLies: a record that unpacks to more than the archive announces is cut off, and one that was changed is found out.
func TestZipLies(t *testing.T) {
	content := zipFile(t, zip.Store, orderedDictOf(text("a"), tensorOf(floats("7", 4), 0, ints(4), ints(1))), floatPart("7", 1, 2, 3, 4))
	at := bytes.Index(content, binary.LittleEndian.AppendUint32(nil, 0x40400000)) // 3
	content[at] ^= 1
	if _, err := read(content); err == nil || !strings.Contains(err.Error(), `record "data/7"`) {
		t.Errorf("error %v, want one about the sum of data/7", err)
	}
}

func some(t *testing.T) []safetensors.Tensor {
	t.Helper()
	return []safetensors.Tensor{
		safetensors.FromFloat32s("stem.0.weight", []int{2, 1, 2}, []float32{1, -2, 3.5, 4}),
		safetensors.FromInt64s("stem.1.num_batches_tracked", nil, []int64{1 << 40}),
		{Name: "half", DType: safetensors.F16, Shape: []int{1}, Data: []byte{0, 0x3c}},
		{Name: "empty", DType: safetensors.F32, Shape: []int{0, 3}},
	}
}

// TestEncode: what is written is read, and the same tensors give the same bytes.
func TestEncode(t *testing.T) {
	var a, b bytes.Buffer
	for _, w := range []*bytes.Buffer{&a, &b} {
		if err := Encode(w, some(t)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two files of the same tensors differ")
	}
	f, err := read(a.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range some(t) {
		got := f.Tensors[i]
		if got.Name != want.Name || got.DType != want.DType || fmt.Sprint(got.Shape) != fmt.Sprint(want.Shape) || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("tensor %v, want %v", got, want)
		}
	}
	if err := Encode(&a, []safetensors.Tensor{{Name: "a", DType: "F8_E4M3"}}); err == nil {
		t.Error("no error for an element type that PyTorch's storages do not have")
	}
}

// TestPythonReads has Python's own pickle take the file apart, with stand-ins for PyTorch's classes.
func TestPythonReads(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	path := filepath.Join(t.TempDir(), "state.pt")
	var b bytes.Buffer
	if err := Encode(&b, some(t)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(python, "testdata/load.py", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := "stem.0.weight float (2, 1, 2) (2, 2, 1) (1.0, -2.0, 3.5, 4.0)\n" +
		"stem.1.num_batches_tracked long () () (1099511627776,)\n" +
		"half half (1,) (1,) (1.0,)\n" +
		"empty float (0, 3) (3, 1) ()\n"
	if string(out) != want {
		t.Errorf("Python reads\n%swant\n%s", out, want)
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"rnn_darts_v2.zip.pt", "rnn_darts_v2.legacy.pt", "rnn_darts_v2.state_dict.pt"} {
		content, err := os.ReadFile(golden + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	four := floatPart("7", 1, 2, 3, 4)
	good := orderedDictOf(text("a"), tensorOf(floats("7", 4), 0, ints(2, 2), ints(2, 1)))
	f.Add(legacyFile(good, four))
	f.Add(zipFile(f, zip.Deflate, good, four))
	f.Add(legacyFile(global("posix", "system")+tuple(text("ls"))+reduce, four))
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := read(content)
		if err != nil {
			return
		}
		for _, tensor := range file.Tensors {
			want := tensor.Elements() * map[string]int{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2}[tensor.DType]
			if want != 0 && len(tensor.Data) != want {
				t.Fatalf("tensor %s %v has %d bytes", tensor.DType, tensor.Shape, len(tensor.Data))
			}
		}
	})
}
