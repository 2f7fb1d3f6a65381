package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dartsc/dartsc/runtime/cuda"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"dartsc": main}) }

// TestScripts runs testdata/script. Every script finds the inputs of makeData beside it, the golden cases in $GOLDEN, and
// the driver that stands in for CUDA's in $DRIVER; [cuda] holds in a build with CUDA.
func TestScripts(t *testing.T) {
	golden, err := filepath.Abs("../../darts/golden/testdata")
	if err != nil {
		t.Fatal(err)
	}
	driver, err := filepath.Abs("../../runtime/cuda")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GOLDEN", golden)
			env.Setenv("DRIVER", driver)
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "cache"))
			return makeData(env.WorkDir)
		},
		Condition: func(name string) (bool, error) {
			if name != "cuda" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			_, err := cuda.Look()
			return !errors.Is(err, cuda.ErrNotBuilt), nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"fails": fails, "flip": flip, "cut": cut},
	})
}

// fails runs "fails CODE command…" and checks the exit code, that standard error is one line of dartsc, and that this
// line points to the help for wrong usage only.
func fails(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](ts.Exec(args[1], args[2:]...)); ok {
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	message := ts.ReadFile("stderr")
	if !strings.HasPrefix(message, "dartsc: ") || strings.Count(message, "\n") != 1 {
		ts.Fatalf("standard error is not one line of dartsc:\n%s", message)
	}
	if hint := strings.HasSuffix(message, " --help\n"); hint != (code == exitUsage) {
		ts.Fatalf("exit code %d with %q", code, message)
	}
}

// flip changes bits of one byte: "flip FILE OFFSET MASK".
func flip(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	mask, err := strconv.ParseUint(args[2], 0, 8)
	ts.Check(err)
	data[at] ^= byte(mask)
	ts.Check(os.WriteFile(path, data, 0o666))
}

// cut shortens a file: "cut FILE BYTES".
func cut(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}
