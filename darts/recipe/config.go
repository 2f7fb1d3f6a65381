// Package recipe runs the loops of DARTS over a Session: epochs, learning rates, batches, evaluation, checkpoints and
// the files of the run folder. It brings the other packages of darts together and knows no flag and no terminal; the
// command line fills in a config and listens to events.
package recipe

import (
	"cmp"
	"context"
	"fmt"
	"math"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/budget"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
)

// SearchConfig is everything that decides the result of a search: two runs of one config on one data set end with the
// same bits. It is config.json of the run folder; the names are the original's flags.
type SearchConfig struct {
	Data             string  `json:"data"`       // a folder, or "shapes"
	ImageSize        string  `json:"image_size"` // "32" or "24x48"; "" for the size of the data
	Epochs           int     `json:"epochs"`
	BatchSize        int     `json:"batch_size"`
	InitChannels     int     `json:"init_channels"`
	Layers           int     `json:"layers"`
	Unrolled         bool    `json:"unrolled"` // second order
	LearningRate     float64 `json:"learning_rate"`
	LearningRateMin  float64 `json:"learning_rate_min"`
	Momentum         float64 `json:"momentum"`
	WeightDecay      float64 `json:"weight_decay"`
	ArchLearningRate float64 `json:"arch_learning_rate"`
	ArchWeightDecay  float64 `json:"arch_weight_decay"`
	GradClip         float64 `json:"grad_clip"`
	TrainPortion     float64 `json:"train_portion"` // of the training images, for the weights; the rest is for the alphas
	Cutout           bool    `json:"cutout"`
	CutoutLength     int     `json:"cutout_length"`
	MaxParams        int64   `json:"max_params"`  // of the network derived, in the form named; 0: any number
	MaxFlops         int64   `json:"max_flops"`   // its multiply-adds for an image
	BudgetForm       string  `json:"budget_form"` // of budget.Forms
	Seed             uint64  `json:"seed"`
	ReportFreq       int     `json:"report_freq"`         // steps between lines of metrics.jsonl
	Precision        string  `json:"precision,omitempty"` // one of cuda.Precisions; runs of before the setting have none, which is FP32
}

// Paper returns the settings of the original's train_search.py, for everything but the data.
func Paper() SearchConfig {
	return SearchConfig{
		Epochs: 50, BatchSize: 64, InitChannels: 16, Layers: 8,
		LearningRate: 0.025, LearningRateMin: 0.001, Momentum: 0.9, WeightDecay: 3e-4,
		ArchLearningRate: 3e-4, ArchWeightDecay: 1e-3, GradClip: 5, TrainPortion: 0.5,
		CutoutLength: 16, BudgetForm: budget.CIFAR.Name, Seed: 2, ReportFreq: 50, Precision: cuda.FP32,
	}
}

// Quick returns settings for a first result within minutes on two cores: a small supernet on the generated shapes.
// There are too few steps for alphas to move at the original's rate, so it is higher.
func Quick() SearchConfig {
	c := Paper()
	c.Data = "shapes"
	c.Epochs, c.BatchSize, c.InitChannels, c.Layers = 3, 16, 4, 3
	c.ArchLearningRate, c.ReportFreq = 1e-2, 20
	return c
}

// Validate reports the first setting that makes no sense, by its flag.
func (c SearchConfig) Validate() error {
	err := firstWrong([]check{
		{"--epochs", c.Epochs >= 1, "at least 1"},
		{"--batch-size", c.BatchSize >= 1, "at least 1"},
		{"--init-channels", c.InitChannels >= 1, "at least 1"},
		{"--layers", c.Layers >= 1, "at least 1"},
		{"--learning-rate", positive(c.LearningRate), "positive"},
		{"--learning-rate-min", c.LearningRateMin >= 0 && c.LearningRateMin <= c.LearningRate, "between 0 and --learning-rate"},
		{"--momentum", c.Momentum >= 0 && c.Momentum < 1, "at least 0 and below 1"},
		{"--weight-decay", c.WeightDecay >= 0 && !math.IsInf(c.WeightDecay, 0), "at least 0"},
		{"--arch-learning-rate", positive(c.ArchLearningRate), "positive"},
		{"--arch-weight-decay", c.ArchWeightDecay >= 0 && !math.IsInf(c.ArchWeightDecay, 0), "at least 0"},
		{"--grad-clip", positive(c.GradClip), "positive"},
		{"--train-portion", c.TrainPortion > 0 && c.TrainPortion < 1, "between 0 and 1, both excluded"},
		{"--cutout-length", c.CutoutLength >= 1, "at least 1"},
		{"--max-params", c.MaxParams >= 0, "at least 1"},
		{"--max-flops", c.MaxFlops >= 0, "at least 1"},
		{"--budget-form", c.limit().Form.Name != "", "cifar or imagenet"},
		{"--report-freq", c.ReportFreq >= 1, "at least 1"},
		{"--seed", c.Seed < 1<<53, "below 2^53"},
	})
	if err != nil {
		return err
	}
	return checkSize(c.ImageSize)
}

