// Package onnx writes a program of the IR as an ONNX file (opset 17, IR version 8): inputs and results keep their names,
// variables become initializers, and the batch, the first dimension of the inputs, stays symbolic, or whichever
// dimensions [Options] name.
//
// How each operation looks in ONNX stands in the table of package ops; this package gives values their names, encodes
// tensors, proves that the graph holds for any batch, writes loops, and folds BatchNorm into convolutions on request. It
// takes programs as the model code built them: no training operations and no fusions. It knows no network and no
// genotype. Start with [Export]; package onnxpb is the file format.
package onnx

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
)

// The versions of the format that are written.
const (
	Opset     = 17
	IRVersion = 8
)

// Options say what is written besides the program.
type Options struct {
	// Batch names the symbolic batch dimension; empty is "batch".
	Batch string

	// Axes names the dimensions of inputs that are symbolic, where these are not the batch alone:
	// {"tokens": {"steps", "batch"}, "hidden": {"batch"}}. The program's sizes of different names should differ.
	Axes map[string][]string

	// FoldBatchNorm merges a batch_norm with the convolution before it into one Conv with bias, where all of their
	// parameters are variables and nothing else uses the convolution's result.
	FoldBatchNorm bool

	// HalfWeights writes variables of two or more dimensions, which are the weights of convolutions and linear layers, in
	// half precision, each followed by a Cast to f32: the file is half as large, and nothing else is less exact.
	HalfWeights bool

	// ProducerVersion goes into the file beside the producer's name, dartsc.
	ProducerVersion string

	// Metadata goes into the file, sorted by key.
	Metadata map[string]string
}

// Export writes one program with the given values of its variables, all of which are f32. The same arguments give the
// same bytes.
func Export(m *ir.Module, program string, variables map[string][]float32, opt Options) ([]byte, error) {
	p := m.Program(program)
	if p == nil {
		return nil, fmt.Errorf("export ONNX: module %s has no program %q", m.Name, program)
	}
	if err := ir.Verify(m, ops.Rules); err != nil {
		return nil, fmt.Errorf("export ONNX: %w", err)
	}
	e := &exporter{
		variables: variables, half: opt.HalfWeights, fold: opt.FoldBatchNorm, graph: &onnxpb.GraphProto{Name: proto.String(program)},
		names: map[*ir.Value]string{}, outer: map[*ir.Value]*ir.Value{}, initializers: map[*ir.Variable]string{},
		used: map[string]bool{}, nodes: map[string]bool{}, results: map[string]bool{},
	}
	if err := e.program(p, opt); err != nil {
		return nil, fmt.Errorf("export ONNX: program %s: %w", program, err)
	}
	model := &onnxpb.ModelProto{
		IrVersion: proto.Int64(IRVersion), ProducerName: proto.String("dartsc"), Graph: e.graph,
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Domain: proto.String(""), Version: proto.Int64(Opset)}},
	}
	if opt.ProducerVersion != "" {
		model.ProducerVersion = proto.String(opt.ProducerVersion)
	}
	for _, key := range slices.Sorted(maps.Keys(opt.Metadata)) {
		model.MetadataProps = append(model.MetadataProps, &onnxpb.StringStringEntryProto{Key: proto.String(key), Value: proto.String(opt.Metadata[key])})
	}
	if size := proto.Size(model); size > math.MaxInt32 {
		return nil, fmt.Errorf("export ONNX: program %s needs %d bytes, an ONNX file holds %d", program, size, math.MaxInt32)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(model)
	if err != nil {
		return nil, fmt.Errorf("export ONNX: program %s: %w", program, err)
	}
	return data, nil
}

// exporter writes one program. It is the ops.Exporter that the table's entries see; the first error sticks.
type exporter struct {
	variables  map[string][]float32
	half, fold bool               // weights in half precision; BatchNorm into convolutions
	graph      *onnxpb.GraphProto // of the program, or of the loop's body that is being written
	symbols    []symbol

	names        map[*ir.Value]string
	outer        map[*ir.Value]*ir.Value // what inputs of loops' bodies stand for
	initializers map[*ir.Variable]string
	used         map[string]bool // names of values
	nodes        map[string]bool // names of nodes
	results      map[string]bool // names of the program's results
	op           *ir.Op          // the one being written
	err          error
}

func (e *exporter) program(p *ir.Program, opt Options) error {
	axes := opt.Axes
	if axes == nil {
		axes = firstAxes(p, cmp.Or(opt.Batch, "batch"))
	}
	var err error
	if e.symbols, err = traceSymbols(p, axes); err != nil {
		return err
	}
	aliases, err := e.publicNames(p)
	if err != nil {
		return err
	}
	if err := e.ops(p); err != nil {
		return err
	}
	e.op = nil
	for _, r := range aliases {
		e.node("Identity", []string{e.Name(r.Value)}, []string{r.Name})
	}
	for _, v := range p.Inputs {
		e.graph.Input = append(e.graph.Input, e.valueInfo(v.Name, v))
	}
	for _, r := range p.Results {
		e.graph.Output = append(e.graph.Output, e.valueInfo(r.Name, r.Value))
	}
	dropUnused(e.graph)
	return e.err
}

