//go:build cuda && linux && cgo && (amd64 || arm64)

// Package driver makes gorgonia.org/cu usable and adds what it lacks. Linked into a program, it stands in for the
// driver's library (trampoline.c) until [Open] finds one, so that the program starts on machines that have none. After
// that, package cu's functions work; those for launches with packed arguments, graphs, pinned memory and functions with
// much shared memory are here. include/cuda.h is what both are compiled against.
//
// It knows the driver only: no plan, no session. A CUDA context must be current on the calling thread, as with package cu.
package driver

// #cgo LDFLAGS: -L${SRCDIR}/link -Wl,--as-needed -ldl
// #include "driver.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"unsafe"

	"gorgonia.org/cu"
)

// Variable is the environment variable that names another library than libcuda.so.1.
const Variable = "DARTSC_LIBCUDA"

// ErrAbsent is in the chain of Open's error where there is no driver.
var ErrAbsent = errors.New("no CUDA driver")

// Open loads and initializes the driver, once; every call returns what the first one found. A driver that finds no
// device is an error: that of CUDA_ERROR_NO_DEVICE.
var Open = sync.OnceValue(func() error {
	path := os.Getenv(Variable)
	if path == "" {
		path = "libcuda.so.1"
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var message [256]C.char
	switch result := C.driver_open(name, &message[0], C.size_t(len(message))); result {
	case C.DRIVER_ABSENT:
		return fmt.Errorf("%w: %s", ErrAbsent, C.GoString(&message[0]))
	default:
		return failure(C.CUresult(result))
	}
})

// Error is what the driver answered.
type Error int

func (e Error) Error() string {
	var name, description *C.char
	C.cuGetErrorName(C.CUresult(e), &name)
	C.cuGetErrorString(C.CUresult(e), &description)
	if name == nil || description == nil {
		return fmt.Sprintf("CUDA error %d", int(e))
	}
	return fmt.Sprintf("%s (%s)", strings.TrimSpace(C.GoString(description)), C.GoString(name))
}

// failure is the error of a result.
func failure(result C.CUresult) error {
	if result == C.CUDA_SUCCESS {
		return nil
	}
	return Error(result)
}

// Explain puts an error of package cu, which knows not all of them, into the driver's words. Other errors, and nil,
// stay as they are.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	if v := reflect.ValueOf(err); v.Kind() == reflect.Int && v.Type().PkgPath() == "gorgonia.org/cu" {
		return Error(v.Int())
	}
	return err
}

// Handles of package cu are structs of one pointer.
func stream(s cu.Stream) C.CUstream       { return *(*C.CUstream)(unsafe.Pointer(&s)) }
func function(f cu.Function) C.CUfunction { return *(*C.CUfunction)(unsafe.Pointer(&f)) }

// Launch is a kernel with all that it takes: a grid of blocks of threads, so many bytes of dynamic shared memory for each
// block, and arguments that lie as in a C struct.
type Launch struct {
	Function    cu.Function
	Grid, Block [3]int
	SharedBytes int
	Arguments   []byte
}

// Start puts the launch into a stream. The arguments are copied before it returns.
func (l *Launch) Start(s cu.Stream) error {
	d := l.dimensions()
	arguments, size := l.arguments()
	return failure(C.driver_launch(function(l.Function), &d[0], C.uint(l.SharedBytes), stream(s), arguments, size))
}

func (l *Launch) dimensions() [6]C.uint {
	g, b := l.Grid, l.Block
	return [6]C.uint{C.uint(g[0]), C.uint(g[1]), C.uint(g[2]), C.uint(b[0]), C.uint(b[1]), C.uint(b[2])}
}

func (l *Launch) arguments() (unsafe.Pointer, C.size_t) {
	return unsafe.Pointer(unsafe.SliceData(l.Arguments)), C.size_t(len(l.Arguments))
}

// Parameter is where an argument of a kernel lies in its packed arguments.
type Parameter struct{ Offset, Size int }

// Parameters returns the parameters of a kernel, or false where the driver is too old to know them (before CUDA 12.4).
func Parameters(f cu.Function) (list []Parameter, known bool) {
	for {
		var offset, size C.size_t
		switch C.cuFuncGetParamInfo(function(f), C.size_t(len(list)), &offset, &size) {
		case C.CUDA_SUCCESS:
			list = append(list, Parameter{int(offset), int(size)})
		case C.CUDA_ERROR_INVALID_VALUE: // there is none of that index
			return list, true
		default:
			return nil, false
		}
	}
}

// AllowSharedBytes lets a kernel be launched with so many bytes of dynamic shared memory, which it needs from 48 KB on.
func AllowSharedBytes(f cu.Function, bytes int) error {
	return failure(C.cuFuncSetAttribute(function(f), C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(bytes)))
}

// MaxSharedBytes is how many bytes of shared memory a block may have on a device when its kernel is allowed to.
func MaxSharedBytes(d cu.Device) (int, error) {
	var bytes C.int
	err := failure(C.cuDeviceGetAttribute(&bytes, C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, C.CUdevice(d)))
	return int(bytes), err
}

// AllocHost returns page-locked memory, which copies to and from a device can use without waiting. FreeHost frees it.
func AllocHost(bytes int) ([]byte, error) {
	var memory unsafe.Pointer
	if err := failure(C.cuMemAllocHost(&memory, C.size_t(bytes))); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(memory), bytes), nil
}

// FreeHost frees what AllocHost returned.
func FreeHost(memory []byte) error {
	return failure(C.cuMemFreeHost(unsafe.Pointer(unsafe.SliceData(memory))))
}
