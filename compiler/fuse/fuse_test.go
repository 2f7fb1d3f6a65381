package fuse

import (
	"flag"
	"os"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// TestGroups compares the groups of testdata/groups.txt, which says in comments what each shows, with its golden file.
func TestGroups(t *testing.T) {
	text, err := os.ReadFile("testdata/groups.txt")
	if err != nil {
		t.Fatal(err)
	}
	m, err := ir.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := Fuse(true)(m); err != nil {
		t.Fatal(err)
	}
	if err := ir.Verify(m, ops.Rules); err != nil {
		t.Errorf("the result is not well formed: %v", err)
	}
	const golden = "testdata/groups.golden"
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
}
