package weights

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/safetensors"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
)

const golden = "../golden/testdata/"

func derived(t *testing.T, name string, channels, layers, classes int) cnn.Derived {
	t.Helper()
	genotype, ok := space.Named(name)
	if !ok {
		t.Fatalf("no architecture %s", name)
	}
	return cnn.Derived{Genotype: genotype, Channels: channels, Layers: layers, Classes: classes}
}

func variables(t *testing.T, network cnn.Derived) []*ir.Variable {
	t.Helper()
	v, err := Variables(network, 3)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestFit: the original's files, with num_batches_tracked and an auxiliary head in them, fit the network that they are of.
func TestFit(t *testing.T) {
	network := derived(t, "DARTS_V2", 4, 3, 10)
	for _, name := range []string{"cnn_cifar_darts_v2.zip.pt", "cnn_cifar_darts_v2.legacy.pt"} {
		w, err := Read(golden + name)
		if err != nil {
			t.Fatal(err)
		}
		fitted, err := w.Fit(network, variables(t, network))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(fitted), len(variables(t, network)); got != want {
			t.Errorf("%s: %d variables, want %d", name, got, want)
		}
		if w.Format != "PyTorch" {
			t.Errorf("%s: format %s", name, w.Format)
		}
	}
}

// TestMisfit: the error names the first tensor that differs, and what the file would fit.
func TestMisfit(t *testing.T) {
	w, err := Read(golden + "cnn_cifar_darts_v2.zip.pt")
	if err != nil {
		t.Fatal(err)
	}
	const fits = "the file fits --arch DARTS_V2 with --init-channels 4 --layers 3 and 10 classes"
	imagenet := derived(t, "DARTS_V2", 4, 3, 10)
	imagenet.ImageNet = true
	for _, c := range []struct {
		name    string
		network cnn.Derived
		want    []string
	}{
		{"channels", derived(t, "DARTS_V2", 36, 20, 10), []string{"tensor stem.0.weight is [12,3,3,3] in the file, [108,3,3,3] in the network", "the file fits these cells with --init-channels 4 --layers 3 and 10 classes"}},
		{"layers", derived(t, "DARTS_V2", 4, 4, 10), []string{"tensor cells.3.preprocess0.conv_1.weight, [8,32,1,1] in the network, is not in the file", "fits these cells"}},
		{"classes", derived(t, "DARTS_V2", 4, 3, 100), []string{"tensor classifier.weight is [10,64] in the file, [100,64] in the network", "fits these cells"}},
		{"another architecture", derived(t, "DARTS_V1", 4, 3, 10), []string{"tensor cells.0._ops.5.op.1.weight, [4,1,3,3] in the network, is not in the file", fits}},
		{"of ImageNet", imagenet, []string{"tensor stem0.0.weight, [2,3,3,3] in the network, is not in the file", "fits these cells"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.Fit(c.network, variables(t, c.network))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q in it", err, want)
				}
			}
		})
	}
	custom := derived(t, "DARTS_V2", 4, 3, 10)
	custom.Genotype.Normal[0].Primitive = space.SepConv5x5
	rest := New("other.pt", "PyTorch", of(variables(t, custom)))
	if _, err := rest.Fit(imagenet, variables(t, imagenet)); err == nil || !strings.Contains(err.Error(), "has --init-channels 4 --layers 3 and 10 classes, of cells that are none of NASNet") {
		t.Errorf("error %v, want one that says the sizes", err)
	}
	for name, want := range map[string]string{
		cnn.AlphasNormal: "the file is of a search",
		"encoder.weight": "it holds no network of DARTS",
	} {
		other := New("other", "safetensors", []safetensors.Tensor{safetensors.FromFloat32s(name, []int{1}, []float32{1})})
		if _, err := other.Fit(imagenet, variables(t, imagenet)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// of makes tensors of zeros.
func of(variables []*ir.Variable) (tensors []safetensors.Tensor) {
	for _, v := range variables {
		tensors = append(tensors, safetensors.FromFloat32s(v.Name, v.Type.Shape, make([]float32, v.Type.Elements())))
	}
	return tensors
}

// TestTypes: what is stored in other floating-point types is converted, whole numbers are refused.
func TestTypes(t *testing.T) {
	network := derived(t, "DARTS_V2", 1, 1, 2)
	all := variables(t, network)
	for dtype, c := range map[string]struct {
		one  []byte
		want float32
	}{
		safetensors.F64: {[]byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}, 1}, safetensors.F16: {[]byte{0, 0x40}, 2}, safetensors.BF16: {[]byte{0x80, 0x3f}, 1},
	} {
		tensors := of(all)
		tensors[0].DType, tensors[0].Data = dtype, slices.Repeat(c.one, tensors[0].Elements())
		fitted, err := New("w", "safetensors", tensors).Fit(network, all)
		if err != nil || fitted[all[0].Name][0] != c.want {
			t.Errorf("%s: %v, error %v, want %v", dtype, fitted[all[0].Name], err, c.want)
		}
	}
	tensors := of(all)
	tensors[0].DType = safetensors.I32
	if _, err := New("w", "safetensors", tensors).Fit(network, all); err == nil || !strings.Contains(err.Error(), `"`+all[0].Name+`": has type I32`) {
		t.Errorf("error %v, want one that names the tensor and its type", err)
	}
}

// TestReadRun: of a run folder's checkpoint, the network alone.
func TestReadRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	folder, err := run.Create(path, struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	one := func(name string) safetensors.Tensor { return safetensors.FromFloat32s(name, nil, []float32{1}) }
	if err := folder.SaveCheckpoint(1, []safetensors.Tensor{
		one("stem.0.weight"), one("stem.0.weight.momentum"), one(bilevel.LearningRate), one(bilevel.Step), one("alphas_normal.adam.v"),
		one("stem.1.running_mean"),
	}, nil, struct{}{}); err != nil {
		t.Fatal(err)
	}
	w, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Tensors) != 2 || w.Tensors[0].Name != "stem.0.weight" || w.Tensors[1].Name != "stem.1.running_mean" {
		t.Errorf("tensors %v, want the weight and the statistic", w.Tensors)
	}
}

// TestPickleLikeLength: a safetensors file is one whatever the length of its header, also where that begins as a pickle does.
func TestPickleLikeLength(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.safetensors")
	tensors := []safetensors.Tensor{safetensors.FromFloat32s("stem.0.weight", []int{1}, []float32{1})}
	var padding strings.Builder
	for start := byte(0); start != 0x80; padding.WriteString("12345678") {
		if err := safetensors.Write(path, tensors, map[string]string{"padding": padding.String()}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		start = data[0]
	}
	if w, err := Read(path); err != nil || w.Format != Safetensors || len(w.Tensors) != 1 {
		t.Errorf("%+v, error %v, want one tensor of a safetensors file", w, err)
	}
}

func TestBadFiles(t *testing.T) {
	folder := t.TempDir()
	for name, c := range map[string]struct{ content, want string }{
		"empty":       {"", "is empty"},
		"html":        {"<!DOCTYPE html>", `it begins with "<!DOCTYPE html>"`},
		"safetensors": {"\x02\x00\x00\x00\x00\x00\x00\x00{]", "header"},
		"pytorch":     {"PK\x03\x04", "not a whole zip archive"},
	} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(c.content), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one with %q and the path", name, err, c.want)
		}
	}
	if _, err := Read(folder); err == nil || !strings.Contains(err.Error(), "not a run folder") {
		t.Errorf("error %v, want one about a run folder", err)
	}
}