// checkSize reports an --image-size that cannot be read; "" is the data's own.
func checkSize(text string) error {
	if text == "" {
		return nil
	}
	if _, err := data.ParseSize(text); err != nil {
		return fmt.Errorf("--image-size: %w", err)
	}
	return nil
}

func positive(v float64) bool { return v > 0 && !math.IsInf(v, 0) }

// Describe opens the data and describes them.
func (c SearchConfig) Describe(ctx context.Context) (data.Summary, error) {
	d, err := c.open(ctx, 0)
	if err != nil {
		return data.Summary{}, err
	}
	return d.Summary(), nil
}

func (c SearchConfig) open(ctx context.Context, workers int) (*data.Dataset, error) {
	options, err := dataOptions(c.Data, c.ImageSize, c.Seed, workers)
	if err != nil {
		return nil, err
	}
	return data.Open(ctx, options)
}

func dataOptions(path, imageSize string, seed uint64, workers int) (data.Options, error) {
	o := data.Options{Path: path, Seed: seed, Workers: workers}
	if imageSize == "" {
		return o, nil
	}
	size, err := data.ParseSize(imageSize)
	o.Size = size
	return o, err
}

// limit is what derived networks may cost. It has no form where the setting names none.
func (c SearchConfig) limit() budget.Limit {
	l := budget.Limit{Parameters: int(c.MaxParams), MultiplyAdds: c.MaxFlops}
	for _, f := range budget.Forms() {
		if f.Name == cmp.Or(c.BudgetForm, budget.CIFAR.Name) { // runs of before the setting have none
			l.Form = f
		}
	}
	return l
}

// network is the supernet for a data set.
func (c SearchConfig) network(d data.Summary) cnn.Supernet {
	return cnn.Supernet{Channels: c.InitChannels, Layers: c.Layers, Classes: len(d.Classes)}
}

// step is how the search step is made for a data set.
func (c SearchConfig) step(d data.Summary) bilevel.Config {
	s := bilevel.Defaults()
	s.Unrolled = c.Unrolled
	s.SGD = bilevel.SGD{Momentum: c.Momentum, WeightDecay: c.WeightDecay, GradClip: c.GradClip}
	s.Adam.WeightDecay = c.ArchWeightDecay
	s.Batch = rawBatch(c.BatchSize, d)
	s.Batch.Augment = bilevel.Augment{Padding: 4, Flip: true}
	if c.Cutout {
		s.Batch.Augment.Cutout = c.CutoutLength
	}
	return s
}

// rawBatch is a batch of a data set's images as they are.
func rawBatch(size int, d data.Summary) bilevel.Batch {
	return bilevel.Batch{Size: size, Height: d.Height, Width: d.Width, Channels: d.Channels, Mean: widen(d.Mean), Std: widen(d.Std)}
}

func widen(v []float32) []float64 {
	out := make([]float64, len(v))
	for i := range v {
		out[i] = float64(v[i])
	}
	return out
}

// matrix cuts values into rows.
func matrix(values []float32, width int) (rows [][]float64) {
	for ; len(values) > 0; values = values[width:] {
		rows = append(rows, widen(values[:width]))
	}
	return rows
}

// rateAt is the weights' learning rate in an epoch counted from 0.
func (c SearchConfig) rateAt(epoch int) float64 {
	return cosine(epoch, c.Epochs, c.LearningRate, c.LearningRateMin)
}
