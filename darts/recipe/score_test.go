package recipe

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
)

// TestTest: whichever of the files that a training leaves is measured, the result is the one that the training reports:
// the same bits from its own weights, the same network from its ONNX file. Batches and workers change nothing.
func TestTest(t *testing.T) {
	path, last := train(t, tinyTraining(), nil)
	var results TrainResult
	text, err := os.ReadFile(filepath.Join(path, Results))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &results); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		batch   int
		workers int
		format  string
	}{
		{"", 0, 2, "run folder"}, {"", 0, 1, "run folder"}, {"", 7, 1, "run folder"}, {LastWeights, 250, 1, "safetensors"}, {"model.onnx", 100, 2, "ONNX"},
	} {
		config, err := TestOf(filepath.Join(path, c.name))
		if err != nil {
			t.Fatal(err)
		}
		if c.name != "" { // a file does not say what data it is of
			config.Data, config.ImageSize, config.Seed = "shapes", tinyTraining().ImageSize, tinyTraining().Seed
		}
		if c.batch > 0 {
			config.BatchSize = c.batch
		}
		s, err := Test(context.Background(), config, Options{Device: cpu.New(c.workers)})
		if err != nil {
			t.Fatal(err)
		}
		if s.Format != c.format || s.Images != 500 || s.Top1 != last.ValidTop1 || s.Top5 != results.Last.Top5 || math.Abs(s.Loss-last.ValidLoss) > 1e-5 {
			t.Errorf("%s in batches of %d: %+v, the training reports %+v", c.name, c.batch, s, last)
		}
		if c.name != "model.onnx" && c.batch != 7 && s.Loss != last.ValidLoss {
			t.Errorf("%s: loss %v, the training reports %v", c.name, s.Loss, last.ValidLoss)
		}
	}
}

// TestTestErrors: the weights of another network are refused by name.
func TestTestErrors(t *testing.T) {
	genotype, _ := space.Named("DARTS_V2")
	const golden = "../golden/testdata/"
	config := TestConfig{Model: golden + "cnn_cifar_darts_v2.zip.pt", Genotype: genotype, InitChannels: 4, Layers: 3, Data: "shapes", ImageSize: "16", BatchSize: 50}
	for _, c := range []struct {
		name  string
		spoil func(c *TestConfig)
		want  string
	}{
		{"channels", func(c *TestConfig) { c.InitChannels = 16 }, "tensor stem.0.weight is [12,3,3,3] in the file, [48,3,3,3] in the network; the file fits these cells with --init-channels 4 --layers 3 and 10 classes"},
		{"no file", func(c *TestConfig) { c.Model = "nowhere" }, "nowhere"},
		{"a recurrent model", func(c *TestConfig) { c.Model = golden + "rnn_darts_v2.legacy.pt" }, "the file is of a recurrent cell"},
		{"images too small", func(c *TestConfig) { c.ImageNet = true }, "too small"},
	} {
		config := config
		c.spoil(&config)
		if _, err := Test(context.Background(), config, Options{Device: cpu.New(1)}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	if s, err := Test(context.Background(), config, Options{Device: cpu.New(1)}); err != nil || s.Images != 500 {
		t.Errorf("%+v, error %v", s, err)
	}
}

// TestSoftmax: where an ONNX file ends in a softmax, the loss is that of the logits all the same.
func TestSoftmax(t *testing.T) {
	const batch, side, classes = 2, 4, 3
	folder := t.TempDir()
	files := map[string]string{}
	for _, kind := range []string{"logits", "probabilities"} {
		m := ir.NewModule(kind)
		b := ops.NewBuilder(m, "inference")
		images := b.Input("images", ir.T(ir.F32, 1, 3, side, side))
		w := b.Declare(ir.Variable{Name: "w", Kind: ir.Weight, Type: ir.T(ir.F32, classes, 3)})
		y := b.MatMul(b.ReduceMean(images, 2, 3), b.Read(w), false, true)
		if kind == "probabilities" {
			y = b.Softmax(y)
		}
		b.Result("y", y)
		if _, err := b.Build(); err != nil {
			t.Fatal(err)
		}
		content, err := onnx.Export(m, "inference", map[string][]float32{"w": {1, 2, 3, -4, 5, 6, 7, -8, 9}}, onnx.Options{})
		if err != nil {
			t.Fatal(err)
		}
		files[kind] = filepath.Join(folder, kind+".onnx")
		if err := os.WriteFile(files[kind], content, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	pixels, labels := make([]uint8, batch*side*side*3), []int32{0, 2}
	for i := range pixels {
		pixels[i] = uint8(37 * i)
	}
	d := data.Summary{Name: "test", Classes: make([]string, classes), Height: side, Width: side, Channels: 3, Mean: make([]float32, 3), Std: []float32{1, 1, 1}}
	losses := map[string]float32{}
	for kind, path := range files {
		c := TestConfig{Model: path, BatchSize: batch}
		u, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		m, values, err := u.evaluation(c, d)
		if err != nil {
			t.Fatal(err)
		}
		p, err := compiler.Compile(context.Background(), m, compiler.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := runtime.Open(p, cpu.New(1))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for name, v := range values {
			if err := s.Set(name, v); err != nil {
				t.Fatal(err)
			}
		}
		loss := make([]float32, 1)
		if err := s.Run(context.Background(), bilevel.Evaluate, map[string]any{"images": pixels, "labels": labels}, map[string]any{"loss": loss}); err != nil {
			t.Fatal(err)
		}
		losses[kind] = loss[0]
	}
	if losses["logits"] != losses["probabilities"] || losses["logits"] == 0 {
		t.Errorf("losses %v", losses)
	}
}
