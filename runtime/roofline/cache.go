package roofline

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dartsc/dartsc/internal/atomicfile"
)

// Path is the file that keeps the roofline of a key: one for each set of kernels and number of workers.
func Path(k Key) (string, error) {
	folder, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(folder, "dartsc", fmt.Sprintf("roofline-%s-%d.json", k.Kernels, k.Workers)), nil
}

// load reads a cached roofline. A file that is missing, damaged, of another processor or of another form is as none: it
// will be measured again.
func load(k Key) (Roofline, bool) {
	path, err := Path(k)
	if err != nil {
		return Roofline{}, false
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return Roofline{}, false
	}
	var r Roofline
	if json.Unmarshal(content, &r) != nil || r.Key != k || !r.One.sound() || !r.All.sound() || r.Launch < 0 {
		return Roofline{}, false
	}
	return r, true
}

// sound says whether speeds can be divided by.
func (s Speeds) sound() bool {
	ok := s.GFLOPS > 0 && len(s.Levels) > 0
	for _, l := range s.Levels {
		ok = ok && l.Read > 0 && l.Update > 0 && l.Bytes >= 0
	}
	return ok
}

func store(r Roofline) error {
	path, err := Path(r.Key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(content, '\n'))
}
