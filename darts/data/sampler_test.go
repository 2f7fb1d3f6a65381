package data

import (
	"slices"
	"testing"
)

func sequence(from, n int) []int {
	indices := make([]int, n)
	for i := range indices {
		indices[i] = from + i
	}
	return indices
}

func newSampler(t *testing.T, indices []int, batch int, seed, id uint64) *Sampler {
	t.Helper()
	s, err := NewSampler(indices, batch, seed, id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSamplerEpoch(t *testing.T) {
	for _, c := range []struct {
		name         string
		count, batch int
		steps        int
	}{
		{"whole batches", 60, 12, 5},
		{"a rest", 64, 12, 5},
		{"one batch", 7, 7, 1},
		{"a rest larger than the batch's half", 7, 4, 1},
		{"single images", 5, 1, 5},
	} {
		indices := sequence(100, c.count)
		s := newSampler(t, indices, c.batch, 3, 1)
		if got := s.StepsPerEpoch(); got != c.steps {
			t.Errorf("%s: got %d steps an epoch, want %d", c.name, got, c.steps)
		}
		for epoch := range 3 {
			seen := map[int]bool{}
			for step := range c.steps {
				batch := s.Batch(int64(epoch*c.steps + step))
				if len(batch) != c.batch {
					t.Errorf("%s: got a batch of %d, want %d", c.name, len(batch), c.batch)
				}
				for _, index := range batch {
					if seen[index] || !slices.Contains(indices, index) {
						t.Errorf("%s, epoch %d: index %d is foreign or comes twice", c.name, epoch, index)
					}
					seen[index] = true
				}
			}
			if want := c.steps * c.batch; len(seen) != want {
				t.Errorf("%s, epoch %d: got %d different images, want %d", c.name, epoch, len(seen), want)
			}
		}
	}
}

// TestSamplerResume asks one sampler for steps in order and fresh ones for single steps.
func TestSamplerResume(t *testing.T) {
	indices := sequence(0, 50)
	walker := newSampler(t, indices, 8, 11, 2)
	for step := range int64(30) {
		want := slices.Clone(walker.Batch(step))
		if got := newSampler(t, indices, 8, 11, 2).Batch(step); !slices.Equal(got, want) {
			t.Errorf("step %d: got %v from a fresh sampler, want %v", step, got, want)
		}
	}
	first := newSampler(t, indices, 8, 11, 2).Batch(0)
	if got := walker.Batch(0); !slices.Equal(got, first) {
		t.Errorf("back to step 0: got %v, want %v", got, first)
	}
}

func TestSamplerStreams(t *testing.T) {
	indices := sequence(0, 50)
	base := newSampler(t, indices, 50, 1, 1)
	first := slices.Clone(base.Batch(0))
	for _, c := range []struct {
		name string
		got  []int
	}{
		{"another seed", newSampler(t, indices, 50, 2, 1).Batch(0)},
		{"another id", newSampler(t, indices, 50, 1, 2).Batch(0)},
		{"the next epoch", base.Batch(1)},
		{"the list itself", indices},
	} {
		if slices.Equal(c.got, first) {
			t.Errorf("%s gives the same order", c.name)
		}
	}
}

func TestSamplerErrors(t *testing.T) {
	_, err := NewSampler(sequence(0, 10), 64, 0, 0)
	wantError(t, "too few images", err, "--batch-size 64: only 10 images to take batches from")
	_, err = NewSampler(sequence(0, 10), 0, 0, 0)
	wantError(t, "no batch", err, "--batch-size 0: want at least 1")
	_, err = NewEvaluation(sequence(0, 10), -1)
	wantError(t, "negative batch", err, "--batch-size -1: want at least 1")
	_, err = NewEvaluation(nil, 4)
	wantError(t, "no images", err, "no images to evaluate on")
}

func TestEvaluation(t *testing.T) {
	for _, c := range []struct {
		name         string
		count, batch int
		steps        int
	}{
		{"whole batches", 12, 4, 3},
		{"a rest", 13, 4, 4},
		{"fewer than a batch", 3, 8, 1},
	} {
		indices := sequence(20, c.count)
		e, err := NewEvaluation(indices, c.batch)
		if err != nil {
			t.Fatal(err)
		}
		if e.Steps() != c.steps || e.Images() != c.count {
			t.Errorf("%s: got %d steps over %d images, want %d over %d", c.name, e.Steps(), e.Images(), c.steps, c.count)
		}
		var seen []int
		for step := range e.Steps() {
			batch, real := e.Batch(step)
			if len(batch) != c.batch {
				t.Errorf("%s: got a batch of %d, want %d", c.name, len(batch), c.batch)
			}
			seen = append(seen, batch[:real]...)
			for _, index := range batch[real:] {
				if index != indices[0] {
					t.Errorf("%s: got padding with image %d, want %d", c.name, index, indices[0])
				}
			}
		}
		if !slices.Equal(seen, indices) {
			t.Errorf("%s: got real images %v, want %v", c.name, seen, indices)
		}
	}
}
