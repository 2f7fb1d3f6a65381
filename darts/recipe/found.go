package recipe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
)

// Found is what a run has come to so far.
type Found struct {
	Task     string // "" for a search
	Data     data.Summary
	Genotype space.Genotype
	Network  cnn.Derived // that a training trains, whose weights its checkpoints have
}

// ReadFound reads a run folder, also while the run goes on: the genotype of a search's end or, before that, of its last
// epoch; the one that trainings train; or the one that was selected.
func ReadFound(path string) (Found, error) {
	folder, err := run.OpenReadOnly(path)
	if err != nil {
		return Found{}, err
	}
	task, err := Task(folder)
	if err != nil {
		return Found{}, err
	}
	f := Found{Task: task}
	switch task {
	case TaskTrain:
		var config TrainConfig
		if err := folder.Config(&config); err != nil {
			return Found{}, err
		}
		f.Genotype = config.Genotype
		f.Data, err = dataOf[TrainConfig](folder)
		f.Network = config.network(f.Data)
	case TaskRepeat: // the first of them knows the data
		var config RepeatConfig
		if err := folder.Config(&config); err != nil {
			return Found{}, err
		}
		first, err := ReadFound(filepath.Join(path, config.Name(0)))
		f.Genotype, f.Data = first.Genotype, first.Data
		return f, err
	case TaskSelect: // and so does the first search
		var config SelectConfig
		if err := folder.Config(&config); err != nil {
			return Found{}, err
		}
		first, err := ReadFound(filepath.Join(path, config.SearchName(0)))
		if err != nil {
			return Found{}, err
		}
		f.Data = first.Data
		if f.Genotype, err = space.ParseFile(filepath.Join(path, "genotype.json")); errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s has chosen no cell yet", path)
		}
		return f, err
	case "":
		var config SearchConfig
		if err := folder.Config(&config); err != nil {
			return Found{}, err
		}
		if f.Genotype, err = lastGenotype(path); err != nil {
			return Found{}, err
		}
		f.Data, err = dataOf[SearchConfig](folder)
	default:
		err = fmt.Errorf("%s is not a run of convolutional cells: want one that dartsc run search, select or run train made", path)
	}
	return f, err
}

// Task says what a folder is the run of: TaskTrain, TaskRepeat, TaskSelect, TaskTextSearch, TaskTextTrain, or "" for a search
// on images.
func Task(folder *run.Folder) (string, error) {
	var fields map[string]json.RawMessage
	if err := folder.Config(&fields); err != nil {
		return "", err
	}
	if fields["task"] == nil {
		return "", nil
	}
	var task string
	if err := json.Unmarshal(fields["task"], &task); err != nil {
		return "", fmt.Errorf("%s: config.json: task: %w", folder.Path(), err)
	}
	return task, nil
}

// dataOf is the data set of a run's last checkpoint.
func dataOf[C any](folder *run.Folder) (data.Summary, error) {
	checkpoint, err := folder.Latest()
	if err != nil {
		return data.Summary{}, err
	}
	var s state[C, data.Summary]
	if err := checkpoint.DecodeState(&s); err != nil {
		return data.Summary{}, fmt.Errorf("%s: %w", folder.Path(), err)
	}
	return s.Data, nil
}

func lastGenotype(path string) (space.Genotype, error) {
	return lastLine(path, space.ParseFile, func(l genotypeLine) space.Genotype { return l.Genotype })
}

// lastLine reads the genotype of a search's end, or of the last line of its genotypes.jsonl.
func lastLine[G, L any](path string, parse func(string) (G, error), of func(L) G) (none G, err error) {
	g, err := parse(filepath.Join(path, "genotype.json"))
	if !errors.Is(err, fs.ErrNotExist) {
		return g, err
	}
	log := filepath.Join(path, "genotypes.jsonl")
	text, err := os.ReadFile(log)
	if err != nil {
		return none, err
	}
	end := bytes.LastIndexByte(text, '\n') // what follows is being written
	if end < 0 {
		return none, fmt.Errorf("%s has no genotype yet: its first epoch has not ended", path)
	}
	last := text[bytes.LastIndexByte(text[:end], '\n')+1 : end]
	var line L
	if err := json.Unmarshal(last, &line); err != nil {
		return none, fmt.Errorf("%s: its last line: %w", log, err)
	}
	return of(line), nil
}
