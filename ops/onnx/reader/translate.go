package reader

import (
	"fmt"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/ops/onnx/onnxpb"
)

// translator writes the program. Values of the file are known by name.
type translator struct {
	*ops.Builder
	opset   int
	options Options
	values  map[string]*value
	reads   map[*constant]*ir.Value // constants that the program reads as variables
	data    map[string][]float32    // their values, by the names of the variables
	left    int                     // elements that constants may yet have
	used    map[string]bool         // outputs of the graph and inputs of nodes
}

// value is a value of the file: a constant, or one of the program.
type value struct {
	name     string
	constant *constant
	computed *ir.Value
}

// shape is the shape of the value, whichever it is.
func (v *value) shape() []int {
	if v.constant != nil {
		return v.constant.shape
	}
	return v.computed.Type.Shape
}

// node is an operation of the file with its inputs.
type node struct {
	operation
	title string
	in    []*value  // nil: left out
	fill  *constant // attribute value of ConstantOfShape
}

// input returns an input, or nil where it is left out.
func (n *node) input(i int) *value {
	if i < len(n.in) {
		return n.in[i]
	}
	return nil
}

// numbers returns the integers of an input that the file must know, or nil where it is left out.
func (n *node) numbers(i int, what string) ([]int, error) {
	in := n.input(i)
	switch {
	case in == nil:
		return nil, nil
	case in.constant == nil:
		return nil, fmt.Errorf("%s %q depend on the network's inputs: want constants", what, in.name)
	}
	return in.constant.numbers(what)
}

// listed returns integers that are an attribute in older opsets and an input in newer ones.
func (n *node) listed(attr string, input int) ([]int, error) {
	if n.attrs[attr] != nil {
		return n.attrs.numbers(attr)
	}
	return n.numbers(input, attr)
}

func (t *translator) program(f *file, decoded []operation) error {
	t.left, t.used = mostComputed*largestComputed, f.used()
	for name, c := range f.constants {
		t.values[name] = &value{name: name, constant: c}
		t.left += mostComputed * c.elements()
	}
	for _, in := range f.inputs {
		if err := t.input(in); err != nil {
			return fmt.Errorf("input %s: %w", in.GetName(), err)
		}
	}
	for i, op := range decoded {
		if err := t.node(f, op, i); err != nil {
			return fmt.Errorf("%s: %w", title(f.nodes[i], i), err)
		}
	}
	for _, name := range f.outputs {
		v := t.values[name]
		if v == nil || v.constant != nil {
			return fmt.Errorf("output %s does not depend on the inputs", name)
		}
		t.Result(name, v.computed)
	}
	if _, err := t.Build(); err != nil {
		return err
	}
	return ir.Verify(t.Module, ops.Rules)
}

// node translates one node.
func (t *translator) node(f *file, op operation, i int) error {
	from := f.nodes[i]
	if op.kind != from.GetOpType() || len(op.inputs) != len(from.Input) || len(op.outputs) != len(from.Output) {
		return fmt.Errorf("onnx-go decodes it as %s with %d inputs and %d outputs", op.kind, len(op.inputs), len(op.outputs))
	}
	n := &node{operation: op, title: title(from, i), fill: f.fills[from]}
	for _, name := range op.inputs {
		n.in = append(n.in, t.values[name])
	}
	o := operations[op.kind]
	if err := op.attrs.only(o.attrs); err != nil {
		return err
	}
	scope := from.GetName()
	if scope == "" {
		scope = op.outputs[0]
	}
	var results []*value
	var err error
	t.At(scope, func() { results, err = t.run(o, n) })
	if err != nil {
		return err
	}
	for k, v := range results {
		if err := t.check(v); err != nil {
			return err
		}
		named := *v
		named.name = op.outputs[k]
		t.values[named.name] = &named
	}
	for k, name := range op.outputs[len(results):] {
		if from.Output[len(results)+k] != "" && t.used[name] {
			return fmt.Errorf("output %q is used, but only the first %d are computed here", name, len(results))
		}
	}
	return nil
}

// run translates a node. After an error of the builder values have no shape, which a translation may stumble over.
func (t *translator) run(o translation, n *node) (results []*value, err error) {
	defer func() {
		problem := recover()
		switch {
		case err != nil:
		case t.Err() != nil:
			err = t.Err()
		case problem != nil:
			err = fmt.Errorf("%s: %v", stumbled, problem)
		}
	}()
	return o.run(t, n)
}

