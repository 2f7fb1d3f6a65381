package recipe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/export"
	"github.com/dartsc/dartsc/darts/report"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
)

// SearchResult is results.json of a search: what came out of it.
type SearchResult struct {
	Task     string `json:"task"` // "search"
	Genotype string `json:"genotype"`
	Data     string `json:"data"`
	Seed     uint64 `json:"seed"`
	Epochs   int    `json:"epochs"`
	Last     Scores `json:"last"` // of the supernet, on the images of the alphas, after the last epoch
	Cells    Cells  `json:"cells"`
}

// finish writes what the search found: genotype.json, drawings of both cells, model.onnx, the derived network at the size
// of the search with fresh weights, and results.json, which comes last and so marks a search that has ended.
func (s *Search) finish(ctx context.Context, folder *run.Folder, r EpochReport) error {
	if err := writeCells(folder, r.genotype); err != nil {
		return err
	}
	config := s.config
	model, err := export.ONNX(ctx, export.Model{
		Network: cnn.Derived{Genotype: r.genotype, Channels: config.InitChannels, Layers: config.Layers, Classes: len(s.data.Classes)},
		Data:    s.data, Seed: config.Seed, Version: s.options.Version,
	}, export.Options{})
	if err != nil {
		return err
	}
	if err := folder.WriteFile("model.onnx", model); err != nil {
		return err
	}
	return WriteResult(folder, SearchResult{
		Task: "search", Genotype: r.Genotype, Data: s.data.Name, Seed: config.Seed, Epochs: config.Epochs, Last: r.scores(), Cells: *r.Cells,
	})
}

// writeCells writes genotype.json and drawings of both cells.
func writeCells(folder *run.Folder, genotype space.Genotype) error {
	text, err := json.MarshalIndent(genotype, "", "  ")
	if err != nil {
		return err
	}
	if err := folder.WriteFile("genotype.json", append(text, '\n')); err != nil {
		return err
	}
	for name, cell := range map[string]func() (report.Drawing, error){
		"normal.svg":    func() (report.Drawing, error) { return report.Cell(genotype.Normal, genotype.NormalConcat) },
		"reduction.svg": func() (report.Drawing, error) { return report.Cell(genotype.Reduce, genotype.ReduceConcat) },
	} {
		drawing, err := cell()
		if err != nil {
			return err
		}
		if err := folder.WriteFile(name, drawing.SVG()); err != nil {
			return err
		}
	}
	return nil
}

// Results is the file that says what came out of a run that has ended.
const Results = "results.json"

// WriteResult writes a result as that file.
func WriteResult(folder *run.Folder, result any) error {
	text, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	return folder.WriteFile(Results, append(text, '\n'))
}

// ReadResult reads the result of a run that has ended; found is false for one that has not.
func ReadResult(path string, result any) (found bool, err error) {
	file := filepath.Join(path, Results)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(text, result); err != nil {
		return false, fmt.Errorf("%s: %w", file, err)
	}
	return true, nil
}
