package recipe

import (
	"fmt"
	"math"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/darts/text"
)

// The tasks of recurrent runs, as config.json has them.
const (
	TaskTextSearch = "rnn search"
	TaskTextTrain  = "rnn train"
)

// TextSettings are the settings that a search and a training on text share. The names are the original's flags.
type TextSettings struct {
	Task             string  `json:"task"`
	Data             string  `json:"data"` // a folder, or text.Grammar
	Hidden           int     `json:"nhid"` // of embedding, states and decoder alike
	Epochs           int     `json:"epochs"`
	BatchSize        int     `json:"batch_size"`
	SmallBatchSize   int     `json:"small_batch_size"` // 0: BatchSize
	BPTT             int     `json:"bptt"`
	Dropout          float64 `json:"dropout"`
	DropoutHidden    float64 `json:"dropouth"`
	DropoutInput     float64 `json:"dropoutx"`
	DropoutEmbedding float64 `json:"dropouti"`
	DropoutWords     float64 `json:"dropoute"`
	LearningRate     float64 `json:"lr"`
	Clip             float64 `json:"clip"`
	WeightDecay      float64 `json:"wdecay"`
	Activation       float64 `json:"alpha"`
	Slowness         float64 `json:"beta"`
	Seed             uint64  `json:"seed"`
	ReportFreq       int     `json:"log_interval"`
	Precision        string  `json:"precision,omitempty"` // as SearchConfig's
}

// TextSearchConfig is everything that decides the result of a search for a recurrent cell, as SearchConfig is of one on
// images.
type TextSearchConfig struct {
	TextSettings
	Unrolled         bool    `json:"unrolled"`
	ArchLearningRate float64 `json:"arch_lr"`
	ArchWeightDecay  float64 `json:"arch_wdecay"`
	AsOriginal       bool    `json:"as_original"` // with the defects of the original's second order
}

// TextTrainConfig is everything that decides the result of a training of a recurrent cell.
type TextTrainConfig struct {
	TextSettings
	Arch     string          `json:"arch"`     // as it was given
	Genotype space.Recurrent `json:"genotype"` // what that means
	NonMono  int             `json:"nonmono"`
	Delta    int             `json:"max_seq_len_delta"`
	Finetune string          `json:"finetune,omitempty"` // file of the weights to start from, with averaging from the first step on
}

// PaperTextSearch returns the settings of the original's rnn/train_search.py, for everything but the data.
func PaperTextSearch() TextSearchConfig {
	return TextSearchConfig{
		TextSettings: TextSettings{
			Task: TaskTextSearch, Hidden: 300, Epochs: 50, BatchSize: 256, BPTT: 35,
			Dropout: 0.75, DropoutHidden: 0.25, DropoutInput: 0.75, DropoutEmbedding: 0.2,
			LearningRate: 20, Clip: 0.25, WeightDecay: 5e-7, Slowness: 1e-3, Seed: 3, ReportFreq: 50, Precision: cuda.FP32,
		},
		ArchLearningRate: 3e-3, ArchWeightDecay: 1e-3,
	}
}

// QuickTextSearch returns settings for a first result within minutes on two cores: a small cell on the generated
// grammar, which needs less dropout.
func QuickTextSearch() TextSearchConfig {
	c := PaperTextSearch()
	c.Data = text.Grammar
	c.Hidden, c.Epochs, c.BatchSize, c.BPTT = 32, 5, 32, 20
	c.Dropout, c.DropoutHidden, c.DropoutInput, c.DropoutEmbedding = 0.1, 0, 0.1, 0
	c.ArchLearningRate = 1e-2
	return c
}

// PaperTextTraining returns the settings of the paper's network for the Penn Treebank, for everything but the
// architecture and the data: rnn/train.py of the original, with dropout of words as its README has it.
func PaperTextTraining() TextTrainConfig {
	return TextTrainConfig{
		TextSettings: TextSettings{
			Task: TaskTextTrain, Hidden: 850, Epochs: 3600, BatchSize: 64, BPTT: 35,
			Dropout: 0.75, DropoutHidden: 0.25, DropoutInput: 0.75, DropoutEmbedding: 0.2, DropoutWords: 0.1,
			LearningRate: 20, Clip: 0.25, WeightDecay: 8e-7, Slowness: 1e-3, Seed: 1267, ReportFreq: 200, Precision: cuda.FP32,
		},
		Arch: "DARTS_V2", NonMono: 5, Delta: 20,
	}
}

// WikiTextTraining returns the settings of the paper's network for WikiText-2.
func WikiTextTraining() TextTrainConfig {
	c := PaperTextTraining()
	c.Hidden, c.DropoutHidden, c.WeightDecay = 700, 0.15, 5e-7
	return c
}

