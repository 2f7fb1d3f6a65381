package bilevel

import (
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Batch is the data that a step is given: raw images u8 [N,H,W,C], which the program augments itself, and labels
// i32 [N]. With Raw, images are f32 [N,C,H,W], ready for the network. With Kept, it is given their numbers, i32 [N], in a
// data set of so many images that stays on the device as the variable DataSet.
type Batch struct {
	Size                    int
	Height, Width, Channels int
	Mean, Std               []float64 // per channel, in units of the full range
	Augment                 Augment
	Raw                     bool
	Kept                    int
}

// DataSet is the variable, u8 [Kept,H,W,C], that whoever runs the programs gives its images.
const DataSet = "data.images"

// Augment is what happens to training images: random crop after padding by Padding pixels, random horizontal flip, and
// a random square of Cutout pixels set to zero. Zero values leave each out.
type Augment struct {
	Padding int
	Flip    bool
	Cutout  int
}

// example is a batch inside the program.
type example struct {
	images *ir.Value // f32 [N,C,H,W]
	labels *ir.Value // i32 [N]
}

// randomness is what random operations draw from; every use has a stream of its own.
type randomness struct {
	seed, step *ir.Value
}

func (c Batch) inputs(b *ops.Builder, prefix string) (images, labels *ir.Value) {
	switch {
	case c.Raw:
		images = b.Input(prefix+"images", ir.T(ir.F32, c.Size, c.Channels, c.Height, c.Width))
	case c.Kept > 0:
		set := b.Declare(ir.Variable{Name: DataSet, Kind: ir.Data, Type: ir.T(ir.U8, c.Kept, c.Height, c.Width, c.Channels)})
		images = b.TakeImages(b.Read(set), b.Input(prefix+"indices", ir.T(ir.I32, c.Size)))
	default:
		images = b.Input(prefix+"images", ir.T(ir.U8, c.Size, c.Height, c.Width, c.Channels))
	}
	return images, b.Input(prefix+"labels", ir.T(ir.I32, c.Size))
}

// training adds the inputs of a batch to train on, augmented.
func (c Batch) training(b *ops.Builder, name string, r randomness) example {
	images, labels := c.inputs(b, name+"_")
	if c.Raw {
		return example{images, labels}
	}
	// The streams of a batch follow from its place among the inputs, so that both batches of a step differ.
	stream := 10 * len(b.Program.Inputs)
	if c.Augment.Padding > 0 {
		images = b.RandomCrop(images, r.seed, r.step, c.Augment.Padding, stream)
	}
	if c.Augment.Flip {
		images = b.RandomFlip(images, r.seed, r.step, stream+1)
	}
	x := b.NormalizeImage(images, c.Mean, c.Std)
	if c.Augment.Cutout > 0 {
		x = b.Cutout(x, r.seed, r.step, c.Augment.Cutout, stream+2)
	}
	return example{x, labels}
}

// evaluation adds the inputs of a batch to evaluate, only normalised.
func (c Batch) evaluation(b *ops.Builder) example {
	images, labels := c.inputs(b, "")
	if !c.Raw {
		images = b.NormalizeImage(images, c.Mean, c.Std)
	}
	return example{images, labels}
}
