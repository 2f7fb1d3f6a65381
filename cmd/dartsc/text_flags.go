package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/darts/text"
)

// presetWikiText is the preset of trainings for WikiText-2; presetPaper is that for the Penn Treebank.
const presetWikiText = "wikitext-2"

// bindText adds the flags of settings that a search and a training on text share, under the original's names.
func bindText(fs *pflag.FlagSet, c *recipe.TextSettings) {
	fs.StringVar(&c.Data, "data", c.Data, "folder of train.txt, valid.txt and test.txt, or grammar, a generated corpus")
	fs.IntVar(&c.Hidden, "nhid", c.Hidden, "size of states and of word embeddings")
	fs.IntVar(&c.Epochs, "epochs", c.Epochs, "passes over the training text")
	fs.IntVar(&c.BatchSize, "batch-size", c.BatchSize, "rows of text side by side")
	fs.IntVar(&c.SmallBatchSize, "small-batch-size", c.SmallBatchSize, "rows computed at a time, whose gradients add up; 0 is all of them")
	fs.IntVar(&c.BPTT, "bptt", c.BPTT, "words of a row in a step")
	fs.Float64Var(&c.Dropout, "dropout", c.Dropout, "of what the decoder reads")
	fs.Float64Var(&c.DropoutHidden, "dropouth", c.DropoutHidden, "of states in the cell")
	fs.Float64Var(&c.DropoutInput, "dropoutx", c.DropoutInput, "of the cell's input")
	fs.Float64Var(&c.DropoutEmbedding, "dropouti", c.DropoutEmbedding, "of word embeddings")
	fs.Float64Var(&c.DropoutWords, "dropoute", c.DropoutWords, "of whole words")
	fs.Float64Var(&c.LearningRate, "lr", c.LearningRate, "learning rate of the weights")
	fs.Float64Var(&c.Clip, "clip", c.Clip, "largest norm of the weights' gradient")
	fs.Float64Var(&c.WeightDecay, "wdecay", c.WeightDecay, "weight decay of the weights")
	fs.Float64Var(&c.Activation, "alpha", c.Activation, "regularisation of activations")
	fs.Float64Var(&c.Slowness, "beta", c.Slowness, "regularisation of the difference between hidden states")
	fs.Uint64Var(&c.Seed, "seed", c.Seed, "of all randomness")
	fs.IntVar(&c.ReportFreq, "log-interval", c.ReportFreq, "steps between two reports")
	bindPrecision(fs, &c.Precision)
}

// equalSizes are the original's names for sizes that must be --nhid's.
var equalSizes = []string{"emsize", "nhidlast"}

func bindEqualSizes(cmd *cobra.Command) {
	for _, name := range equalSizes {
		cmd.Flags().Int(name, 0, "")
		cmd.Flags().Lookup(name).Hidden = true
	}
	if err := cmd.MarkFlagDirname("data"); err != nil {
		panic(err)
	}
}

// overlayText takes the flags that were given over a preset's settings, of which c are those for text, in the original's
// words too.
func overlayText(b binder, flags *pflag.FlagSet, c *recipe.TextSettings) error {
	if err := b.overlay(flags); err != nil {
		return err
	}
	if c.SmallBatchSize == -1 { // the original's way to say all
		c.SmallBatchSize = 0
	}
	return checkEqualSizes(flags, c)
}

// checkEqualSizes takes the size from any of its names.
func checkEqualSizes(flags *pflag.FlagSet, c *recipe.TextSettings) error {
	given := ""
	if flags.Changed("nhid") {
		given = "nhid"
	}
	for _, name := range equalSizes {
		if !flags.Changed(name) {
			continue
		}
		value, err := flags.GetInt(name)
		if err != nil {
			return err
		}
		if given != "" && value != c.Hidden {
			return usagef("--%s %d and --%s %d: embeddings, states and the decoder, which is tied to the embeddings, are of one size", given, c.Hidden, name, value)
		}
		given, c.Hidden = name, value
	}
	return nil
}

// absoluteText names a corpus so that its run can be resumed from anywhere.
func absoluteText(path string) (string, error) {
	if path == text.Grammar {
		return path, nil
	}
	return filepath.Abs(path)
}

func bindTextSearch(fs *pflag.FlagSet, c *recipe.TextSearchConfig) {
	bindText(fs, &c.TextSettings)
	fs.BoolVar(&c.Unrolled, "unrolled", c.Unrolled, "second order: alphas see the weights one step ahead")
	fs.Float64Var(&c.ArchLearningRate, "arch-lr", c.ArchLearningRate, "learning rate of the alphas")
	fs.Float64Var(&c.ArchWeightDecay, "arch-wdecay", c.ArchWeightDecay, "weight decay of the alphas")
	fs.BoolVar(&c.AsOriginal, "as-original", c.AsOriginal, "with two defects of the original's second order: its clipping coefficient may exceed 1, and the embedding is not unrolled")
}

