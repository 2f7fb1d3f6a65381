// Package cuda replays plans on NVIDIA GPUs through the CUDA driver: one arena, variables that are uploaded once, and
// every program as one graph, so that a step costs the host one launch and the device runs side by side what may.
//
// It is built with tag cuda, on Linux; without, the same functions say that it was not. A program built with it starts
// on machines without a driver: package driver finds the driver when [Look] or [New] asks for it. device.go places plans,
// module.go loads their code, replay.go makes graphs of their programs and runs them, transfer.go moves data through page-locked
// memory. The package knows plans only: what a kernel does stands in compiler/lower/cuda.
package cuda

import "errors"

// ErrNotBuilt is in the chain of errors of builds without CUDA.
var ErrNotBuilt = errors.New(`built without CUDA: CGO_CFLAGS="-O2 -I$PWD/runtime/cuda/driver/include" go build -tags cuda ./cmd/dartsc`)

// Machine is what the driver sees.
type Machine struct {
	Driver  string       `json:"driver,omitempty"`  // newest version of CUDA that it supports, as "13.0"
	Devices []Properties `json:"devices,omitempty"` // in the driver's order, which CUDA_VISIBLE_DEVICES changes
}

// Properties describe a GPU.
type Properties struct {
	Index           int    `json:"index"`
	Name            string `json:"name"`
	Architecture    string `json:"architecture"` // compute capability, as sm_90
	Bytes           int64  `json:"bytes"`        // of memory
	Multiprocessors int    `json:"multiprocessors"`
}
