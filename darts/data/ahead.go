package data

import (
	"context"
	"fmt"
	"slices"
)

// readAhead is how many batches are prepared beside the one that is wanted. One suffices while steps take longer than
// batches; the second evens out images of different sizes.
const readAhead = 2

// ahead are batches that are expensive to read: those that follow the one wanted are prepared meanwhile.
type ahead struct {
	order  order
	stride int // bytes of an image
	// fill reads the images of a step; it runs for several steps at the same time.
	fill    func(ctx context.Context, step int64, indices []int, images []uint8, labels []int32) error
	pending []*prepared // of consecutive steps
	free    []*prepared
}

// prepared is a batch, whole once done is closed.
type prepared struct {
	step   int64
	images []uint8
	labels []int32
	err    error
	done   chan struct{}
}

func newAhead(order order, stride int, fill func(context.Context, int64, []int, []uint8, []int32) error) Batches {
	return &ahead{order: order, stride: stride, fill: fill}
}

func (a *ahead) Steps() int { return a.order.steps() }

func (a *ahead) Read(ctx context.Context, step int64, into Batch) error {
	if into.Indices != nil {
		return fmt.Errorf("read step %d: images that are made for every step have no numbers", step)
	}
	if len(a.pending) > 0 && a.pending[0].step != step {
		a.pending = nil // a jump: what is being prepared is dropped when it is done
	}
	for next := step + int64(len(a.pending)); next <= step+readAhead; next++ {
		indices, real := a.order.at(next)
		if indices == nil {
			break
		}
		a.prepare(ctx, next, slices.Clone(indices), real)
	}
	first := a.pending[0]
	a.pending = a.pending[1:]
	select {
	case <-first.done:
	case <-ctx.Done():
		a.pending = nil
		return ctx.Err()
	}
	if first.err != nil {
		a.pending = nil // so that another try begins anew
		return first.err
	}
	copy(into.Images, first.images)
	copy(into.Labels, first.labels)
	a.free = append(a.free, first)
	return nil
}

// prepare begins to read a batch.
func (a *ahead) prepare(ctx context.Context, step int64, indices []int, real int) {
	p := &prepared{images: make([]uint8, 0), labels: nil}
	if n := len(a.free); n > 0 {
		p, a.free = a.free[n-1], a.free[:n-1]
	}
	if len(p.labels) != len(indices) {
		p.images, p.labels = make([]uint8, len(indices)*a.stride), make([]int32, len(indices))
	}
	p.step, p.err, p.done = step, nil, make(chan struct{})
	a.pending = append(a.pending, p)
	go func() {
		defer close(p.done)
		if p.err = a.fill(ctx, step, indices, p.images, p.labels); p.err == nil {
			markPadding(p.labels, real)
		}
	}()
}
