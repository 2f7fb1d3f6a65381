package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// assertFolder holds a folder against the files, and nothing else, that it should have.
func assertFolder(t *testing.T, folder string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if _, ok := want[entry.Name()]; !ok {
			t.Errorf("%s holds %s, which should not be there", folder, entry.Name())
		}
	}
	for name, content := range want {
		got, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil || string(got) != content {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, content)
		}
	}
}

func TestWriteReplaces(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "a.json")
	for _, content := range []string{"first", "second, longer", ""} {
		if err := Write(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		assertFolder(t, folder, map[string]string{"a.json": content})
	}
}

func TestAbortKeepsTheOldFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "a.json")
	if err := Write(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	file, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(file, "new"); err != nil {
		t.Fatal(err)
	}
	file.Abort()
	file.Abort()
	if _, err := file.Write(nil); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write after Abort: got error %v, want %v", err, fs.ErrClosed)
	}
	if err := file.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Commit after Abort: got error %v, want %v", err, fs.ErrClosed)
	}
	assertFolder(t, folder, map[string]string{"a.json": "old"})
}

func TestWriteErrorsNameThePath(t *testing.T) {
	folder := t.TempDir()
	inside := filepath.Join(folder, "folder")
	if err := os.Mkdir(inside, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, want string }{
		{"a folder is there", inside, "is not a regular file"},
		{"no such folder", filepath.Join(folder, "absent", "a"), "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Write(c.path, []byte("x"))
			if err == nil || !strings.HasPrefix(err.Error(), "write "+c.path+": ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %s and %q", err, c.path, c.want)
			}
		})
	}
}

func TestWriteSparesDevices(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no /dev")
	}
	link := filepath.Join(t.TempDir(), "null")
	if err := os.Symlink(os.DevNull, link); err != nil {
		t.Fatal(err)
	}
	if err := Write(link, []byte("x")); err == nil {
		t.Error("Write replaces a link to a device")
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Errorf("%s is now %v (%v)", os.DevNull, info.Mode(), err)
	}
}

func TestWriteFollowsLinks(t *testing.T) {
	folder := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := Write(filepath.Join(folder, "a"), []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(folder, "a"), link); err != nil {
		t.Skip(err)
	}
	if err := Write(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	assertFolder(t, folder, map[string]string{"a": "new"})
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is now %v (%v)", info.Mode(), err)
	}
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func TestDir(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "step")
	dir, err := CreateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"a": "1", "b": "22"} {
		if err := dir.Write(name, text(content)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is there before Commit (%v)", err)
	}
	if err := dir.Commit(); err != nil {
		t.Fatal(err)
	}
	dir.Abort()
	assertFolder(t, path, map[string]string{"a": "1", "b": "22"})

	again, err := CreateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Commit over a folder: got error %v, want %v", err, fs.ErrExist)
	}
	assertFolder(t, path, map[string]string{"a": "1", "b": "22"})

	if err := RemoveDir(path); err != nil {
		t.Fatal(err)
	}
	assertFolder(t, folder, nil)
}

func TestDirAbortAndFailure(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "step")
	dir, err := CreateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	failure := errors.New("no more tensors")
	err = dir.Write("a", func(io.Writer) error { return failure })
	if !errors.Is(err, failure) || !strings.Contains(err.Error(), filepath.Join(path, "a")) {
		t.Errorf("got error %v, want %v and the path", err, failure)
	}
	dir.Abort()
	if err := dir.Write("b", text("")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write after Abort: got error %v, want %v", err, fs.ErrClosed)
	}
	assertFolder(t, folder, nil)
}

func TestCleanRemovesOnlyTemporaries(t *testing.T) {
	folder := t.TempDir()
	left, err := Create(filepath.Join(folder, "a"))
	if err != nil {
		t.Fatal(err)
	}
	left.temp.Close() // as a killed process leaves it
	dir, err := CreateDir(filepath.Join(folder, "d"))
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Write("x", text("x")); err != nil {
		t.Fatal(err)
	}
	keep := map[string]string{"a.tmp-0123456789abcdef": "", ".a.tmp-1": "", ".hidden": ""}
	for name := range keep {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := Clean(folder); err != nil {
		t.Fatal(err)
	}
	assertFolder(t, folder, keep)
}
