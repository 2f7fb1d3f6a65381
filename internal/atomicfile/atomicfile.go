// Package atomicfile writes files and folders that are either wholly there or not there at all: the content goes to a
// temporary name beside the target, is synced to the disk, and only then takes the target's name. A full disk, an error
// or a killed process leaves what was there before untouched.
//
// It knows nothing of what it writes. File is the way for one file, Dir for a folder whose files belong together.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
)

// temporary is the shape of every name this package uses before a commit: ".model.onnx.tmp-0123456789abcdef".
var temporary = regexp.MustCompile(`^\..+\.tmp-[0-9a-f]{16}$`)

// IsTemporary reports whether a file or folder of this name is a write that was never committed; readers skip it.
func IsTemporary(name string) bool { return temporary.MatchString(name) }

// Clean removes what killed processes left unfinished in a folder. Only a caller who knows that nobody else writes into
// the folder at that moment may call it: it cannot tell a leftover from a write in progress.
func Clean(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("clean %s: %w", folder, cause(err))
	}
	for _, entry := range entries {
		if !IsTemporary(entry.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(folder, entry.Name())); err != nil {
			return fmt.Errorf("clean %s: remove %s: %w", folder, entry.Name(), cause(err))
		}
	}
	return nil
}

// Write gives the file at path this content. The file that was there before, if any, stays as it was on any error.
func Write(path string, data []byte) error {
	file, err := Create(path)
	if err != nil {
		return err
	}
	defer file.Abort()
	if _, err := file.Write(data); err != nil {
		return err
	}
	return file.Commit()
}

// RemoveDir removes a folder and all it holds; a kill halfway leaves only temporaries, never a folder that has lost some
// of its files.
func RemoveDir(path string) error {
	doomed := temporaryName(path)
	if err := os.Rename(path, doomed); err != nil {
		return fmt.Errorf("remove %s: %w", path, cause(err))
	}
	if err := os.RemoveAll(doomed); err != nil {
		return fmt.Errorf("remove %s: %w", path, cause(err))
	}
	return nil
}

// SyncDir makes the names in a folder (what was created, renamed or removed there) last through a power failure.
func SyncDir(path string) error {
	if runtime.GOOS == "windows" { // has no such call: its file system journals names by itself
		return nil
	}
	folder, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, cause(err))
	}
	defer folder.Close()
	err = folder.Sync()
	// Some network file systems cannot sync a folder; there is nothing better to do on them.
	if err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("sync %s: %w", path, cause(err))
	}
	return nil
}

func temporaryName(path string) string {
	folder, name := filepath.Split(path)
	return filepath.Join(folder, fmt.Sprintf(".%s.tmp-%016x", name, rand.Uint64()))
}

// cause strips the path that the os package adds: it is the temporary's, which would only puzzle the reader. What a
// caller has wrapped stays whole.
func cause(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	}
	return err
}
