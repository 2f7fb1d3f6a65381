package recipe

import (
	"fmt"
	"math"
)

// cosine is SGDR without restarts: from the first rate in epoch 0 towards the last one, which the epoch after the end
// would have. Both the original's search and its training use it.
func cosine(epoch, epochs int, first, last float64) float64 {
	half := (1 + math.Cos(math.Pi*float64(epoch)/float64(epochs))) / 2
	return last + (first-last)*half
}

// The ways in which a training's learning rate falls.
const (
	Cosine    = "cosine" // to --learning-rate-min: the original's for CIFAR
	StepDecay = "step"   // by --gamma every --decay-period epochs: the original's for ImageNet
	Linear    = "linear" // to --learning-rate-min in a line: what later ImageNet trainings of such networks took
)

// Schedules lists them.
func Schedules() []string { return []string{Cosine, StepDecay, Linear} }

// rateAt is the learning rate in an epoch, counted from 0. Warm-up takes the place of the schedule's first epochs.
func (c TrainConfig) rateAt(epoch int) float64 {
	if epoch < c.WarmupEpochs {
		return c.LearningRate * float64(epoch+1) / float64(c.WarmupEpochs)
	}
	switch c.Schedule {
	case StepDecay:
		return c.LearningRate * math.Pow(c.Gamma, float64(epoch/c.DecayPeriod))
	case Linear:
		return c.LearningRate + (c.LearningRateMin-c.LearningRate)*float64(epoch)/float64(c.Epochs)
	default:
		return cosine(epoch, c.Epochs, c.LearningRate, c.LearningRateMin)
	}
}

// dropPathAt is the probability with which an epoch drops paths: it climbs in a line, towards DropPathProb at the end.
func (c TrainConfig) dropPathAt(epoch int) float64 {
	return c.DropPathProb * float64(epoch) / float64(c.Epochs)
}

// check is one condition on a setting.
type check struct {
	flag string
	ok   bool
	want string
}

// firstWrong is the error of the first condition that does not hold.
func firstWrong(checks []check) error {
	for _, c := range checks {
		if !c.ok {
			return fmt.Errorf("%s must be %s", c.flag, c.want)
		}
	}
	return nil
}
