package onnx

import (
	"fmt"
	"math"
	"strings"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// In evaluation BatchNorm is y = (x - mean)·s + beta with s = gamma/sqrt(var + eps), a scale and a shift of each
// channel. After a convolution, the scale goes into the weights of each output and the shift becomes a bias.

// folding pairs operations that are written as one node.
type folding struct {
	before map[*ir.Op]*ir.Op // of the second operation, the first
	after  map[*ir.Op]*ir.Op // of the first operation, the second
}

// findFolds finds the logarithms of a softmax, which ONNX has an operation for that does not underflow; and where they
// are to be folded, the batch_norms whose operand is the result of a convolution without bias, all parameters of both
// being variables. Nothing else uses what lies between.
func findFolds(p *ir.Program, norms bool) folding {
	uses := p.Uses(p.Number())
	folds := folding{map[*ir.Op]*ir.Op{}, map[*ir.Op]*ir.Op{}}
	for _, op := range p.Ops {
		if len(op.Operands) == 0 || op.Operands[0].Def == nil || uses[op.Operands[0].ID] != 1 {
			continue
		}
		before := op.Operands[0].Def
		logSoftmax := op.Kind == "log" && before.Kind == "softmax"
		convolution := norms && op.Kind == "batch_norm" && before.Kind == "conv2d" && len(before.Operands) == 2 &&
			areVariables(before.Operands[1:]) && areVariables(op.Operands[1:])
		if logSoftmax || convolution {
			folds.before[op], folds.after[before] = before, op
		}
	}
	return folds
}

func areVariables(values []*ir.Value) bool {
	for _, v := range values {
		if v.Def == nil || v.Def.Kind != ir.Read {
			return false
		}
	}
	return true
}

// foldNorm writes a convolution and the batch_norm after it as one Conv with bias.
func (e *exporter) foldNorm(conv, norm *ir.Op) {
	weight := conv.Operands[1].Def.Variable
	parameters := [][]float64{e.floats(weight)}
	for _, v := range norm.Operands[1:] {
		parameters = append(parameters, e.floats(v.Def.Variable))
	}
	if e.err != nil {
		return
	}
	w, mean, variance := parameters[0], parameters[1], parameters[2]
	bias, eps := make([]float64, len(mean)), norm.Attrs.Float("eps")
	for o := range mean {
		if !(variance[o]+eps > 0) {
			e.fail(fmt.Errorf("variance %v of channel %d in variable %s is not positive", variance[o], o, norm.Operands[2].Def.Variable.Name))
			return
		}
		scale, shift := 1/math.Sqrt(variance[o]+eps), 0.0
		if len(parameters) == 5 {
			scale, shift = scale*parameters[3][o], parameters[4][o]
		}
		bias[o] = shift - mean[o]*scale
		per := len(w) / len(mean)
		for i := range per {
			w[o*per+i] *= scale
		}
	}
	e.fail(ops.Lookup(conv.Kind).ONNX(foldedConv{
		exporter: e,
		weight:   e.weight(weight.Name, weight.Type, w),
		bias:     e.initializer(strings.TrimSuffix(weight.Name, ".weight")+".bias", norm.Operands[1].Type, bias),
		results:  norm.Results,
	}, conv))
}

// foldedConv is the exporter that a folded convolution writes itself to: other weights, a bias, and the batch_norm's
// result.
type foldedConv struct {
	*exporter
	weight, bias string
	results      []*ir.Value
}

// Name gives the convolution's weights, its second operand, no initializer of their own.
func (f foldedConv) Name(v *ir.Value) string {
	if v.Def != nil && v.Def.Kind == ir.Read {
		return f.weight
	}
	return f.exporter.Name(v)
}

// Node writes the Conv.
func (f foldedConv) Node(opType string, inputs []string, _ []*ir.Value, attrs ...ir.Attr) {
	f.exporter.Node(opType, append(inputs, f.bias), f.results, attrs...)
}
