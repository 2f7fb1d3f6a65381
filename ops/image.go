package ops

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
)

// Augmentation, from raw images u8 [N,H,W,C] (the order of files and decoders) to activations f32 [N,C,H,W].

const dataOnly = "works on data, which has no gradient"

var imageDefs = []*Def{
	{
		// take_images(set u8 [M,H,W,C], rows i32 [N]) → u8 [N,H,W,C], the images of these numbers; one that the set lacks is black.
		Kind: "take_images", Operands: "set, rows",
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 2, 2), wantRank(op, 0, 4), wantRank(op, 1, 1)); err != nil {
				return nil, err
			}
			set, n := op.Operands[0].Type.Shape, op.Operands[1].Type.Shape[0]
			return []ir.Type{ir.T(ir.U8, n, set[1], set[2], set[3])}, first(wantType(op, 0, ir.T(ir.U8, set...)), wantType(op, 1, ir.T(ir.I32, n)))
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			return []*Tensor{takeRows(op.Results[0].Type, in[0], in[1])}
		},
		NoGradient: dataOnly, FLOPs: noFLOPs, NoONNX: trainingOnly,
	},
	{
		// random_crop(images, seed, step): pads with zeros on all sides and cuts the original size at a random place.
		Kind: "random_crop", Operands: "images, seed, step", Attrs: []AttrDef{{"padding", 0}, {"stream", 0}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := wantInt(op, "padding", 0); err != nil {
				return nil, err
			}
			return inferImages(op)
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out, pad, stream := NewTensor(op.Results[0].Type), op.Attrs.Int("padding"), streamOf(op, in[1], in[2])
			s := out.Type.Shape
			from := strides(s)
			each(s, func(p int, i []int) {
				y := i[1] + stream.Intn(uint64(2*i[0]), 2*pad+1) - pad
				x := i[2] + stream.Intn(uint64(2*i[0]+1), 2*pad+1) - pad
				if y >= 0 && y < s[1] && x >= 0 && x < s[2] {
					out.Data[p] = in[0].Data[i[0]*from[0]+y*from[1]+x*from[2]+i[3]]
				}
			})
			return []*Tensor{out}
		},
		NoGradient: dataOnly, FLOPs: noFLOPs, NoONNX: trainingOnly,
	},
	{
		// random_flip(images, seed, step): mirrors each image left to right with probability ½.
		Kind: "random_flip", Operands: "images, seed, step", Attrs: []AttrDef{{"stream", 0}},
		Infer: inferImages,
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out, stream := NewTensor(op.Results[0].Type), streamOf(op, in[1], in[2])
			s := out.Type.Shape
			from := strides(s)
			each(s, func(p int, i []int) {
				x := i[2]
				if stream.Intn(uint64(i[0]), 2) == 1 {
					x = s[2] - 1 - x
				}
				out.Data[p] = in[0].Data[i[0]*from[0]+i[1]*from[1]+x*from[2]+i[3]]
			})
			return []*Tensor{out}
		},
		NoGradient: dataOnly, FLOPs: noFLOPs, NoONNX: trainingOnly,
	},
	{
		// normalize_image(images u8 [N,H,W,C]) → f32 [N,C,H,W]: (v/255 - mean[c])/std[c]
		Kind: "normalize_image", Operands: "images", Attrs: []AttrDef{{"mean", []float64{}}, {"std", []float64{}}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 1, 1), wantRank(op, 0, 4)); err != nil {
				return nil, err
			}
			s := op.Operands[0].Type.Shape
			mean, std := op.Attrs.Floats("mean"), op.Attrs.Floats("std")
			if len(mean) != s[3] || len(std) != s[3] {
				return nil, fmt.Errorf("images %s need %d means and deviations, not %d and %d", op.Operands[0].Type, s[3], len(mean), len(std))
			}
			for _, d := range std {
				if !(d > 0) {
					return nil, fmt.Errorf("std %v: want positive numbers", std)
				}
			}
			return []ir.Type{ir.T(ir.F32, s[0], s[3], s[1], s[2])}, wantType(op, 0, ir.T(ir.U8, s...))
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out, mean, std := NewTensor(op.Results[0].Type), op.Attrs.Floats("mean"), op.Attrs.Floats("std")
			from := strides(in[0].Type.Shape)
			each(out.Type.Shape, func(p int, i []int) {
				v := in[0].Data[i[0]*from[0]+i[2]*from[1]+i[3]*from[2]+i[1]]
				out.Data[p] = (v/255 - mean[i[1]]) / std[i[1]]
			})
			return []*Tensor{out}
		},
		NoGradient: dataOnly, FLOPs: perElement(2), NoONNX: "normalisation is recorded as metadata of the exported model",
	},
	{
		// cutout(x [N,C,H,W], seed, step): zeros a square of the given length around a random centre, clipped at the
		// borders (DeVries and Taylor 2017, as the original's utils.Cutout).
		Kind: "cutout", Operands: "x, seed, step", Attrs: []AttrDef{{"length", 0}, {"stream", 0}},
		Infer: func(op *ir.Op) ([]ir.Type, error) {
			if err := first(wantOperands(op, 3, 3), wantRank(op, 0, 4), wantFloat(op, 0), wantSeed(op, 1), wantInt(op, "length", 0)); err != nil {
				return nil, err
			}
			return []ir.Type{op.Operands[0].Type}, nil
		},
		Eval: func(op *ir.Op, in []*Tensor) []*Tensor {
			out, half, stream := in[0].Clone(), op.Attrs.Int("length")/2, streamOf(op, in[1], in[2])
			s := out.Type.Shape
			each(s, func(p int, i []int) {
				y := i[2] - stream.Intn(uint64(2*i[0]), s[2])
				x := i[3] - stream.Intn(uint64(2*i[0]+1), s[3])
				if -half <= y && y < half && -half <= x && x < half {
					out.Data[p] = 0
				}
			})
			return []*Tensor{out}
		},
		NoGradient: dataOnly, FLOPs: noFLOPs, NoONNX: trainingOnly,
	},
}

