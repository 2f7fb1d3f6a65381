package recipe

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/runtime"
)

// Options is what does not change a run's result.
type Options struct {
	Device      runtime.Device
	Workers     int           // for decoding images; 0: one a processor
	Checkpoint  time.Duration // between checkpoints within an epoch; 0: at the ends of epochs only
	Version     string        // of dartsc, for plans and models
	Plan        *plan.Plan    // what these settings were compiled to before, or nil
	Dump        string        // folder for the text after every pass of the compiler, or ""
	Memory      int64         // bytes that the plan may take; 0: as many as it likes
	Logger      *slog.Logger  // nil: silent
	OnStep      func(Progress)
	OnEpoch     func(EpochReport)
	OnTextEpoch func(TextReport)
}

// driver takes a compiled course through its epochs, and keeps its checkpoints. C is the configuration of the course, D
// describes its data, R reports an epoch.
type driver[C, D, R any] struct {
	course  course[R]
	config  C
	data    D
	size    size
	options Options
	onEpoch func(R) // nil: nobody listens
	session *runtime.Session
	compile time.Duration
}

// size is what the driver, or a loop, needs of every configuration.
type size struct {
	epochs, batch, reportFreq int
	seed                      uint64
	precision                 string
}

// course is what a driver drives: a search or a training, on images or on texts.
type course[R any] interface {
	// name is how errors call it.
	name() string
	// begin makes the present epoch ready, or what is left of it, and returns the step at which it ends.
	begin(s *standing) (end int64, err error)
	// step runs one step and writes its line of metrics.jsonl, if it has one. It is not interrupted: half of an update must
	// not be seen.
	step(ctx context.Context, folder *run.Folder, s *standing) error
	// evaluate fills s.Valid.
	evaluate(ctx context.Context, s *standing) error
	// sum reports an epoch from the sums over its steps.
	sum(s *standing, epoch int, t totals) (R, error)
	// record writes what an epoch leaves beside its line of metrics.jsonl.
	record(folder *run.Folder, r R) error
	// finish writes the results.
	finish(ctx context.Context, folder *run.Folder, r R) error
}

// open compiles a module and places it on the device; or the plan that it is given.
func (d *driver[C, D, R]) open(ctx context.Context, build func() (*ir.Module, error), metadata map[string]string) error {
	p, o := d.options.Plan, d.options
	if p != nil {
		if err := fits(p, metadata, o.Memory); err != nil {
			return err
		}
	} else {
		start := time.Now()
		m, err := build()
		if err != nil {
			return err
		}
		if p, err = compiler.Compile(ctx, m, compiler.Options{
			Target: o.Device.Target(), Precision: d.size.precision, Version: o.Version, Metadata: metadata, Dump: o.Dump, Logger: o.Logger,
			MemoryLimit: o.Memory,
		}); err != nil {
			return err
		}
		d.compile = time.Since(start)
	}
	var err error
	d.session, err = runtime.Open(p, o.Device)
	return err
}

// Plan returns the compiled plan.
func (d *driver[C, D, R]) Plan() *plan.Plan { return d.session.Plan() }

// Data describes the data set.
func (d *driver[C, D, R]) Data() D { return d.data }

// CompileTime is how long it took to build the programs and to compile them; 0 where they were compiled before.
func (d *driver[C, D, R]) CompileTime() time.Duration { return d.compile }

// Close frees the device.
func (d *driver[C, D, R]) Close() error { return d.session.Close() }

// ErrStopped is returned by Run when its context ended: the state is saved, and Run can go on from it.
var ErrStopped = errors.New("stopped; the state is saved")

// errGivenUp is a step's word that the rest of its epoch is not to be run.
var errGivenUp = errors.New("the epoch is given up")

// Run goes to the end, from a checkpoint or, with nil, from the start. It writes checkpoints, logs and, at the end, the
// results into the folder. When ctx ends it finishes the step, saves a checkpoint and returns ErrStopped.
func (d *driver[C, D, R]) Run(ctx context.Context, folder *run.Folder, from *run.Checkpoint) (none R, err error) {
	s, err := d.start(from)
	if err != nil {
		return none, err
	}
	for s.Epoch < d.size.epochs && !s.Ended {
		if err := d.epoch(ctx, folder, s); err != nil {
			return none, err
		}
	}
	r, err := d.course.sum(s, s.Epoch-1, s.Last)
	if err != nil {
		return r, err
	}
	err = d.course.finish(ctx, folder, r)
	if err != nil && ctx.Err() != nil {
		return r, ErrStopped // the last checkpoint is of the end: only the results are to be written again
	}
	return r, err
}

// epoch runs what is left of the present epoch, evaluates, and saves.
func (d *driver[C, D, R]) epoch(ctx context.Context, folder *run.Folder, s *standing) error {
	end, err := d.course.begin(s)
	if err != nil {
		return err
	}
	saved := time.Now()
	for s.Step < end {
		if ctx.Err() != nil {
			return d.stop(folder, s)
		}
		if err := d.course.step(ctx, folder, s); err != nil {
			if errors.Is(err, errGivenUp) {
				return d.nextEpoch(folder, s)
			}
			if ctx.Err() != nil { // while reading images: no step has begun
				return d.stop(folder, s)
			}
			return err
		}
		if every := d.options.Checkpoint; every > 0 && time.Since(saved) >= every && s.Step < end {
			if err := d.save(folder, s); err != nil {
				return err
			}
			saved = time.Now()
		}
	}
	if err := d.course.evaluate(ctx, s); err != nil {
		if ctx.Err() == nil {
			return err
		}
		return d.stop(folder, s) // the evaluation is done again when the run goes on
	}
	return d.endEpoch(folder, s)
}

// stop saves where the run stands.
func (d *driver[C, D, R]) stop(folder *run.Folder, s *standing) error {
	if err := d.save(folder, s); err != nil {
		return err
	}
	return ErrStopped
}

// endEpoch writes what an epoch leaves, then the checkpoint that counts its lines.
func (d *driver[C, D, R]) endEpoch(folder *run.Folder, s *standing) error {
	r, err := d.course.sum(s, s.Epoch, s.Totals)
	if err != nil {
		return err
	}
	if err := folder.AppendMetrics(r); err != nil {
		return err
	}
	if err := d.course.record(folder, r); err != nil {
		return err
	}
	if err := d.nextEpoch(folder, s); err != nil {
		return err
	}
	if d.onEpoch != nil {
		d.onEpoch(r)
	}
	return nil
}

// nextEpoch moves on to the next epoch and saves.
func (d *driver[C, D, R]) nextEpoch(folder *run.Folder, s *standing) error {
	s.Epoch++
	s.Start = s.Step
	s.Last, s.Totals = s.Totals, totals{}
	return d.save(folder, s)
}
