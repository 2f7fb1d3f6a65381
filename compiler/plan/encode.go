package plan

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan/planpb"
)

// encoder fills the tables of a planpb.Plan: each distinct string, tensor type and set of parameters stands there once.
type encoder struct {
	out     *planpb.Plan
	strings map[string]uint32
	tensors map[string]uint32 // by canonical bytes
	params  map[string]uint32 // by canonical bytes; counted from 1
	key     []byte
	names   []string
}

// toProto turns a plan that has passed Validate into its message.
func toProto(p *Plan) *planpb.Plan {
	e := &encoder{
		out: &planpb.Plan{
			Name: p.Name, Target: p.Target, Compiler: p.Compiler, Metadata: p.Metadata,
			VariableBytes: p.VariableBytes, ArenaBytes: p.ArenaBytes,
		},
		strings: map[string]uint32{}, tensors: map[string]uint32{}, params: map[string]uint32{},
	}
	for _, v := range p.Variables {
		e.out.Variables = append(e.out.Variables, &planpb.Variable{
			Name: v.Name, Kind: e.text(v.Kind), Tensor: e.tensor(v.Tensor), Offset: v.Offset,
			Distribution: e.text(v.Init.Distribution), Value: v.Init.Value, Values: v.Values,
		})
	}
	for i := range p.Modules {
		e.out.Modules = append(e.out.Modules, module(&p.Modules[i]))
	}
	for _, program := range p.Programs {
		e.out.Programs = append(e.out.Programs, e.program(program))
	}
	return e.out
}

func (e *encoder) program(p *Program) *planpb.Program {
	out := &planpb.Program{
		Name: p.Name, Inputs: ports(p.Inputs), Results: ports(p.Results),
		Buffers: make([]*planpb.Buffer, len(p.Buffers)), Launches: make([]*planpb.Launch, len(p.Launches)),
		PeakBytes: p.PeakBytes, LowerBound: p.LowerBound,
	}
	for i, b := range p.Buffers {
		out.Buffers[i] = &planpb.Buffer{Tensor: e.tensor(b.Tensor), Space: planpb.Space(b.Space), Offset: b.Offset, Stride: b.Stride}
	}
	for i := range p.Launches {
		out.Launches[i] = e.launch(&p.Launches[i])
	}
	return out
}

func (e *encoder) launch(l *Launch) *planpb.Launch {
	out := &planpb.Launch{
		Kernel: e.text(l.Kernel), Operands: unsigned(l.Operands), Results: unsigned(l.Results), Params: e.paramSet(l.Params),
		Phase: e.text(l.Phase), Scope: e.text(l.Scope), Flops: l.FLOPs, Bytes: l.Bytes, Device: e.device(l.Device), Sets: uint32(l.Sets),
	}
	for _, c := range l.Code {
		out.Code = append(out.Code, &planpb.Instruction{Op: e.text(c.Op), Args: unsigned(c.Args), Constants: c.Constants})
	}
	if l.Loop != nil {
		out.Loop = &planpb.Loop{Steps: uint32(l.Loop.Steps), Reverse: l.Loop.Reverse, Carried: uint32(l.Loop.Carried)}
		for i := range l.Loop.Launches {
			out.Loop.Launches = append(out.Loop.Launches, e.launch(&l.Loop.Launches[i]))
		}
	}
	return out
}

func module(m *Module) *planpb.Module {
	out := &planpb.Module{Name: m.Name, Source: m.Source, Options: m.Options}
	for _, i := range m.Images {
		out.Images = append(out.Images, &planpb.Image{Architecture: i.Architecture, Format: i.Format, Data: i.Data})
	}
	for _, f := range m.Functions {
		out.Functions = append(out.Functions, &planpb.Function{
			Name: f.Name, Registers: uint32(f.Registers), SharedBytes: uint32(f.SharedBytes), SpillBytes: uint32(f.SpillBytes),
		})
	}
	return out
}

func (e *encoder) device(d *DeviceLaunch) *planpb.DeviceLaunch {
	if d == nil {
		return nil
	}
	out := &planpb.DeviceLaunch{
		Module: uint32(d.Module), Function: e.text(d.Function), Grid: unsigned(d.Grid[:]), Block: unsigned(d.Block[:]),
		SharedBytes: uint32(d.SharedBytes), Arguments: make([]*planpb.Argument, len(d.Arguments)),
	}
	for i, a := range d.Arguments {
		out.Arguments[i] = &planpb.Argument{Kind: planpb.ArgumentKind(a.Kind), Index: uint32(a.Index), Integer: a.Integer, Number: a.Number}
	}
	return out
}

