package nvrtc

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dartsc/dartsc/internal/atomicfile"
)

// unused is how long an object stays in a cache after it was last asked for.
const unused = 30 * 24 * time.Hour

// CompileCached is Compile with a folder that keeps objects, by all that they depend on. One from there has no log. What
// the folder cannot give or take, it does without.
func (l *Library) CompileCached(folder string, s Source) (Object, error) {
	path := filepath.Join(folder, l.key(s))
	if code, ok := load(path); ok {
		now := time.Now()
		os.Chtimes(path, now, now)
		return Object{Code: code}, nil
	}
	object, err := l.Compile(s)
	if err == nil {
		store(path, object.Code)
	}
	return object, err
}

// key names the object of a source.
func (l *Library) key(s Source) string {
	h := sha256.New()
	text := func(parts ...string) {
		for _, part := range parts {
			fmt.Fprintf(h, "%d:%s", len(part), part)
		}
	}
	text(l.Version(), s.Arch, s.Name, s.Text)
	text(s.Flags...)
	for _, name := range sortedKeys(s.Headers) {
		text(name, s.Headers[name])
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16])
}

// load reads an object, unless it is missing or damaged.
func load(path string) ([]byte, bool) {
	content, err := os.ReadFile(path)
	if err != nil || len(content) < sha256.Size {
		return nil, false
	}
	sum := sha256.Sum256(content[sha256.Size:])
	return content[sha256.Size:], bytes.Equal(sum[:], content[:sha256.Size])
}

// store writes an object behind its checksum, and removes those that were not used for long.
func store(path string, code []byte) {
	folder := filepath.Dir(path)
	if os.MkdirAll(folder, 0o777) != nil {
		return
	}
	sum := sha256.Sum256(code)
	if atomicfile.Write(path, slices.Concat(sum[:], code)) != nil {
		return
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > unused {
			os.Remove(filepath.Join(folder, entry.Name()))
		}
	}
}
