package recipe

import (
	"math"

	"github.com/dartsc/dartsc/darts/space"
)

// TextReport is one line of metrics.jsonl at the end of an epoch on text. Losses are in nats a word, perplexities their
// exponentials.
type TextReport struct {
	Event           string  `json:"event"` // "epoch"
	Epoch           int     `json:"epoch"`
	Step            int64   `json:"step"`
	TrainLoss       float64 `json:"train_loss"`
	TrainPerplexity float64 `json:"train_perplexity"`
	ValidLoss       float64 `json:"valid_loss"`
	ValidPerplexity float64 `json:"valid_perplexity"`

	// Of a search.
	Entropy  float64 `json:"entropy,omitempty"` // of the edges' softmax, see space.Entropy
	Genotype string  `json:"genotype,omitempty"`
	genotype space.Recurrent

	// Of a training.
	Averaged bool      `json:"averaged,omitempty"` // whether the validation is of averaged weights
	Best     *BestText `json:"best,omitempty"`     // up to this epoch
}

// BestText is the epoch of the lowest perplexity on the validation text, the first of equal ones.
type BestText struct {
	Epoch      int     `json:"epoch"`
	Loss       float64 `json:"loss"`
	Perplexity float64 `json:"perplexity"`
	Averaged   bool    `json:"averaged"`
}

// textStepReport is one line of metrics.jsonl every log_interval steps: means over the epoch so far.
type textStepReport struct {
	Event      string   `json:"event"` // "step"
	Epoch      int      `json:"epoch"`
	Step       int64    `json:"step"`
	Loss       float64  `json:"loss"`
	Perplexity float64  `json:"perplexity"`
	AlphaLoss  *float64 `json:"alpha_loss,omitempty"`
	GradNorm   float64  `json:"grad_norm"` // of this step
}

// rollbackReport is the line of an epoch that a training gave up.
type rollbackReport struct {
	Event string `json:"event"` // "rollback"
	Epoch int    `json:"epoch"`
	Step  int64  `json:"step"`
	To    int    `json:"to_epoch"` // whose weights it goes on from
}

// textGenotypeLine is one line of genotypes.jsonl.
type textGenotypeLine struct {
	Epoch    int             `json:"epoch"`
	Step     int64           `json:"step"`
	Genotype space.Recurrent `json:"genotype"`
	Text     string          `json:"text"`
	Entropy  float64         `json:"entropy"`
}

func newTextReport(s *standing, epoch int, t totals) TextReport {
	train, valid := t.mean(t.Loss), s.Valid.mean(s.Valid.Loss)
	return TextReport{
		Event: "epoch", Epoch: epoch, Step: s.Step,
		TrainLoss: train, TrainPerplexity: math.Exp(train), ValidLoss: valid, ValidPerplexity: math.Exp(valid),
	}
}
