package recipe

import (
	"time"

	"github.com/dartsc/dartsc/darts/budget"
	"github.com/dartsc/dartsc/darts/space"
)

// Progress is told after every step.
type Progress struct {
	Epoch, Epochs int
	Step, Steps   int // within the epoch, Step counted from 1
	Loss          float64
	Top1          float64 // percent, over the epoch so far
	Perplexity    float64 // the same of text
	Items         int     // images or words that the step read
	Time          time.Duration
}

// EpochReport is one line of metrics.jsonl at the end of an epoch. It holds nothing that depends on the machine, so
// that equal runs write equal bytes.
type EpochReport struct {
	Event        string  `json:"event"` // "epoch"
	Epoch        int     `json:"epoch"`
	Step         int64   `json:"step"`
	LearningRate float64 `json:"learning_rate"`
	TrainLoss    float64 `json:"train_loss"`
	TrainTop1    float64 `json:"train_top1"` // percent, as all accuracies
	TrainTop5    float64 `json:"train_top5"`
	ValidLoss    float64 `json:"valid_loss"`
	ValidTop1    float64 `json:"valid_top1"`
	ValidTop5    float64 `json:"valid_top5"`

	// Of a search.
	Cells    *Cells `json:"cells,omitempty"`
	Genotype string `json:"genotype,omitempty"`
	genotype space.Genotype

	// Of a training.
	DropPath float64 `json:"drop_path,omitempty"` // the probability in this epoch
	Best     *Best   `json:"best,omitempty"`      // up to this epoch
}

// Cells says how far the search has decided: the mean entropy of the edges' softmax in nats (log 8 = 2.08 at the
// start, 0 when all are decided), and the skip connections of the derived cells, whose growing number is the known
// way in which DARTS collapses.
type Cells struct {
	EntropyNormal float64 `json:"entropy_normal"`
	EntropyReduce float64 `json:"entropy_reduce"`
	SkipsNormal   int     `json:"skips_normal"`
	SkipsReduce   int     `json:"skips_reduce"`

	// Under --max-params or --max-flops: what the derived network costs, and what the alphas were penalised by.
	Cost    *budget.Cost `json:"cost,omitempty"`
	Penalty float64      `json:"penalty,omitempty"`
}

// Best is the epoch of the highest accuracy, the first of equal ones.
type Best struct {
	Epoch int     `json:"epoch"`
	Top1  float64 `json:"top1"`
}

// stepReport is one line of metrics.jsonl every report_freq steps: means over the epoch so far.
type stepReport struct {
	Event     string   `json:"event"` // "step"
	Epoch     int      `json:"epoch"`
	Step      int64    `json:"step"`
	Loss      float64  `json:"loss"`
	Top1      float64  `json:"top1"`
	Top5      float64  `json:"top5"`
	AlphaLoss *float64 `json:"alpha_loss,omitempty"` // on the batches that the alphas learn from
	GradNorm  float64  `json:"grad_norm"`            // of this step
}

// totals are sums over images, or over words.
type totals struct {
	Count     int64   `json:"count"`
	Loss      float64 `json:"loss"`
	AlphaLoss float64 `json:"alpha_loss,omitempty"`
	Correct   float64 `json:"correct,omitempty"`
	Correct5  float64 `json:"correct5,omitempty"`
}

func (t totals) mean(sum float64) float64 { return sum / float64(max(t.Count, 1)) }

// train puts the means of an epoch's steps into a report, and valid those of its evaluation.
func (r *EpochReport) train(t totals) {
	r.TrainLoss, r.TrainTop1, r.TrainTop5 = t.mean(t.Loss), 100*t.mean(t.Correct), 100*t.mean(t.Correct5)
}

func (r *EpochReport) valid(t totals) {
	r.ValidLoss, r.ValidTop1, r.ValidTop5 = t.mean(t.Loss), 100*t.mean(t.Correct), 100*t.mean(t.Correct5)
}

// scores are those of the epoch's evaluation.
func (r EpochReport) scores() Scores {
	return Scores{Loss: r.ValidLoss, Top1: r.ValidTop1, Top5: r.ValidTop5}
}
