package plan

import (
	"fmt"
	"math"
)

// Module is device code: CUDA C++ that needs no other file, and what compilers made of it where one was at hand. A
// runtime takes the image that fits the device best, and compiles the source where none does.
type Module struct {
	Name      string
	Source    string
	Options   []string // for the compiler, without the architecture: -default-device, --std=c++17, …
	Images    []Image
	Functions []Function // of cubins, what their compiler said of them
}

// The formats of an Image.
const (
	PTX   = "ptx"   // text, which the driver compiles when it loads it; for the architecture and all later ones
	Cubin = "cubin" // machine code of one architecture
)

// Image is a compiled module.
type Image struct {
	Architecture string // sm_80, sm_90
	Format       string // PTX or Cubin
	Data         []byte
}

// Function is what a compiler said of a kernel: registers a thread, static shared memory a block, and bytes of
// registers a thread that it had to spill to memory.
type Function struct {
	Name        string
	Registers   int
	SharedBytes int
	SpillBytes  int
}

// Image returns the image of an architecture in a format, or nil.
func (m *Module) Image(architecture, format string) []byte {
	for _, image := range m.Images {
		if image.Architecture == architecture && image.Format == format {
			return image.Data
		}
	}
	return nil
}

// DeviceLaunch is a launch as a CUDA driver sees it.
type DeviceLaunch struct {
	Module      int    // index into Plan.Modules
	Function    string // the kernel, extern "C"
	Grid        [3]int // blocks
	Block       [3]int // threads of a block
	SharedBytes int    // dynamic shared memory of a block
	Arguments   []Argument
}

// ArgumentKind tells apart the arguments of a kernel.
type ArgumentKind uint8

// The kinds of arguments. Numbers that change from step to step are variables, read by the kernel on the device, so
// that a graph of launches replays unchanged.
const (
	OperandArgument ArgumentKind = iota // the address of operand Index of the launch
	ResultArgument                      // the address of result Index
	Int32Argument                       // Integer
	Int64Argument                       // Integer
	Float32Argument                     // Number
)

// Argument is one field of the struct that a kernel takes. They lie one after another, each aligned to its size, and the
// whole is a multiple of 8 bytes.
type Argument struct {
	Kind    ArgumentKind
	Index   int
	Integer int64
	Number  float64
}

// Size is the number of bytes of the argument, and what it is aligned to.
func (a Argument) Size() int {
	if a.Kind == Int32Argument || a.Kind == Float32Argument {
		return 4
	}
	return 8
}

// ArgumentBytes is the size of all arguments.
func (d *DeviceLaunch) ArgumentBytes() int {
	bytes := 0
	for _, a := range d.Arguments {
		bytes = align(bytes, a.Size()) + a.Size()
	}
	return align(bytes, 8)
}

// PackArguments appends the arguments to buffer, in the order and with the gaps that a kernel expects; address gives
// the device address of an operand or a result.
func (d *DeviceLaunch) PackArguments(buffer []byte, address func(kind ArgumentKind, index int) uint64) []byte {
	start := len(buffer)
	pad := func(size int) {
		for (len(buffer)-start)%size != 0 {
			buffer = append(buffer, 0)
		}
	}
	for _, a := range d.Arguments {
		pad(a.Size())
		var bits uint64
		switch a.Kind {
		case OperandArgument, ResultArgument:
			bits = address(a.Kind, a.Index)
		case Float32Argument:
			bits = uint64(math.Float32bits(float32(a.Number)))
		default:
			bits = uint64(a.Integer)
		}
		for i := range a.Size() {
			buffer = append(buffer, byte(bits>>(8*i)))
		}
	}
	pad(8)
	return buffer
}

func align(n, to int) int { return (n + to - 1) / to * to }

// What every CUDA device from compute capability 8.0 on allows.
const (
	mostThreads       = 1024
	mostSharedBytes   = 227 << 10
	mostArgumentBytes = 4096
)

var mostBlocks = [3]int{math.MaxInt32, 65535, 65535}

func validateModules(modules []Module) error {
	for i, m := range modules {
		if m.Name == "" || m.Source == "" {
			return fmt.Errorf("module %d (%q) has no name or no source", i, m.Name)
		}
		for _, image := range m.Images {
			if image.Architecture == "" || image.Format != PTX && image.Format != Cubin || len(image.Data) == 0 {
				return fmt.Errorf("module %s: image for %q in format %q of %d bytes, want an architecture, %s or %s, and data",
					m.Name, image.Architecture, image.Format, len(image.Data), PTX, Cubin)
			}
		}
		for _, f := range m.Functions {
			if f.Registers < 0 || f.SharedBytes < 0 || f.SpillBytes < 0 {
				return fmt.Errorf("module %s: function %s takes a negative amount of something", m.Name, f.Name)
			}
		}
	}
	return nil
}

func validateDeviceLaunch(l *Launch, modules int) error {
	d := l.Device
	if d == nil {
		return nil
	}
	if d.Module < 0 || d.Module >= modules {
		return fmt.Errorf("runs code of module %d of %d", d.Module, modules)
	}
	if d.Function == "" {
		return fmt.Errorf("names no function of module %d", d.Module)
	}
	threads := 1
	for i := range 3 {
		if d.Grid[i] < 1 || d.Grid[i] > mostBlocks[i] || d.Block[i] < 1 || d.Block[i] > mostThreads {
			return fmt.Errorf("has a grid of %v blocks of %v threads, want from 1 to %v blocks of up to %d threads", d.Grid, d.Block, mostBlocks, mostThreads)
		}
		threads *= d.Block[i]
	}
	if threads > mostThreads {
		return fmt.Errorf("has blocks of %d threads, want at most %d", threads, mostThreads)
	}
	if d.SharedBytes < 0 || d.SharedBytes > mostSharedBytes {
		return fmt.Errorf("wants %d bytes of shared memory, a device has at most %d a block", d.SharedBytes, mostSharedBytes)
	}
	return validateArguments(l)
}

func validateArguments(l *Launch) error {
	for i, a := range l.Device.Arguments {
		switch a.Kind {
		case OperandArgument:
			if a.Index < 0 || a.Index >= len(l.Operands) {
				return fmt.Errorf("argument %d is operand %d of %d", i, a.Index, len(l.Operands))
			}
		case ResultArgument:
			if a.Index < 0 || a.Index >= len(l.Results) {
				return fmt.Errorf("argument %d is result %d of %d", i, a.Index, len(l.Results))
			}
		case Int32Argument:
			if int64(int32(a.Integer)) != a.Integer {
				return fmt.Errorf("argument %d is %d, which is no 32-bit integer", i, a.Integer)
			}
		case Int64Argument, Float32Argument:
		default:
			return fmt.Errorf("argument %d is of kind %d, want at most %d", i, a.Kind, Float32Argument)
		}
	}
	if bytes := l.Device.ArgumentBytes(); bytes > mostArgumentBytes {
		return fmt.Errorf("has %d bytes of arguments, want at most %d", bytes, mostArgumentBytes)
	}
	return nil
}
