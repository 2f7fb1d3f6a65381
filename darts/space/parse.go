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

// Load reads what a command line gives for a genotype: a name, a text that Parse reads, or the path of a file that
// holds one.
func Load(argument string) (Genotype, error) {
	if isText(argument) || isName(argument) {
		return Parse(argument)
	}
	g, err := ParseFile(argument)
	var unread *fs.PathError
	if errors.As(err, &unread) {
		return Genotype{}, fmt.Errorf("genotype: cannot read a file %s (%w); want a file, one of %s, JSON, or Genotype(normal=[...], ...)",
			excerpt(argument), unread.Err, nameList())
	}
	return g, err
}

// ParseFile reads a file that holds one genotype in any form that Parse reads.
func ParseFile(path string) (Genotype, error) {
	file, err := os.Open(path)
	if err != nil {
		return Genotype{}, fmt.Errorf("genotype: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, fileLimit+1))
	if err != nil {
		return Genotype{}, fmt.Errorf("genotype: %w", err)
	}
	if len(data) > fileLimit {
		return Genotype{}, fmt.Errorf("%s: genotype: the file is larger than %d bytes, so it does not hold a genotype", path, fileLimit)
	}
	g, err := Parse(string(data))
	if err != nil {
		return Genotype{}, fmt.Errorf("%s: %w", path, err)
	}
	return g, nil
}

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
func Parse(text string) (Genotype, error) {
	switch {
	case isName(text):
		g, _ := Named(strings.TrimSpace(text))
		return g, nil
	case strings.HasPrefix(strings.TrimSpace(text), "{"):
		return parseJSON(text)
	case pythonStart.MatchString(text):
		return parsePython(text)
	}
	return Genotype{}, fmt.Errorf("genotype: unknown architecture %s; want one of %s, JSON, or Genotype(normal=[...], ...)", excerpt(strings.TrimSpace(text)), nameList())
}

func isName(text string) bool {
	_, ok := Named(strings.TrimSpace(text))
	return ok
}

func isText(text string) bool {
	return strings.HasPrefix(strings.TrimSpace(text), "{") || pythonStart.MatchString(text)
}

// pythonStart matches up to the opening parenthesis. On the same line an assignment may come before the call, as in
// "03/22 10:11:12 AM genotype = Genotype(...)" of a log and "DARTS_V2 = Genotype(...)" of the original's source.
var pythonStart = regexp.MustCompile(`\A\s*(?:[^\n(]*\w[ \t]*=[ \t]*)?Genotype\s*\(`)

func parsePython(text string) (Genotype, error) {
	r := &reader{text: text, at: pythonStart.FindStringIndex(text)[1]}
	return r.genotype("=", ")")
}

// parseJSON leaves to encoding/json whether the text is JSON at all; from there on the reader may be lenient.
func parseJSON(text string) (Genotype, error) {
	r := &reader{text: text}
	var raw json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return Genotype{}, r.errorAt(max(0, int(syntax.Offset)-1), "%v", err)
		}
		return Genotype{}, fmt.Errorf("genotype: %w", err)
	}
	if err := r.expect("{"); err != nil {
		return Genotype{}, err
	}
	return r.genotype(":", "}")
}

// excerpt quotes the beginning of a text that may be long or of several lines.
func excerpt(text string) string {
	const limit = 60
	if utf8.RuneCountInString(text) <= limit {
		return strconv.Quote(text)
	}
	return strconv.Quote(string([]rune(text)[:limit])) + "..."
}
