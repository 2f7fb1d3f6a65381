package recipe

import (
	"math"
	"testing"
)

// TestTrainRate: what PyTorch's CosineAnnealingLR and StepLR answer in closed form, and the line and the warm-up.
func TestTrainRate(t *testing.T) {
	paper, imageNet := PaperTraining(), ImageNetTraining()
	linear := imageNet
	linear.Schedule, linear.LearningRate, linear.WarmupEpochs = Linear, 0.5, 5
	slow := imageNet
	slow.DecayPeriod = 2
	warm := linear
	warm.Schedule, warm.LearningRateMin = Cosine, 0.001
	for _, c := range []struct {
		name   string
		config TrainConfig
		want   map[int]float64
	}{
		{"cosine", paper, map[int]float64{0: 0.025, 150: 0.02133883476483184, 300: 0.0125, 599: 1.71346907e-07}},
		{"step", imageNet, map[int]float64{0: 0.1, 1: 0.097, 100: 0.00475525079, 249: 5.08348835e-05}},
		{"step of two epochs", slow, map[int]float64{1: 0.1, 2: 0.097, 5: 0.09409}},
		{"warm-up, then a line", linear, map[int]float64{0: 0.1, 3: 0.4, 4: 0.5, 5: 0.49, 125: 0.25, 249: 0.002}},
		{"warm-up, then a cosine", warm, map[int]float64{1: 0.2, 20: 0.492161499}},
	} {
		for epoch, want := range c.want {
			if got := c.config.rateAt(epoch); math.Abs(got-want) > 1e-7*want {
				t.Errorf("%s: epoch %d: learning rate %.9g, want %.9g", c.name, epoch, got, want)
			}
		}
	}
}

// TestDropPathRamp: train.py drops with drop_path_prob * epoch / epochs.
func TestDropPathRamp(t *testing.T) {
	c := PaperTraining()
	for epoch, want := range map[int]float64{0: 0, 300: 0.1, 599: 0.2 * 599 / 600} {
		if got := c.dropPathAt(epoch); math.Abs(got-want) > 1e-15 {
			t.Errorf("epoch %d: paths drop with %v, want %v", epoch, got, want)
		}
	}
}
