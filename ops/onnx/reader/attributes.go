package reader

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// attributes are the constants of a node as onnx-go gives them: int64, float32, string, []int64, []float32, []string.
type attributes map[string]any

// number returns an integer attribute, or the default where it is absent.
func (a attributes) number(name string, otherwise int) (int, error) {
	switch v := a[name].(type) {
	case nil:
		return otherwise, nil
	case int64:
		if v < -largest || v > largest {
			return 0, fmt.Errorf("attribute %s is %d, want a number from %d to %d", name, v, -largest, largest)
		}
		return int(v), nil
	default:
		return 0, fmt.Errorf("attribute %s is a %T, want an integer", name, v)
	}
}

// float returns a floating-point attribute, or the default where it is absent.
func (a attributes) float(name string, otherwise float64) (float64, error) {
	switch v := a[name].(type) {
	case nil:
		return otherwise, nil
	case float32:
		return shortest(v), nil
	default:
		return 0, fmt.Errorf("attribute %s is a %T, want a float", name, v)
	}
}

// text returns a string attribute, or the default where it is absent.
func (a attributes) text(name, otherwise string) (string, error) {
	switch v := a[name].(type) {
	case nil:
		return otherwise, nil
	case string:
		return v, nil
	default:
		return "", fmt.Errorf("attribute %s is a %T, want a string", name, v)
	}
}

// numbers returns a list of integers, or nil where it is absent.
func (a attributes) numbers(name string) ([]int, error) {
	switch v := a[name].(type) {
	case nil:
		return nil, nil
	case []int64:
		return bounded(v, "attribute "+name)
	default:
		return nil, fmt.Errorf("attribute %s is a %T, want a list of integers", name, v)
	}
}

// only refuses attributes that are not among those the operation has.
func (a attributes) only(names string) error {
	known := strings.Fields(names)
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if !slices.Contains(known, name) {
			return fmt.Errorf("attribute %s is not known here: want %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// largest bounds the integers of a file that become sizes and positions, so that sums of a few do not overflow.
const largest = 1 << 31

// mostNumbers bounds lists of them.
const mostNumbers = 1 << 12

// bounded converts a list of integers. Numbers beyond the bound, which files use for "to the end", become the bound.
func bounded(list []int64, what string) ([]int, error) {
	if len(list) > mostNumbers {
		return nil, fmt.Errorf("%s has %d numbers, want at most %d", what, len(list), mostNumbers)
	}
	out := make([]int, len(list))
	for i, v := range list {
		out[i] = int(min(max(v, -largest), largest))
	}
	return out, nil
}
