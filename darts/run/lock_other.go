//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package run

import (
	"errors"
	"io/fs"
	"os"
)

// acquire keeps the lock file open. On Windows an open file cannot be removed, which makes this a lock that the death
// of the process gives free; elsewhere it only catches two runs that start at the same moment.
func acquire(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, ErrInUse
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, ErrInUse
	}
	return file, err
}
