package space

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// fileLimit is far above any genotype, and keeps a mistaken path (a checkpoint, a device) from filling the memory.
const fileLimit = 1 << 20

// kind is how one kind of genotype is read: the architectures that a name stands for, and the fields of its texts.
type kind[G interface {
	Validate() error
	Clone() G
}] struct {
	architectures []architecture[G]
	example       string // of the original's text, for errors
	fields        func(*G) []field
}

var convolutional = kind[Genotype]{architectures, "Genotype(normal=[...], ...)", genotypeFields}

// Load reads what a command line gives for a genotype: a name, a text that Parse reads, or the path of a file that
// holds one.
func Load(argument string) (Genotype, error) { return convolutional.load(argument) }

// ParseFile reads a file that holds one genotype in any form that Parse reads.
func ParseFile(path string) (Genotype, error) { return convolutional.parseFile(path) }

// Parse reads a genotype: the name of a published architecture, our JSON form
//
//	{"normal": [["sep_conv_3x3", 0], ...], "normal_concat": [2, 3, 4, 5], "reduce": ..., "reduce_concat": ...}
//
// or the original's Python text
//
//	Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=[2, 3, 4, 5])
//
// with either quote, tuples or lists, and what a log line or a source file has before it ("genotype = "). Errors give
// the position in the text, or the cell and edge. The result is valid.
func Parse(text string) (Genotype, error) { return convolutional.parse(text) }

func (k kind[G]) load(argument string) (none G, err error) {
	if _, named := k.named(strings.TrimSpace(argument)); named || isText(argument) {
		return k.parse(argument)
	}
	g, err := k.parseFile(argument)
	var unread *fs.PathError
	if errors.As(err, &unread) {
		return none, fmt.Errorf("genotype: cannot read a file %s (%w); want a file, one of %s", excerpt(argument), unread.Err, k.wanted())
	}
	return g, err
}

func (k kind[G]) parseFile(path string) (none G, err error) {
	file, err := os.Open(path)
	if err != nil {
		return none, fmt.Errorf("genotype: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, fileLimit+1))
	if err != nil {
		return none, fmt.Errorf("genotype: %w", err)
	}
	if len(data) > fileLimit {
		return none, fmt.Errorf("%s: genotype: the file is larger than %d bytes, so it does not hold a genotype", path, fileLimit)
	}
	g, err := k.parse(string(data))
	if err != nil {
		return none, fmt.Errorf("%s: %w", path, err)
	}
	return g, nil
}

func (k kind[G]) parse(text string) (none G, err error) {
	name := strings.TrimSpace(text)
	g, named := k.named(name)
	switch {
	case named:
		return g, nil
	case strings.HasPrefix(name, "{"):
		return k.parseJSON(text)
	case pythonStart.MatchString(text):
		r := &reader{text: text, at: pythonStart.FindStringIndex(text)[1]}
		return k.read(r, "=", ")")
	}
	return none, fmt.Errorf("genotype: unknown architecture %s; want one of %s", excerpt(name), k.wanted())
}

func (k kind[G]) wanted() string {
	return fmt.Sprintf("%s, JSON, or %s", strings.Join(k.names(), ", "), k.example)
}

func (k kind[G]) names() []string {
	names := make([]string, len(k.architectures))
	for i, a := range k.architectures {
		names[i] = a.name
	}
	return names
}

func (k kind[G]) named(name string) (g G, ok bool) {
	for _, a := range k.architectures {
		if a.name == name {
			return a.genotype.Clone(), true
		}
	}
	return g, false
}

func isText(text string) bool {
	return strings.HasPrefix(strings.TrimSpace(text), "{") || pythonStart.MatchString(text)
}

// pythonStart matches up to the opening parenthesis. On the same line an assignment may come before the call, as in
// "03/22 10:11:12 AM genotype = Genotype(...)" of a log and "DARTS_V2 = Genotype(...)" of the original's source.
var pythonStart = regexp.MustCompile(`\A\s*(?:[^\n(]*\w[ \t]*=[ \t]*)?Genotype\s*\(`)

// parseJSON leaves to encoding/json whether the text is JSON at all; from there on the reader may be lenient.
func (k kind[G]) parseJSON(text string) (none G, err error) {
	r := &reader{text: text}
	var raw json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return none, r.errorAt(max(0, int(syntax.Offset)-1), "%v", err)
		}
		return none, fmt.Errorf("genotype: %w", err)
	}
	if err := r.expect("{"); err != nil {
		return none, err
	}
	return k.read(r, ":", "}")
}

// read reads the fields after the opening bracket, and the end of the text.
func (k kind[G]) read(r *reader, assign, end string) (none G, err error) {
	var g G
	if err := r.fields(k.fields(&g), assign, end); err != nil {
		return none, err
	}
	if err := g.Validate(); err != nil {
		return none, err
	}
	return g, nil
}

// excerpt quotes the beginning of a text that may be long or of several lines.
func excerpt(text string) string {
	const limit = 60
	if utf8.RuneCountInString(text) <= limit {
		return strconv.Quote(text)
	}
	return strconv.Quote(string([]rune(text)[:limit])) + "..."
}
