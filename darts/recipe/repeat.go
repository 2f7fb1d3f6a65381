package recipe

import (
	"fmt"
	"math"
)

// TaskRepeat is RepeatConfig's Task.
const TaskRepeat = "repeat"

// RepeatConfig is one training under several seeds, as published accuracies are measured. It is config.json of a folder
// that holds the folder of each training.
type RepeatConfig struct {
	Task    string      `json:"task"`
	Repeats int         `json:"repeats"`
	Train   TrainConfig `json:"train"` // the first one
}

// Training is the configuration of one of the trainings: their seeds count up.
func (c RepeatConfig) Training(i int) TrainConfig {
	t := c.Train
	t.Seed += uint64(i)
	return t
}

// Name is the folder of one of them.
func (c RepeatConfig) Name(i int) string { return fmt.Sprintf("seed-%d", c.Training(i).Seed) }

// RepeatResult is results.json of repeated trainings.
type RepeatResult struct {
	Task     string        `json:"task"`
	Last     Spread        `json:"last"` // top-1 accuracy after the last epoch
	Best     Spread        `json:"best"` // after each one's best
	Training []TrainResult `json:"training"`
}

// Spread is the mean of some accuracies, in percent, and their standard deviation as one estimates it from samples.
type Spread struct {
	Mean      float64 `json:"mean"`
	Deviation float64 `json:"deviation"`
}

func (s Spread) String() string { return fmt.Sprintf("%.2f%% ± %.2f", s.Mean, s.Deviation) }

// Repeated sums repeated trainings up.
func Repeated(results []TrainResult) RepeatResult {
	last, best := make([]float64, len(results)), make([]float64, len(results))
	for i, r := range results {
		last[i], best[i] = r.Last.Top1, r.Best.Top1
	}
	return RepeatResult{Task: TaskRepeat, Last: spread(last), Best: spread(best), Training: results}
}

func spread(values []float64) (s Spread) {
	for _, v := range values {
		s.Mean += v / float64(len(values))
	}
	if len(values) < 2 {
		return s
	}
	for _, v := range values {
		s.Deviation += (v - s.Mean) * (v - s.Mean)
	}
	s.Deviation = math.Sqrt(s.Deviation / float64(len(values)-1))
	return s
}
