package recipe

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/darts/weights"
)

// TextModel is a recurrent model as far as a run folder or a file knows it.
type TextModel struct {
	Genotype space.Recurrent
	Weights  string // file; "" for a search
	Data     string // a folder, or text.Grammar; "" for a file
	Seed     uint64 // of generated text
	BPTT     int    // 0 for a file
}

// TextModelOf reads what a run folder, also while the run goes on, or a file of weights says of its model.
func TextModelOf(path string) (TextModel, error) {
	info, err := os.Stat(path)
	if err != nil {
		return TextModel{}, err
	}
	if !info.IsDir() {
		return textModelOfFile(path)
	}
	folder, err := run.OpenReadOnly(path)
	if err != nil {
		return TextModel{}, err
	}
	task, err := Task(folder)
	if err != nil {
		return TextModel{}, err
	}
	var m TextModel
	var settings TextSettings
	switch task {
	case TaskTextTrain:
		var config TextTrainConfig
		err = folder.Config(&config)
		settings, m.Genotype, m.Weights = config.TextSettings, config.Genotype, filepath.Join(path, BestWeights)
	case TaskTextSearch:
		var config TextSearchConfig
		if err = folder.Config(&config); err == nil {
			m.Genotype, err = lastLine(path, space.ParseRecurrentFile, func(l textGenotypeLine) space.Recurrent { return l.Genotype })
		}
		settings = config.TextSettings
	default:
		err = fmt.Errorf("%s is not a run of a recurrent cell: want one that dartsc run search rnn or run train rnn made", path)
	}
	m.Data, m.Seed, m.BPTT = settings.Data, settings.Seed, settings.BPTT
	return m, err
}

func textModelOfFile(path string) (TextModel, error) {
	m := TextModel{Weights: path}
	w, err := weights.Read(path)
	if err != nil || w.Metadata["genotype"] == "" {
		return m, err
	}
	if m.Genotype, err = space.ParseRecurrent(w.Metadata["genotype"]); err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return m, err
}
