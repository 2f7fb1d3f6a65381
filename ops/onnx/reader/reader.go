// Package reader makes a program of the IR from an ONNX file: networks on images as opsets 7 to 21 write them, those of
// package ops/onnx among them.
//
//	bytes ─ parse ─▶ onnxpb ─ check: tensors, names, cycles, known operations ─▶ onnx-go ─ graph ─▶ translate ─▶ ir.Module
//
// The file is read with our own protobuf first, which decides what is accepted: every size is checked before it is
// believed, tensors become f32 or integers, whatever the file cannot mean is refused by the name of the node or tensor.
// Then github.com/owulveryck/onnx-go decodes the nodes (graph.go, the only file that knows it), and the table in
// operations.go translates each. Integers are known when the file is read: shapes that a file computes are computed
// here. All variables of the program are constants; the values come along.
//
// The package knows no genotype and no device. Start with [Read].
package reader

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
)

// Program is the name of the program in the module.
const Program = "inference"

// The versions of the operations that are known.
const (
	oldestOpset = 7
	newestOpset = 21
)

// Options fix what a file leaves open.
type Options struct {
	// Batch is the size of a symbolic first dimension of the inputs; 0 is 1, or whatever the file says.
	Batch int

	// Dimensions are the sizes of other symbolic dimensions, by name.
	Dimensions map[string]int
}

// Network is what a file holds: a module with one program, Program, whose inputs and results have the names of the file
// and are f32, and the values of its variables.
type Network struct {
	Module   *ir.Module
	Values   map[string][]float32
	Metadata map[string]string
	Opset    int
	Producer string // name and version of what wrote the file
}

// Read makes a program of the content of a file. No content makes it panic, or take memory out of proportion to the file.
func Read(content []byte, o Options) (*Network, error) {
	n, err := read(content, o)
	if err != nil {
		return nil, fmt.Errorf("read ONNX: %w", err)
	}
	return n, nil
}

func read(content []byte, o Options) (*Network, error) {
	if o.Batch < 0 {
		return nil, fmt.Errorf("batch %d: want a positive number", o.Batch)
	}
	model := &onnxpb.ModelProto{}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(content, model); err != nil {
		return nil, fmt.Errorf("not an ONNX file, or a damaged one: %w", err)
	}
	if model.Graph == nil || len(model.Graph.Node) == 0 {
		return nil, fmt.Errorf("not an ONNX file: there is no graph with nodes in it")
	}
	opset, err := opsetOf(model)
	if err != nil {
		return nil, err
	}
	f, err := newFile(model.Graph)
	if err != nil {
		return nil, err
	}
	operations, err := decode(f.bare())
	if err != nil {
		return nil, err
	}
	if len(operations) != len(f.nodes) {
		return nil, fmt.Errorf("onnx-go decodes %d of %d nodes", len(operations), len(f.nodes))
	}
	name := model.Graph.GetName()
	if name == "" {
		name = "onnx"
	}
	t := &translator{
		Builder: ops.NewBuilder(ir.NewModule(name), Program), opset: opset, options: o,
		values: map[string]*value{}, reads: map[*constant]*ir.Value{}, data: map[string][]float32{},
	}
	if err := t.program(f, operations); err != nil {
		return nil, err
	}
	network := &Network{Module: t.Module, Values: t.data, Metadata: map[string]string{}, Opset: opset, Producer: producer(model)}
	for _, entry := range model.MetadataProps {
		network.Metadata[entry.GetKey()] = entry.GetValue()
	}
	return network, nil
}

func producer(model *onnxpb.ModelProto) string {
	if version := model.GetProducerVersion(); version != "" {
		return model.GetProducerName() + " " + version
	}
	return model.GetProducerName()
}

// ownDomains are the names of ONNX's own operations.
var ownDomains = []string{"", "ai.onnx"}

func opsetOf(model *onnxpb.ModelProto) (int, error) {
	for _, set := range model.OpsetImport {
		if slices.Contains(ownDomains, set.GetDomain()) {
			if v := set.GetVersion(); v < oldestOpset || v > newestOpset {
				return 0, fmt.Errorf("the file is of opset %d, opsets %d to %d are read: export it with opset_version=17", v, oldestOpset, newestOpset)
			}
			return int(set.GetVersion()), nil
		}
	}
	return 0, fmt.Errorf("the file says no opset: it is none of ONNX's, or damaged")
}
