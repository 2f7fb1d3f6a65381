package recipe

import (
	"math"
	"strings"
	"testing"
)

// TestRate: the cosine schedule, against the value in the original's published log (quark0/darts#12: epoch 49).
func TestRate(t *testing.T) {
	c := Paper()
	for epoch, want := range map[int]float64{0: 0.025, 25: 0.013, 49: 1.023679e-03} {
		if got := c.rateAt(epoch); math.Abs(got-want) > 5e-10 {
			t.Errorf("epoch %d: learning rate %.9g, want %.9g", epoch, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, good := range []SearchConfig{Paper(), Quick()} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, c := range []struct {
		flag  string
		spoil func(c *SearchConfig)
	}{
		{"--epochs", func(c *SearchConfig) { c.Epochs = 0 }},
		{"--batch-size", func(c *SearchConfig) { c.BatchSize = -1 }},
		{"--learning-rate", func(c *SearchConfig) { c.LearningRate = math.NaN() }},
		{"--learning-rate-min", func(c *SearchConfig) { c.LearningRateMin = 1 }},
		{"--momentum", func(c *SearchConfig) { c.Momentum = 1 }},
		{"--grad-clip", func(c *SearchConfig) { c.GradClip = math.Inf(1) }},
		{"--train-portion", func(c *SearchConfig) { c.TrainPortion = 1 }},
		{"--image-size", func(c *SearchConfig) { c.ImageSize = "large" }},
		{"--seed", func(c *SearchConfig) { c.Seed = 1 << 60 }},
	} {
		config := Paper()
		c.spoil(&config)
		if err := config.Validate(); err == nil || !strings.Contains(err.Error(), c.flag) {
			t.Errorf("error %v, want one that names %s", err, c.flag)
		}
	}
}

// TestDifference names the first field that two configurations differ in, as config.json has it.
func TestDifference(t *testing.T) {
	a, b := Paper(), Paper()
	if field, _, _ := difference(a, b); field != "" {
		t.Errorf("equal configurations differ in %q", field)
	}
	b.Layers = 3
	if field, x, y := difference(a, b); field != "layers" || x != 8 || y != 3 {
		t.Errorf("difference %q, %v and %v; want layers, 8 and 3", field, x, y)
	}
}
