package torchfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// namedTensor is a tensor under its state_dict name.
type namedTensor struct {
	name  string
	value *tensor
}

// found is what a pickled object holds.
type found struct {
	class      string
	tensors    []namedTensor
	attributes map[string]any
}

// stateKeys are the entries of a training checkpoint under which a state_dict stands: the original's train_imagenet.py
// writes "state_dict", other programs the others.
var stateKeys = []string{"state_dict", "model_state_dict", "model", "net", "network"}

// find takes the tensors from the saved object: a whole module, a state_dict, or a checkpoint that has one.
func find(root any) (*found, error) {
	f := &found{attributes: map[string]any{}}
	switch v := root.(type) {
	case *object:
		f.class = v.class.String()
		if err := f.module("", v, 0); err != nil {
			return nil, err
		}
	case *tensor:
		return nil, errors.New("holds a single tensor, want a state_dict or a module")
	default:
		if err := f.dict(root); err != nil {
			return nil, err
		}
	}
	if len(f.tensors) == 0 {
		return nil, errors.New("holds no tensors")
	}
	names := map[string]bool{}
	for _, t := range f.tensors {
		if names[t.name] {
			return nil, fmt.Errorf("tensor %.200s stands twice", t.name)
		}
		names[t.name] = true
	}
	return f, nil
}

// dict reads a state_dict, or the checkpoint around it.
func (f *found) dict(root any) error {
	entries := map[string]any{}
	if !each(root, func(key, value any) {
		if name, ok := key.(string); ok {
			entries[name] = value
		}
	}) {
		return errors.New("holds neither a state_dict nor a module")
	}
	for _, key := range stateKeys {
		inner, ok := entries[key]
		if !ok {
			continue
		}
		for name, value := range entries {
			f.attribute(name, value)
		}
		if m, ok := inner.(*object); ok {
			f.class = m.class.String()
			return f.module("", m, 0)
		}
		if !each(inner, func(any, any) {}) {
			return fmt.Errorf("its entry %q is neither a state_dict nor a module", key)
		}
		return f.state(inner)
	}
	if err := f.state(root); err != nil {
		return err
	}
	if len(f.tensors) == 0 {
		names := slices.Sorted(maps.Keys(entries))
		return fmt.Errorf("no state_dict found: its entries are %.200s; want names of parameters, or one of %s",
			strings.Join(names, ", "), strings.Join(stateKeys, ", "))
	}
	return nil
}

// state takes the tensors of a state_dict; plain values among them are attributes.
func (f *found) state(v any) error {
	var err error
	each(v, func(key, value any) {
		name, ok := key.(string)
		if !ok {
			err = errors.New("a state_dict with a name that is no string")
			return
		}
		if t, ok := value.(*tensor); ok {
			f.tensors = append(f.tensors, namedTensor{name, t})
			return
		}
		f.attribute(name, value)
	})
	return err
}

// What a module may have: those of the original have hundreds of parts, no more than six deep.
const (
	maxDepth = 64
	maxParts = 200_000
)

// module takes the parameters and buffers of a module and of those in it, as state_dict() would name them.
func (f *found) module(prefix string, m *object, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("modules stand %d deep in one another, at %.100s", depth, prefix)
	}
	transient := map[any]bool{}
	if set, ok := m.attributes.values["_non_persistent_buffers_set"].(*object); ok && len(set.args) == 1 {
		names, _ := items(set.args[0])
		for _, name := range names {
			if s, ok := name.(string); ok {
				transient[s] = true
			}
		}
	}
	var err error
	part := func(key any, use func(name string)) {
		name, ok := key.(string)
		if !ok || err != nil {
			return
		}
		if len(f.tensors)+len(f.attributes) > maxParts {
			err = fmt.Errorf("the module has more than %d parts", maxParts)
			return
		}
		use(prefix + name)
	}
	for _, kind := range []string{"_parameters", "_buffers"} {
		each(m.attributes.values[kind], func(key, value any) {
			part(key, func(name string) {
				if t, ok := value.(*tensor); ok && !(kind == "_buffers" && transient[key]) {
					f.tensors = append(f.tensors, namedTensor{name, t})
				}
			})
		})
	}
	each(m.attributes, func(key, value any) { part(key, func(name string) { f.attribute(name, value) }) })
	each(m.attributes.values["_modules"], func(key, value any) {
		inner, ok := value.(*object)
		part(key, func(name string) {
			if !ok {
				return // None
			}
			f.attributes[name] = inner.class.String()
			err = f.module(name+".", inner, depth+1)
		})
	})
	return err
}

// attribute keeps a plain value.
func (f *found) attribute(name string, value any) {
	switch v := value.(type) {
	case int, float64, bool, string:
		f.attributes[name] = v
	case *object:
		if text, ok := genotype(v); ok {
			f.attributes[name] = text
		}
	}
}

// genotype writes a named tuple Genotype as Python does: that of a recurrent cell has two fields, that of convolutional
// cells four.
func genotype(o *object) (string, bool) {
	fields, ok := map[int][]string{
		2: {"recurrent", "concat"}, 4: {"normal", "normal_concat", "reduce", "reduce_concat"},
	}[len(o.args)]
	if o.class.name != "Genotype" || !ok {
		return "", false
	}
	parts := make([]string, len(fields))
	for i, field := range fields {
		text, ok := literal(o.args[i], 0)
		if !ok {
			return "", false
		}
		parts[i] = field + "=" + text
	}
	return "Genotype(" + strings.Join(parts, ", ") + ")", true
}

// literal writes edges and ranges as Python does.
func literal(v any, depth int) (string, bool) {
	switch x := v.(type) {
	case int:
		return strconv.Itoa(x), true
	case string:
		return "'" + x + "'", !strings.ContainsAny(x, "'\\\n")
	case *object:
		if name := x.class.name; name != "xrange" && name != "range" || depth > 0 {
			return "", false
		}
		args := x.args
		if len(args) == 3 && args[2] == 1 {
			args = args[:2]
		}
		text, ok := sequence(args, 1)
		return "range(" + text + ")", ok
	}
	list, ok := items(v)
	if !ok || depth > 2 {
		return "", false
	}
	text, ok := sequence(list, depth+1)
	if depth == 0 {
		return "[" + text + "]", ok
	}
	return "(" + text + ")", ok
}

func sequence(list []any, depth int) (string, bool) {
	texts := make([]string, len(list))
	for i, item := range list {
		var ok bool
		if texts[i], ok = literal(item, depth); !ok {
			return "", false
		}
	}
	return strings.Join(texts, ", "), true
}
