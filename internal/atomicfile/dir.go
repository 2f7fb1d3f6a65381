package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir is a folder being written. It takes its name, with all its files, at Commit.
type Dir struct {
	path string
	temp string // "" once committed or aborted
}

// CreateDir begins a folder at a path where there is none. The caller ends it with Commit or Abort;
// "defer dir.Abort()" is right in either case.
func CreateDir(path string) (*Dir, error) {
	temp := temporaryName(filepath.Clean(path))
	if err := os.Mkdir(temp, 0o777); err != nil {
		return nil, fmt.Errorf("write %s: %w", path, cause(err))
	}
	return &Dir{path: path, temp: temp}, nil
}

// Write adds one file, with what fill writes, and syncs it.
func (d *Dir) Write(name string, fill func(io.Writer) error) error {
	path := filepath.Join(d.path, name)
	if d.temp == "" {
		return fmt.Errorf("write %s: %w", path, fs.ErrClosed)
	}
	file, err := os.OpenFile(filepath.Join(d.temp, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, cause(err))
	}
	buffered := bufio.NewWriter(file)
	err = fill(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, cause(err))
	}
	return nil
}

// Commit makes the folder last and gives it its name. Something already at that path is an error and stays.
func (d *Dir) Commit() error {
	if d.temp == "" {
		return fmt.Errorf("write %s: %w", d.path, fs.ErrClosed)
	}
	defer d.Abort()
	// A rename would silently replace an empty folder.
	if _, err := os.Lstat(d.path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write %s: %w", d.path, fs.ErrExist)
	}
	if err := SyncDir(d.temp); err != nil {
		return fmt.Errorf("write %s: %w", d.path, err)
	}
	if err := os.Rename(d.temp, d.path); err != nil {
		return fmt.Errorf("write %s: %w", d.path, cause(err))
	}
	d.temp = ""
	return SyncDir(filepath.Dir(filepath.Clean(d.path)))
}

// Abort drops the folder. After Commit, or a second time, it does nothing.
func (d *Dir) Abort() {
	if d.temp == "" {
		return
	}
	os.RemoveAll(d.temp)
	d.temp = ""
}
