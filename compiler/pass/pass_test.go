package pass

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestPasses runs, for every file testdata/<pass>-<what>.txt, the pass on the module in the file and compares the text
// with testdata/<pass>-<what>.golden.
func TestPasses(t *testing.T) {
	passes := map[string]Func{
		"variables": Variables, "dead": Dead, "share": Share, "differentiate": Differentiate,
		"simplify": Simplify, "decompose": Decompose, "schedule": Schedule, "commute": Commute,
		"recompute": Recompute(Recomputation{Passes: true, Convolutions: 1}),
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	covered := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			kind, _, _ := strings.Cut(name, "-")
			run := passes[kind]
			if run == nil {
				t.Fatalf("no pass %q", kind)
			}
			covered[kind] = true
			m := parse(t, file)
			if err := run(m); err != nil {
				t.Fatal(err)
			}
			if err := ir.Verify(m, ops.Rules); err != nil {
				t.Errorf("the result is not well formed: %v", err)
			}
			golden := strings.TrimSuffix(file, ".txt") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(m.String()), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.String(); got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	for kind := range passes {
		if !covered[kind] {
			t.Errorf("pass %s has no case", kind)
		}
	}
}

func parse(t *testing.T, file string) *ir.Module {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ir.Parse(string(text))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if err := ir.Verify(m, ops.Rules); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return m
}

// TestNoGradient: an operation without a gradient on the way is an error that names it and its place.
func TestNoGradient(t *testing.T) {
	m := parse(t, "testdata/errors/no-gradient.txt")
	err := Differentiate(m)
	if err == nil || !strings.Contains(err.Error(), "here: softmax_grad: has no gradient") {
		t.Errorf("error %v, want one that names softmax_grad and its place", err)
	}
}