func textSearchBinder(c *recipe.TextSearchConfig) binder {
	return func(fs *pflag.FlagSet) { bindTextSearch(fs, c) }
}

// deadTextFlags are the original's flags for text that mean nothing here.
var deadTextFlags = []deadFlag{
	{"cuda", false, "--device says where a run takes place"},
	{"single-gpu", false, "a run takes place on one device"},
	{"continue-train", false, "--resume goes on with a run"},
	{"model-path", true, "--save names the run folder"},
}

// deadTextSearchFlags are those of the search besides.
var deadTextSearchFlags = append([]deadFlag{
	{"nonmono", true, "the original's search never reads it"},
	{"max-seq-len-delta", true, "the original's search never reads it"},
}, deadTextFlags...)

// resolveTextSearch returns the preset's settings with the flags that were given. Without --preset, the grammar gets the
// quick settings and other data the paper's.
func resolveTextSearch(preset string, flags *pflag.FlagSet) (recipe.TextSearchConfig, error) {
	config, data := recipe.QuickTextSearch(), ""
	if given := flags.Lookup("data"); given.Changed {
		data = given.Value.String()
	}
	switch preset = presetOf(preset, data); preset {
	case presetQuick:
	case presetPaper:
		config = recipe.PaperTextSearch()
		config.Data = text.Grammar
	default:
		return config, usagef("--preset %q: want quick or paper", preset)
	}
	err := overlayText(textSearchBinder(&config), flags, &config.TextSettings)
	if err != nil {
		return config, err
	}
	if config.Data, err = absoluteText(config.Data); err != nil {
		return config, err
	}
	if err := config.Validate(); err != nil {
		return config, &usageError{err}
	}
	return config, nil
}

// presetOf is the preset for a corpus where none is given.
func presetOf(preset, data string) string {
	switch {
	case preset != "":
		return preset
	case data == "" || data == text.Grammar:
		return presetQuick
	}
	return presetPaper
}

func bindTextTrain(fs *pflag.FlagSet, c *recipe.TextTrainConfig) {
	fs.StringVar(&c.Arch, "arch", c.Arch, "recurrent cell: a name, a text, a file, or the folder of a run")
	bindText(fs, &c.TextSettings)
	fs.IntVar(&c.NonMono, "nonmono", c.NonMono, "epochs that may be worse before averaging begins")
	fs.IntVar(&c.Delta, "max-seq-len-delta", c.Delta, "words by which a row may be longer than --bptt in a step")
	fs.StringVar(&c.Finetune, "finetune", c.Finetune, "run folder or file of weights to start from, with averaging from the first step on")
}

func textTrainBinder(c *recipe.TextTrainConfig) binder {
	return func(fs *pflag.FlagSet) { bindTextTrain(fs, c) }
}

// resolveTextTrain returns the preset's settings with the flags that were given.
func resolveTextTrain(preset string, flags *pflag.FlagSet) (recipe.TextTrainConfig, error) {
	config, data := recipe.QuickTextTraining(), ""
	if given := flags.Lookup("data"); given.Changed {
		data = given.Value.String()
	}
	switch preset = presetOf(preset, data); preset {
	case presetQuick:
	case presetPaper:
		config = recipe.PaperTextTraining()
		config.Data = text.Grammar
	case presetWikiText:
		config = recipe.WikiTextTraining()
		config.Data = text.Grammar
	default:
		return config, usagef("--preset %q: want quick, paper or %s", preset, presetWikiText)
	}
	err := overlayText(textTrainBinder(&config), flags, &config.TextSettings)
	if err != nil {
		return config, err
	}
	if config.Genotype, err = recurrentOf(config.Arch); err != nil {
		return config, err
	}
	if config.Data, err = absoluteText(config.Data); err != nil {
		return config, err
	}
	if config.Finetune != "" {
		if config.Finetune, err = recurrentWeights(config.Finetune); err != nil {
			return config, err
		}
	}
	if err := config.Validate(); err != nil {
		return config, &usageError{err}
	}
	return config, nil
}

// recurrentOf reads a recurrent cell, by name, text, file, or folder of a run that found one.
func recurrentOf(argument string) (space.Recurrent, error) {
	if info, err := os.Stat(argument); err == nil && info.IsDir() {
		m, err := recipe.TextModelOf(argument)
		return m.Genotype, err
	}
	return space.LoadRecurrent(argument)
}

// recurrentWeights names the file of weights in a run folder, or the file itself, from anywhere.
func recurrentWeights(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("--finetune: %w", err)
	}
	if info.IsDir() {
		path = filepath.Join(path, recipe.BestWeights)
	}
	return filepath.Abs(path)
}
