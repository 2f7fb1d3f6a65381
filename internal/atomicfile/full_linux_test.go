package atomicfile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A process may not write files above its RLIMIT_FSIZE, which fails at the same call as a full disk does. The limit
// holds for a whole process, so the test runs itself as a child.
func TestFullDisk(t *testing.T) {
	const variable = "ATOMICFILE_TEST_FULL_DISK"
	if folder := os.Getenv(variable); folder != "" {
		writeTooMuch(t, folder)
		return
	}
	folder := t.TempDir()
	if err := Write(filepath.Join(folder, "a"), []byte("old")); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestFullDisk$")
	child.Env = append(os.Environ(), variable+"="+folder)
	if output, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	assertFolder(t, folder, map[string]string{"a": "old"})
}

func writeTooMuch(t *testing.T, folder string) {
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 4096, Max: 4096}); err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("x"), 10000)
	path := filepath.Join(folder, "a")
	if err := Write(path, data); !errors.Is(err, syscall.EFBIG) || !strings.HasPrefix(err.Error(), "write "+path+": ") {
		t.Errorf("Write: got error %v, want write %s: %v", err, path, syscall.EFBIG)
	}
	dir, err := CreateDir(filepath.Join(folder, "d"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Abort()
	err = dir.Write("x", func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	want := "write " + filepath.Join(folder, "d", "x") + ": " + syscall.EFBIG.Error()
	if err == nil || err.Error() != want {
		t.Errorf("Dir.Write: got error %v, want %s", err, want)
	}
}
