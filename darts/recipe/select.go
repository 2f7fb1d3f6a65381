package recipe

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
)

// TaskSelect is SelectConfig's Task.
const TaskSelect = "select"

// SelectConfig is the paper's protocol for finding a cell (sec. 3.1): several searches under seeds of their own, a short
// training from scratch of what each of them found, and the cell that does best on images held out from it. It is
// config.json of a folder that holds the folders of all these runs.
type SelectConfig struct {
	Task    string       `json:"task"`
	Runs    int          `json:"runs"`
	Search  SearchConfig `json:"search"`  // the first one; seeds count up
	Retrain TrainConfig  `json:"retrain"` // of every cell, under one seed; without Arch and Genotype
}

// SearchOf is the configuration of one of the searches.
func (c SelectConfig) SearchOf(i int) SearchConfig {
	s := c.Search
	s.Seed += uint64(i)
	return s
}

// SearchName is the folder of one of the searches, and TrainingName that of the training of what it found.
func (c SelectConfig) SearchName(i int) string   { return fmt.Sprintf("search-%d", c.SearchOf(i).Seed) }
func (c SelectConfig) TrainingName(i int) string { return fmt.Sprintf("train-%d", c.SearchOf(i).Seed) }

// TrainingOf is the configuration of the training of what a search found.
func (c SelectConfig) TrainingOf(found SearchResult) (TrainConfig, error) {
	t := c.Retrain
	genotype, err := space.Parse(found.Genotype)
	t.Arch, t.Genotype = fmt.Sprintf("search-%d", found.Seed), genotype
	return t, err
}

// PaperSelection returns the settings of the paper: its searches, then 100 epochs of its full network. The training
// learns from the half of the images that the searches' weights learn from, and is evaluated on the other.
func PaperSelection() SelectConfig {
	c := SelectConfig{Task: TaskSelect, Runs: 4, Search: Paper(), Retrain: PaperTraining()}
	c.Retrain.Epochs, c.Retrain.TrainPortion = 100, c.Search.TrainPortion
	return c
}

// QuickSelection returns settings for a first result within minutes.
func QuickSelection() SelectConfig {
	c := SelectConfig{Task: TaskSelect, Runs: 2, Search: Quick(), Retrain: QuickTraining()}
	c.Retrain.Epochs, c.Retrain.TrainPortion = 2, c.Search.TrainPortion
	return c
}

// Candidate is one of the cells to choose from.
type Candidate struct {
	Search   SearchResult `json:"search"`
	Training TrainResult  `json:"training"`
	Chosen   bool         `json:"chosen"`
}

// SelectResult is results.json of a selection. The candidates come best first.
type SelectResult struct {
	Task       string      `json:"task"`
	Genotype   string      `json:"genotype"` // of the cell that was chosen
	Candidates []Candidate `json:"candidates"`
}

// Selected ranks candidates: by accuracy after the last epoch, then by loss, then in the order of their searches. The
// best epoch of each is not asked, which would favour unsteady ones.
func Selected(candidates []Candidate) SelectResult {
	ranked := slices.Clone(candidates)
	slices.SortStableFunc(ranked, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(b.Training.Last.Top1, a.Training.Last.Top1), cmp.Compare(a.Training.Last.Loss, b.Training.Last.Loss))
	})
	for i := range ranked {
		ranked[i].Chosen = i == 0
	}
	return SelectResult{Task: TaskSelect, Genotype: ranked[0].Training.Genotype, Candidates: ranked}
}

// WriteSelected writes the chosen cell, its drawings, and results.json.
func WriteSelected(folder *run.Folder, result SelectResult) error {
	genotype, err := space.Parse(result.Genotype)
	if err != nil {
		return err
	}
	if err := writeCells(folder, genotype); err != nil {
		return err
	}
	return WriteResult(folder, result)
}
