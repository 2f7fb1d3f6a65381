package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/run"
)

// series is a run folder that holds the folders of several runs, which are made one after the other. It goes on where it
// was stopped: a run inside that has ended is left as it is, one that has begun goes on.
type series struct {
	flags  *runFlags
	config any
	folder *run.Folder  // nil until the first run begins: nothing is left of a series that cannot
	check  func() error // what else must hold before that, or nil
}

// path is where the series, or a run of it, has its folder.
func (s *series) path(inside ...string) string {
	if s.folder == nil {
		return ""
	}
	return filepath.Join(append([]string{s.folder.Path()}, inside...)...)
}

// result reads what came out of a run inside, if it has ended.
func (s *series) result(name string, into any) (found bool, err error) {
	if s.folder == nil {
		return false, nil
	}
	return recipe.ReadResult(s.path(name), into)
}

// begin makes the folder of the series, unless it has been opened.
func (s *series) begin() (err error) {
	if s.folder != nil {
		return nil
	}
	if s.check != nil {
		if err := s.check(); err != nil {
			return err
		}
	}
	s.flags.defaultSave()
	s.folder, err = run.Create(s.flags.save, s.config)
	return err
}

// run opens the folder of a run inside.
func (s *series) run(name string, config any) (*run.Checkpoint, *run.Folder, error) {
	if err := s.begin(); err != nil {
		return nil, nil, err
	}
	path := s.path(name)
	if _, err := os.Stat(filepath.Join(path, "config.json")); errors.Is(err, fs.ErrNotExist) {
		folder, err := run.Create(path, config)
		return nil, folder, err
	}
	folder, err := run.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if err := sameConfig(folder, config); err != nil {
		folder.Close()
		return nil, nil, err
	}
	checkpoint, _, err := folder.Resume()
	if err != nil {
		folder.Close()
		return nil, nil, err
	}
	return checkpoint, folder, nil
}

// sameConfig is an error if a folder is of other settings than the series asks for.
func sameConfig(folder *run.Folder, config any) error {
	var found map[string]any
	if err := folder.Config(&found); err != nil {
		return err
	}
	got, err := json.Marshal(found)
	if err != nil {
		return err
	}
	var wanted map[string]any
	text, err := json.Marshal(config)
	if err == nil {
		err = json.Unmarshal(text, &wanted)
	}
	if err != nil {
		return err
	}
	if want, err := json.Marshal(wanted); err != nil || string(got) != string(want) {
		return fmt.Errorf("%s is of other settings than config.json beside it asks for", folder.Path())
	}
	return nil
}

func (s *series) close() {
	if s.folder != nil {
		s.folder.Close()
	}
}
