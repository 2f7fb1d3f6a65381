package ir

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Attr is a compile-time constant of an operation. Its value is one of int, float64, bool, string, []int, []float64.
type Attr struct {
	Name  string
	Value any
}

// A names a constant for the builder.
func A(name string, value any) Attr { return Attr{name, value} }

// Attrs are the constants of one operation, sorted by name.
type Attrs []Attr

// NewAttrs sorts the attributes and checks their names and types.
func NewAttrs(list ...Attr) (Attrs, error) {
	attrs := Attrs(slices.Clone(list))
	slices.SortFunc(attrs, func(a, b Attr) int { return strings.Compare(a.Name, b.Name) })
	if err := attrs.check(); err != nil {
		return nil, err
	}
	return attrs, nil
}

// check reports what keeps sorted attributes from having a text form.
func (a Attrs) check() error {
	for i, attr := range a {
		if i > 0 && a[i-1].Name == attr.Name {
			return fmt.Errorf("attribute %s given twice", attr.Name)
		}
		if !isName(attr.Name) {
			return fmt.Errorf("attribute name %q: want letters, digits and _", attr.Name)
		}
		switch v := attr.Value.(type) {
		case int, float64, bool, string, []int:
		case []float64:
			if len(v) == 0 {
				return fmt.Errorf("attribute %s: an empty list of floats has no text form", attr.Name)
			}
		default:
			return fmt.Errorf("attribute %s has type %T: want int, float64, bool, string, []int or []float64", attr.Name, v)
		}
	}
	return nil
}

func (a Attrs) lookup(name string) any {
	for i := range a {
		if a[i].Name == name {
			return a[i].Value
		}
	}
	return nil
}

// Has says whether the attribute is present.
func (a Attrs) Has(name string) bool { return a.lookup(name) != nil }

// Int returns the attribute, or 0 where it is absent.
func (a Attrs) Int(name string) int { v, _ := a.lookup(name).(int); return v }

// Float returns the attribute, or 0 where it is absent.
func (a Attrs) Float(name string) float64 { v, _ := a.lookup(name).(float64); return v }

// Bool returns the attribute, or false where it is absent.
func (a Attrs) Bool(name string) bool { v, _ := a.lookup(name).(bool); return v }

// Text returns the attribute, or "" where it is absent.
func (a Attrs) Text(name string) string { v, _ := a.lookup(name).(string); return v }

// Ints returns the attribute, or nil where it is absent.
func (a Attrs) Ints(name string) []int { v, _ := a.lookup(name).([]int); return v }

// Floats returns the attribute, or nil where it is absent.
func (a Attrs) Floats(name string) []float64 { v, _ := a.lookup(name).([]float64); return v }

// With returns the attributes with one added or replaced.
func (a Attrs) With(name string, value any) Attrs {
	out := make(Attrs, 0, len(a)+1)
	for _, old := range a {
		if old.Name != name {
			out = append(out, old)
		}
	}
	out = append(out, Attr{name, value})
	slices.SortFunc(out, func(x, y Attr) int { return strings.Compare(x.Name, y.Name) })
	return out
}

// write appends the text form, for example {eps=1e-05, pads=[1,1,1,1]}.
func (a Attrs) write(b *strings.Builder) {
	b.WriteByte('{')
	for i, attr := range a {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(attr.Name)
		b.WriteByte('=')
		switch v := attr.Value.(type) {
		case int:
			b.WriteString(strconv.Itoa(v))
		case float64:
			b.WriteString(formatFloat(v))
		case bool:
			b.WriteString(strconv.FormatBool(v))
		case string:
			b.WriteString(strconv.Quote(v))
		case []int:
			writeList(b, v, strconv.Itoa)
		case []float64:
			writeList(b, v, formatFloat)
		}
	}
	b.WriteByte('}')
}

func writeList[T any](b *strings.Builder, list []T, format func(T) string) {
	b.WriteByte('[')
	for i, v := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(format(v))
	}
	b.WriteByte(']')
}

// formatFloat keeps floats apart from integers: every one has a point, an exponent, or is inf or nan.
func formatFloat(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "inf"
	case math.IsInf(v, -1):
		return "-inf"
	case math.IsNaN(v):
		return "nan"
	}
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

func isName(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || '9' < r) {
			return false
		}
	}
	return s != ""
}
