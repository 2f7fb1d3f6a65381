package recipe

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"

	"github.com/dartsc/dartsc/compiler/lower/cpu"
	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/safetensors"
	"github.com/dartsc/dartsc/ir"
)

// Training is the training of a derived network, compiled and ready to run (train.py and train_imagenet.py of the
// original).
type Training struct {
	loop[TrainConfig]
	source imageSet
	train  data.Batches
	room   data.Batch // of a step
	on     string     // what epochs are evaluated on: OnTest or OnHeldOut
}

// What a training is evaluated on.
const (
	OnTest    = "test images"
	OnHeldOut = "held-out training images" // --train-portion below 1
)

// TrainModule builds the programs of a training on data of the given summary, as SearchModule.
func TrainModule(config TrainConfig, d data.Summary, target string, limit int64) (*ir.Module, error) {
	m := ir.NewModule("train")
	step, network := config.step(d), config.network(d)
	if config.Augment == AugmentCrop { // the other way makes new images for every step
		step.Batch.Kept = kept(d.Train+d.Test, d, target, limit)
	}
	if err := bilevel.BuildTrainStep(m, network, step); err != nil {
		return nil, err
	}
	return m, bilevel.BuildEvaluate(m, network, step.Batch)
}

// TrainMetadata is recorded in the plan of a training: every setting that the programs depend on, as SearchMetadata.
func TrainMetadata(config TrainConfig, d data.Summary) map[string]string {
	metadata, step := config.metadata(), config.step(d)
	maps.Copy(metadata, map[string]string{
		"what": "cnn training", "data": d.Name, "batch_size": fmt.Sprint(config.BatchSize), "classes": fmt.Sprint(len(d.Classes)),
		"image": fmt.Sprintf("%dx%dx%d", d.Height, d.Width, d.Channels), "mean": fmt.Sprint(d.Mean), "std": fmt.Sprint(d.Std),
		"momentum": fmt.Sprint(config.Momentum), "weight_decay": fmt.Sprint(config.WeightDecay), "grad_clip": fmt.Sprint(config.GradClip),
		"auxiliary_weight": fmt.Sprint(config.AuxiliaryWeight), "label_smooth": fmt.Sprint(config.LabelSmooth),
		"drop_path": fmt.Sprint(step.DropPath), "cutout": fmt.Sprint(step.Batch.Augment.Cutout),
		"precision": cmp.Or(config.Precision, cuda.FP32),
	})
	return metadata
}

// metadata describes the network.
func (c TrainConfig) metadata() map[string]string {
	return map[string]string{
		"genotype": c.Genotype.String(), "init_channels": fmt.Sprint(c.InitChannels), "layers": fmt.Sprint(c.Layers),
		"imagenet": fmt.Sprint(c.ImageNet), "auxiliary": fmt.Sprint(c.Auxiliary), "augment": c.Augment,
	}
}

// NewTraining opens the data, compiles the training and places it on the device. Nothing is written.
func NewTraining(ctx context.Context, config TrainConfig, o Options) (*Training, error) {
	t, err := prepareTraining(ctx, config, o)
	if err != nil {
		return nil, err
	}
	build := func() (*ir.Module, error) { return TrainModule(config, t.data, o.Device.Target(), o.Memory) }
	if err := t.open(ctx, bilevel.TrainStep, build, TrainMetadata(config, t.data), t.source); err != nil {
		return nil, err
	}
	t.room = t.batch("train_")
	if err := t.check(); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// CheckTraining returns the error that a training under these settings would end with before its first step, of its data
// or of the shapes in its network. Nothing is compiled.
func CheckTraining(ctx context.Context, config TrainConfig) error {
	t, err := prepareTraining(ctx, config, Options{})
	if err != nil {
		return err
	}
	_, err = TrainModule(config, t.data, cpu.Name, 0)
	return err
}

// prepareTraining is a training with its data, before it has programs.
func prepareTraining(ctx context.Context, config TrainConfig, o Options) (*Training, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	t := &Training{}
	t.set(t, config, size{config.Epochs, config.BatchSize, config.ReportFreq, config.Seed, config.Precision}, o)
	return t, t.openData(ctx)
}

// openData opens the images to train and to evaluate on.
func (t *Training) openData(ctx context.Context) error {
	set, err := t.config.open(ctx, t.options.Workers)
	if err != nil {
		return err
	}
	t.source, t.data = set, set.Summary()
	used, heldOut := data.SplitTrain(t.data.Train, t.config.TrainPortion)
	sampler, err := data.NewSampler(used, t.config.BatchSize, t.config.Seed, weightStream)
	if err != nil {
		return fmt.Errorf("the training images: %w", err)
	}
	t.train = set.Sampled(sampler)
	t.steps = t.train.Steps()
	on, walked := OnHeldOut, set.WalkedTrain
	if t.config.TrainPortion == 1 {
		on, walked, heldOut = OnTest, set.WalkedTest, indices(t.data.Test)
	}
	if len(heldOut) == 0 {
		return fmt.Errorf("data: %s has no %s to evaluate on: hold some of the training images out, as with --train-portion 0.9", t.data.Name, on)
	}
	walk, err := data.NewEvaluation(heldOut, t.config.BatchSize)
	if err != nil {
		return err
	}
	t.on, t.images = on, walked(walk)
	return nil
}

// EvaluatedOn says which images the accuracies are of: OnTest or OnHeldOut.
func (t *Training) EvaluatedOn() string { return t.on }

func (t *Training) name() string { return "training" }

func (t *Training) controls(epoch int) map[string]float64 {
	c := map[string]float64{bilevel.LearningRate: t.config.rateAt(epoch)}
	if t.config.DropPathProb > 0 {
		c[bilevel.DropPath] = t.config.dropPathAt(epoch)
	}
	return c
}

func (t *Training) read(ctx context.Context, step int64) error {
	return t.train.Read(ctx, step, t.room)
}

// report notes whether this is the best epoch so far.
func (t *Training) report(r *EpochReport, s *standing) error {
	r.DropPath = t.config.dropPathAt(r.Epoch)
	if s.Best == nil || r.ValidTop1 > s.Best.Top1 {
		s.Best = &Best{Epoch: r.Epoch, Top1: r.ValidTop1}
	}
	r.Best = s.Best
	return nil
}

// record keeps the weights of the best epoch. It comes before the checkpoint: a run that is killed in between does the
// epoch again, and writes the same.
func (t *Training) record(folder *run.Folder, r EpochReport) error {
	if r.Best.Epoch != r.Epoch {
		return nil
	}
	tensors, err := t.network()
	if err != nil {
		return err
	}
	return t.writeWeights(folder, BestWeights, tensors, r)
}

// network reads the network's weights and running statistics.
func (t *Training) network() ([]safetensors.Tensor, error) {
	return t.tensors(func(v *plan.Variable) bool { return v.Kind == ir.Weight.String() || v.Kind == ir.Statistic.String() })
}

// writeWeights writes them as a safetensors file, under the original's names.
func (t *Training) writeWeights(folder *run.Folder, name string, tensors []safetensors.Tensor, r EpochReport) error {
	metadata := t.config.metadata()
	metadata["epoch"], metadata["top1"] = fmt.Sprint(r.Epoch), fmt.Sprint(r.ValidTop1)
	var content bytes.Buffer
	if err := safetensors.Encode(&content, tensors, metadata); err != nil {
		return err
	}
	return folder.WriteFile(name, content.Bytes())
}
