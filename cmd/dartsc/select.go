package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
)

type selectCells struct {
	search  searchFlags
	retrain recipe.TrainConfig
	runs    int
	runFlags
}

func newSelect() *cobra.Command {
	var o selectCells
	cmd := &cobra.Command{
		Use: "select", Short: "Search several times, train what was found, and choose a cell", Args: noArgs,
		Long: `Find a cell by the paper's protocol: --runs searches under seeds that count up from --seed, a short training from scratch
of what each of them found, and the cell whose network does best on images that it was not trained on. Search flags are
those of run search, --retrain-FLAG those of run train. Every training has the same seed, learns from the images that
the searches' weights learnt from, and is evaluated on the others.

Without --data everything is small, on the generated shapes:
  ` + quickRetrainSettings() + `
With --data the settings are the paper's: four searches, and 100 epochs of the full network for each.

A folder comes out (--save; select-DATE-TIME where that is not given) with search-SEED and train-SEED, each a run folder
of its own, and at the end genotype.json, normal.svg and reduction.svg of the chosen cell and results.json. Interrupted
by Ctrl-C it saves; --resume RUN goes on exactly.`,
		Example: `  dartsc select
  dartsc select --data cifar-10-batches-bin --unrolled
  dartsc run train --data cifar-10-batches-bin --arch select-20260102-150405`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	flags := cmd.Flags()
	o.search.bind(cmd)
	o.retrain = recipe.PaperSelection().Retrain
	retrainBinder(&o.retrain)(flags)
	flags.IntVar(&o.runs, "runs", recipe.PaperSelection().Runs, "searches")
	o.bind(cmd, "select")
	return cmd
}

// retrainPrefix tells the flags of the short trainings from those of the searches.
const retrainPrefix = "retrain-"

// retrainBinder adds the flags of the short trainings, but for what the searches say as well.
func retrainBinder(c *recipe.TrainConfig) binder {
	shared := []string{"arch", "data", "image-size", "augment", "precision"}
	usual := []string{"epochs", "batch-size", "init-channels", "layers", "train-portion"}
	return func(fs *pflag.FlagSet) {
		trainBinder(c).set().VisitAll(func(flag *pflag.Flag) {
			if slices.Contains(shared, flag.Name) {
				return
			}
			prefixed := *flag
			prefixed.Name, prefixed.Usage = retrainPrefix+flag.Name, "of the short trainings: "+flag.Usage
			prefixed.Hidden = !slices.Contains(usual, flag.Name)
			fs.AddFlag(&prefixed)
		})
	}
}

func quickRetrainSettings() string {
	quick, paper := recipe.QuickSelection(), recipe.PaperSelection()
	search := searchBinder(&quick.Search).differences(searchBinder(&paper.Search))
	retrain := retrainBinder(&quick.Retrain).differences(retrainBinder(&paper.Retrain))
	return fmt.Sprintf("--runs %d %s\n  %s", quick.Runs, search, retrain)
}

// resolve returns the selection that the flags ask for.
func (o *selectCells) resolve(flags *pflag.FlagSet) (recipe.SelectConfig, error) {
	search, err := o.search.resolve(flags)
	if err != nil {
		return recipe.SelectConfig{}, err
	}
	config := recipe.PaperSelection()
	if o.search.presetOf() == presetQuick {
		config = recipe.QuickSelection()
	}
	config.Search, config.Retrain.TrainPortion = search, search.TrainPortion
	if flags.Changed("runs") {
		config.Runs = o.runs
	}
	if config.Runs < 1 {
		return config, usagef("--runs must be at least 1")
	}
	if err := retrainBinder(&config.Retrain).overlay(flags); err != nil {
		return config, err
	}
	config.Retrain.Data, config.Retrain.ImageSize, config.Retrain.Precision = search.Data, search.ImageSize, search.Precision
	if err := representative(config).Validate(); err != nil {
		return config, usagef("of the short trainings, as --%sFLAG: %w", retrainPrefix, err)
	}
	return config, nil
}

// representative is a training like those to come, whose cells one cannot know yet.
func representative(config recipe.SelectConfig) recipe.TrainConfig {
	training := config.Retrain
	training.Genotype, _ = space.Named(defaultArch)
	return training
}

func (o *selectCells) run(cmd *cobra.Command) error {
	flags := cmd.Flags()
	given := append(o.search.given(flags), retrainBinder(&recipe.TrainConfig{}).given(flags)...)
	if flags.Changed("runs") {
		given = append(given, "--runs")
	}
	if err := o.check(flags, given); err != nil {
		return err
	}
	warn(cmd, deadSearchFlags)
	config, folder, err := o.settings(flags)
	if err != nil {
		return err
	}
	s := &series{flags: &o.runFlags, config: config, folder: folder}
	s.check = func() error { // searches would be in vain if no training could follow
		if err := recipe.CheckTraining(cmd.Context(), representative(config)); err != nil {
			return unbegun(cmd.Context(), fmt.Errorf("of the short trainings, as --%sFLAG: %w", retrainPrefix, err))
		}
		return nil
	}
	defer s.close()
	candidates, err := s.candidates(cmd, config)
	if err != nil {
		return o.failed(err, s.path())
	}
	result := recipe.Selected(candidates)
	if err := recipe.WriteSelected(s.folder, result); err != nil {
		return err
	}
	return o.report(cmd, s.path(), result)
}

// settings returns what to do, and the folder in which it goes on, or nil.
func (o *selectCells) settings(flags *pflag.FlagSet) (config recipe.SelectConfig, folder *run.Folder, err error) {
	if o.resume == "" {
		config, err = o.resolve(flags)
		return config, nil, err
	}
	folder, err = o.open(func(task string) any {
		if task != recipe.TaskSelect {
			return nil
		}
		return &config
	})
	return config, folder, err
}

// candidates runs all searches, then all trainings.
func (s *series) candidates(cmd *cobra.Command, config recipe.SelectConfig) ([]recipe.Candidate, error) {
	candidates := make([]recipe.Candidate, config.Runs)
	var err error
	for i := range candidates {
		if candidates[i].Search, err = s.search(cmd, config.SearchName(i), config.SearchOf(i)); err != nil {
			return nil, err
		}
	}
	for i := range candidates {
		training, err := config.TrainingOf(candidates[i].Search)
		if err != nil {
			return nil, err
		}
		if candidates[i].Training, err = s.train(cmd, config.TrainingName(i), training); err != nil {
			return nil, err
		}
	}
	return candidates, nil
}

func (o *selectCells) report(cmd *cobra.Command, path string, result recipe.SelectResult) error {
	w := cmd.OutOrStdout()
	if o.json {
		return writeJSON(w, struct {
			Event string `json:"event"` // "selected"
			Run   string `json:"run"`
			recipe.SelectResult
		}{"selected", path, result})
	}
	rows := [][]string{{"seed", "search top1", "trained top1", "loss", "parameters", "skips", ""}}
	for _, c := range result.Candidates {
		chosen := ""
		if c.Chosen {
			chosen = "chosen"
		}
		rows = append(rows, []string{
			fmt.Sprint(c.Search.Seed), fmt.Sprintf("%.2f%%", c.Search.Last.Top1), fmt.Sprintf("%.2f%%", c.Training.Last.Top1),
			fmt.Sprintf("%.4f", c.Training.Last.Loss), grouped(c.Training.Parameters),
			fmt.Sprintf("%d, %d", c.Search.Cells.SkipsNormal, c.Search.Cells.SkipsReduce), chosen,
		})
	}
	if err := table(w, rows...); err != nil {
		return err
	}
	fmt.Fprintln(w, result.Genotype)
	_, err := fmt.Fprintf(w, "genotype.json, normal.svg, reduction.svg and results.json are in %s\nnext: dartsc run train --arch %s\n", path, path)
	return err
}
