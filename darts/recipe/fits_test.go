package recipe

import (
	"testing"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/space"
)

// Trainings name in their plans all that their programs depend on, as searches do.
func TestTrainMetadata(t *testing.T) {
	d, err := data.Absent(10, data.Size{Height: 32, Width: 32}, 3)
	if err != nil {
		t.Fatal(err)
	}
	config := PaperTraining()
	config.Genotype, _ = space.Named("DARTS_V2")
	own := &plan.Plan{Metadata: TrainMetadata(config, d)}
	for name, change := range map[string]func(c *TrainConfig, d *data.Summary){
		"genotype":         func(c *TrainConfig, _ *data.Summary) { c.Genotype, _ = space.Named("DARTS_V1") },
		"channels":         func(c *TrainConfig, _ *data.Summary) { c.InitChannels++ },
		"layers":           func(c *TrainConfig, _ *data.Summary) { c.Layers++ },
		"imagenet":         func(c *TrainConfig, _ *data.Summary) { c.ImageNet = true },
		"batch":            func(c *TrainConfig, _ *data.Summary) { c.BatchSize++ },
		"augment":          func(c *TrainConfig, _ *data.Summary) { c.Augment = AugmentResizedCrop },
		"auxiliary":        func(c *TrainConfig, _ *data.Summary) { c.Auxiliary = false },
		"auxiliary weight": func(c *TrainConfig, _ *data.Summary) { c.AuxiliaryWeight = 1 },
		"momentum":         func(c *TrainConfig, _ *data.Summary) { c.Momentum = 0.5 },
		"decay":            func(c *TrainConfig, _ *data.Summary) { c.WeightDecay = 0.5 },
		"clip":             func(c *TrainConfig, _ *data.Summary) { c.GradClip = 0.5 },
		"label smoothing":  func(c *TrainConfig, _ *data.Summary) { c.LabelSmooth = 0.5 },
		"drop path":        func(c *TrainConfig, _ *data.Summary) { c.DropPathProb = 0 },
		"cutout":           func(c *TrainConfig, _ *data.Summary) { c.Cutout = false },
		"cutout length":    func(c *TrainConfig, _ *data.Summary) { c.CutoutLength = 1 },
		"precision":        func(c *TrainConfig, _ *data.Summary) { c.Precision = cuda.TF32 },
		"size":             func(_ *TrainConfig, d *data.Summary) { d.Height++ },
		"mean":             func(_ *TrainConfig, d *data.Summary) { d.Mean = []float32{0, 0, 0} },
	} {
		c, other := config, d
		change(&c, &other)
		if err := fits(own, TrainMetadata(c, other), 0); err == nil {
			t.Errorf("%s: a plan of another value is taken", name)
		}
	}
	c := config
	c.Epochs, c.Seed, c.Schedule, c.LearningRate, c.DropPathProb, c.TrainPortion, c.ReportFreq = 1, 9, Linear, 1, 0.3, 0.9, 1
	if err := fits(own, TrainMetadata(c, d), 0); err != nil {
		t.Errorf("settings that are no part of the programs: %v", err)
	}
}

func TestFits(t *testing.T) {
	d, err := data.Absent(10, data.Size{Height: 32, Width: 32}, 3)
	if err != nil {
		t.Fatal(err)
	}
	config := Paper()
	metadata := SearchMetadata(config, d)
	own := &plan.Plan{Metadata: SearchMetadata(config, d), ArenaBytes: 1 << 20}
	own.Metadata["data"] = "others of this shape"
	if err := fits(own, metadata, 1<<20); err != nil {
		t.Errorf("its own plan: %v", err)
	}
	if err := fits(own, metadata, 1<<20-1); err == nil {
		t.Error("a plan over the limit is taken")
	}
	// Every setting that the programs depend on must be in the metadata; those that a plan serves in any value are not.
	for name, change := range map[string]func(c *SearchConfig, d *data.Summary){
		"unrolled":  func(c *SearchConfig, _ *data.Summary) { c.Unrolled = true },
		"channels":  func(c *SearchConfig, _ *data.Summary) { c.InitChannels++ },
		"layers":    func(c *SearchConfig, _ *data.Summary) { c.Layers++ },
		"batch":     func(c *SearchConfig, _ *data.Summary) { c.BatchSize++ },
		"momentum":  func(c *SearchConfig, _ *data.Summary) { c.Momentum = 0.5 },
		"decay":     func(c *SearchConfig, _ *data.Summary) { c.WeightDecay = 0.5 },
		"clip":      func(c *SearchConfig, _ *data.Summary) { c.GradClip = 0.5 },
		"alphas":    func(c *SearchConfig, _ *data.Summary) { c.ArchWeightDecay = 0.5 },
		"cutout":    func(c *SearchConfig, _ *data.Summary) { c.Cutout = true },
		"classes":   func(_ *SearchConfig, d *data.Summary) { d.Classes = d.Classes[1:] },
		"size":      func(_ *SearchConfig, d *data.Summary) { d.Height++ },
		"mean":      func(_ *SearchConfig, d *data.Summary) { d.Mean = []float32{0, 0, 0} },
		"precision": func(c *SearchConfig, _ *data.Summary) { c.Precision = cuda.BF16 },
		"std":       func(_ *SearchConfig, d *data.Summary) { d.Std = []float32{1, 1, 1} },
	} {
		c, other := config, d
		change(&c, &other)
		if err := fits(own, SearchMetadata(c, other), 0); err == nil {
			t.Errorf("%s: a plan of another value is taken", name)
		}
	}
	c := config
	c.Epochs, c.Seed, c.LearningRate, c.LearningRateMin, c.ArchLearningRate, c.TrainPortion, c.ReportFreq, c.CutoutLength = 1, 9, 1, 0.5, 1, 0.9, 1, 3
	if err := fits(own, SearchMetadata(c, d), 0); err != nil {
		t.Errorf("settings that are no part of the programs: %v", err)
	}
}
