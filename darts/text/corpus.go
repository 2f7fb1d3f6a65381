// Package text holds the texts that a recurrent cell is searched, trained and tested on: it opens a corpus, numbers its
// words, lays a text out as parallel streams, and says which window of them a step reads.
//
// Out go words as int32 numbers of one vocabulary, [rows, batch] as the original's batchify has them. Everything is a
// pure function of the files, the seed and the epoch, so a run that was interrupted goes on from its counters alone.
//
// The package must not know of graphs, plans or devices. Start reading at Open.
package text

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Corpus is a text for training, one for validation and one for testing, as numbers of the words of one vocabulary.
type Corpus struct {
	Name, Path         string   // Path is "" for a generated corpus
	Vocabulary         []string // in the order in which words first occur in Train, then Valid, then Test
	Train, Valid, Test []int32
}

// EndOfSentence is the word that ends every line.
const EndOfSentence = "<eos>"

// form is a way in which the three files of a corpus may be called.
type form struct {
	name  string
	files [3]string // train, valid, test
}

var forms = []form{
	{"text", [3]string{"train.txt", "valid.txt", "test.txt"}},
	{"PTB", [3]string{"ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"}},
	{"WikiText", [3]string{"wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"}},
}

// Formats lists the files that Open looks for, a line of a form each.
func Formats() []string {
	var list []string
	for _, f := range forms {
		list = append(list, strings.Join(f.files[:], ", "))
	}
	return list
}

// Holds says whether a folder has one of the files that Open looks for.
func Holds(dir string) bool {
	_, found := find(dir)
	return found
}

func find(dir string) (form, bool) {
	for _, f := range forms {
		for _, name := range f.files {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
				return f, true
			}
		}
	}
	return form{}, false
}

// ErrNoFolder is the error of a corpus whose folder is not there.
var ErrNoFolder = errors.New("no such folder")

// Open reads a corpus from a folder, or writes one by the seed where path is Grammar (or "").
func Open(path string, seed uint64) (*Corpus, error) {
	if path == "" || path == Grammar {
		return generate(seed), nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("text: %s: %w; --data takes a folder, or the word %s", path, ErrNoFolder, Grammar)
	case err != nil:
		return nil, fmt.Errorf("text: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("text: %s: a file; --data takes the folder of %s", path, Formats()[0])
	}
	f, found := find(path)
	if !found {
		return nil, fmt.Errorf("text: %s: no text found; looked for %s", path, strings.Join(Formats(), "; or "))
	}
	c := &Corpus{Name: filepath.Base(path), Path: path}
	words := numbering{}
	for i, into := range []*[]int32{&c.Train, &c.Valid, &c.Test} {
		if *into, err = words.readFile(filepath.Join(path, f.files[i])); err != nil {
			return nil, fmt.Errorf("text: %w", err)
		}
	}
	c.Vocabulary = words.list()
	return c, nil
}

// numbering gives each new word the next number.
type numbering map[string]int32

func (n numbering) number(word string) int32 {
	number, known := n[word]
	if !known {
		number = int32(len(n))
		n[strings.Clone(word)] = number // not the file that it is a part of
	}
	return number
}

func (n numbering) list() []string {
	list := make([]string, len(n))
	for word, number := range n {
		list[number] = word
	}
	return list
}

// readFile numbers the words of a file and the end of each of its lines.
func (n numbering) readFile(path string) ([]int32, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file; a corpus has a text for training, for validation and for testing", path)
	}
	if err != nil {
		return nil, err
	}
	return n.read(path, string(content))
}

// read follows the original, that is Python: a line ends with \n, \r or both, words are what white space divides, and
// each line, an empty one too, gets an EndOfSentence.
func (n numbering) read(name, content string) ([]int32, error) {
	if len(content) == 0 {
		return nil, fmt.Errorf("%s: the file is empty: want words", name)
	}
	if !utf8.ValidString(content) {
		return nil, fmt.Errorf("%s: line %d is not UTF-8: want text in that encoding", name, firstInvalidLine(content))
	}
	var tokens []int32
	for content != "" {
		var line string
		line, content = cutLine(content)
		for _, word := range strings.FieldsFunc(line, isSpace) {
			tokens = append(tokens, n.number(word))
		}
		tokens = append(tokens, n.number(EndOfSentence))
	}
	return tokens, nil
}

func cutLine(content string) (line, rest string) {
	end := strings.IndexAny(content, "\r\n")
	if end < 0 {
		return content, ""
	}
	if strings.HasPrefix(content[end:], "\r\n") {
		return content[:end], content[end+2:]
	}
	return content[:end], content[end+1:]
}

// isSpace is Python's str.isspace, which has four separators more than Unicode's White_Space.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func firstInvalidLine(content string) int {
	line := 1
	for len(content) > 0 {
		r, size := utf8.DecodeRuneInString(content)
		if r == utf8.RuneError && size == 1 {
			break
		}
		if r == '\n' {
			line++
		}
		content = content[size:]
	}
	return line
}

// Summary is what a person, or the configuration of a run, wants to know of a corpus.
type Summary struct {
	Name       string `json:"name"`
	Path       string `json:"path,omitempty"`
	Vocabulary int    `json:"vocabulary"`
	Train      int    `json:"train"` // words, as all counts
	Valid      int    `json:"valid"`
	Test       int    `json:"test"`
	// Unigram is the perplexity on the text for validation of the model that knows how often each word occurs in the
	// text for training, and nothing else: what a recurrent model must beat.
	Unigram float64 `json:"unigram"`
}

// Summary describes the corpus.
func (c *Corpus) Summary() Summary {
	return Summary{
		Name: c.Name, Path: c.Path, Vocabulary: len(c.Vocabulary),
		Train: len(c.Train), Valid: len(c.Valid), Test: len(c.Test), Unigram: unigram(c.Train, c.Valid, len(c.Vocabulary)),
	}
}

// unigram counts every word once more than it occurs, so that none has the probability 0.
func unigram(train, valid []int32, words int) float64 {
	counts := slices.Repeat([]float64{1}, words)
	for _, word := range train {
		counts[word]++
	}
	loss := 0.0
	for _, word := range valid {
		loss -= math.Log(counts[word] / float64(len(train)+words))
	}
	return math.Exp(loss / float64(len(valid)))
}

// String is one line: "penn: 10,000 words; 929,589 to train on, 73,760 to validate, 82,430 to test; unigram perplexity
// 653.2, from /data/penn".
func (s Summary) String() string {
	line := fmt.Sprintf("%s: %s words; %s to train on, %s to validate, %s to test; unigram perplexity %.1f",
		s.Name, grouped(s.Vocabulary), grouped(s.Train), grouped(s.Valid), grouped(s.Test), s.Unigram)
	if s.Path != "" {
		line += ", from " + s.Path
	}
	return line
}

// grouped writes a count with commas between thousands.
func grouped(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
