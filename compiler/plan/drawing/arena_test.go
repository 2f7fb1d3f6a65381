package drawing

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler/plan"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// chain is a program of launches that each read the two results before and write one; kept ones live to the end.
func chain(launches, kept int) *plan.Program {
	p := &plan.Program{Name: "main", Inputs: []plan.Port{{Name: "x", Buffer: 0}}}
	const bytes = 1 << 16
	add := func(offset int64) int {
		p.Buffers = append(p.Buffers, plan.Buffer{Tensor: plan.Tensor{DType: plan.F32, Shape: []int{bytes / 4}}, Offset: offset})
		p.PeakBytes = max(p.PeakBytes, offset+bytes)
		return len(p.Buffers) - 1
	}
	last := add(0)
	for i := range launches {
		slot := int64(i%2 + 1)
		if i < kept {
			slot = int64(i + 3)
		}
		next := add(slot * bytes)
		phase := "alpha"
		if i > launches/2 {
			phase = "train"
		}
		p.Launches = append(p.Launches, plan.Launch{Kernel: "relu<1>", Operands: []int{last}, Results: []int{next}, Phase: phase, Scope: fmt.Sprintf("cell %d & more", i)})
		if i < kept {
			p.Results = append(p.Results, plan.Port{Name: fmt.Sprint("kept", i), Buffer: next})
		}
		last = next
	}
	p.LowerBound = p.PeakBytes - bytes
	return p
}

func TestArena(t *testing.T) {
	got := Arena("small", chain(6, 2))
	const path = "testdata/small.svg"
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update rewrites it)\ngot:\n%s", path, got)
	}
	for _, part := range []string{
		"peak 320.0 KiB", "lower bound 256.0 KiB", ">alpha<", ">train<", "relu&lt;1&gt; at cell 0 &amp; more", "launches 0 to 6", "input x",
	} {
		if !strings.Contains(string(got), part) {
			t.Errorf("the picture does not say %q", part)
		}
	}
}

// TestLargeArena: a program of the size of a search gives a picture of bounded size, also where nothing is large enough
// to be drawn alone.
func TestLargeArena(t *testing.T) {
	for _, kept := range []int{0, 500, 20000} {
		svg := Arena("large", chain(20000, kept))
		if len(svg) > 1<<20 {
			t.Errorf("%d kept: %d bytes, want at most 1 MiB", kept, len(svg))
		}
		if err := wellFormed(svg); err != nil {
			t.Errorf("%d kept: %v", kept, err)
		}
		if n := bytes.Count(svg, []byte("<rect")); n < 10 {
			t.Errorf("%d kept: only %d rectangles", kept, n)
		}
	}
	if err := wellFormed(Arena("empty", &plan.Program{Name: "main"})); err != nil {
		t.Error(err)
	}
}

func wellFormed(svg []byte) error {
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
