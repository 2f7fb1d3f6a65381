package recipe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
)

// Found is what a run has found so far.
type Found struct {
	Config   SearchConfig
	Data     data.Summary
	Genotype space.Genotype
}

// ReadFound reads a run folder, also while the search goes on: the genotype of its end or, before that, of its last
// epoch.
func ReadFound(path string) (Found, error) {
	folder, err := run.OpenReadOnly(path)
	if err != nil {
		return Found{}, err
	}
	var f Found
	if err := folder.Config(&f.Config); err != nil {
		return Found{}, err
	}
	if f.Genotype, err = lastGenotype(path); err != nil {
		return Found{}, err
	}
	checkpoint, err := folder.Latest()
	if err != nil {
		return Found{}, err
	}
	var state state[SearchConfig]
	if err := checkpoint.DecodeState(&state); err != nil {
		return Found{}, fmt.Errorf("%s: %w", path, err)
	}
	f.Data = state.Data
	return f, nil
}

func lastGenotype(path string) (space.Genotype, error) {
	g, err := space.ParseFile(filepath.Join(path, "genotype.json"))
	if !errors.Is(err, fs.ErrNotExist) {
		return g, err
	}
	log := filepath.Join(path, "genotypes.jsonl")
	text, err := os.ReadFile(log)
	if err != nil {
		return space.Genotype{}, err
	}
	end := bytes.LastIndexByte(text, '\n') // what follows is being written
	if end < 0 {
		return space.Genotype{}, fmt.Errorf("%s has no genotype yet: its first epoch has not ended", path)
	}
	last := text[bytes.LastIndexByte(text[:end], '\n')+1 : end]
	var line genotypeLine
	if err := json.Unmarshal(last, &line); err != nil {
		return space.Genotype{}, fmt.Errorf("%s: its last line: %w", log, err)
	}
	return line.Genotype, nil
}
