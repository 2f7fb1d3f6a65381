package cpu

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Every part runs once, for every number of workers, busy or parked, more workers than processors included.
func TestPoolRunsEveryPartOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 9} {
		p := newPool(workers, 16)
		for round := range 300 {
			parts := round % 40
			counts := make([]atomic.Int32, parts)
			if round%50 == 0 {
				time.Sleep(time.Millisecond) // long enough to park
			}
			err := p.run(phase{parts, func(part int, scratch []float32) {
				counts[part].Add(1)
				scratch[0] = float32(part)
			}})
			if err != nil {
				t.Fatal(err)
			}
			for part := range counts {
				if n := counts[part].Load(); n != 1 {
					t.Fatalf("%d workers, round %d: part %d ran %d times", workers, round, part, n)
				}
			}
		}
		p.close()
	}
}

func TestPoolSharesWork(t *testing.T) {
	p := newPool(2, 0)
	defer p.close()
	// Each part waits for the other: one worker alone would never end.
	var both sync.WaitGroup
	both.Add(2)
	if err := p.run(phase{2, func(int, []float32) { both.Done(); both.Wait() }}); err != nil {
		t.Fatal(err)
	}
}

func TestPoolKeepsPanics(t *testing.T) {
	for _, workers := range []int{1, 3} {
		p := newPool(workers, 0)
		var ran atomic.Int32
		bad := phase{20, func(part int, _ []float32) {
			ran.Add(1)
			if part%7 == 3 {
				panic(fmt.Sprint("part ", part))
			}
		}}
		if err := p.run(bad); err == nil || !strings.Contains(err.Error(), "panic: part ") {
			t.Errorf("%d workers: got error %v, want the panic", workers, err)
		}
		if n := ran.Load(); n != 20 {
			t.Errorf("%d workers: %d parts ran, want 20", workers, n)
		}
		if err := p.run(phase{5, func(int, []float32) {}}); err != nil {
			t.Errorf("%d workers: the next phase got %v", workers, err)
		}
		p.close()
	}
}
