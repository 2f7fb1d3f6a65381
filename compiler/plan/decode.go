package plan

import (
	"fmt"
	"math"

	"github.com/dartsc/dartsc/compiler/plan/planpb"
)

// decoder turns a message back into a plan. It checks what would be lost in the translation (indices into the tables,
// numbers that do not fit); all else is left to Validate.
type decoder struct {
	strings []string
	tensors []Tensor
	params  []Params
}

func fromProto(in *planpb.Plan) (*Plan, error) {
	d := &decoder{strings: in.Strings}
	if err := d.tables(in); err != nil {
		return nil, err
	}
	p := &Plan{
		Name: in.Name, Target: in.Target, Compiler: in.Compiler, Metadata: in.Metadata,
		VariableBytes: in.VariableBytes, ArenaBytes: in.ArenaBytes,
	}
	for i, v := range in.Variables {
		variable, err := d.variable(v)
		if err != nil {
			return nil, fmt.Errorf("variable %d: %w", i, err)
		}
		p.Variables = append(p.Variables, variable)
	}
	for _, m := range in.Modules {
		p.Modules = append(p.Modules, moduleOf(m))
	}
	for i, v := range in.Programs {
		program, err := d.program(v)
		if err != nil {
			return nil, fmt.Errorf("program %d: %w", i, err)
		}
		p.Programs = append(p.Programs, program)
	}
	return p, nil
}

func (d *decoder) tables(in *planpb.Plan) error {
	for i, t := range in.Tensors {
		if t.Dtype < 0 || t.Dtype > planpb.DType(F64) {
			return fmt.Errorf("tensor %d has element type %d, want at most %d", i, t.Dtype, F64)
		}
		shape, err := integers(t.Shape)
		if err != nil {
			return fmt.Errorf("tensor %d: %w", i, err)
		}
		d.tensors = append(d.tensors, Tensor{DType: DType(t.Dtype), Shape: shape, Order: indices(t.Order)})
	}
	for i, set := range in.Params {
		params := make(Params, len(set.Params))
		for _, p := range set.Params {
			name, err := d.text(p.Name)
			if err != nil {
				return fmt.Errorf("parameters %d: %w", i, err)
			}
			if _, twice := params[name]; twice {
				return fmt.Errorf("parameters %d have %q twice", i, name)
			}
			if params[name], err = value(p); err != nil {
				return fmt.Errorf("parameters %d: %q: %w", i, name, err)
			}
		}
		d.params = append(d.params, params)
	}
	return nil
}

func value(p *planpb.Param) (any, error) {
	switch v := p.Value.(type) {
	case *planpb.Param_Integer:
		return integer(v.Integer)
	case *planpb.Param_Number:
		return v.Number, nil
	case *planpb.Param_Flag:
		return v.Flag, nil
	case *planpb.Param_Text:
		return v.Text, nil
	case *planpb.Param_Integers:
		list, err := integers(v.Integers.GetValues())
		if list == nil {
			list = []int{}
		}
		return list, err
	case *planpb.Param_Numbers:
		return append([]float64{}, v.Numbers.GetValues()...), nil
	}
	return nil, fmt.Errorf("has no value")
}

func (d *decoder) variable(in *planpb.Variable) (Variable, error) {
	kind, err := d.text(in.Kind)
	if err != nil {
		return Variable{}, err
	}
	distribution, err := d.text(in.Distribution)
	if err != nil {
		return Variable{}, err
	}
	tensor, err := d.tensor(in.Tensor)
	return Variable{Name: in.Name, Kind: kind, Tensor: tensor, Offset: in.Offset, Init: Init{distribution, in.Value}, Values: in.Values}, err
}

func (d *decoder) program(in *planpb.Program) (*Program, error) {
	p := &Program{
		Name: in.Name, Inputs: portsOf(in.Inputs), Results: portsOf(in.Results),
		Buffers: make([]Buffer, len(in.Buffers)), Launches: make([]Launch, len(in.Launches)),
		PeakBytes: in.PeakBytes, LowerBound: in.LowerBound,
	}
	for i, b := range in.Buffers {
		tensor, err := d.tensor(b.Tensor)
		if err == nil && (b.Space < 0 || b.Space > planpb.Space(Variables)) {
			err = fmt.Errorf("space %d, want at most %d", b.Space, Variables)
		}
		if err != nil {
			return nil, fmt.Errorf("buffer %d: %w", i, err)
		}
		p.Buffers[i] = Buffer{Tensor: tensor, Space: Space(b.Space), Offset: b.Offset, Stride: b.Stride}
	}
	for i, l := range in.Launches {
		if err := d.launch(l, &p.Launches[i]); err != nil {
			return nil, fmt.Errorf("launch %d: %w", i, err)
		}
	}
	return p, nil
}