func inferImages(op *ir.Op) ([]ir.Type, error) {
	if err := first(wantOperands(op, 3, 3), wantRank(op, 0, 4), wantSeed(op, 1)); err != nil {
		return nil, err
	}
	images := op.Operands[0].Type
	return []ir.Type{images}, wantType(op, 0, ir.T(ir.U8, images.Shape...))
}

// TakeImages gives the images of a set u8 [M,H,W,C] that have the numbers in rows i32 [N].
func (b *Builder) TakeImages(set, rows *ir.Value) *ir.Value {
	return b.one("take_images", values(set, rows))
}

// RandomCrop cuts images u8 [N,H,W,C] at a random place after padding with zeros.
func (b *Builder) RandomCrop(images, seed, step *ir.Value, padding, stream int) *ir.Value {
	return b.one("random_crop", values(images, seed, step), ir.A("padding", padding), ir.A("stream", stream))
}

// RandomFlip mirrors images u8 [N,H,W,C] with probability ½.
func (b *Builder) RandomFlip(images, seed, step *ir.Value, stream int) *ir.Value {
	return b.one("random_flip", values(images, seed, step), ir.A("stream", stream))
}

// NormalizeImage turns images u8 [N,H,W,C] into f32 [N,C,H,W] of about zero mean and unit deviation; mean and std are
// per channel, in units of the full range.
func (b *Builder) NormalizeImage(images *ir.Value, mean, std []float64) *ir.Value {
	return b.one("normalize_image", values(images), ir.A("mean", mean), ir.A("std", std))
}

// Cutout zeros a random square of x [N,C,H,W].
func (b *Builder) Cutout(x, seed, step *ir.Value, length, stream int) *ir.Value {
	return b.one("cutout", values(x, seed, step), ir.A("length", length), ir.A("stream", stream))
}
