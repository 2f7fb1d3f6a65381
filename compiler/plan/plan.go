// Package plan is what the compiler hands to a runtime: one static plan, with every buffer placed and every launch
// bound to its operands, and its file form (.dplan). It knows nothing of the IR it came from and nothing of the devices
// that replay it; it imports nothing of ours but its generated protobuf.
//
// A plan holds variables (weights, alphas, optimiser state: they outlive a step) in one region and everything else in
// one arena that all programs share. A program is a list of launches in the order in which they run. Inputs are buffers
// that the caller fills before the first launch, results buffers that the caller reads after the last.
package plan

import (
	"fmt"
	"strings"
)

// Plan is a compiled module.
type Plan struct {
	Name          string
	Target        string            // "cpu", "cuda:sm_90", …; a runtime refuses a plan of another target
	Compiler      string            // version of dartsc that made it
	Metadata      map[string]string // what the plan is of: genotype, sizes, normalisation
	Variables     []Variable
	VariableBytes int64    // size of the region of variables
	ArenaBytes    int64    // size of the arena, the largest of the programs' peaks
	Modules       []Module // code for the device, of plans for CUDA
	Programs      []*Program
}

// DType is an element type.
type DType uint8

// The element types, numbered as in the file.
const (
	Invalid DType = iota
	Bool
	U8
	I32
	I64
	BF16
	F32
	F64
)

// Size is the number of bytes of one element.
func (d DType) Size() int64 {
	return [...]int64{Invalid: 0, Bool: 1, U8: 1, I32: 4, I64: 8, BF16: 2, F32: 4, F64: 8}[d]
}

// String returns the name, for example f32.
func (d DType) String() string {
	return [...]string{Invalid: "invalid", Bool: "bool", U8: "u8", I32: "i32", I64: "i64", BF16: "bf16", F32: "f32", F64: "f64"}[d]
}

// Layout is the physical order of a tensor: position i of memory order is logical axis Order[i], the last one
// contiguous. Nil is row-major. Activations [N,C,H,W] on the CPU have order [0,2,3,1] (channels last), weights of
// convolutions [O,I,KH,KW] order [2,3,1,0].
type Layout []int

// Tensor is the type and layout of a value; Shape is logical.
type Tensor struct {
	DType DType
	Shape []int
	Order Layout
}

// Elements is the number of elements.
func (t Tensor) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Bytes is the size in memory.
func (t Tensor) Bytes() int64 { return int64(t.Elements()) * t.DType.Size() }

// String describes the type, for example f32[64,16,32,32].
func (t Tensor) String() string {
	return t.DType.String() + strings.ReplaceAll(fmt.Sprint(t.Shape), " ", ",")
}

// Variable is state that outlives a step. Kind is one of weight, alpha, moment, statistic, control, data.
type Variable struct {
	Name string
	Kind string
	Tensor
	Offset int64 // in the region of variables
	Init   Init
	Values []float32 // of f32: what it starts with, in logical row-major order; nil: as Init says
}

// Init is how a variable starts: "constant" (every element Value), "uniform" in [-Value, Value), "normal" with
// deviation Value.
type Init struct {
	Distribution string
	Value        float64
}

// Space is where a buffer lies.
type Space uint8

// The spaces.
const (
	Arena Space = iota
	Variables
)

// Buffer is a placed tensor. Buffers of different lifetimes share memory.
type Buffer struct {
	Tensor
	Space  Space
	Offset int64
	Stride int64 // inside a loop: how many bytes further it lies in every step
}

// Port is a named input or result of a program.
type Port struct {
	Name   string
	Buffer int // index into Program.Buffers
}

// Program is one function of the module, ready to replay.
type Program struct {
	Name       string
	Inputs     []Port
	Results    []Port
	Buffers    []Buffer
	Launches   []Launch
	PeakBytes  int64 // arena bytes that this program touches
	LowerBound int64 // largest sum of buffers that are alive at once: no placement can need less
}

// Launch is one kernel over bound operands. FLOPs and Bytes are what it must do at least, for cost models and
// profiles; Phase and Scope say where it comes from in the model.
//
// With more than one set the kernel runs on so many sets of operands, which stand in Operands one after the other, as
// their results do in Results; in any order, since no set reads what another writes.
type Launch struct {
	Kernel   string
	Operands []int // indices into Program.Buffers
	Results  []int
	Sets     int // 0 is one
	Params   Params
	Code     []Instruction // of kernel "elementwise"
	Device   *DeviceLaunch // nil on the CPU, which binds kernels by name
	Loop     *Loop         // of kernel "scan"
	Phase    string
	Scope    string
	FLOPs    float64
	Bytes    float64
}

// Set returns the launch of one set of operands alone, with the cost of all.
func (l *Launch) Set(i int) Launch {
	one, sets := *l, max(l.Sets, 1)
	one.Sets = 0
	one.Operands = part(l.Operands, i, sets)
	one.Results = part(l.Results, i, sets)
	return one
}

// part is the i-th of so many equal parts.
func part(list []int, i, parts int) []int {
	n := len(list) / parts
	return list[i*n : (i+1)*n : (i+1)*n]
}

// Instruction is one operation of a fused elementwise kernel. Registers 0 to n-1 hold the n operands of the launch;
// instruction i defines register n+i. Params "results" of the launch lists the registers that become its results.
type Instruction struct {
	Op        string
	Args      []int     // registers
	Constants []float64 // of axpby: a and b; of constant: the value; of batch_norm: eps; of slice: the first channel; of drop_path: the stream
}

// Params are the constants of a launch: int, float64, bool, string, []int or []float64 by name.
type Params map[string]any

// Int returns a parameter, or 0 where it is absent or of another type.
func (p Params) Int(name string) int { v, _ := p[name].(int); return v }

// Float returns a parameter, or 0 where it is absent or of another type.
func (p Params) Float(name string) float64 { v, _ := p[name].(float64); return v }

// Bool returns a parameter, or false where it is absent or of another type.
func (p Params) Bool(name string) bool { v, _ := p[name].(bool); return v }

// Text returns a parameter, or "" where it is absent or of another type.
func (p Params) Text(name string) string { v, _ := p[name].(string); return v }

// Ints returns a parameter, or nil where it is absent or of another type.
func (p Params) Ints(name string) []int { v, _ := p[name].([]int); return v }

// Floats returns a parameter, or nil where it is absent or of another type.
func (p Params) Floats(name string) []float64 { v, _ := p[name].([]float64); return v }

// Program returns the program of that name, or nil.
func (p *Plan) Program(name string) *Program {
	for _, program := range p.Programs {
		if program.Name == name {
			return program
		}
	}
	return nil
}

// Variable returns the variable of that name, or nil.
func (p *Plan) Variable(name string) *Variable {
	for i := range p.Variables {
		if p.Variables[i].Name == name {
			return &p.Variables[i]
		}
	}
	return nil
}
