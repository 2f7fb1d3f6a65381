package recipe

import (
	"context"

	"github.com/dartsc/dartsc/darts/data"
)

// imageSet is where images come from: data.Dataset in memory, or data.Files on disk.
type imageSet interface {
	Summary() data.Summary
	Sampled(*data.Sampler) data.Batches
	WalkedTrain(*data.Evaluation) data.Batches
	WalkedTest(*data.Evaluation) data.Batches
}

// openImages opens the images that a way to augment wants, to train or to evaluate on.
func openImages(ctx context.Context, augment string, options data.Options) (imageSet, error) {
	if augment == AugmentResizedCrop {
		return data.OpenFiles(ctx, options)
	}
	return data.Open(ctx, options)
}

func indices(n int) []int {
	all, _ := data.SplitTrain(n, 1)
	return all
}
