package recipe

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/infer"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/darts/weights"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/runtime"
)

// TestConfig says which network is measured on which images.
type TestConfig struct {
	Model        string         // run folder, or file of weights
	Supernet     bool           // the network of a search itself; otherwise that of Genotype
	Genotype     space.Genotype // with InitChannels, Layers and ImageNet: as cnn.Derived
	InitChannels int
	Layers       int
	ImageNet     bool
	Data         string // a folder, or "shapes"
	ImageSize    string // "" for the size of the data
	Augment      string // how the network was trained, which says how images are cropped: one of Augments, "" for AugmentCrop
	Seed         uint64 // of generated data
	BatchSize    int
	Precision    string    // of the plan; "" is cuda.FP32
	Mean, Std    []float32 // by which pixels of [0, 1] are normalised; nil: as the model says, or else the data
}

// TestOf is how a model is measured as far as it says so itself. A run folder knows its network and its data, and is
// measured with its last weights; a file that a training left knows its network; others know nothing.
func TestOf(path string) (TestConfig, error) {
	c := TestConfig{Model: path}
	info, err := os.Stat(path)
	if err != nil {
		return c, err
	}
	if info.IsDir() {
		return testOfRun(path)
	}
	if startsWith(path, onnxStart) {
		return c, nil
	}
	w, err := weights.Read(path)
	if err != nil || w.Metadata["genotype"] == "" {
		return c, err
	}
	if c.Genotype, err = space.Parse(w.Metadata["genotype"]); err != nil {
		if _, recurrent := space.ParseRecurrent(w.Metadata["genotype"]); recurrent == nil {
			return c, fmt.Errorf("%s holds a recurrent network: measure it with dartsc run test rnn", path)
		}
		return c, fmt.Errorf("%s: its metadata: %w", path, err)
	}
	c.InitChannels, _ = strconv.Atoi(w.Metadata["init_channels"])
	c.Layers, _ = strconv.Atoi(w.Metadata["layers"])
	c.ImageNet = w.Metadata["imagenet"] == "true"
	c.Augment = w.Metadata["augment"]
	return c, nil
}

func testOfRun(path string) (TestConfig, error) {
	folder, err := run.OpenReadOnly(path)
	if err != nil {
		return TestConfig{}, err
	}
	task, err := Task(folder)
	if err != nil {
		return TestConfig{}, err
	}
	switch task {
	case "":
		var c SearchConfig
		err := folder.Config(&c)
		return TestConfig{
			Model: path, Supernet: true, InitChannels: c.InitChannels, Layers: c.Layers,
			Data: c.Data, ImageSize: c.ImageSize, Seed: c.Seed, BatchSize: c.BatchSize,
		}, err
	case TaskTrain:
		var c TrainConfig
		err := folder.Config(&c)
		return TestConfig{
			Model: path, Genotype: c.Genotype, InitChannels: c.InitChannels, Layers: c.Layers, ImageNet: c.ImageNet,
			Data: c.Data, ImageSize: c.ImageSize, Augment: c.Augment, Seed: c.Seed, BatchSize: c.BatchSize,
		}, err
	case TaskRepeat, TaskSelect:
		return TestConfig{}, fmt.Errorf("%s holds several runs: name one of the folders in it", path)
	}
	return TestConfig{}, fmt.Errorf("%s is a run of %q: want one of a search or of a training on images; run test rnn measures recurrent cells", path, task)
}

func (c TestConfig) network(d data.Summary) cnn.Network {
	if c.Supernet {
		return cnn.Supernet{Channels: c.InitChannels, Layers: c.Layers, Classes: len(d.Classes)}
	}
	return cnn.Derived{Genotype: c.Genotype, Channels: c.InitChannels, Layers: c.Layers, Classes: len(d.Classes), ImageNet: c.ImageNet}
}

// Score is how a network does on labelled images.
type Score struct {
	Model  string `json:"model"`
	Format string `json:"format"` // of the model's file
	Data   string `json:"data"`
	Images int64  `json:"images"`
	Scores
	PeakBytes int64   `json:"peak_bytes"` // of the arena: no activation is kept
	Seconds   float64 `json:"seconds"`    // without reading and compiling
}

// Test measures a network on the test images of its data: without augmentation, with running statistics. Nothing is
// written.
func Test(ctx context.Context, c TestConfig, o Options) (Score, error) {
	u, err := c.read()
	if err != nil {
		return Score{}, err
	}
	d, over, err := c.open(ctx, o.Workers)
	if err != nil {
		return Score{}, err
	}
	if d, err = u.normalised(c, d); err != nil {
		return Score{}, fmt.Errorf("%s: %w", c.Model, err)
	}
	m, values, err := u.evaluation(c, d)
	if err != nil {
		return Score{}, err
	}
	p, err := compiler.Compile(ctx, m, compiler.Options{
		Target: o.Device.Target(), Precision: c.Precision, Version: o.Version, Dump: o.Dump, Logger: o.Logger, MemoryLimit: o.Memory,
	})
	if err != nil {
		return Score{}, err
	}
	session, err := runtime.Open(p, o.Device)
	if err != nil {
		return Score{}, err
	}
	defer session.Close()
	for name, v := range values {
		if err := session.Set(name, v); err != nil {
			return Score{}, err
		}
	}
	s, err := score(ctx, session, over)
	s.Model, s.Format, s.Data = c.Model, u.format(), d.Name
	return s, err
}