// stumbled is what no file should make a translation say.
const stumbled = "the translation failed"

// mostElements bounds a value of the program, so that a small file cannot ask for all of a machine's memory.
const mostElements = 1 << 31

func (t *translator) check(v *value) error {
	if v.constant != nil {
		return t.spend(v.constant)
	}
	if v.computed.Type.Elements() > mostElements {
		return fmt.Errorf("its result %s has more than %d elements", v.computed.Type, mostElements)
	}
	return nil
}

// spend counts a constant that is made from others, or that becomes a variable: many nodes of a small file could make
// as many large ones.
func (t *translator) spend(c *constant) error {
	if t.left -= c.elements(); t.left < 0 {
		return fmt.Errorf("constants that are made from others have too many elements in total: want at most %d, and %d for each that the file holds", mostComputed*largestComputed, mostComputed)
	}
	return nil
}

// input declares an input of the network.
func (t *translator) input(in *onnxpb.ValueInfoProto) error {
	tensor := in.GetType().GetTensorType()
	if tensor == nil || tensor.Shape == nil {
		return fmt.Errorf("the file does not say its shape")
	}
	dtype := onnxpb.TensorProto_DataType(tensor.GetElemType())
	if !isFloat(dtype) {
		return fmt.Errorf("is of element type %s: networks on floating-point images are read", dtype)
	}
	if len(tensor.Shape.Dim) > largestRank {
		return fmt.Errorf("has %d dimensions, want at most %d", len(tensor.Shape.Dim), largestRank)
	}
	shape := make([]int, len(tensor.Shape.Dim))
	for i, d := range tensor.Shape.Dim {
		var err error
		if shape[i], err = t.dimension(i, d); err != nil {
			return err
		}
	}
	computed := t.Input(in.GetName(), ir.T(ir.F32, shape...))
	v := &value{name: in.GetName(), computed: computed}
	t.values[v.name] = v
	if t.Err() != nil {
		return t.Err()
	}
	return t.check(v)
}

// dimension is the size of a dimension, which the options say where the file leaves it open.
func (t *translator) dimension(axis int, d *onnxpb.TensorShapeProto_Dimension) (int, error) {
	size, name := d.GetDimValue(), d.GetDimParam()
	switch {
	case size > largest:
		return 0, fmt.Errorf("dimension %d is %d, want at most %d", axis, size, largest)
	case size > 0 && axis == 0 && t.options.Batch > 0 && int(size) != t.options.Batch:
		return 0, fmt.Errorf("the file is for a batch of %d only, not for %d", size, t.options.Batch)
	case size > 0:
		return int(size), nil
	case name != "" && t.options.Dimensions[name] > 0:
		return t.options.Dimensions[name], nil
	case axis == 0:
		return max(t.options.Batch, 1), nil
	}
	return 0, fmt.Errorf("dimension %d (%q) is open in the file: its size must be given", axis, name)
}

// tensor is a value as the program computes with it; a constant becomes a variable, or a constant of the program where
// all of its elements are equal.
func (t *translator) tensor(v *value) *ir.Value {
	if v.constant == nil {
		return v.computed
	}
	c := v.constant
	if read := t.reads[c]; read != nil {
		return read
	}
	if t.Err() != nil {
		return &ir.Value{}
	}
	if err := t.spend(c); err != nil {
		t.Fail(err)
		return &ir.Value{}
	}
	if c.whole { // a number in arithmetic
		c = &constant{shape: c.shape, floats: make([]float32, len(c.ints))}
		for i, n := range v.constant.ints {
			c.floats[i] = float32(n)
		}
	}
	name := t.freeName(v.name)
	read := t.Read(t.Declare(ir.Variable{Name: name, Kind: ir.Weight, Type: c.irType()}))
	t.data[name] = c.floats
	t.reads[v.constant] = read
	return read
}

// freeName is the name of a new variable.
func (t *translator) freeName(name string) string {
	if name == "" {
		name = "constant"
	}
	free := name
	for i := 1; t.Module.Variable(free) != nil; i++ {
		free = fmt.Sprintf("%s_%d", name, i)
	}
	return free
}

// made wraps a value of the program.
func made(v *ir.Value) []*value { return []*value{{computed: v}} }

// known wraps a constant.
func known(c *constant) []*value { return []*value{{constant: c}} }
