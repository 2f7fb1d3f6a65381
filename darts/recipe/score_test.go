package recipe

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/space"
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
		{"a recurrent model", func(c *TestConfig) { c.Model = golden + "rnn_darts_v2.legacy.pt" }, "it holds no network of DARTS"},
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
