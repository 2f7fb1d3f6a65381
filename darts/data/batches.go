package data

import (
	"context"
	"fmt"
	"slices"
)

// Batches gives every step its images, a pure function of the step. An implementation may prepare the batches that
// follow the last one read, so it is cheap to walk forwards and not for use by several goroutines.
type Batches interface {
	// Steps is how many batches go over the images once.
	Steps() int
	// Read fills a batch with the images of a step, counted from 0 over all epochs. A negative class marks a row that only
	// fills up the last batch of an evaluation and must weigh nothing.
	Read(ctx context.Context, step int64, into Batch) error
}

// Batch is room for the images of a step and their classes. Where the data set lies elsewhere already, as the device that
// steps run on may keep it, there is room for numbers of images in place of Images: those of Dataset.First.
type Batch struct {
	Images  []uint8 // [N,H,W,C]
	Indices []int32 // [N]
	Labels  []int32 // [N]
}

// order says which images a step gets, and how many of them, from the first, count; nil after the end.
type order interface {
	steps() int
	at(step int64) (indices []int, real int)
}

func (s *Sampler) steps() int { return s.StepsPerEpoch() }
func (s *Sampler) at(step int64) ([]int, int) {
	indices := s.Batch(step)
	return indices, len(indices)
}

func (e *Evaluation) steps() int { return e.Steps() }
func (e *Evaluation) at(step int64) ([]int, int) {
	if step >= int64(e.Steps()) {
		return nil, 0
	}
	return e.Batch(int(step))
}

// Sampled gives random batches of the training images, WalkedTrain and WalkedTest the batches of an evaluation on the
// training or the test images; Files has the same.
func (d *Dataset) Sampled(by *Sampler) Batches        { return memoryBatches{d.Train, 0, by} }
func (d *Dataset) WalkedTrain(by *Evaluation) Batches { return memoryBatches{d.Train, 0, by} }
func (d *Dataset) WalkedTest(by *Evaluation) Batches  { return memoryBatches{d.Test, d.Train.Len(), by} }

// First returns the first n images, where those to test on follow those to train on. A batch's Indices number them.
func (d *Dataset) First(n int) ([]uint8, error) {
	train := d.Train.Len()
	if n > train+d.Test.Len() {
		return nil, fmt.Errorf("the first %d images: %s has %d", n, d.Name, train+d.Test.Len())
	}
	size := d.Height * d.Width * d.Channels
	if n <= train {
		return d.Train.Images[:n*size], nil
	}
	return slices.Concat(d.Train.Images, d.Test.Images[:(n-train)*size]), nil
}

// memoryBatches are batches of images in memory.
type memoryBatches struct {
	split Split
	first int // the number of its first image in the data set
	order order
}

func (b memoryBatches) Steps() int { return b.order.steps() }

func (b memoryBatches) Read(_ context.Context, step int64, into Batch) error {
	indices, real := b.order.at(step)
	if into.Indices != nil {
		if err := b.split.number(indices, b.first, into.Indices, into.Labels); err != nil {
			return err
		}
	} else if err := b.split.Gather(indices, into.Images, into.Labels); err != nil {
		return err
	}
	markPadding(into.Labels, real)
	return nil
}

func markPadding(labels []int32, real int) {
	for i := real; i < len(labels); i++ {
		labels[i] = -1
	}
}