// ops appends the nodes of a program or body.
func (e *exporter) ops(p *ir.Program) error {
	folds := findFolds(p, e.fold)
	for _, op := range p.Ops {
		e.op = op
		if err := e.write(op, folds); err != nil {
			return fmt.Errorf("%s: %w", op.Position(), err)
		}
	}
	return nil
}

// publicNames gives inputs and results their names before anything else can take them. It returns the results that
// need a node of their own, because their value is an input, a variable, or a result under another name as well.
func (e *exporter) publicNames(p *ir.Program) (aliases []ir.Result, err error) {
	take := func(what, name string) {
		switch {
		case err != nil:
		case name == "":
			err = fmt.Errorf("%s without a name", what)
		case e.used[name]:
			err = fmt.Errorf("%s %q: an input or a result of that name is there already", what, name)
		}
		e.used[name] = true
	}
	for _, v := range p.Inputs {
		take("input", v.Name)
		e.names[v] = v.Name
	}
	for _, r := range p.Results {
		take("result", r.Name)
		e.results[r.Name] = true
		if r.Value.Def == nil || r.Value.Def.Kind == ir.Read || e.names[r.Value] != "" {
			aliases = append(aliases, r)
			continue
		}
		e.names[r.Value] = r.Name
	}
	return aliases, err
}

// write appends the nodes of one operation.
func (e *exporter) write(op *ir.Op, folds folding) error {
	switch op.Kind {
	case ir.Read:
		return nil // its initializer is written at the first use
	case ir.Assign:
		return fmt.Errorf("assigns variable %s: an exported program must not change its variables", op.Variable.Name)
	case ir.Fusion:
		return fmt.Errorf("is a fusion: export the program before it is compiled")
	}
	switch before := folds.before[op]; {
	case folds.after[op] != nil:
		return nil // written with that
	case op.Kind == ir.Scan:
		e.fail(e.scan(ir.LoopOf(op)))
	case before != nil && op.Kind == "log":
		e.Node("LogSoftmax", []string{e.Name(before.Operands[0])}, op.Results, ir.A("axis", -1))
	case before != nil:
		e.foldNorm(before, op)
	default:
		def := ops.Lookup(op.Kind)
		if def.ONNX == nil {
			return fmt.Errorf("has no ONNX form: %s", def.NoONNX)
		}
		e.fail(def.ONNX(e, op))
	}
	for _, v := range op.Results {
		if name := e.Name(v); !e.results[name] {
			e.graph.ValueInfo = append(e.graph.ValueInfo, e.valueInfo(name, v))
		}
	}
	return e.err
}

// Name returns the ONNX name of a value. A variable's initializer is written when its name is first asked for.
func (e *exporter) Name(v *ir.Value) string {
	if v.Def != nil && v.Def.Kind == ir.Read {
		return e.variable(v.Def.Variable)
	}
	if e.names[v] == "" {
		e.names[v] = unique(e.used, e.place(e.op.Kind))
	}
	return e.names[v]
}

// Source returns the value of the program that an input of a loop's body stands for, or the value itself.
func (e *exporter) Source(v *ir.Value) *ir.Value {
	if outer := e.outer[v]; outer != nil {
		return outer
	}
	return v
}

// Constant adds an initializer and returns its name.
func (e *exporter) Constant(t ir.Type, data []float64) string {
	return e.initializer(e.place("constant"), t, data)
}

// Node adds a node whose outputs are the given values.
func (e *exporter) Node(opType string, inputs []string, outputs []*ir.Value, attrs ...ir.Attr) {
	names := make([]string, len(outputs))
	for i, v := range outputs {
		names[i] = e.Name(v)
	}
	e.node(opType, inputs, names, attrs...)
}

func (e *exporter) node(opType string, inputs, outputs []string, attrs ...ir.Attr) {
	node := &onnxpb.NodeProto{
		Name: proto.String(unique(e.nodes, e.place(opType))), OpType: proto.String(opType), Input: inputs, Output: outputs,
	}
	for _, a := range attrs {
		node.Attribute = append(node.Attribute, e.attribute(a))
	}
	e.graph.Node = append(e.graph.Node, node)
}

// fail records the first error.
func (e *exporter) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// place is a name at the present position in the model.
func (e *exporter) place(name string) string {
	if e.op == nil || e.op.Scope == "" {
		return name
	}
	return e.op.Scope + "/" + name
}

// unique returns the name, or the name with the first number that makes it new, and remembers it.
func unique(used map[string]bool, name string) string {
	free := name
	for i := 1; used[free]; i++ {
		free = fmt.Sprintf("%s_%d", name, i)
	}
	used[free] = true
	return free
}
