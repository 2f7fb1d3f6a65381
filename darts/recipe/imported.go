package recipe

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/infer"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops/onnx/reader"
)

// imported is the network of an ONNX file as a network of ours: its program becomes part of the one that is built.
type imported struct{ *reader.Network }

// onnxStart is how ONNX files begin: with the number of the format's version, the first field of a model.
const onnxStart = 0x08

// readImported reads an ONNX file for batches of a size, or of the one that the file insists on.
func readImported(path string, batch int) (imported, error) {
	n, _, err := infer.ReadONNX(path, reader.Options{Batch: batch})
	if err != nil {
		return imported{}, err
	}
	p := n.Module.Program(reader.Program)
	if len(p.Inputs) != 1 || len(p.Inputs[0].Type.Shape) != 4 || len(p.Results) == 0 || len(p.Results[0].Value.Type.Shape) != 2 {
		return imported{}, fmt.Errorf("%s: has %d inputs and %d results: want images [N,C,H,W] in and a number for each class [N,classes] out", path, len(p.Inputs), len(p.Results))
	}
	return imported{n}, nil
}

// size is that of the images, and their number in a batch.
func (n imported) size() (batch int, size data.Size) {
	shape := n.Module.Program(reader.Program).Inputs[0].Type.Shape
	return shape[0], data.Size{Height: shape[2], Width: shape[3]}
}

// metadata are the file's; nil where there is no file.
func (n imported) metadata() map[string]string {
	if n.Network == nil {
		return nil
	}
	return n.Metadata
}

// Forward puts the file's operations into the program. Where they end in a softmax, what goes into it are the logits.
func (n imported) Forward(s *cnn.Scope, images *ir.Value) (*ir.Value, []*ir.Value) {
	b, p := s.Builder, n.Module.Program(reader.Program)
	if images.Type.String() != p.Inputs[0].Type.String() {
		b.Fail(fmt.Errorf("the ONNX file is for images %s, these are %s", p.Inputs[0].Type, images.Type))
		return images, nil
	}
	values := map[*ir.Value]*ir.Value{p.Inputs[0]: images}
	for _, op := range p.Ops {
		if op.Kind == ir.Read {
			values[op.Result()] = b.Read(b.Declare(*op.Variable))
			continue
		}
		operands := make([]*ir.Value, len(op.Operands))
		for i, operand := range op.Operands {
			operands[i] = values[operand]
		}
		b.At(op.Scope, func() {
			for i, result := range b.Op(op.Kind, len(op.Results), operands, op.Attrs...) {
				values[op.Results[i]] = result
			}
		})
	}
	return values[logitsOf(p.Results[0].Value)], nil
}

// logitsOf is what goes into a softmax that a result [N,classes] is of, perhaps by another shape; or the result.
func logitsOf(result *ir.Value) *ir.Value {
	v := result
	for v.Def != nil && (v.Def.Kind == "reshape" || v.Def.Kind == "transpose" && slices.IsSorted(v.Def.Attrs.Ints("order"))) {
		v = v.Def.Operands[0]
	}
	if v.Def == nil || v.Def.Kind != "softmax" || !slices.Equal(v.Type.Shape, result.Type.Shape) {
		return result
	}
	return v.Def.Operands[0]
}

// classes is how many the network tells apart.
func (n imported) classes() int {
	return n.Module.Program(reader.Program).Results[0].Value.Type.Shape[1]
}
