//go:build cuda && linux && cgo && (amd64 || arm64)

package driver

// #include "driver.h"
import "C"

import (
	"unsafe"

	"gorgonia.org/cu"
)

// Graph is work in the making: nodes, each of which waits for those of the numbers in after, and for no others. Nodes are
// numbered from 0 in the order in which they are added.
type Graph struct {
	graph  C.CUgraph
	nodes  []C.CUgraphNode
	levels int // of priority that the device has beside the usual one
}

// NewGraph returns an empty graph, which Destroy frees.
func NewGraph() (*Graph, error) {
	var g Graph
	var least, greatest C.int
	if C.cuCtxGetStreamPriorityRange(&least, &greatest) == C.CUDA_SUCCESS {
		g.levels = int(least - greatest)
	}
	err := failure(C.cuGraphCreate(&g.graph, 0))
	return &g, err
}

// Launch adds a launch, whose arguments are copied. Of launches that could begin, those of higher urgency, from 0 to 1, do so first where the device and
// its driver know priorities.
func (g *Graph) Launch(after []int, l *Launch, urgency float64) error {
	d := l.dimensions()
	arguments, size := l.arguments()
	err := g.add(after, func(node, first *C.CUgraphNode, count C.size_t) C.CUresult {
		return C.driver_add_launch(node, g.graph, first, count, function(l.Function), &d[0], C.uint(l.SharedBytes), arguments, size)
	})
	if level := int(urgency*float64(g.levels) + 0.5); err == nil && level > 0 {
		if C.driver_prefer(g.nodes[len(g.nodes)-1], C.int(-level)) != C.CUDA_SUCCESS {
			g.levels = 0 // a driver from before CUDA 11.7
		}
	}
	return err
}

// Copy adds a copy from the device into page-locked memory.
func (g *Graph) Copy(after []int, to []byte, from cu.DevicePtr) error {
	memory, size := unsafe.Pointer(unsafe.SliceData(to)), C.size_t(len(to))
	return g.add(after, func(node, first *C.CUgraphNode, count C.size_t) C.CUresult {
		return C.driver_add_copy(node, g.graph, first, count, memory, C.CUdeviceptr(from), size)
	})
}

// Clear adds zeros for so many bytes of the device.
func (g *Graph) Clear(after []int, at cu.DevicePtr, bytes int64) error {
	return g.add(after, func(node, first *C.CUgraphNode, count C.size_t) C.CUresult {
		return C.driver_add_clear(node, g.graph, first, count, C.CUdeviceptr(at), C.size_t(bytes))
	})
}

func (g *Graph) add(after []int, node func(node, first *C.CUgraphNode, count C.size_t) C.CUresult) error {
	nodes := make([]C.CUgraphNode, len(after), len(after)+1)
	for i, n := range after {
		nodes[i] = g.nodes[n]
	}
	var added C.CUgraphNode
	if err := failure(node(&added, unsafe.SliceData(nodes), C.size_t(len(nodes)))); err != nil {
		return err
	}
	g.nodes = append(g.nodes, added)
	return nil
}

// Instantiate makes the graph ready to be replayed. It needs the graph no longer.
func (g *Graph) Instantiate() (Executable, error) {
	var e Executable
	flags := C.ulonglong(0)
	if g.levels > 0 {
		flags = C.CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY
	}
	err := failure(C.cuGraphInstantiateWithFlags(&e.executable, g.graph, flags))
	return e, err
}

// Destroy frees the graph.
func (g *Graph) Destroy() error { return failure(C.cuGraphDestroy(g.graph)) }

// Executable is a graph that is ready to be replayed.
type Executable struct{ executable C.CUgraphExec }

// Launch puts the work into a stream.
func (e Executable) Launch(s cu.Stream) error {
	return failure(C.cuGraphLaunch(e.executable, stream(s)))
}

// Destroy frees the executable.
func (e Executable) Destroy() error { return failure(C.cuGraphExecDestroy(e.executable)) }
