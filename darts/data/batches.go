package data

import "context"

// Batches gives every step its images, a pure function of the step. An implementation may prepare the batches that
// follow the last one read, so it is cheap to walk forwards and not for use by several goroutines.
type Batches interface {
	// Steps is how many batches go over the images once.
	Steps() int
	// Read copies the images of a step, counted from 0 over all epochs, to images, u8 [batch,H,W,C], and their classes to
	// labels. A negative class marks a row that only fills up the last batch of an evaluation and must weigh nothing.
	Read(ctx context.Context, step int64, images []uint8, labels []int32) error
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

// Sampled gives random batches of the split's images.
func (s Split) Sampled(by *Sampler) Batches { return memoryBatches{s, by} }

// Walked gives the batches of an evaluation.
func (s Split) Walked(by *Evaluation) Batches { return memoryBatches{s, by} }

// Sampled gives random batches of the training images, WalkedTrain and WalkedTest the batches of an evaluation on the
// training or the test images; Files has the same.
func (d *Dataset) Sampled(by *Sampler) Batches        { return d.Train.Sampled(by) }
func (d *Dataset) WalkedTrain(by *Evaluation) Batches { return d.Train.Walked(by) }
func (d *Dataset) WalkedTest(by *Evaluation) Batches  { return d.Test.Walked(by) }

// memoryBatches are batches of images in memory.
type memoryBatches struct {
	split Split
	order order
}

func (b memoryBatches) Steps() int { return b.order.steps() }

func (b memoryBatches) Read(_ context.Context, step int64, images []uint8, labels []int32) error {
	indices, real := b.order.at(step)
	if err := b.split.Gather(indices, images, labels); err != nil {
		return err
	}
	markPadding(labels, real)
	return nil
}

func markPadding(labels []int32, real int) {
	for i := real; i < len(labels); i++ {
		labels[i] = -1
	}
}
