//go:build cuda && linux && cgo && (amd64 || arm64)

package cuda

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/runtime/cuda/driver"
)

// The tests run on the driver of testdata/driver, which gcc builds, or with DARTSC_TEST_GPU=1 on this machine's.
const realVariable = "DARTSC_TEST_GPU"

var (
	onFake = os.Getenv(realVariable) == ""
	noFake string // why there is none
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	folder, err := os.MkdirTemp("", "dartsc-driver")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	os.Setenv("XDG_CACHE_HOME", folder)
	if onFake && os.Getenv(driver.Variable) == "" {
		library := filepath.Join(folder, "libcuda.so.1")
		build := exec.Command("gcc", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-I", "driver/include", "-o", library,
			"testdata/driver/libcuda.c", "testdata/driver/kernels.c", "-lpthread")
		if out, err := build.CombinedOutput(); err != nil {
			noFake = fmt.Sprintf("the driver for tests cannot be built: %v %s", err, out)
			if _, missing := exec.LookPath("gcc"); missing == nil {
				fmt.Fprintln(os.Stderr, noFake)
				return 1
			}
		}
		os.Setenv(driver.Variable, library)
	}
	return m.Run()
}

// needDriver skips where there is nothing to run on.
func needDriver(t testing.TB) {
	t.Helper()
	if noFake != "" {
		t.Skip(noFake)
	}
}

// needFake skips on a real GPU.
func needFake(t testing.TB) {
	t.Helper()
	needDriver(t)
	if !onFake {
		t.Skip("of the driver for tests only")
	}
}

// calls is the log of what the driver was asked.
type calls struct {
	t    *testing.T
	path string
}

// logCalls has the driver write down its calls from now on.
func logCalls(t *testing.T) calls {
	t.Helper()
	needFake(t)
	c := calls{t, filepath.Join(t.TempDir(), "calls")}
	t.Setenv("FAKE_CUDA_LOG", c.path)
	return c
}

// take returns the calls since the last take.
func (c calls) take() []string {
	c.t.Helper()
	text, err := os.ReadFile(c.path)
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(c.path, nil, 0o666); err != nil {
		c.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// count returns how many calls begin with a prefix.
func count(lines []string, prefix string) (n int) {
	for _, line := range lines {
		if line == prefix || strings.HasPrefix(line, prefix+" ") {
			n++
		}
	}
	return n
}
