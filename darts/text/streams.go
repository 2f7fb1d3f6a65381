package text

import (
	"fmt"

	"github.com/dartsc/dartsc/internal/philox"
)

// Streams is a text cut into parts of one length that are read side by side: row t holds the t-th word of each, as the
// original's batchify lays them out. What is left of the text is not used.
type Streams struct {
	Rows, Batch int
	words       []int32 // [Rows, Batch]
}

// NewStreams cuts a text into batch streams of two words at least.
func NewStreams(words []int32, batch int) (Streams, error) {
	if batch < 1 {
		return Streams{}, fmt.Errorf("--batch-size %d: want at least 1", batch)
	}
	rows := len(words) / batch
	if rows < 2 {
		return Streams{}, fmt.Errorf("--batch-size %d: a text of %d words gives %d a stream, and 2 are needed; want a smaller batch or a longer text", batch, len(words), rows)
	}
	s := Streams{Rows: rows, Batch: batch, words: make([]int32, rows*batch)}
	for row := range rows {
		for column := range batch {
			s.words[row*batch+column] = words[column*rows+row]
		}
	}
	return s, nil
}

// Window is the rows that one step reads: Length of them from Start on.
type Window struct {
	Start, Length int
	// Drawn is the length before the end of the text cut it short. The original scales the learning rate by it.
	Drawn int
}

// At returns the words of a window and, for each, the one that follows it in its stream: both [w.Length, batch], parts
// of the text that must not be written to.
func (s Streams) At(w Window) (words, next []int32, err error) {
	if w.Start < 0 || w.Length < 1 || w.Start+w.Length >= s.Rows {
		return nil, nil, fmt.Errorf("window of %d rows from row %d: the text has %d rows, the last of which only follows", w.Length, w.Start, s.Rows)
	}
	from, to := w.Start*s.Batch, (w.Start+w.Length)*s.Batch
	return s.words[from:to], s.words[from+s.Batch : to+s.Batch], nil
}

// Even divides the streams into windows of bptt rows, the last one shorter: those of an evaluation.
func (s Streams) Even(bptt int) []Window {
	var windows []Window
	for start := 0; start < s.Rows-1; start += bptt {
		windows = append(windows, s.cut(start, bptt))
	}
	return windows
}

// Wrapped is the window that a search validates on while it trains on so many rows from start: as many rows, counted in a
// text that may be shorter and then begins again. The text must have more rows than the window. (The original cuts the
// last window before the text begins again, and starts each of them a row further on.)
func (s Streams) Wrapped(start, length int) Window {
	return Window{Start: start % (s.Rows - length), Length: length, Drawn: length}
}

func (s Streams) cut(start, drawn int) Window {
	return Window{Start: start, Length: min(drawn, s.Rows-1-start), Drawn: drawn}
}

// Lengths says how long the windows of training are. Each is about BPTT rows, or half of that one time in twenty.
type Lengths struct {
	BPTT int
	// Vary draws the lengths from the normal distribution around that, of deviation 5, no shorter than 5 rows and no more
	// than Delta longer than BPTT. Without it they are exactly that, as in a search.
	Vary  bool
	Delta int
}

const (
	halfOneIn = 20 // windows, the original's 0.95
	deviation = 5
	shortest  = 5

	// Streams of the seed: which windows are half as long, and the lengths.
	meanStream   = 0x5445_0001
	lengthStream = 0x5445_0002
)

// Longest is the longest window there can be.
func (l Lengths) Longest() int {
	if l.Vary {
		return max(shortest, l.BPTT+l.Delta)
	}
	return l.BPTT
}

// Windows are the windows of an epoch of training, one after the other. As in the original, an epoch ends with the last
// row but two: a rest of one row is left out.
func (l Lengths) Windows(s Streams, seed uint64, epoch int) []Window {
	means := philox.New(seed, uint64(epoch), meanStream)
	lengths := philox.New(seed, uint64(epoch), lengthStream)
	var windows []Window
	for start := 0; start < max(s.Rows-2, 1); start += windows[len(windows)-1].Drawn {
		i := uint64(len(windows))
		mean := float64(l.BPTT)
		if means.Intn(i, halfOneIn) == 0 {
			mean /= 2
		}
		length := max(1, int(mean))
		if l.Vary {
			length = min(max(shortest, int(mean+deviation*lengths.Normal(i))), l.Longest())
		}
		windows = append(windows, s.cut(start, length))
	}
	return windows
}

// Fill copies the words of a window and what follows them to tokens and targets, which have room for as many rows or
// more: beyond the window, tokens are 0 and targets -1, which counts as no word.
func (s Streams) Fill(w Window, tokens, targets []int32) error {
	words, next, err := s.At(w)
	if err != nil {
		return err
	}
	if len(tokens) < len(words) || len(targets) != len(tokens) {
		return fmt.Errorf("window of %d rows of %d words: room for %d words and %d targets", w.Length, s.Batch, len(tokens), len(targets))
	}
	n := copy(tokens, words)
	copy(targets, next)
	for i := n; i < len(tokens); i++ {
		tokens[i], targets[i] = 0, -1
	}
	return nil
}
