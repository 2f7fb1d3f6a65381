package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/runtime/cpu"
)

type runSearch struct {
	flags              searchFlags
	save, resume, dump string
	plan               string
	workers            int
	interval           time.Duration
	limit              byteSize
	json               bool
}

func newRunSearch() *cobra.Command {
	var o runSearch
	cmd := &cobra.Command{
		Use: "search", Short: "Search for a convolutional cell", Args: noArgs,
		Long: `Search for a pair of convolutional cells, with the flags and defaults of the original's train_search.py (its
--init_channels is --init-channels as well).

Without --data it draws a ten-class set, shapes, and takes a small search that ends within minutes:
  ` + quickSettings() + `
With --data it reads CIFAR-10 or CIFAR-100 in the binary version, or a folder train/<class>/*.jpg|png, and takes the
paper's settings. --preset chooses the other settings; flags that are given count in any case.

A run folder comes out (--save; search-DATE-TIME where that is not given): config.json, metrics.jsonl, genotypes.jsonl
(one line an epoch), checkpoints, and at the end genotype.json, normal.svg, reduction.svg and model.onnx. Interrupted
by Ctrl-C it finishes the step and saves; --resume RUN goes on exactly, also after a kill.`,
		Example: `  dartsc run search
  dartsc run search --data cifar-10-batches-bin --epochs 50 --unrolled
  dartsc run search --resume search-20260102-150405`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	flags := cmd.Flags()
	o.flags.bind(cmd)
	flags.StringVar(&o.save, "save", "", "folder of the run, which is made (default search-DATE-TIME)")
	flags.StringVar(&o.resume, "resume", "", "go on with the run in this folder, under its own settings")
	flags.IntVar(&o.workers, "workers", 0, "processors to use, which changes no result (default all)")
	flags.DurationVar(&o.interval, "checkpoint-interval", time.Minute, "time between checkpoints within an epoch; 0 for the ends of epochs only")
	bindMemoryLimit(flags, &o.limit)
	flags.StringVar(&o.plan, "plan", "", "plan file that dartsc compile search made with these settings, in place of compiling")
	flags.StringVar(&o.dump, "dump", "", "folder for the text of the program after every pass of the compiler")
	flags.BoolVar(&o.json, "json", false, "print one JSON object a line: start, step, epoch, done")
	for _, folder := range []string{"save", "resume", "dump"} {
		if err := cmd.MarkFlagDirname(folder); err != nil {
			panic(err)
		}
	}
	return cmd
}

func (o *runSearch) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	if err := o.check(cmd.Flags()); err != nil {
		return err
	}
	for _, line := range o.flags.warnings(cmd.Flags()) {
		fmt.Fprintln(cmd.ErrOrStderr(), "dartsc:", line)
	}
	config, folder, err := o.open(cmd.Flags())
	if err != nil {
		return err
	}
	if folder != nil {
		defer folder.Close()
	}
	listener := newListener(o.json, config, cmd.OutOrStdout(), cmd.ErrOrStderr())
	var compiled *plan.Plan
	if o.plan != "" {
		if compiled, err = plan.ReadFile(o.plan); err != nil {
			return err
		}
	}
	search, err := recipe.NewSearch(ctx, config, recipe.Options{
		Plan: compiled, Device: cpu.New(o.workers), Workers: o.workers, Checkpoint: o.interval, Version: version(), Dump: o.dump, Memory: int64(o.limit),
		Logger: slog.Default(), OnStep: listener.step, OnEpoch: listener.epoch,
	})
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("stopped before the search began")
		}
		return err
	}
	defer search.Close()
	checkpoint, folder, err := o.begin(config, folder)
	if err != nil {
		return err
	}
	defer folder.Close()
	listener.start(folder.Path(), search, checkpoint)
	report, err := search.Run(ctx, folder, checkpoint)
	listener.end()
	if errors.Is(err, recipe.ErrStopped) {
		return fmt.Errorf("stopped; the state is saved: go on with dartsc run search --resume %s", folder.Path())
	}
	if err != nil {
		return err
	}
	listener.done(folder.Path(), report)
	return nil
}

// check finds flags that do not go together.
func (o *runSearch) check(flags *pflag.FlagSet) error {
	if o.workers < 0 {
		return usagef("--workers must be at least 1, or 0 for all processors")
	}
	if o.plan != "" && o.dump != "" {
		return usagef("--dump cannot go with --plan, which is compiled already")
	}
	if o.interval < 0 {
		return usagef("--checkpoint-interval must be at least 0")
	}
	if !flags.Changed("resume") {
		if flags.Changed("save") && o.save == "" {
			return usagef("--save is empty: want a folder")
		}
		return nil
	}
	if o.resume == "" {
		return usagef("--resume is empty: want the folder of a run")
	}
	given := o.flags.given(flags)
	if flags.Changed("save") {
		given = append(given, "--save")
	}
	if len(given) > 0 {
		return usagef("%s cannot go with --resume: a run goes on under its own settings", given[0])
	}
	return nil
}

// open returns the settings of the search, and the run that it goes on with, or nil.
func (o *runSearch) open(flags *pflag.FlagSet) (recipe.SearchConfig, *run.Folder, error) {
	if o.resume == "" {
		config, err := o.flags.resolve(flags)
		return config, nil, err
	}
	var config recipe.SearchConfig
	folder, err := run.Open(o.resume)
	if err != nil {
		return config, nil, err
	}
	if err := folder.Config(&config); err != nil {
		folder.Close()
		return config, nil, err
	}
	return config, folder, nil
}

// begin makes the run's folder, or takes the one it goes on with back to its last checkpoint.
func (o *runSearch) begin(config recipe.SearchConfig, folder *run.Folder) (*run.Checkpoint, *run.Folder, error) {
	if folder != nil {
		checkpoint, _, err := folder.Resume()
		return checkpoint, folder, err
	}
	if o.save == "" {
		o.save = time.Now().Format("search-20060102-150405")
	}
	folder, err := run.Create(o.save, config)
	return nil, folder, err
}

// listener tells of a search as it goes.
type listener interface {
	start(path string, s *recipe.Search, from *run.Checkpoint)
	step(recipe.Progress)
	epoch(recipe.EpochReport)
	end() // whichever way it ends
	done(path string, last recipe.EpochReport)
}

func newListener(json bool, config recipe.SearchConfig, stdout, stderr io.Writer) listener {
	if json {
		return &jsonListener{config: config, out: stdout}
	}
	return newTextListener(config, stdout, stderr)
}