func (d *decoder) launch(in *planpb.Launch, out *Launch) (err error) {
	out.Operands, out.Results = indices(in.Operands), indices(in.Results)
	out.FLOPs, out.Bytes, out.Sets = in.Flops, in.Bytes, index(in.Sets)
	if out.Kernel, err = d.text(in.Kernel); err != nil {
		return err
	}
	if out.Phase, err = d.text(in.Phase); err != nil {
		return err
	}
	if out.Scope, err = d.text(in.Scope); err != nil {
		return err
	}
	if in.Params != 0 {
		if int64(in.Params) > int64(len(d.params)) {
			return fmt.Errorf("parameters %d of %d", in.Params, len(d.params))
		}
		out.Params = d.params[in.Params-1]
	}
	for _, c := range in.Code {
		op, err := d.text(c.Op)
		if err != nil {
			return err
		}
		out.Code = append(out.Code, Instruction{Op: op, Args: indices(c.Args), Constants: c.Constants})
	}
	if in.Loop != nil {
		if out.Loop, err = d.loop(in.Loop); err != nil {
			return err
		}
	}
	out.Device, err = d.device(in.Device)
	return err
}

// loop refuses loops within loops, so that it ends.
func (d *decoder) loop(in *planpb.Loop) (*Loop, error) {
	out := &Loop{Steps: index(in.Steps), Reverse: in.Reverse, Carried: index(in.Carried), Launches: make([]Launch, len(in.Launches))}
	for i, l := range in.Launches {
		if l.Loop != nil {
			return nil, fmt.Errorf("loop: launch %d has a loop of its own", i)
		}
		if err := d.launch(l, &out.Launches[i]); err != nil {
			return nil, fmt.Errorf("loop: launch %d: %w", i, err)
		}
	}
	return out, nil
}

func moduleOf(in *planpb.Module) Module {
	out := Module{Name: in.Name, Source: in.Source, Options: in.Options}
	for _, i := range in.Images {
		out.Images = append(out.Images, Image{Architecture: i.Architecture, Format: i.Format, Data: i.Data})
	}
	for _, f := range in.Functions {
		out.Functions = append(out.Functions, Function{
			Name: f.Name, Registers: index(f.Registers), SharedBytes: index(f.SharedBytes), SpillBytes: index(f.SpillBytes),
		})
	}
	return out
}

func (d *decoder) device(in *planpb.DeviceLaunch) (*DeviceLaunch, error) {
	if in == nil {
		return nil, nil
	}
	function, err := d.text(in.Function)
	if err != nil {
		return nil, err
	}
	if len(in.Grid) != 3 || len(in.Block) != 3 {
		return nil, fmt.Errorf("grid %v of blocks %v, want three dimensions of each", in.Grid, in.Block)
	}
	out := &DeviceLaunch{Module: index(in.Module), Function: function, SharedBytes: index(in.SharedBytes)}
	copy(out.Grid[:], indices(in.Grid))
	copy(out.Block[:], indices(in.Block))
	for _, a := range in.Arguments {
		if a.Kind < 0 || a.Kind > planpb.ArgumentKind(Float32Argument) {
			return nil, fmt.Errorf("argument of kind %d, want at most %d", a.Kind, Float32Argument)
		}
		out.Arguments = append(out.Arguments, Argument{Kind: ArgumentKind(a.Kind), Index: index(a.Index), Integer: a.Integer, Number: a.Number})
	}
	return out, nil
}

func (d *decoder) text(i uint32) (string, error) {
	if int64(i) >= int64(len(d.strings)) {
		return "", fmt.Errorf("string %d of %d", i, len(d.strings))
	}
	return d.strings[i], nil
}

func (d *decoder) tensor(i uint32) (Tensor, error) {
	if int64(i) >= int64(len(d.tensors)) {
		return Tensor{}, fmt.Errorf("tensor type %d of %d", i, len(d.tensors))
	}
	return d.tensors[i], nil
}

func portsOf(list []*planpb.Port) []Port {
	if len(list) == 0 {
		return nil
	}
	out := make([]Port, len(list))
	for i, p := range list {
		out[i] = Port{Name: p.Name, Buffer: index(p.Buffer)}
	}
	return out
}

func integer(v int64) (int, error) {
	if int64(int(v)) != v {
		return 0, fmt.Errorf("%d is beyond this machine's integers", v)
	}
	return int(v), nil
}

func integers(list []int64) ([]int, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make([]int, len(list))
	for i, v := range list {
		var err error
		if out[i], err = integer(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// index never wraps to a number that Validate could take for another index.
func index(v uint32) int { return int(min(v, math.MaxInt32)) }

func indices(list []uint32) []int {
	if len(list) == 0 {
		return nil
	}
	out := make([]int, len(list))
	for i, v := range list {
		out[i] = index(v)
	}
	return out
}
