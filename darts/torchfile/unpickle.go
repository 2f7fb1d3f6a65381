package torchfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/nlpodyssey/gopickle/pickle"
	"github.com/nlpodyssey/gopickle/types"
)

// unpickle reads the pickle that begins content; rest is what follows it. load resolves persistent ids, which are how a
// PyTorch pickle refers to storages; nil refuses them.
func unpickle(content []byte, load func(id []any) (any, error)) (value any, rest []byte, err error) {
	program, err := scan(content)
	if err != nil {
		return nil, nil, err
	}
	u := pickle.NewUnpickler(bytes.NewReader(program))
	u.FindClass = func(module, name string) (any, error) { return &class{module, name}, nil }
	u.PersistentLoad = func(id any) (any, error) {
		tuple, ok := id.(*types.Tuple)
		if !ok || load == nil {
			return nil, errors.New("a persistent id that PyTorch does not write")
		}
		return load(*tuple)
	}
	value, err = u.Load()
	if err != nil {
		return nil, nil, fmt.Errorf("pickle: %s", shortened(err.Error()))
	}
	return value, content[len(program):], nil
}

// shortened keeps an error of gopickle's, which may quote anything in the file, to a line.
func shortened(text string) string {
	const limit = 300
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}

// brief prints a value that is something else than it should be.
func brief(v any) string {
	if list, ok := items(v); ok {
		return fmt.Sprintf("a list of %d", len(list))
	}
	return fmt.Sprintf("%.40s", fmt.Sprint(v))
}

// class is a Python class or function, of which no more than the name is known.
type class struct{ module, name string }

func (c *class) String() string { return c.module + "." + c.name }

// PyNew makes an instance (NEWOBJ), which remembers its arguments.
func (c *class) PyNew(args ...any) (any, error) {
	switch c.String() {
	case "torch.nn.parameter.Parameter", "torch.autograd.variable.Variable":
		return tensorArgument(c, args)
	}
	if c.module == "torch" && strings.HasSuffix(c.name, "Tensor") { // of PyTorch before 0.2, set afterwards
		return &tensor{}, nil
	}
	return &object{class: c, args: args, attributes: newDict()}, nil
}

// Call applies a function or a class to arguments (REDUCE). Those that appear in checkpoints, under their names in Python
// 2 and 3, are our own; there are no others.
func (c *class) Call(args ...any) (any, error) {
	switch c.String() {
	case "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2":
		return rebuildTensor(c, args)
	case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
		"torch.nn.parameter.Parameter", "torch.autograd.variable.Variable":
		return tensorArgument(c, args)
	case "torch._tensor._rebuild_from_type_v2":
		return rebuildFromType(c, args)
	case ourOrderedDict.String():
		return orderedDict(args)
	case "torch.Size":
		if len(args) == 1 {
			return args[0], nil // a tuple
		}
	case "__builtin__.xrange", "__builtin__.range", "__builtin__.set", "__builtin__.bytearray", "__builtin__.complex", "__builtin__.slice",
		"builtins.range", "builtins.set", "builtins.bytearray", "builtins.complex", "builtins.slice",
		"_codecs.encode", "collections.defaultdict", "collections.Counter", "copyreg._reconstructor", "pathlib.PosixPath",
		"numpy.dtype", "numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
		"numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct",
		"torch.device", "torch.nn.backends.thnn._get_thnn_function_backend":
		return c.PyNew(args...)
	}
	return nil, fmt.Errorf("it wants %.100s to be called, which dartsc does not do: nothing in the file has been executed", c)
}

// object is an instance of a class that is not known here.
type object struct {
	class      *class
	args       []any
	attributes *dict
}

// PySetState keeps the attributes (BUILD). The state is a dict, or a pair of dicts where the class has __slots__.
func (o *object) PySetState(state any) error {
	states := []any{state}
	if t, ok := state.(*types.Tuple); ok {
		states = *t
	}
	for _, s := range states {
		each(s, o.attributes.Set)
	}
	return nil
}

// Set and Append are for classes derived from dict and list, whose items do not matter here.
func (o *object) Set(_, _ any) {}
func (o *object) Append(_ any) {}

// dict is an OrderedDict, or attributes.
type dict struct {
	keys   []any
	values map[any]any
}

func newDict() *dict { return &dict{values: map[any]any{}} }

// Set sets an item. A key that Python could not hash is none that a checkpoint has, and is left out.
func (d *dict) Set(key, value any) {
	switch key.(type) {
	case string, int, bool, float64, nil:
	default:
		return
	}
	if _, ok := d.values[key]; !ok {
		d.keys = append(d.keys, key)
	}
	d.values[key] = value
}

// PySetState is for attributes of an OrderedDict, such as the _metadata of a state_dict.
func (d *dict) PySetState(any) error { return nil }

// orderedDict makes an OrderedDict, from pairs where Python 2 wrote it.
func orderedDict(args []any) (any, error) {
	d := newDict()
	if len(args) == 0 {
		return d, nil
	}
	pairs, ok := items(args[0])
	if !ok || len(args) != 1 {
		return nil, errors.New("collections.OrderedDict of something else than pairs")
	}
	for _, p := range pairs {
		pair, ok := items(p)
		if !ok || len(pair) != 2 {
			return nil, errors.New("collections.OrderedDict of something else than pairs")
		}
		d.Set(pair[0], pair[1])
	}
	return d, nil
}

// each calls f for every item of a dict of whatever kind, in order; false if v is none.
func each(v any, f func(key, value any)) bool {
	switch d := v.(type) {
	case *dict:
		for _, key := range d.keys {
			f(key, d.values[key])
		}
	case *types.Dict:
		for _, entry := range *d {
			f(entry.Key, entry.Value)
		}
	case *types.OrderedDict:
		for e := d.List.Front(); e != nil; e = e.Next() {
			entry := e.Value.(*types.OrderedDictEntry)
			f(entry.Key, entry.Value)
		}
	default:
		return false
	}
	return true
}

// items returns those of a list or a tuple.
func items(v any) ([]any, bool) {
	switch s := v.(type) {
	case *types.List:
		return *s, true
	case *types.Tuple:
		return *s, true
	}
	return nil, false
}
