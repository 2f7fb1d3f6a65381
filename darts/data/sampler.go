package data

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/internal/philox"
)

// Sampler puts a list of images into random batches, epoch after epoch without end. Which images a step gets is a pure
// function of the step number, so a resumed run needs no more than its counter. Each epoch is a new order of the list;
// what is left of it after the last whole batch sits out that epoch, because a plan has one batch size.
//
// A Sampler keeps the order of one epoch, so it is cheap to walk forwards and not for use by several goroutines.
type Sampler struct {
	indices  []int
	batch    int
	seed, id uint64
	epoch    int64
	order    []int // of epoch; nil before the first batch
}

// NewSampler samples from the given indices. id tells apart samplers under one seed: the weights' and the alphas'
// batches are two streams.
func NewSampler(indices []int, batch int, seed, id uint64) (*Sampler, error) {
	if batch < 1 {
		return nil, fmt.Errorf("--batch-size %d: want at least 1", batch)
	}
	if len(indices) < batch {
		return nil, fmt.Errorf("--batch-size %d: only %d images to take batches from; want a smaller batch or more images", batch, len(indices))
	}
	return &Sampler{indices: slices.Clone(indices), batch: batch, seed: seed, id: id}, nil
}

// StepsPerEpoch is the number of whole batches in the list, at least 1.
func (s *Sampler) StepsPerEpoch() int { return len(s.indices) / s.batch }

// Batch returns the images of a step, counted from 0 over all epochs. The slice is good until the next call and must
// not be written to.
func (s *Sampler) Batch(step int64) []int {
	steps := int64(s.StepsPerEpoch())
	epoch, start := step/steps, int(step%steps)*s.batch
	if s.order == nil || s.epoch != epoch {
		s.epoch, s.order = epoch, philox.New(s.seed, uint64(epoch), s.id).Permutation(len(s.indices))
		for i, position := range s.order {
			s.order[i] = s.indices[position]
		}
	}
	return s.order[start : start+s.batch : start+s.batch]
}

// Evaluation walks a list of images once, in order, in batches of one size. It is safe for concurrent use.
type Evaluation struct {
	indices []int // of the images, then padding to whole batches
	images  int
	batch   int
}

// NewEvaluation goes over the given indices. The last batch is filled up with repetitions of the first image, which
// Batch leaves out of its count.
func NewEvaluation(indices []int, batch int) (*Evaluation, error) {
	if batch < 1 {
		return nil, fmt.Errorf("--batch-size %d: want at least 1", batch)
	}
	if len(indices) == 0 {
		return nil, fmt.Errorf("no images to evaluate on")
	}
	padded := slices.Clone(indices)
	for len(padded)%batch != 0 {
		padded = append(padded, indices[0])
	}
	return &Evaluation{indices: padded, images: len(indices), batch: batch}, nil
}

// Images is how many images are evaluated, the padding not counted.
func (e *Evaluation) Images() int { return e.images }

// Steps is the number of batches.
func (e *Evaluation) Steps() int { return len(e.indices) / e.batch }

// Batch returns the images of a step from 0 to Steps()-1, and how many rows, from the first, are real: a row beyond
// them is padding and must weigh nothing.
func (e *Evaluation) Batch(step int) (indices []int, real int) {
	start := step * e.batch
	return e.indices[start : start+e.batch : start+e.batch], min(e.batch, e.images-start)
}