func ports(list []Port) []*planpb.Port {
	out := make([]*planpb.Port, len(list))
	for i, p := range list {
		out[i] = &planpb.Port{Name: p.Name, Buffer: uint32(p.Buffer)}
	}
	return out
}

func (e *encoder) text(s string) uint32 {
	i, ok := e.strings[s]
	if !ok {
		i = uint32(len(e.out.Strings))
		e.strings[s] = i
		e.out.Strings = append(e.out.Strings, s)
	}
	return i
}

func (e *encoder) tensor(t Tensor) uint32 {
	e.key = append(e.key[:0], byte(t.DType))
	e.key = appendInts(e.key, t.Shape)
	e.key = appendInts(e.key, t.Order)
	i, ok := e.tensors[string(e.key)]
	if !ok {
		i = uint32(len(e.out.Tensors))
		e.tensors[string(e.key)] = i
		e.out.Tensors = append(e.out.Tensors, &planpb.Tensor{Dtype: planpb.DType(t.DType), Shape: signed(t.Shape), Order: unsigned(t.Order)})
	}
	return i
}

func (e *encoder) paramSet(p Params) uint32 {
	if len(p) == 0 {
		return 0
	}
	e.names = slices.AppendSeq(e.names[:0], maps.Keys(p))
	slices.Sort(e.names)
	e.key = e.key[:0]
	for _, name := range e.names {
		e.key = binary.AppendUvarint(e.key, uint64(e.text(name)))
		e.key = appendValue(e.key, p[name])
	}
	i, ok := e.params[string(e.key)]
	if !ok {
		set := &planpb.Params{}
		for _, name := range e.names {
			set.Params = append(set.Params, param(e.text(name), p[name]))
		}
		e.out.Params = append(e.out.Params, set)
		i = uint32(len(e.out.Params))
		e.params[string(e.key)] = i
	}
	return i
}

func param(name uint32, value any) *planpb.Param {
	out := &planpb.Param{Name: name}
	switch v := value.(type) {
	case int:
		out.Value = &planpb.Param_Integer{Integer: int64(v)}
	case float64:
		out.Value = &planpb.Param_Number{Number: v}
	case bool:
		out.Value = &planpb.Param_Flag{Flag: v}
	case string:
		out.Value = &planpb.Param_Text{Text: v}
	case []int:
		out.Value = &planpb.Param_Integers{Integers: &planpb.Integers{Values: signed(v)}}
	case []float64:
		out.Value = &planpb.Param_Numbers{Numbers: &planpb.Numbers{Values: v}}
	}
	return out
}

// appendValue appends bytes that are equal for equal values of equal type only.
func appendValue(key []byte, value any) []byte {
	switch v := value.(type) {
	case int:
		return binary.AppendVarint(append(key, 'i'), int64(v))
	case float64:
		return binary.LittleEndian.AppendUint64(append(key, 'f'), math.Float64bits(v))
	case bool:
		if v {
			return append(key, 't')
		}
		return append(key, 'n')
	case string:
		key = binary.AppendUvarint(append(key, 's'), uint64(len(v)))
		return append(key, v...)
	case []int:
		return appendInts(append(key, 'I'), v)
	case []float64:
		key = binary.AppendUvarint(append(key, 'F'), uint64(len(v)))
		for _, f := range v {
			key = binary.LittleEndian.AppendUint64(key, math.Float64bits(f))
		}
	}
	return key
}

func appendInts(key []byte, list []int) []byte {
	key = binary.AppendUvarint(key, uint64(len(list)))
	for _, v := range list {
		key = binary.AppendVarint(key, int64(v))
	}
	return key
}

func signed(list []int) []int64 {
	out := make([]int64, len(list))
	for i, v := range list {
		out[i] = int64(v)
	}
	return out
}

func unsigned(list []int) []uint32 {
	out := make([]uint32, len(list))
	for i, v := range list {
		out[i] = uint32(v)
	}
	return out
}
