// Package weights takes trained networks from whatever file holds them (a run folder, safetensors, the original's PyTorch
// files) and fits them to an architecture. All of them name tensors as the original does, and so do the variables of
// darts/cnn. Where a file does not fit, it says which tensor differs first and what the file would fit.
//
// It knows no device and no data: what comes out are values by name. Start reading at Read and Fit.
package weights

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/safetensors"
	"github.com/dartsc/dartsc/darts/torchfile"
)

// Weights are the tensors of a trained network.
type Weights struct {
	Path   string
	Format string // RunFolder, Safetensors or PyTorch

	// Tensors are the network's, in the file's order; what optimisers and counters had in a checkpoint is left out.
	Tensors []safetensors.Tensor

	Metadata map[string]string // of a safetensors file; of a pickled recurrent model its genotype

	index map[string]int
}

// The formats.
const (
	RunFolder   = "run folder"
	Safetensors = "safetensors"
	PyTorch     = "PyTorch"
)

// format is a kind of file that weights may be in. It is recognised by the first bytes, by the first format that does: the
// length that a safetensors file begins with may look like a pickle's first byte, but no pickle has its header's brace.
type format struct {
	name       string
	recognised func(start []byte) bool
	read       func(path string) ([]safetensors.Tensor, map[string]string, error)
}

var formats = []format{
	{Safetensors, func(start []byte) bool { return len(start) > 8 && start[8] == '{' }, func(path string) ([]safetensors.Tensor, map[string]string, error) {
		f, err := safetensors.Read(path)
		if err != nil {
			return nil, nil, err
		}
		return f.Tensors, f.Metadata, nil
	}},
	{PyTorch, torchfile.Recognised, func(path string) ([]safetensors.Tensor, map[string]string, error) {
		f, err := torchfile.Read(path)
		if err != nil {
			return nil, nil, err
		}
		return f.Tensors, metadataOf(f), nil
	}},
}

// Read reads the weights of a network. A folder is that of a run, of which it takes the last checkpoint.
func Read(path string) (*Weights, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil {
		return nil, err
	} else if info.IsDir() {
		return readRun(path)
	}
	start := make([]byte, 32)
	n, err := io.ReadFull(file, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if start = start[:n]; n == 0 {
		return nil, fmt.Errorf("%s is empty: want a run folder, a safetensors file, or a PyTorch file", path)
	}
	for _, f := range formats {
		if f.recognised(start) {
			tensors, metadata, err := f.read(path)
			if err != nil {
				return nil, err
			}
			w := New(path, f.name, tensors)
			w.Metadata = metadata
			return w, nil
		}
	}
	return nil, fmt.Errorf("%s holds no weights that dartsc reads: want a run folder, a safetensors file, or a PyTorch file; it begins with %q", path, bytes.TrimRight(start, "\x00"))
}

// metadataOf is what the original's pickled recurrent model says of itself.
func metadataOf(f *torchfile.File) map[string]string {
	if genotype, ok := f.Attributes["rnns.0.genotype"].(string); ok {
		return map[string]string{"genotype": genotype}
	}
	return nil
}

func readRun(path string) (*Weights, error) {
	folder, err := run.OpenReadOnly(path)
	if err != nil {
		return nil, err
	}
	checkpoint, err := folder.Latest()
	if err != nil {
		return nil, err
	}
	return New(path, RunFolder, checkpoint.Tensors.Tensors), nil
}

// New makes weights of tensors that are in memory.
func New(path, format string, tensors []safetensors.Tensor) *Weights {
	w := &Weights{Path: path, Format: format, index: map[string]int{}}
	for _, t := range tensors {
		if bilevel.OfNetwork(t.Name) && !strings.HasSuffix(t.Name, ".num_batches_tracked") {
			w.index[t.Name] = len(w.Tensors)
			w.Tensors = append(w.Tensors, t)
		}
	}
	return w
}

// Lookup finds a tensor by its name.
func (w *Weights) Lookup(name string) (safetensors.Tensor, bool) {
	i, ok := w.index[name]
	if !ok {
		return safetensors.Tensor{}, false
	}
	return w.Tensors[i], true
}

// values converts a tensor to the type that networks compute in.
func values(t safetensors.Tensor) ([]float32, error) {
	if t.DType == safetensors.F32 {
		return t.Float32s()
	}
	wide, err := t.Float64s()
	if err != nil {
		return nil, err
	}
	out := make([]float32, len(wide))
	for i, v := range wide {
		out[i] = float32(v)
	}
	return out, nil
}
