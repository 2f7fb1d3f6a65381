package recipe

import (
	"fmt"

	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
)

// RecurrentOf reads the cell of a run folder, also while the run goes on: what a search has found at its end or, before
// that, in its last epoch; or what a training trains.
func RecurrentOf(path string) (space.Recurrent, error) {
	folder, err := run.OpenReadOnly(path)
	if err != nil {
		return space.Recurrent{}, err
	}
	task, err := Task(folder)
	if err != nil {
		return space.Recurrent{}, err
	}
	switch task {
	case TaskTextTrain:
		var config TextTrainConfig
		err := folder.Config(&config)
		return config.Genotype, err
	case TaskTextSearch:
		return lastLine(path, space.ParseRecurrentFile, func(l textGenotypeLine) space.Recurrent { return l.Genotype })
	}
	return space.Recurrent{}, fmt.Errorf("%s is not a run of a recurrent cell: want one that dartsc run search rnn or run train rnn made", path)
}
