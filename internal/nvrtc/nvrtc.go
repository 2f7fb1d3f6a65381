// Package nvrtc compiles CUDA source to PTX or to a cubin with NVIDIA's run-time compiler, which it opens when it is
// asked to: a build needs no CUDA, a machine needs no GPU, and a program that never asks never looks for the library.
//
// It knows strings and bytes only: nothing of plans, of launches or of the driver. [Open] says where it looks.
package nvrtc

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unsafe"
)

// ErrAbsent is in the chain of Open's error where there is no library to be found.
var ErrAbsent = errors.New("NVRTC was not found")

// Library is an opened run-time compiler. It may be used by several goroutines at once.
type Library struct {
	Path         string // or the bare name that the system's search resolved
	Major, Minor int

	functions
}

// functions are those of the library that are used, under the names of its documentation without the prefix. Handles
// and pointers that C fills are uintptr; sizes are size_t.
type functions struct {
	version         func(major, minor *int32) int32
	errorString     func(result int32) string
	createProgram   func(program *uintptr, source, name string, headers int32, contents, names **byte) int32
	destroyProgram  func(program *uintptr) int32
	compileProgram  func(program uintptr, count int32, options **byte) int32
	programLogSize  func(program uintptr, size *uintptr) int32
	programLog      func(program uintptr, log *byte) int32
	ptxSize         func(program uintptr, size *uintptr) int32
	ptx             func(program uintptr, code *byte) int32
	cubinSize       func(program uintptr, size *uintptr) int32
	cubin           func(program uintptr, code *byte) int32
	countArchs      func(count *int32) int32
	supportedArches func(list *int32) int32
}

// Source is what to compile.
type Source struct {
	Name    string            // what messages call it, as "conv.cu"
	Text    string            // CUDA C++
	Headers map[string]string // text by the name that #include gives
	// Arch is "sm_90" for a cubin that runs on devices of that capability only, or "compute_90" for PTX, which a driver
	// compiles for any device from that one on.
	Arch  string
	Flags []string // further options, as "--use_fast_math"
}

// Object is compiled code.
type Object struct {
	Code []byte // PTX, which is text without a final zero, or a cubin
	Log  string // what the compiler said: warnings, and with flag "--ptxas-options=-v" registers and spills of each kernel
}

// Error is a source that the compiler refuses.
type Error struct {
	Name, Arch string
	Reason     string // of the library, as NVRTC_ERROR_COMPILATION
	Log        string // the compiler's messages, which name the lines
}

func (e *Error) Error() string {
	message := fmt.Sprintf("compile %s for %s: %s", e.Name, e.Arch, e.Reason)
	if log := strings.TrimSpace(e.Log); log != "" {
		message += "\n" + log
	}
	return message
}

// Version returns the library's version, as "12.9".
func (l *Library) Version() string { return fmt.Sprintf("%d.%d", l.Major, l.Minor) }

// Archs returns the compute capabilities that the library compiles for, as 80 and 90.
func (l *Library) Archs() ([]int, error) {
	var count int32
	if result := l.countArchs(&count); result != 0 || count <= 0 {
		return nil, fmt.Errorf("%s: list of architectures: %s", l.Path, l.errorString(result))
	}
	list := make([]int32, count)
	if result := l.supportedArches(&list[0]); result != 0 {
		return nil, fmt.Errorf("%s: list of architectures: %s", l.Path, l.errorString(result))
	}
	archs := make([]int, count)
	for i, arch := range list {
		archs[i] = int(arch)
	}
	return archs, nil
}

// Compile compiles one source. The error of a source that is refused is an *Error.
func (l *Library) Compile(s Source) (Object, error) {
	real := strings.HasPrefix(s.Arch, "sm_")
	if !real && !strings.HasPrefix(s.Arch, "compute_") {
		return Object{}, fmt.Errorf("compile %s: architecture %q: want sm_90, for a cubin, or compute_90, for PTX", s.Name, s.Arch)
	}
	for _, text := range []string{s.Name, s.Text} {
		if strings.IndexByte(text, 0) >= 0 {
			return Object{}, fmt.Errorf("compile %q: the source holds a zero byte", s.Name)
		}
	}
	var texts, names cStrings
	for _, name := range sortedKeys(s.Headers) {
		texts.add(s.Headers[name])
		names.add(name)
	}
	var program uintptr
	if result := l.createProgram(&program, s.Text, s.Name, int32(len(s.Headers)), texts.pointer(), names.pointer()); result != 0 {
		return Object{}, fmt.Errorf("compile %s: %s", s.Name, l.errorString(result))
	}
	defer l.destroyProgram(&program)
	var options cStrings
	options.add("--gpu-architecture=" + s.Arch)
	for _, flag := range s.Flags {
		options.add(flag)
	}
	result := l.compileProgram(program, int32(len(options.lines)), options.pointer())
	runtime.KeepAlive(texts)
	runtime.KeepAlive(names)
	runtime.KeepAlive(options)
	log := l.text(program, l.programLogSize, l.programLog)
	if result != 0 {
		return Object{}, &Error{Name: s.Name, Arch: s.Arch, Reason: l.errorString(result), Log: log}
	}
	size, get := l.ptxSize, l.ptx
	if real {
		size, get = l.cubinSize, l.cubin
	}
	code, err := l.bytes(program, size, get)
	if err != nil {
		return Object{}, fmt.Errorf("compile %s for %s: %w", s.Name, s.Arch, err)
	}
	if !real {
		code = []byte(strings.TrimRight(string(code), "\x00"))
	}
	return Object{Code: code, Log: log}, nil
}

// bytes reads what a pair of functions gives: its size first, then itself.
func (l *Library) bytes(program uintptr, size func(uintptr, *uintptr) int32, get func(uintptr, *byte) int32) ([]byte, error) {
	var n uintptr
	if result := size(program, &n); result != 0 {
		return nil, errors.New(l.errorString(result))
	}
	if n == 0 {
		return nil, nil
	}
	data := make([]byte, n)
	if result := get(program, &data[0]); result != 0 {
		return nil, errors.New(l.errorString(result))
	}
	return data, nil
}

func (l *Library) text(program uintptr, size func(uintptr, *uintptr) int32, get func(uintptr, *byte) int32) string {
	data, err := l.bytes(program, size, get)
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(data), "\x00")
}

// cStrings is an array of C's strings.
type cStrings struct{ lines []*byte }

func (c *cStrings) add(s string) {
	line := append([]byte(s), 0)
	c.lines = append(c.lines, unsafe.SliceData(line))
}

func (c *cStrings) pointer() **byte { return unsafe.SliceData(c.lines) }

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
