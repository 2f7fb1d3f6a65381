package torchfile

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/dartsc/dartsc/darts/safetensors"
)

// storage is a flat array of one element type in the file, to which tensors refer.
type storage struct {
	key      string
	class    string // "FloatStorage"
	elements int
	offset   int // of a view into another storage's elements (PyTorch before 0.4)
}

// elementTypes are the storages that a network may have, with the names and widths of their elements.
var elementTypes = map[string]struct {
	dtype string
	width int
}{
	"DoubleStorage": {safetensors.F64, 8}, "FloatStorage": {safetensors.F32, 4}, "HalfStorage": {safetensors.F16, 2},
	"BFloat16Storage": {safetensors.BF16, 2}, "LongStorage": {safetensors.I64, 8}, "IntStorage": {safetensors.I32, 4},
	"ShortStorage": {safetensors.I16, 2}, "CharStorage": {safetensors.I8, 1}, "ByteStorage": {safetensors.U8, 1},
	"BoolStorage": {safetensors.Bool, 1},
}

// newStorage is what a persistent id ("storage", class, key, location, elements, view) refers to. Where the tensor was
// (location, "cpu" or "cuda:0") does not matter to its values.
func newStorage(id []any) (*storage, error) {
	if len(id) < 5 {
		return nil, fmt.Errorf("a storage described by %d values, want 5 or 6", len(id))
	}
	c, ok1 := id[1].(*class)
	key, ok2 := id[2].(string)
	elements, ok3 := id[4].(int)
	if !ok1 || !ok2 || !ok3 || elements < 0 {
		return nil, errors.New("a storage without a class, a name and a number of elements")
	}
	if (c.module != "torch" && c.module != "torch.cuda") || !strings.HasSuffix(c.name, "Storage") {
		return nil, fmt.Errorf("storage %.40q is a %.100s, want a storage of torch or torch.cuda", key, c)
	}
	return &storage{key: key, class: c.name, elements: elements}, nil
}

// width is the size of an element in bytes.
func (s *storage) width() (int, error) {
	t, ok := elementTypes[s.class]
	if !ok {
		return 0, fmt.Errorf("storage %.40q is a torch.%.100s: its element type is not one that dartsc reads", s.key, s.class)
	}
	if s.elements > math.MaxInt/t.width {
		return 0, fmt.Errorf("storage %.40q has %d elements, more than any file", s.key, s.elements)
	}
	return t.width, nil
}

// tensor is a view of a storage.
type tensor struct {
	storage *storage
	offset  int // elements
	shape   []int
	strides []int // elements
}

// rebuildTensor is torch._utils._rebuild_tensor(storage, offset, shape, strides), and _v2 with more arguments.
func rebuildTensor(c *class, args []any) (any, error) {
	t := &tensor{}
	if len(args) < 4 {
		return nil, fmt.Errorf("%s of %d arguments, want at least 4", c, len(args))
	}
	return t, t.set(args)
}

func (t *tensor) set(args []any) error {
	s, ok := args[0].(*storage)
	if !ok {
		return errors.New("a tensor without a storage")
	}
	offset, ok := args[1].(int)
	if !ok || offset < 0 {
		return fmt.Errorf("a tensor that begins at element %s of its storage", brief(args[1]))
	}
	shape, err := sizes(args[2])
	if err != nil {
		return fmt.Errorf("shape of a tensor: %w", err)
	}
	strides, err := sizes(args[3])
	if err != nil {
		return fmt.Errorf("strides of a tensor: %w", err)
	}
	if len(shape) != len(strides) {
		return fmt.Errorf("a tensor of shape %v and strides %v", shape, strides)
	}
	*t = tensor{s, offset, shape, strides}
	return nil
}

// maxDims is what PyTorch allows.
const maxDims = 64

func sizes(v any) ([]int, error) {
	list, ok := items(v)
	if !ok {
		return nil, errors.New("not a tuple")
	}
	if len(list) > maxDims {
		return nil, fmt.Errorf("%d dimensions, at most %d", len(list), maxDims)
	}
	out := make([]int, len(list))
	for i, item := range list {
		n, ok := item.(int)
		if !ok || n < 0 {
			return nil, fmt.Errorf("%s is not a size", brief(item))
		}
		out[i] = n
	}
	return out, nil
}

// PySetState is for what comes with a Parameter or a tensor subclass beside its values; and for tensors of PyTorch before
// 0.2, which are made empty and then set.
func (t *tensor) PySetState(state any) error {
	if args, ok := items(state); ok && t.storage == nil && len(args) == 4 {
		return t.set(args)
	}
	return nil
}

