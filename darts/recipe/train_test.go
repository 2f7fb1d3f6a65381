package recipe

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/safetensors"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/runtime/cpu"
)

func tinyTraining() TrainConfig {
	c := QuickTraining()
	c.Genotype, _ = space.Named("DARTS_V2")
	c.ImageSize, c.Auxiliary = "16", false
	c.Epochs, c.BatchSize, c.InitChannels, c.Layers = 3, 250, 2, 2
	c.DropPathProb, c.LearningRate, c.ReportFreq = 0.3, 0.1, 4
	return c
}

// train runs a training to its end in a new folder.
func train(t *testing.T, config TrainConfig, each func(*Training, EpochReport)) (string, EpochReport) {
	t.Helper()
	return trainWith(t, config, nil, each)
}

// trainWith is train with a plan, or with nil.
func trainWith(t *testing.T, config TrainConfig, p *plan.Plan, each func(*Training, EpochReport)) (string, EpochReport) {
	t.Helper()
	var training *Training
	o := Options{Device: cpu.New(0), Plan: p, OnEpoch: func(r EpochReport) {
		if each != nil {
			each(training, r)
		}
	}}
	training, err := NewTraining(context.Background(), config, o)
	if err != nil {
		t.Fatal(err)
	}
	defer training.Close()
	folder, err := run.Create(filepath.Join(t.TempDir(), "run"), config)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	r, err := training.Run(context.Background(), folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	return folder.Path(), r
}

// TestTraining: the step sees each epoch's rates, the network learns, and what is left agrees with the reports.
func TestTraining(t *testing.T) {
	config := tinyTraining()
	var reports []EpochReport
	path, last := train(t, config, func(training *Training, r EpochReport) {
		for name, want := range map[string]float64{bilevel.LearningRate: config.rateAt(r.Epoch), bilevel.DropPath: 0.1 * float64(r.Epoch)} {
			got, err := training.session.Scalar(name)
			if err != nil || math.Abs(got-want) > 1e-7 {
				t.Errorf("epoch %d ran with %s %v, want %v (error %v)", r.Epoch, name, got, want, err)
			}
		}
		reports = append(reports, r)
	})
	if len(reports) != config.Epochs || reports[2].Step != 24 || last.ValidTop1 != reports[2].ValidTop1 {
		t.Fatalf("reports %+v, last %+v; want 3 epochs of 8 steps", reports, last)
	}
	if first, last := reports[0], reports[2]; last.TrainLoss > 0.8*first.TrainLoss {
		t.Errorf("the training loss went from %v to %v only", first.TrainLoss, last.TrainLoss)
	}
	best := slices.MaxFunc(reports, func(a, b EpochReport) int { return int(10 * (a.ValidTop1 - b.ValidTop1)) })
	var result TrainResult
	found, err := ReadResult(path, &result)
	if err != nil || !found {
		t.Fatalf("%s found %t, error %v", Results, found, err)
	}
	if result.Best.Top1 != best.ValidTop1 || result.Last.Top1 != last.ValidTop1 || result.EvaluatedOn != OnTest {
		t.Errorf("%s: %+v, want best %v, last %v", Results, result, best.ValidTop1, last.ValidTop1)
	}
	for file, epoch := range map[string]int{BestWeights: best.Epoch, LastWeights: 2} {
		weights, err := safetensors.Read(filepath.Join(path, file))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := weights.Lookup("cells.1.preprocess1.op.1.weight"); !ok || weights.Metadata["epoch"] != string('0'+rune(epoch)) {
			t.Errorf("%s: metadata %v, weight found %t; want epoch %d", file, weights.Metadata, ok, epoch)
		}
		if slices.ContainsFunc(weights.Tensors, func(t safetensors.Tensor) bool { return strings.HasSuffix(t.Name, "momentum") }) {
			t.Errorf("%s holds the optimiser's variables", file)
		}
	}
	of, err := ReadFound(path)
	if err != nil || of.Task != TaskTrain || of.Genotype.String() != config.Genotype.String() || of.Data.Height != 16 {
		t.Errorf("the folder is read as %+v, error %v", of, err)
	}
}

// TestEvaluationMemory: what evaluates an epoch keeps no activations.
func TestEvaluationMemory(t *testing.T) {
	config := tinyTraining()
	config.Layers, config.InitChannels = 8, 4
	training, err := NewTraining(context.Background(), config, Options{Device: cpu.New(1)})
	if err != nil {
		t.Fatal(err)
	}
	defer training.Close()
	step, evaluate := training.Plan().Program(bilevel.TrainStep).PeakBytes, training.Plan().Program(bilevel.Evaluate).PeakBytes
	if 3*evaluate > step {
		t.Errorf("evaluation needs %d bytes, the step %d: want less than a third", evaluate, step)
	}
}

func TestTrainValidate(t *testing.T) {
	for _, good := range []TrainConfig{PaperTraining(), ImageNetTraining(), QuickTraining()} {
		good.Genotype, _ = space.Named("DARTS_V1")
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, c := range []struct {
		flag  string
		spoil func(c *TrainConfig)
	}{
		{"--augment", func(c *TrainConfig) { c.Augment = "blur" }},
		{"--schedule", func(c *TrainConfig) { c.Schedule = "" }},
		{"--gamma", func(c *TrainConfig) { c.Gamma = 1.1 }},
		{"--decay-period", func(c *TrainConfig) { c.DecayPeriod = 0 }},
		{"--warmup-epochs", func(c *TrainConfig) { c.WarmupEpochs = 4 }},
		{"--label-smooth", func(c *TrainConfig) { c.LabelSmooth = 1 }},
		{"--drop-path-prob", func(c *TrainConfig) { c.DropPathProb = 1 }},
		{"--train-portion", func(c *TrainConfig) { c.TrainPortion = 0 }},
		{"--auxiliary-weight", func(c *TrainConfig) { c.AuxiliaryWeight = math.NaN() }},
		{"--arch", func(c *TrainConfig) { c.Genotype = space.Genotype{} }},
		{"--image-size", func(c *TrainConfig) { c.ImageSize = "0" }},
	} {
		config := tinyTraining()
		c.spoil(&config)
		if err := config.Validate(); err == nil || !strings.Contains(err.Error(), c.flag) {
			t.Errorf("error %v, want one that names %s", err, c.flag)
		}
	}
}

// TestRepeated: mean and sample deviation, of one and of several.
func TestRepeated(t *testing.T) {
	result := func(last, best float64) TrainResult {
		return TrainResult{Last: Scores{Top1: last}, Best: Best{Top1: best}}
	}
	r := Repeated([]TrainResult{result(97, 98), result(98, 98), result(96, 98)})
	if r.Last.String() != "97.00% ± 1.00" || r.Best.String() != "98.00% ± 0.00" {
		t.Errorf("got %v and %v, want 97 ± 1 and 98 ± 0", r.Last, r.Best)
	}
	if one := Repeated([]TrainResult{result(97, 98)}); one.Last != (Spread{Mean: 97}) {
		t.Errorf("of one training: %v, want 97 ± 0", one.Last)
	}
	if first, third := (RepeatConfig{Train: TrainConfig{Seed: 5}}).Training(0), (RepeatConfig{Train: TrainConfig{Seed: 5}}).Training(2); first.Seed != 5 || third.Seed != 7 {
		t.Errorf("seeds %d and %d, want 5 and 7", first.Seed, third.Seed)
	}
}

// TestSelected: by the last epoch's accuracy, then by loss, then by the order of the searches.
func TestSelected(t *testing.T) {
	candidate := func(seed uint64, top1, loss, best float64) Candidate {
		return Candidate{
			Search:   SearchResult{Seed: seed},
			Training: TrainResult{Genotype: string('a' + rune(seed)), Last: Scores{Top1: top1, Loss: loss}, Best: Best{Top1: best}},
		}
	}
	r := Selected([]Candidate{candidate(0, 90, 1, 99), candidate(1, 91, 2, 91), candidate(2, 91, 1, 91), candidate(3, 91, 1, 91)})
	var order []uint64
	for i, c := range r.Candidates {
		order = append(order, c.Search.Seed)
		if c.Chosen != (i == 0) {
			t.Errorf("candidate %d chosen: %t", i, c.Chosen)
		}
	}
	if !slices.Equal(order, []uint64{2, 3, 1, 0}) || r.Genotype != "c" {
		t.Errorf("order %v, genotype %s; want 2 3 1 0 and c", order, r.Genotype)
	}
	for _, c := range []SelectConfig{PaperSelection(), QuickSelection()} {
		if a, b := c.SearchOf(0), c.SearchOf(1); b.Seed != a.Seed+1 || c.Retrain.TrainPortion != c.Search.TrainPortion {
			t.Errorf("searches under seeds %d and %d, retrained on %v", a.Seed, b.Seed, c.Retrain.TrainPortion)
		}
	}
}
