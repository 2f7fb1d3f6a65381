package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/text"
)

// runFlags are the flags of every command that makes a run folder, none of which changes what comes out.
type runFlags struct {
	command, usage     string // "train", "run train"
	save, resume, dump string
	plan               string // compiled before, of commands that take one
	precision          string // given with --resume
	deviceFlags
	interval time.Duration
	limit    byteSize
	json     bool
}

func (o *runFlags) bind(cmd *cobra.Command, usage string) {
	flags := cmd.Flags()
	o.command, o.usage = cmd.Name(), usage
	flags.StringVar(&o.save, "save", "", "folder of the run, which is made (default "+o.command+"-DATE-TIME)")
	flags.StringVar(&o.resume, "resume", "", "go on with the run in this folder, under its own settings")
	o.deviceFlags.bind(cmd)
	flags.DurationVar(&o.interval, "checkpoint-interval", time.Minute, "time between checkpoints within an epoch; 0 for the ends of epochs only")
	bindMemoryLimit(flags, &o.limit)
	flags.StringVar(&o.dump, "dump", "", "folder for the text of the program after every pass of the compiler")
	flags.BoolVar(&o.json, "json", false, "print one JSON object a line: start, step, epoch, done; epochs count from 0")
	for _, folder := range []string{"save", "resume", "dump"} {
		if err := cmd.MarkFlagDirname(folder); err != nil {
			panic(err)
		}
	}
}

// bindPlan adds --plan to a command whose plans another one compiles.
func (o *runFlags) bindPlan(flags *pflag.FlagSet, compile string) {
	flags.StringVar(&o.plan, "plan", "", "plan file that dartsc "+compile+" made with these settings, in place of compiling")
}

// check finds flags that do not go together; settings are those given that a resumed run has of its own.
func (o *runFlags) check(flags *pflag.FlagSet, settings []string) error {
	if err := o.deviceFlags.check(); err != nil {
		return err
	}
	if o.interval < 0 {
		return usagef("--checkpoint-interval must be at least 0")
	}
	if o.plan != "" && o.dump != "" {
		return usagef("--dump cannot go with --plan, which is compiled already")
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
	if flags.Changed("save") {
		settings = append(settings, "--save")
	}
	if given := flags.Lookup("precision"); given.Changed { // which is all right if it is the run's
		o.precision = given.Value.String()
		settings = slices.DeleteFunc(settings, func(s string) bool { return s == "--precision" })
	}
	if len(settings) > 0 {
		return usagef("%s cannot go with --resume: a run goes on under its own settings", settings[0])
	}
	return nil
}

// open opens the run to go on with, and reads its settings into what config gives for its task; nil is for a task that is
// another command's.
func (o *runFlags) open(config func(task string) any) (*run.Folder, error) {
	folder, err := run.Open(o.resume)
	if err != nil {
		return nil, err
	}
	task, err := recipe.Task(folder)
	if err == nil {
		if into := config(task); into != nil {
			err = folder.Config(into)
		} else {
			err = fmt.Errorf("%s is the run of another command: go on with dartsc %s --resume %s", o.resume, commandOf(task), o.resume)
		}
	}
	if err != nil {
		folder.Close()
		return nil, err
	}
	return folder, nil
}

// commandOf is the command that makes the runs of a task.
func commandOf(task string) string {
	switch task {
	case "":
		return "run search"
	case recipe.TaskTrain, recipe.TaskRepeat:
		return "run train"
	case recipe.TaskTextSearch:
		return "run search rnn"
	case recipe.TaskTextTrain:
		return "run train rnn"
	}
	return task
}

// begin makes the run's folder, or takes the one it goes on with back to its last checkpoint.
func (o *runFlags) begin(config any, folder *run.Folder) (*run.Checkpoint, *run.Folder, error) {
	if folder != nil {
		checkpoint, _, err := folder.Resume()
		return checkpoint, folder, err
	}
	o.defaultSave()
	folder, err := run.Create(o.save, config)
	return nil, folder, err
}

// defaultSave names the folder after the time unless --save does.
func (o *runFlags) defaultSave() {
	if o.save == "" {
		o.save = time.Now().Format(o.command + "-20060102-150405")
	}
}

// options are those of a run in a precision that tells of its steps.
func (o *runFlags) options(step func(recipe.Progress), precision string) (recipe.Options, error) {
	precision = cmp.Or(precision, cuda.FP32) // runs of before the setting have none
	if o.precision != "" && o.precision != precision {
		return recipe.Options{}, usagef("--precision %s cannot go with --resume: the run is in %s, and goes on so", o.precision, precision)
	}
	var compiled *plan.Plan
	target := ""
	if o.plan != "" {
		var err error
		if compiled, err = plan.ReadFile(o.plan); err != nil {
			return recipe.Options{}, err
		}
		target = compiled.Target
	}
	device, err := o.deviceFlags.open(target)
	if err != nil {
		return recipe.Options{}, err
	}
	return recipe.Options{
		Device: device, Plan: compiled, Workers: o.workers, Checkpoint: o.interval, Version: version(), Dump: o.dump, Memory: int64(o.limit),
		Logger: slog.Default(), OnStep: step,
	}, checkPrecision(precision, device.Target(), wantDevice)
}

// failed puts the error of a run that was stopped into words.
func (o *runFlags) failed(err error, folder string) error {
	if errors.Is(err, recipe.ErrStopped) {
		return fmt.Errorf("stopped; the state is saved: go on with dartsc %s --resume %s", o.usage, folder)
	}
	if o.resume != "" && (errors.Is(err, data.ErrNoFolder) || errors.Is(err, text.ErrNoFolder)) {
		return fmt.Errorf(`%w; where it has moved, write its new path as "data" into %s`, err, filepath.Join(o.resume, "config.json"))
	}
	return err
}

// unbegun puts the error of a run that could not begin into words.
func unbegun(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("stopped before the run began")
	}
	return err
}

// ready is a search or a training that is ready to run; R reports an epoch.
type ready[R any] interface {
	running
	Run(context.Context, *run.Folder, *run.Checkpoint) (R, error)
	Close() error
}

// drive runs what is ready in the folder that begin makes or opens, and closes both. It returns the folder's path.
func drive[R any](ctx context.Context, l listener[R], r ready[R], data any, begin func() (*run.Checkpoint, *run.Folder, error)) (string, error) {
	defer r.Close()
	checkpoint, folder, err := begin()
	if err != nil {
		return "", err
	}
	defer folder.Close()
	l.start(folder.Path(), r, data, checkpoint)
	report, err := r.Run(ctx, folder, checkpoint)
	l.end()
	if err == nil {
		l.done(folder.Path(), report)
	}
	return folder.Path(), err
}
