package text

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// folder writes files and returns where.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestOpen: words are numbered as they come, training text first, and every line ends with <eos>, in each form of names.
func TestOpen(t *testing.T) {
	for _, f := range forms {
		dir := folder(t, map[string]string{f.files[0]: " the cat \n\n sat the\n", f.files[1]: "a cat\n", f.files[2]: "<unk> sat"})
		c, err := Open(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"the", "cat", "<eos>", "sat", "a", "<unk>"}; !slices.Equal(c.Vocabulary, want) {
			t.Errorf("%s: vocabulary %q, want %q", f.name, c.Vocabulary, want)
		}
		for _, split := range []struct{ got, want []int32 }{
			{c.Train, []int32{0, 1, 2, 2, 3, 0, 2}}, {c.Valid, []int32{4, 1, 2}}, {c.Test, []int32{5, 3, 2}},
		} {
			if !slices.Equal(split.got, split.want) {
				t.Errorf("%s: words %v, want %v", f.name, split.got, split.want)
			}
		}
	}
}

// TestRead: what Python's reading by lines and str.split make of odd files.
func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		want    string // words, joined by spaces
	}{
		"no line end":        {"a b", "a b <eos>"},
		"Windows":            {"a\r\nb\r\n", "a <eos> b <eos>"},
		"old Mac":            {"a\rb", "a <eos> b <eos>"},
		"empty lines":        {"\n\r\n\n", "<eos> <eos> <eos>"},
		"tabs and odd space": {"a\tb\u00a0c\u3000d\x1ce", "a b c d e <eos>"},
		"no space":           {"a\u200bb", "a\u200bb <eos>"},
		"form feed":          {"a\fb\vc\u2028d", "a b c d <eos>"}, // white space, and no line end
		"marks of WikiText":  {" = Robert <unk> = \n \n", "= Robert <unk> = <eos> <eos>"},
		"the end spelt out":  {"a <eos>\n", "a <eos> <eos>"},
		"a byte order mark":  {"\ufeffa", "\ufeffa <eos>"},
		"one huge line":      {strings.Repeat("w ", 1<<20), strings.Repeat("w ", 1<<20) + "<eos>"},
	} {
		words := numbering{}
		tokens, err := words.read("file", c.content)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		list := words.list()
		got := make([]string, len(tokens))
		for i, token := range tokens {
			got[i] = list[token]
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: got %.100q, want %.100q", name, text, c.want)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	good := map[string]string{"train.txt": "a b\n", "valid.txt": "a\n", "test.txt": "b\n"}
	with := func(name, content string) map[string]string {
		files := map[string]string{}
		for k, v := range good {
			files[k] = v
		}
		if content == "missing" {
			delete(files, name)
		} else {
			files[name] = content
		}
		return files
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no training text": {with("train.txt", "missing"), "train.txt: no such file; a corpus has a text for training, for validation and for testing"},
		"no test":          {with("test.txt", "missing"), "test.txt: no such file"},
		"empty":            {with("valid.txt", ""), "valid.txt: the file is empty: want words"},
		"not UTF-8":        {with("train.txt", "a\nb\nc\xff d\n"), "train.txt: line 3 is not UTF-8: want text in that encoding"},
		"nothing":          {nil, "no text found; looked for train.txt, valid.txt, test.txt; or ptb.train.txt"},
	} {
		if _, err := Open(folder(t, c.files), 0); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", name, err, c.want)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none"), 0); err == nil || !strings.Contains(err.Error(), "no such folder") {
		t.Errorf("a missing folder: error %v", err)
	}
	dir := folder(t, good)
	if _, err := Open(filepath.Join(dir, "train.txt"), 0); err == nil || !strings.Contains(err.Error(), "a file; --data takes the folder") {
		t.Errorf("a file: error %v", err)
	}
	if !Holds(dir) || Holds(t.TempDir()) {
		t.Error("Holds does not tell a folder with texts from one without")
	}
}

// TestGrammar: the generated corpus is a function of the seed; its texts differ, share one vocabulary, and depend on
// order: what a model that knows one word back gains is large, and what two words back add is large too.
func TestGrammar(t *testing.T) {
	c, err := Open(Grammar, 7)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := Open("", 7)
	if !slices.Equal(c.Train, again.Train) || !slices.Equal(c.Vocabulary, again.Vocabulary) {
		t.Error("one seed gives two texts")
	}
	if other, _ := Open(Grammar, 8); slices.Equal(c.Train, other.Train) {
		t.Error("two seeds give one text")
	}
	if slices.Equal(c.Valid, c.Test) || slices.Equal(c.Valid, c.Train[:len(c.Valid)]) {
		t.Error("two of the texts are equal")
	}
	s := c.Summary()
	if s.Vocabulary < 150 || s.Vocabulary > 200 || s.Train < 50_000 {
		t.Errorf("%v: want some 180 words in a text of some 66,000", s)
	}
	one, two, three := backOff(c, 1), backOff(c, 2), backOff(c, 3)
	if s.Unigram < 50 || math.Abs(one/s.Unigram-1) > 0.02 || two > s.Unigram/3 || three > 0.92*two {
		t.Errorf("perplexities: unigram %.2f, with one, two and three words %.2f, %.2f, %.2f", s.Unigram, one, two, three)
	}
}

// backOff is the perplexity on the validation text of counts of up to n words, those of more words mixed with those of
// fewer.
func backOff(c *Corpus, n int) float64 {
	type context [2]int32
	before := func(text []int32, i, k int) (at context) {
		for j := range k {
			at[j] = text[i-1-j] + 1
		}
		return at
	}
	counts := map[context]map[int32]float64{}
	totals := map[context]float64{}
	for i, word := range c.Train {
		for k := 0; k < n && k <= i; k++ {
			at := before(c.Train, i, k)
			if counts[at] == nil {
				counts[at] = map[int32]float64{}
			}
			counts[at][word]++
			totals[at]++
		}
	}
	loss := 0.0
	for i, word := range c.Valid {
		p := 1 / float64(len(c.Vocabulary))
		for k := 0; k < n && k <= i; k++ {
			at := before(c.Valid, i, k)
			p = (counts[at][word] + 3*p) / (totals[at] + 3)
		}
		loss -= math.Log(p)
	}
	return math.Exp(loss / float64(len(c.Valid)))
}

// TestUnigram against the sum by hand: counts 3, 2, 1 of 3 words, one more each.
func TestUnigram(t *testing.T) {
	got := unigram([]int32{0, 0, 0, 1, 1, 2}, []int32{0, 2}, 3)
	if want := 1 / math.Sqrt(4./9*2./9); math.Abs(got-want) > 1e-12 {
		t.Errorf("unigram perplexity %v, want %v", got, want)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("a b\n\r\n c \r")
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, content string) {
		words := numbering{}
		tokens, err := words.read("file", content)
		if err != nil {
			return
		}
		list := words.list()
		for _, token := range tokens {
			if list[token] == "" || strings.ContainsFunc(list[token], isSpace) {
				t.Fatalf("%q: word %q", content, list[token])
			}
		}
		if len(tokens) == 0 || list[tokens[len(tokens)-1]] != EndOfSentence {
			t.Fatalf("%q: words %v do not end with %s", content, tokens, EndOfSentence)
		}
	})
}
