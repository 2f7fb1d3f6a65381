package roofline

import (
	"context"
	"errors"
	"math"
	"os"
	"testing"
)

// counted is a device that counts how often it is measured.
type counted struct {
	key   Key
	times int
	err   error
}

func (c *counted) RooflineKey() Key { return c.key }

func (c *counted) MeasureRoofline(context.Context) (Roofline, error) {
	c.times++
	s := Speeds{GFLOPS: 100, Levels: []Level{{Name: "L2", Bytes: 1000, Read: 50, Update: 40}, {Name: "DRAM", Read: 8, Update: 10}}}
	return Roofline{Key: c.key, One: s, All: s, Launch: float64(c.times)}, c.err
}

func of(t *testing.T, d Device, again bool) Roofline {
	t.Helper()
	r, err := Of(t.Context(), d, again)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOf(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir()) // where the system knows no XDG
	d := &counted{key: Key{"abacus", "generic", 2}}
	of(t, d, false)
	if r := of(t, d, false); d.times != 1 || r.Launch != 1 {
		t.Errorf("measured %d times, want once and the cache after that", d.times)
	}
	if r := of(t, d, true); r.Launch != 2 {
		t.Errorf("again: got measurement %v, want the second", r.Launch)
	}
	if r := of(t, d, false); r.Launch != 2 {
		t.Errorf("after again: got measurement %v, want the second", r.Launch)
	}
	for _, other := range []Key{{"slide rule", "generic", 2}, {"abacus", "beads", 2}, {"abacus", "generic", 1}} {
		o := &counted{key: other}
		if of(t, o, false); o.times != 1 {
			t.Errorf("%v: another key's measurement was used", other)
		}
	}
	path, err := Path(d.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []string{"", "{}", `{"processor":"abacus","kernels":"generic","workers":2}`} {
		if err := os.WriteFile(path, []byte(damaged), 0o666); err != nil {
			t.Fatal(err)
		}
		before := d.times
		if of(t, d, false); d.times != before+1 {
			t.Errorf("cache file %q was used", damaged)
		}
	}
	d.err = errors.New("the beads are loose")
	if _, err := Of(t.Context(), d, true); !errors.Is(err, d.err) {
		t.Errorf("got error %v", err)
	}
}

func TestSeconds(t *testing.T) {
	r, _ := (&counted{}).MeasureRoofline(t.Context())
	for _, c := range []struct{ flops, read, written, compute, memory float64 }{
		{1e9, 1000, 0, 0.01, 1000 / 50e9},
		{1e9, 500, 500, 0.01, 1000 / 50e9},
		{0, 501, 500, 0, 1001 / 10e9},
		{0, 2000, 100, 0, 2000 / 8e9},
		{0, 0, 0, 0, 0},
	} {
		compute, memory := r.All.Seconds(c.flops, c.read, c.written)
		if math.Abs(compute-c.compute)+math.Abs(memory-c.memory) > 1e-15 {
			t.Errorf("%v operations, %v bytes read and %v written: got %v, %v s, want %v, %v", c.flops, c.read, c.written, compute, memory, c.compute, c.memory)
		}
	}
}
