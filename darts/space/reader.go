package space

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// stateLimit bounds range(a, b), the one construct whose size is not bounded by the length of the text.
const stateLimit = 1024

// reader walks over the text of a genotype. Both forms are a list of named fields; they differ in how they begin, how a
// name is tied to its value and how they end.
type reader struct {
	text string
	at   int
}

// field is a named part of a genotype, either edges or states: where to put it.
type field struct {
	name   string
	edges  *[]Edge
	states *[]int
}

func nameList(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return strings.Join(names, ", ")
}

// fields reads all fields after the opening bracket, each once, and the end of the text.
func (r *reader) fields(fields []field, assign, end string) error {
	seen := map[string]bool{}
	for !r.accept(end) {
		if err := r.field(fields, seen, assign); err != nil {
			return err
		}
		if !r.accept(",") {
			if err := r.expect(end); err != nil {
				return err
			}
			break
		}
	}
	if r.skipSpace(); r.at < len(r.text) {
		return r.errorAt(r.at, "want the end of the text after the genotype, found %s", r.next())
	}
	for _, f := range fields {
		if !seen[f.name] {
			return fmt.Errorf("genotype: %s is missing; want %s", f.name, nameList(fields))
		}
	}
	return nil
}

func (r *reader) field(fields []field, seen map[string]bool, assign string) error {
	r.skipSpace()
	at := r.at
	name, err := r.fieldName(assign == ":", fields)
	if err != nil {
		return err
	}
	if seen[name] {
		return r.errorAt(at, "%s is given twice", name)
	}
	seen[name] = true
	if err := r.expect(assign); err != nil {
		return err
	}
	for _, f := range fields {
		switch {
		case f.name != name:
		case f.edges != nil:
			*f.edges, err = r.edges()
			return err
		default:
			*f.states, err = r.states()
			return err
		}
	}
	return r.errorAt(at, "unknown field %s; want %s", excerpt(name), nameList(fields))
}

func (r *reader) fieldName(quoted bool, fields []field) (string, error) {
	if quoted {
		return r.quoted("a field's name")
	}
	start := r.at
	for r.at < len(r.text) && (r.text[r.at] == '_' || r.text[r.at] >= 'a' && r.text[r.at] <= 'z') {
		r.at++
	}
	if r.at == start {
		return "", r.errorAt(r.at, "want one of the fields %s, found %s", nameList(fields), r.next())
	}
	return r.text[start:r.at], nil
}

func (r *reader) edges() ([]Edge, error) {
	var edges []Edge
	err := r.sequence("a list of edges", func() error {
		edge, err := r.edge()
		edges = append(edges, edge)
		return err
	})
	return edges, err
}

func (r *reader) edge() (Edge, error) {
	var edge Edge
	item := 0
	r.skipSpace()
	start := r.at
	err := r.sequence(`an edge such as ("sep_conv_3x3", 0)`, func() (err error) {
		switch item {
		case 0:
			var name string
			name, err = r.quoted("a primitive's name")
			edge.Primitive = Primitive(name)
		case 1:
			edge.State, err = r.integer()
		default:
			err = r.errorAt(r.at, "an edge has a primitive and a state, nothing more")
		}
		item++
		return err
	})
	if err == nil && item != 2 {
		err = r.errorAt(start, "want a primitive and a state in an edge")
	}
	return edge, err
}

// states reads a list of integers, or Python's range(first, end).
func (r *reader) states() ([]int, error) {
	if r.accept("range") {
		return r.stateRange()
	}
	var states []int
	err := r.sequence("a list of states", func() error {
		state, err := r.integer()
		states = append(states, state)
		return err
	})
	return states, err
}

func (r *reader) stateRange() ([]int, error) {
	start := r.at
	var bounds []int
	err := r.sequence("the bounds of a range", func() error {
		bound, err := r.integer()
		bounds = append(bounds, bound)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(bounds) != 2 || bounds[0] < 0 || bounds[1] > stateLimit {
		return nil, r.errorAt(start, "want range(first, end) with two bounds between 0 and %d", stateLimit)
	}
	var states []int
	for state := bounds[0]; state < bounds[1]; state++ {
		states = append(states, state)
	}
	return states, nil
}

// sequence reads a list or tuple, a trailing comma included, and calls item at the start of each element.
func (r *reader) sequence(what string, item func() error) error {
	end := "]"
	if !r.accept("[") {
		if !r.accept("(") {
			return r.errorAt(r.at, "want %s, found %s", what, r.next())
		}
		end = ")"
	}
	for !r.accept(end) {
		if err := item(); err != nil {
			return err
		}
		if !r.accept(",") {
			return r.expect(end)
		}
	}
	return nil
}

func (r *reader) quoted(what string) (string, error) {
	r.skipSpace()
	if r.at == len(r.text) || r.text[r.at] != '\'' && r.text[r.at] != '"' {
		return "", r.errorAt(r.at, "want %s in quotes, found %s", what, r.next())
	}
	start, quote, escaped := r.at, r.text[r.at], false
	for r.at++; r.at < len(r.text) && r.text[r.at] != quote; r.at++ {
		if r.text[r.at] == '\\' {
			escaped = true
			r.at++
		}
	}
	if r.at >= len(r.text) {
		r.at = len(r.text)
		return "", r.errorAt(start, "the quote is not closed")
	}
	r.at++
	raw := r.text[start:r.at]
	if !escaped {
		return raw[1 : len(raw)-1], nil
	}
	var s string
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		return "", r.errorAt(start, "want %s without escapes", what)
	}
	return s, nil
}

func (r *reader) integer() (int, error) {
	r.skipSpace()
	start := r.at
	if r.at < len(r.text) && r.text[r.at] == '-' {
		r.at++
	}
	digits := r.at
	for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
		r.at++
	}
	if r.at == digits {
		r.at = start
		return 0, r.errorAt(start, "want a state's number, found %s", r.next())
	}
	n, err := strconv.Atoi(r.text[start:r.at])
	if err != nil {
		return 0, r.errorAt(start, "the number %s is too large", excerpt(r.text[start:r.at]))
	}
	return n, nil
}

func (r *reader) skipSpace() {
	for r.at < len(r.text) && strings.IndexByte(" \t\r\n", r.text[r.at]) >= 0 {
		r.at++
	}
}

func (r *reader) accept(token string) bool {
	r.skipSpace()
	if !strings.HasPrefix(r.text[r.at:], token) {
		return false
	}
	r.at += len(token)
	return true
}

func (r *reader) expect(token string) error {
	if !r.accept(token) {
		return r.errorAt(r.at, "want %q, found %s", token, r.next())
	}
	return nil
}

// next names the character at the reader's position, for errors.
func (r *reader) next() string {
	if r.at >= len(r.text) {
		return "the end of the text"
	}
	c, _ := utf8.DecodeRuneInString(r.text[r.at:])
	return strconv.QuoteRune(c)
}

// errorAt says where in the text: the column, counted in characters from 1, and the line when there are several.
func (r *reader) errorAt(at int, format string, arguments ...any) error {
	before := r.text[:at]
	line := before[strings.LastIndexByte(before, '\n')+1:]
	where := fmt.Sprintf("column %d", utf8.RuneCountInString(line)+1)
	if n := strings.Count(before, "\n"); n > 0 {
		where = fmt.Sprintf("line %d, %s", n+1, where)
	}
	return fmt.Errorf("genotype: %s: %s", where, fmt.Sprintf(format, arguments...))
}
