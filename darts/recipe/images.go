package recipe

import (
	"context"
	"fmt"

	"github.com/dartsc/dartsc/compiler/lower/cpu"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/runtime"
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

// largestKept is the most bytes of a data set that stay on a GPU, which a step at the paper's size leaves free on every GPU
// that it runs on. Kernels count them by int32.
const largestKept = 1 << 30

// kept is how many images stay on the device that a plan is for: all n, or none where it is the processor, which has them
// at hand, where a limit of memory is given, and where they are not known or too many.
func kept(n int, d data.Summary, target string, limit int64) int {
	if target == cpu.Name || limit > 0 || int64(n)*int64(d.Height*d.Width*d.Channels) > largestKept {
		return 0
	}
	return n
}

// place gives the images that a plan keeps on the device to it.
func place(session *runtime.Session, set imageSet) error {
	v := session.Plan().Variable(bilevel.DataSet)
	if v == nil {
		return nil
	}
	n := v.Shape[0]
	d, ok := set.(*data.Dataset)
	if s := set.Summary(); !ok || n != s.Train && n != s.Train+s.Test {
		return fmt.Errorf("--plan keeps %d images on the device, %s has %d to train and %d to test on: compile it with this --data", n, s.Name, s.Train, s.Test)
	}
	images, err := d.First(n)
	if err != nil {
		return err
	}
	return session.Set(bilevel.DataSet, images)
}

// newBatch makes room for a batch as a program takes it, whose inputs have names with this prefix.
func newBatch(p *plan.Program, prefix string) (b data.Batch, inputs map[string]any) {
	inputs = map[string]any{}
	for _, in := range p.Inputs {
		n := p.Buffers[in.Buffer].Elements()
		switch in.Name {
		case prefix + "images":
			b.Images = make([]uint8, n)
			inputs[in.Name] = b.Images
		case prefix + "indices":
			b.Indices = make([]int32, n)
			inputs[in.Name] = b.Indices
		case prefix + "labels":
			b.Labels = make([]int32, n)
			inputs[in.Name] = b.Labels
		}
	}
	return b, inputs
}

func indices(n int) []int {
	all, _ := data.SplitTrain(n, 1)
	return all
}
