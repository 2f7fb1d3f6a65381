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

// folding pairs the batch_norms that fold with their convolutions, both ways.
type folding struct {
	conv map[*ir.Op]*ir.Op // of a batch_norm
	norm map[*ir.Op]*ir.Op // of a conv2d
}

// findFolds finds the batch_norms whose operand is the result of a convolution without bias that nothing else uses, all parameters of
// both being variables.
func findFolds(p *ir.Program) folding {
	uses := p.Uses(p.Number())
	folds := folding{map[*ir.Op]*ir.Op{}, map[*ir.Op]*ir.Op{}}
	for _, op := range p.Ops {
		if op.Kind != "batch_norm" {
			continue
		}
		x := op.Operands[0]
		if x.Def == nil || x.Def.Kind != "conv2d" || len(x.Def.Operands) != 2 || uses[x.ID] != 1 {
			continue
		}
		if areVariables(x.Def.Operands[1:]) && areVariables(op.Operands[1:]) {
			folds.conv[op], folds.norm[x.Def] = x.Def, op
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

// fold writes a convolution and the batch_norm after it as one Conv with bias.
func (e *exporter) fold(conv, norm *ir.Op) {
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
