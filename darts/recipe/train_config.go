package recipe

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/space"
)

// TrainConfig is everything that decides the result of a training, as SearchConfig is of a search: config.json of its
// run folder, under the names of the original's flags.
type TrainConfig struct {
	Task            string         `json:"task"`              // "train"
	Arch            string         `json:"arch"`              // as it was given
	Genotype        space.Genotype `json:"genotype,omitzero"` // what that means
	Data            string         `json:"data"`              // a folder, or "shapes"
	ImageSize       string         `json:"image_size"`        // as SearchConfig's
	Augment         string         `json:"augment"`           // one of Augments
	Epochs          int            `json:"epochs"`
	BatchSize       int            `json:"batch_size"`
	InitChannels    int            `json:"init_channels"`
	Layers          int            `json:"layers"`
	ImageNet        bool           `json:"imagenet"` // two stems that divide the image by eight
	Auxiliary       bool           `json:"auxiliary"`
	AuxiliaryWeight float64        `json:"auxiliary_weight"`
	Schedule        string         `json:"schedule"` // one of Schedules
	LearningRate    float64        `json:"learning_rate"`
	LearningRateMin float64        `json:"learning_rate_min"`
	Gamma           float64        `json:"gamma"`
	DecayPeriod     int            `json:"decay_period"`
	WarmupEpochs    int            `json:"warmup_epochs"` // in which the rate first climbs, in equal steps
	Momentum        float64        `json:"momentum"`
	WeightDecay     float64        `json:"weight_decay"`
	GradClip        float64        `json:"grad_clip"`
	LabelSmooth     float64        `json:"label_smooth"`
	DropPathProb    float64        `json:"drop_path_prob"` // towards which epochs climb
	Cutout          bool           `json:"cutout"`
	CutoutLength    int            `json:"cutout_length"`
	TrainPortion    float64        `json:"train_portion"` // below 1: epochs are evaluated on the rest, not on the test images
	Seed            uint64         `json:"seed"`
	ReportFreq      int            `json:"report_freq"`
	Precision       string         `json:"precision,omitempty"` // as SearchConfig's
}

// TaskTrain is TrainConfig's Task.
const TaskTrain = "train"

// What happens to training images.
const (
	AugmentCrop        = "crop"         // crop after padding by 4 pixels, flip
	AugmentResizedCrop = "resized-crop" // crop of random size and shape, flip, colour jitter; images stay in their files
)

// Augments lists the ways to augment.
func Augments() []string { return []string{AugmentCrop, AugmentResizedCrop} }

// PaperTraining returns the settings of the paper's CIFAR networks, for everything but the architecture and the data:
// the defaults of the original's train.py with --auxiliary --cutout.
func PaperTraining() TrainConfig {
	return TrainConfig{
		Task: TaskTrain, Augment: AugmentCrop, Epochs: 600, BatchSize: 96, InitChannels: 36, Layers: 20,
		Auxiliary: true, AuxiliaryWeight: 0.4,
		Schedule: Cosine, LearningRate: 0.025, Gamma: 0.97, DecayPeriod: 1,
		Momentum: 0.9, WeightDecay: 3e-4, GradClip: 5, DropPathProb: 0.2,
		Cutout: true, CutoutLength: 16, TrainPortion: 1, ReportFreq: 50, Precision: cuda.FP32,
	}
}

// ImageNetTraining returns the settings of the paper's ImageNet networks: the defaults of the original's
// train_imagenet.py with --auxiliary.
func ImageNetTraining() TrainConfig {
	c := PaperTraining()
	c.ImageNet, c.ImageSize, c.Augment = true, "224", AugmentResizedCrop
	c.Epochs, c.BatchSize, c.InitChannels, c.Layers = 250, 128, 48, 14
	c.Schedule, c.LearningRate, c.WeightDecay = StepDecay, 0.1, 3e-5
	c.LabelSmooth, c.DropPathProb, c.Cutout, c.ReportFreq = 0.1, 0, false, 100
	return c
}

// QuickTraining returns settings for a first result within minutes on two cores: a small network on the generated
// shapes.
func QuickTraining() TrainConfig {
	c := PaperTraining()
	c.Data = "shapes"
	c.Epochs, c.BatchSize, c.InitChannels, c.Layers = 5, 32, 8, 5
	c.Cutout, c.DropPathProb, c.ReportFreq = false, 0, 20
	return c
}