// QuickTextTraining returns settings for a first result within minutes on two cores.
func QuickTextTraining() TextTrainConfig {
	c := PaperTextTraining()
	c.Data = text.Grammar
	c.Hidden, c.Epochs, c.BatchSize, c.BPTT, c.Delta, c.NonMono = 64, 8, 16, 20, 10, 2
	c.Dropout, c.DropoutHidden, c.DropoutInput, c.DropoutEmbedding, c.DropoutWords = 0.1, 0, 0.1, 0, 0
	c.ReportFreq = 100
	return c
}

// Validate reports the first setting that makes no sense, by its flag.
func (c TextSettings) Validate() error {
	notNegative := func(v float64) bool { return v >= 0 && !math.IsInf(v, 0) }
	probability := func(v float64) bool { return v >= 0 && v < 1 }
	const from0To1 = "from 0 to below 1"
	return firstWrong([]check{
		{"--nhid", c.Hidden >= 1, "at least 1"},
		{"--epochs", c.Epochs >= 1, "at least 1"},
		{"--batch-size", c.BatchSize >= 1, "at least 1"},
		{"--small-batch-size", c.SmallBatchSize >= 0 && (c.SmallBatchSize == 0 || c.BatchSize%c.SmallBatchSize == 0), "a divisor of --batch-size"},
		{"--bptt", c.BPTT >= 1, "at least 1"},
		{"--dropout", probability(c.Dropout), from0To1},
		{"--dropouth", probability(c.DropoutHidden), from0To1},
		{"--dropoutx", probability(c.DropoutInput), from0To1},
		{"--dropouti", probability(c.DropoutEmbedding), from0To1},
		{"--dropoute", probability(c.DropoutWords), from0To1},
		{"--lr", positive(c.LearningRate), "positive"},
		{"--clip", positive(c.Clip), "positive"},
		{"--wdecay", notNegative(c.WeightDecay), "at least 0"},
		{"--alpha", notNegative(c.Activation), "at least 0"},
		{"--beta", notNegative(c.Slowness), "at least 0"},
		{"--seed", c.Seed < 1<<53, "below 2^53"},
		{"--log-interval", c.ReportFreq >= 1, "at least 1"},
	})
}

// Validate reports the first setting that makes no sense, by its flag.
func (c TextSearchConfig) Validate() error {
	if err := c.TextSettings.Validate(); err != nil {
		return err
	}
	return firstWrong([]check{
		{"--batch-size", c.BatchSize >= 2, "at least 2 in a search, which has BatchNorm"},
		{"--small-batch-size", c.SmallBatchSize != 1, "at least 2 in a search, which has BatchNorm"},
		{"--arch-lr", positive(c.ArchLearningRate), "positive"},
		{"--arch-wdecay", c.ArchWeightDecay >= 0 && !math.IsInf(c.ArchWeightDecay, 0), "at least 0"},
	})
}

// Validate reports the first setting that makes no sense, by its flag.
func (c TextTrainConfig) Validate() error {
	if err := c.TextSettings.Validate(); err != nil {
		return err
	}
	err := firstWrong([]check{
		{"--nonmono", c.NonMono >= 1, "at least 1"},
		{"--max-seq-len-delta", c.Delta >= 0, "at least 0"},
	})
	if err != nil {
		return err
	}
	if err := c.Genotype.Validate(); err != nil {
		return fmt.Errorf("--arch: %w", err)
	}
	return nil
}

// language is the model for a vocabulary; nil is the cell of a search.
func (c TextSettings) language(vocabulary int, genotype *space.Recurrent) rnn.Language {
	return rnn.Language{
		Vocabulary: vocabulary, Hidden: c.Hidden, Genotype: genotype,
		Dropout: rnn.Dropout{
			Words: c.DropoutWords, Embedding: c.DropoutEmbedding, Input: c.DropoutInput, Hidden: c.DropoutHidden, Output: c.Dropout,
		},
	}
}

// step is how a step is made that has room for so many rows.
func (c TextSettings) step(rows int) bilevel.TextConfig {
	s := bilevel.TextDefaults()
	s.SGD = bilevel.SGD{WeightDecay: c.WeightDecay, GradClip: c.Clip}
	s.Rows, s.SmallRows, s.Steps = c.BatchSize, c.SmallBatchSize, rows
	if s.SmallRows == s.Rows {
		s.SmallRows = 0
	}
	s.Activation, s.Slowness = c.Activation, c.Slowness
	return s
}

func (c TextSearchConfig) step(rows int) bilevel.TextConfig {
	s := c.TextSettings.step(rows)
	s.Unrolled, s.Adam.WeightDecay = c.Unrolled, c.ArchWeightDecay
	if c.AsOriginal {
		s = s.AsOriginal()
	}
	return s
}
