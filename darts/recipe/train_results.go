package recipe

import (
	"context"

	"github.com/dartsc/dartsc/darts/export"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/weights"
)

// The files that a training leaves beside those of every run.
const (
	LastWeights = "weights.safetensors" // after the last epoch, which published numbers are of
	BestWeights = "best.safetensors"    // after the epoch of the highest accuracy
)

// TrainResult is results.json: what came out of a training.
type TrainResult struct {
	Task        string `json:"task"`
	Arch        string `json:"arch"`
	Genotype    string `json:"genotype"`
	Data        string `json:"data"`
	Seed        uint64 `json:"seed"`
	Epochs      int    `json:"epochs"`
	Parameters  int    `json:"parameters"` // without the auxiliary head
	EvaluatedOn string `json:"evaluated_on"`
	Last        Scores `json:"last"` // after the last epoch
	Best        Best   `json:"best"`
}

// Scores are what an evaluation finds; accuracies in percent.
type Scores struct {
	Loss float64 `json:"loss"`
	Top1 float64 `json:"top1"`
	Top5 float64 `json:"top5"`
}

// finish writes what came out: the last weights, the trained network as ONNX, and results.json, which comes last and so
// marks a training that has ended.
func (t *Training) finish(ctx context.Context, folder *run.Folder, r EpochReport) error {
	tensors, err := t.network()
	if err != nil {
		return err
	}
	if err := t.writeWeights(folder, LastWeights, tensors, r); err != nil {
		return err
	}
	model := export.Model{Network: t.config.network(t.data), Data: t.data, Seed: t.config.Seed, Version: t.options.Version}
	onnx, err := export.ONNX(ctx, model, export.Options{Weights: weights.New(LastWeights, "training", tensors)})
	if err != nil {
		return err
	}
	if err := folder.WriteFile("model.onnx", onnx); err != nil {
		return err
	}
	parameters, err := model.Parameters()
	if err != nil {
		return err
	}
	return WriteResult(folder, TrainResult{
		Task: TaskTrain, Arch: t.config.Arch, Genotype: t.config.Genotype.String(), Data: t.data.Name,
		Seed: t.config.Seed, Epochs: t.config.Epochs, Parameters: parameters, EvaluatedOn: t.on,
		Last: r.scores(), Best: *r.Best,
	})
}
