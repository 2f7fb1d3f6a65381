package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a file being written. It takes its name at Commit; Abort, or a killed process, leaves the name as it was.
type File struct {
	path   string // as the caller named it, for errors
	target string // where it goes, symbolic links resolved
	temp   *os.File
}

// Create begins a file. The caller ends it with Commit or Abort; "defer file.Abort()" is right in either case.
func Create(path string) (*File, error) {
	target, err := resolve(path)
	if err != nil {
		return nil, err
	}
	temp, err := os.OpenFile(temporaryName(target), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, cause(err))
	}
	return &File{path: path, target: target, temp: temp}, nil
}

// resolve follows symbolic links, so that a rename does not replace the link, and refuses what a rename would destroy:
// a device such as /dev/null, a pipe, a folder.
func resolve(path string) (string, error) {
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, cause(err))
	}
	info, err := os.Stat(target)
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, cause(err))
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("write %s: it exists and is not a regular file", path)
	}
	return target, nil
}

// Write appends to the file.
func (f *File) Write(data []byte) (int, error) {
	if f.temp == nil {
		return 0, fmt.Errorf("write %s: %w", f.path, fs.ErrClosed)
	}
	n, err := f.temp.Write(data)
	if err != nil {
		return n, fmt.Errorf("write %s: %w", f.path, cause(err))
	}
	return n, nil
}

// Commit makes the content last and gives it its name. On an error nothing has changed, but for one case: where only
// the last step, syncing the folder, fails, the new content is in place and a power failure might still undo it.
func (f *File) Commit() error {
	if f.temp == nil {
		return fmt.Errorf("write %s: %w", f.path, fs.ErrClosed)
	}
	defer f.Abort()
	if err := f.finish(); err != nil {
		return fmt.Errorf("write %s: %w", f.path, cause(err))
	}
	if err := SyncDir(filepath.Dir(f.target)); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return nil
}

func (f *File) finish() error {
	if err := f.temp.Sync(); err != nil {
		return err
	}
	if err := f.temp.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.temp.Name(), f.target); err != nil {
		return err
	}
	f.temp = nil // from here on there is nothing to abort
	return nil
}

// Abort drops the file. After Commit, or a second time, it does nothing.
func (f *File) Abort() {
	if f.temp == nil {
		return
	}
	f.temp.Close()
	os.Remove(f.temp.Name())
	f.temp = nil
}