// tensorArgument is the tensor that a Parameter or a Variable wraps.
func tensorArgument(c *class, args []any) (any, error) {
	if len(args) > 0 {
		if t, ok := args[0].(*tensor); ok {
			return t, nil
		}
	}
	return nil, fmt.Errorf("%s of something else than a tensor", c)
}

// rebuildFromType is torch._tensor._rebuild_from_type_v2(function, class, arguments, state), for tensors with attributes.
func rebuildFromType(c *class, args []any) (any, error) {
	if len(args) < 3 {
		return nil, fmt.Errorf("%s of %d arguments, want 4", c, len(args))
	}
	function, ok1 := args[0].(*class)
	arguments, ok2 := items(args[2])
	if !ok1 || !ok2 || !strings.HasPrefix(function.String(), "torch._utils._rebuild_") {
		return nil, fmt.Errorf("%s of something else than a tensor", c)
	}
	return function.Call(arguments...)
}

// materialiser turns views into contiguous tensors.
type materialiser struct {
	source archive
	copies int64 // bytes that may still be allocated for views that are not contiguous
	read   map[string][]byte
}

// copyLimit is how much views may take in all: of files that torch.save makes of networks, none has more views than values.
func copyLimit(fileSize int64) int64 { return 4*fileSize + 1<<20 }

func (m *materialiser) tensor(name string, t *tensor) (safetensors.Tensor, error) {
	out := safetensors.Tensor{Name: name, Shape: t.shape}
	fail := func(format string, args ...any) (safetensors.Tensor, error) {
		return out, fmt.Errorf("tensor %.200s: %s", name, fmt.Sprintf(format, args...))
	}
	if t.storage == nil {
		return fail("has no values")
	}
	width, err := t.storage.width()
	if err != nil {
		return fail("%v", err)
	}
	out.DType = elementTypes[t.storage.class].dtype
	elements, last, err := t.extent()
	if err != nil {
		return fail("%v", err)
	}
	if elements > 0 && last >= t.storage.elements {
		return fail("shape %v at element %d with strides %v reaches beyond its storage of %d elements", t.shape, t.offset, t.strides, t.storage.elements)
	}
	if elements == 0 {
		return out, nil
	}
	data, ok := m.read[t.storage.key]
	if !ok {
		if data, err = m.source.storage(t.storage); err != nil {
			return fail("%v", err)
		}
		m.read[t.storage.key] = data
	}
	start := t.storage.offset + t.offset
	if end := (t.storage.offset + last + 1) * width; end > len(data) {
		return fail("needs %d bytes of storage %.40q, which has %d", end, t.storage.key, len(data))
	}
	if t.contiguous() {
		end := (start + elements) * width
		out.Data = data[start*width : end : end]
		return out, nil
	}
	if m.copies -= int64(elements * width); m.copies < 0 {
		return fail("the views of the file's storages take more memory than the file's size accounts for")
	}
	out.Data = make([]byte, 0, elements*width)
	t.walk(func(at int) {
		at = (t.storage.offset + at) * width
		out.Data = append(out.Data, data[at:at+width]...)
	})
	return out, nil
}

// extent is the number of elements and the place in the storage of the last one.
func (t *tensor) extent() (elements, last int, err error) {
	elements, last = 1, t.offset
	for i, n := range t.shape {
		if n == 0 {
			return 0, 0, nil
		}
		if elements > math.MaxInt/8/n || n > 1 && t.strides[i] > (math.MaxInt/8-last)/(n-1) {
			return 0, 0, fmt.Errorf("shape %v with strides %v is too large", t.shape, t.strides)
		}
		elements *= n
		last += (n - 1) * t.strides[i]
	}
	return elements, last, nil
}

// contiguous tells whether the elements lie in row-major order without gaps.
func (t *tensor) contiguous() bool {
	stride := 1
	for i := len(t.shape) - 1; i >= 0; i-- {
		if t.shape[i] != 1 && t.strides[i] != stride {
			return false
		}
		stride *= t.shape[i]
	}
	return true
}

// walk calls f with the place of every element, in row-major order.
func (t *tensor) walk(f func(at int)) {
	index := make([]int, len(t.shape))
	at := t.offset
	for {
		f(at)
		d := len(index) - 1
		for ; d >= 0; d-- {
			index[d]++
			at += t.strides[d]
			if index[d] < t.shape[d] {
				break
			}
			at -= index[d] * t.strides[d]
			index[d] = 0
		}
		if d < 0 {
			return
		}
	}
}
