package text

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func count(n int) []int32 {
	words := make([]int32, n)
	for i := range words {
		words[i] = int32(i)
	}
	return words
}

// TestStreams: 11 words in 3 streams are 0 1 2, 3 4 5 and 6 7 8, side by side.
func TestStreams(t *testing.T) {
	s, err := NewStreams(count(11), 3)
	if err != nil {
		t.Fatal(err)
	}
	words, next, err := s.At(Window{Start: 0, Length: 2})
	if err != nil || !slices.Equal(words, []int32{0, 3, 6, 1, 4, 7}) || !slices.Equal(next, []int32{1, 4, 7, 2, 5, 8}) {
		t.Errorf("words %v, next %v, error %v", words, next, err)
	}
	for _, w := range []Window{{Start: 0, Length: 3}, {Start: 2, Length: 1}, {Start: -1, Length: 1}, {Start: 0}} {
		if _, _, err := s.At(w); err == nil {
			t.Errorf("no error for %+v", w)
		}
	}
	if w := s.Wrapped(5, 1); w != (Window{Start: 1, Length: 1, Drawn: 1}) {
		t.Errorf("the window on row 5 of 2 is %+v", w)
	}
	for _, batch := range []int{0, 6} {
		if _, err := NewStreams(count(11), batch); err == nil || !strings.Contains(err.Error(), "--batch-size") {
			t.Errorf("batch %d: error %v", batch, err)
		}
	}
}

// TestWindows: the windows of an epoch follow each other to the end, are the same each time, differ between epochs, and
// have the lengths that the original draws.
func TestWindows(t *testing.T) {
	s, err := NewStreams(count(40_000), 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []Lengths{{BPTT: 35}, {BPTT: 35, Vary: true, Delta: 20}} {
		windows := l.Windows(s, 1, 4)
		if !slices.Equal(windows, l.Windows(s, 1, 4)) || slices.Equal(windows, l.Windows(s, 1, 5)) || slices.Equal(windows, l.Windows(s, 2, 4)) {
			t.Errorf("%+v: windows are not a function of seed and epoch", l)
		}
		row, long, sum, squares := 0, 0, 0.0, 0.0
		for i, w := range windows {
			if w.Start != row || w.Length != w.Drawn && i < len(windows)-1 {
				t.Fatalf("%+v: window %d is %+v, want one from row %d", l, i, w, row)
			}
			row += w.Length
			if !l.Vary && w.Drawn != 35 && w.Drawn != 17 || w.Drawn < shortest || w.Drawn > l.Longest() {
				t.Errorf("%+v: window %d is %+v", l, i, w)
			}
			if w.Drawn > 17+9 { // of the longer kind, but for a few of the shorter
				long++
				sum += float64(w.Drawn)
				squares += float64(w.Drawn * w.Drawn)
			}
		}
		if row < s.Rows-2 || row > s.Rows-1 {
			t.Errorf("%+v: windows end at row %d of %d", l, row, s.Rows)
		}
		want := 0.95
		if l.Vary {
			want *= 0.945 // of the normal distribution, this part is at 27 or above
		}
		if share := float64(long) / float64(len(windows)); math.Abs(share-want) > 0.03 {
			t.Errorf("%+v: %.3f of %d windows are long, want %.3f", l, share, len(windows), want)
		}
		mean := sum / float64(long)
		spread := math.Sqrt(squares/float64(long) - mean*mean)
		if l.Vary && (math.Abs(mean-35.1) > 0.6 || math.Abs(spread-4.4) > 0.6) { // of a normal number rounded down and cut below 27
			t.Errorf("%+v: lengths %.2f ± %.2f, want about 35.1 ± 4.4", l, mean, spread)
		}
	}
}

// TestShortTexts: every text that can be cut into streams has windows that can be read.
func TestShortTexts(t *testing.T) {
	for rows := 2; rows < 60; rows++ {
		s, err := NewStreams(count(3*rows), 3)
		if err != nil {
			t.Fatal(err)
		}
		read := 0
		for _, w := range s.Even(7) {
			if _, _, err := s.At(w); err != nil {
				t.Error(err)
			}
			read += w.Length
		}
		if read != rows-1 {
			t.Errorf("%d rows: an evaluation reads %d, want %d", rows, read, rows-1)
		}
		for _, l := range []Lengths{{BPTT: 1}, {BPTT: 7}, {BPTT: 35, Vary: true, Delta: 20}} {
			for _, w := range l.Windows(s, 3, 0) {
				if _, _, err := s.At(w); err != nil {
					t.Errorf("%d rows, %+v: %v", rows, l, err)
				}
				if _, _, err := s.At(s.Wrapped(w.Start+1000, w.Length)); err != nil {
					t.Errorf("%d rows, %+v: %v", rows, l, err)
				}
			}
		}
	}
}