// subject is what a model's file holds: weights for a network that is known from elsewhere, or a network with its own.
type subject struct {
	weights  *weights.Weights
	imported imported
}

// read reads the model. An ONNX file says what size its images have, and perhaps its batches.
func (c *TestConfig) read() (u subject, err error) {
	if !startsWith(c.Model, onnxStart) {
		u.weights, err = weights.Read(c.Model)
		return u, err
	}
	if u.imported, err = readImported(c.Model, c.BatchSize); err != nil {
		return u, err
	}
	var size data.Size
	c.BatchSize, size = u.imported.size()
	c.ImageSize = size.String()
	return u, nil
}

func startsWith(path string, first byte) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	var start [1]byte
	_, err = io.ReadFull(file, start[:])
	return err == nil && start[0] == first
}

func (u subject) format() string {
	if u.weights != nil {
		return u.weights.Format
	}
	return "ONNX"
}

// normalised is a data set with the normalisation that the model wants: the one that is given, or the one that an ONNX
// file says, or else the data's own.
func (u subject) normalised(c TestConfig, d data.Summary) (data.Summary, error) {
	metadata := u.imported.metadata()
	for _, n := range []struct {
		key   string
		given []float32
		to    *[]float32
	}{{"mean", c.Mean, &d.Mean}, {"std", c.Std, &d.Std}} {
		switch text := metadata[n.key]; {
		case n.given != nil:
			*n.to = n.given
		case text != "":
			list, err := infer.ParseList(text)
			if err != nil {
				return d, fmt.Errorf("metadata %s: %w", n.key, err)
			}
			*n.to = list
		}
		if len(*n.to) != d.Channels {
			return d, fmt.Errorf("%s has %d numbers, the images have %d channels", n.key, len(*n.to), d.Channels)
		}
	}
	return d, nil
}

// evaluation builds the program for images of a data set, and returns the values of its variables.
func (u subject) evaluation(c TestConfig, d data.Summary) (*ir.Module, map[string][]float32, error) {
	m := ir.NewModule("test")
	if u.weights == nil {
		if got, want := u.imported.classes(), len(d.Classes); got != want {
			return nil, nil, fmt.Errorf("%s tells %d classes apart, %s has %d", c.Model, got, d.Name, want)
		}
		if err := bilevel.BuildEvaluate(m, u.imported, rawBatch(c.BatchSize, d)); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", c.Model, err)
		}
		return m, u.imported.Values, nil
	}
	network := c.network(d)
	if err := bilevel.BuildEvaluate(m, network, rawBatch(c.BatchSize, d)); err != nil {
		return nil, nil, err
	}
	values, err := u.weights.Fit(network, m.Variables)
	return m, values, err
}

// open opens the test images.
func (c TestConfig) open(ctx context.Context, workers int) (data.Summary, data.Batches, error) {
	options, err := dataOptions(c.Data, c.ImageSize, c.Seed, workers)
	if err != nil {
		return data.Summary{}, nil, err
	}
	set, err := openImages(ctx, c.Augment, options)
	if err != nil {
		return data.Summary{}, nil, err
	}
	d := set.Summary()
	if d.Test == 0 {
		return d, nil, fmt.Errorf("data: %s has no test images: want a folder test/ or val/ beside train/", d.Name)
	}
	walk, err := data.NewEvaluation(indices(d.Test), c.BatchSize)
	if err != nil {
		return d, nil, err
	}
	return d, set.WalkedTest(walk), nil
}

// score runs the program Evaluate of a session over images.
func score(ctx context.Context, session *runtime.Session, over data.Batches) (Score, error) {
	e, err := newEvaluator(session)
	if err != nil {
		return Score{}, err
	}
	start := time.Now()
	t, err := e.run(ctx, over)
	if err != nil {
		return Score{}, err
	}
	if math.IsNaN(t.Loss) || math.IsInf(t.Loss, 0) {
		return Score{}, fmt.Errorf("the loss is %v: the model's values are not those of a trained network", t.Loss)
	}
	return Score{
		Images: t.Count, Scores: Scores{Loss: t.mean(t.Loss), Top1: 100 * t.mean(t.Correct), Top5: 100 * t.mean(t.Correct5)},
		PeakBytes: session.Plan().Program(bilevel.Evaluate).PeakBytes, Seconds: time.Since(start).Seconds(),
	}, nil
}