// Validate reports the first setting that makes no sense, by its flag.
func (c TrainConfig) Validate() error {
	finite := func(v float64) bool { return v >= 0 && !math.IsInf(v, 0) }
	err := firstWrong([]check{
		{"--augment", slices.Contains(Augments(), c.Augment), "one of " + strings.Join(Augments(), ", ")},
		{"--epochs", c.Epochs >= 1, "at least 1"},
		{"--batch-size", c.BatchSize >= 1, "at least 1"},
		{"--init-channels", c.InitChannels >= 1, "at least 1"},
		{"--layers", c.Layers >= 1, "at least 1"},
		{"--auxiliary-weight", finite(c.AuxiliaryWeight), "at least 0"},
		{"--schedule", slices.Contains(Schedules(), c.Schedule), "one of " + strings.Join(Schedules(), ", ")},
		{"--learning-rate", positive(c.LearningRate), "positive"},
		{"--learning-rate-min", c.LearningRateMin >= 0 && c.LearningRateMin <= c.LearningRate, "between 0 and --learning-rate"},
		{"--gamma", c.Gamma > 0 && c.Gamma <= 1, "above 0 and at most 1"},
		{"--decay-period", c.DecayPeriod >= 1, "at least 1"},
		{"--warmup-epochs", c.WarmupEpochs >= 0 && c.WarmupEpochs <= c.Epochs, "between 0 and --epochs"},
		{"--momentum", c.Momentum >= 0 && c.Momentum < 1, "at least 0 and below 1"},
		{"--weight-decay", finite(c.WeightDecay), "at least 0"},
		{"--grad-clip", positive(c.GradClip), "positive"},
		{"--label-smooth", c.LabelSmooth >= 0 && c.LabelSmooth < 1, "at least 0 and below 1"},
		{"--drop-path-prob", c.DropPathProb >= 0 && c.DropPathProb < 1, "at least 0 and below 1"},
		{"--cutout-length", c.CutoutLength >= 1, "at least 1"},
		{"--train-portion", c.TrainPortion > 0 && c.TrainPortion <= 1, "above 0 and at most 1"},
		{"--report-freq", c.ReportFreq >= 1, "at least 1"},
		{"--seed", c.Seed < 1<<53, "below 2^53"},
	})
	if err != nil {
		return err
	}
	if err := c.Genotype.Validate(); err != nil {
		return fmt.Errorf("--arch: %w", err)
	}
	return checkSize(c.ImageSize)
}

// Describe opens the data and describes them.
func (c TrainConfig) Describe(ctx context.Context) (data.Summary, error) {
	set, err := c.open(ctx, 0)
	if err != nil {
		return data.Summary{}, err
	}
	return set.Summary(), nil
}

func (c TrainConfig) open(ctx context.Context, workers int) (imageSet, error) {
	options, err := dataOptions(c.Data, c.ImageSize, c.Seed, workers)
	if err != nil {
		return nil, err
	}
	return openImages(ctx, c.Augment, options)
}

// network is the derived network for a data set.
func (c TrainConfig) network(d data.Summary) cnn.Derived {
	return cnn.Derived{
		Genotype: c.Genotype, Channels: c.InitChannels, Layers: c.Layers, Classes: len(d.Classes),
		ImageNet: c.ImageNet, Auxiliary: c.Auxiliary,
	}
}

// step is how the training step is made for a data set.
func (c TrainConfig) step(d data.Summary) bilevel.TrainConfig {
	s := bilevel.TrainConfig{
		SGD:             bilevel.SGD{Momentum: c.Momentum, WeightDecay: c.WeightDecay, GradClip: c.GradClip},
		AuxiliaryWeight: c.AuxiliaryWeight, LabelSmoothing: c.LabelSmooth, DropPath: c.DropPathProb > 0,
		Batch: rawBatch(c.BatchSize, d),
	}
	if c.Augment == AugmentCrop { // the other way ends before the step
		s.Batch.Augment = bilevel.Augment{Padding: 4, Flip: true}
	}
	if c.Cutout {
		s.Batch.Augment.Cutout = c.CutoutLength
	}
	return s
}
