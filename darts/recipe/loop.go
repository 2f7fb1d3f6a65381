package recipe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/runtime"
)

// Options is what does not change a run's result.
type Options struct {
	Device     runtime.Device
	Workers    int           // for decoding images; 0: one a processor
	Checkpoint time.Duration // between checkpoints within an epoch; 0: at the ends of epochs only
	Version    string        // of dartsc, for plans and models
	Plan       *plan.Plan    // what these settings were compiled to before, or nil
	Dump       string        // folder for the text after every pass of the compiler, or ""
	Memory     int64         // bytes that the plan may take; 0: as many as it likes
	Logger     *slog.Logger  // nil: silent
	OnStep     func(Progress)
	OnEpoch    func(EpochReport)
}

// loop drives the compiled step of a task through the epochs: rates, steps, evaluation, checkpoints and log lines. C is
// the configuration of the task.
type loop[C any] struct {
	task      task
	program   string // the step
	config    C
	size      size
	options   Options
	data      data.Summary
	session   *runtime.Session
	evaluator *evaluator
	valid     data.Batches // that each epoch is evaluated on
	steps     int          // of an epoch
	compile   time.Duration

	inputs, results                          map[string]any
	loss, alphaLoss, correct, correct5, norm []float32
}

// size is what the loop needs of every task's configuration.
type size struct {
	epochs, batch, reportFreq int
	seed                      uint64
}

// task is what tells a search from a training.
type task interface {
	// name is how errors call it.
	name() string
	// controls are the control variables of an epoch, the learning rate among them.
	controls(epoch int) map[string]float64
	// read puts the images of a step into the step's inputs.
	read(ctx context.Context, step int64) error
	// report adds to the report of an epoch what only this task knows.
	report(r *EpochReport, s *standing) error
	// record writes what an epoch leaves beside its line of metrics.jsonl.
	record(folder *run.Folder, r EpochReport) error
	// finish writes the results.
	finish(ctx context.Context, folder *run.Folder, r EpochReport) error
}

// open compiles a module, whose step is the program named, and places it on the device; or the plan that it is given.
func (l *loop[C]) open(ctx context.Context, program string, build func() (*ir.Module, error), metadata map[string]string) error {
	l.program = program
	p, o := l.options.Plan, l.options
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
			Target: o.Device.Target(), Version: o.Version, Metadata: metadata, Dump: o.Dump, Logger: o.Logger, MemoryLimit: o.Memory,
		}); err != nil {
			return err
		}
		l.compile = time.Since(start)
	}
	var err error
	if l.session, err = runtime.Open(p, o.Device); err != nil {
		return err
	}
	one := func() []float32 { return make([]float32, 1) }
	l.loss, l.alphaLoss, l.correct, l.correct5, l.norm = one(), one(), one(), one(), one()
	l.results = map[string]any{"loss": l.loss, "correct": l.correct, "correct5": l.correct5, "grad_norm": l.norm}
	l.evaluator, err = newEvaluator(l.session)
	return err
}

// check finds out before anything is written whether the plan, which may come from a file, has what the loop and the
// task use: the inputs and results of both programs, and variables.
func (l *loop[C]) check(variables ...string) error {
	if err := l.session.Check(l.program, l.inputs, l.results); err != nil {
		return err
	}
	if err := l.session.Check(bilevel.Evaluate, l.evaluator.inputs, l.evaluator.results); err != nil {
		return err
	}
	for _, name := range append(variables, bilevel.LearningRate, bilevel.Seed) {
		if l.Plan().Variable(name) == nil {
			return fmt.Errorf("plan %s has no variable %s", l.Plan().Name, name)
		}
	}
	return nil
}

// Plan returns the compiled plan.
func (l *loop[C]) Plan() *plan.Plan { return l.session.Plan() }

// Data describes the data set.
func (l *loop[C]) Data() data.Summary { return l.data }

// CompileTime is how long it took to build the programs and to compile them; 0 where they were compiled before.
func (l *loop[C]) CompileTime() time.Duration { return l.compile }

// StepsPerEpoch is how many steps an epoch has.
func (l *loop[C]) StepsPerEpoch() int { return l.steps }

// Close frees the device.
func (l *loop[C]) Close() error { return l.session.Close() }

// ErrStopped is returned by Run when its context ended: the state is saved, and Run can go on from it.
var ErrStopped = errors.New("stopped; the state is saved")

// Run goes to the end, from a checkpoint or, with nil, from the start. It writes checkpoints, logs and, at the end, the
// results into the folder. When ctx ends it finishes the step, saves a checkpoint and returns ErrStopped.
func (l *loop[C]) Run(ctx context.Context, folder *run.Folder, from *run.Checkpoint) (EpochReport, error) {
	s, err := l.start(from)
	if err != nil {
		return EpochReport{}, err
	}
	for s.Epoch < l.size.epochs {
		if err := l.epoch(ctx, folder, s); err != nil {
			return EpochReport{}, err
		}
	}
	r, err := l.report(s, s.Epoch-1, s.Last)
	if err != nil {
		return r, err
	}
	err = l.task.finish(ctx, folder, r)
	if err != nil && ctx.Err() != nil {
		return r, ErrStopped // the last checkpoint is of the end: only the results are to be written again
	}
	return r, err
}

// epoch runs what is left of the present epoch, evaluates, and saves.
func (l *loop[C]) epoch(ctx context.Context, folder *run.Folder, s *standing) error {
	for name, value := range l.task.controls(s.Epoch) {
		if err := l.session.SetScalar(name, value); err != nil {
			return err
		}
	}
	end := int64(s.Epoch+1) * int64(l.steps)
	saved := time.Now()
	for s.Step < end {
		if ctx.Err() != nil {
			return l.stop(folder, s)
		}
		if err := l.step(ctx, folder, s); err != nil {
			if ctx.Err() != nil { // while reading images: no step has begun
				return l.stop(folder, s)
			}
			return err
		}
		if every := l.options.Checkpoint; every > 0 && time.Since(saved) >= every && s.Step < end {
			if err := l.save(folder, s); err != nil {
				return err
			}
			saved = time.Now()
		}
	}
	var err error
	if s.Valid, err = l.evaluator.run(ctx, l.valid); err != nil {
		if ctx.Err() == nil {
			return err
		}
		return l.stop(folder, s) // the evaluation is done again when the run goes on
	}
	if loss := s.Valid.Loss; math.IsNaN(loss) || math.IsInf(loss, 0) {
		return fmt.Errorf("evaluation after step %d: loss %v: the %s diverged; use a lower --learning-rate", s.Step, loss, l.task.name())
	}
	return l.endEpoch(folder, s)
}

// stop saves where the run stands.
func (l *loop[C]) stop(folder *run.Folder, s *standing) error {
	if err := l.save(folder, s); err != nil {
		return err
	}
	return ErrStopped
}

// step is one step. It is not interrupted: half of an update must not be seen.
func (l *loop[C]) step(ctx context.Context, folder *run.Folder, s *standing) error {
	start := time.Now()
	if err := l.task.read(ctx, s.Step); err != nil {
		return err
	}
	if err := l.session.Run(context.WithoutCancel(ctx), l.program, l.inputs, l.results); err != nil {
		return err
	}
	s.Step++
	if !finite(l.loss[0]) || !finite(l.alphaLoss[0]) || !finite(l.norm[0]) {
		alpha := ""
		if l.hasAlphas() {
			alpha = fmt.Sprintf(" alpha loss %v,", l.alphaLoss[0])
		}
		return fmt.Errorf("step %d: loss %v,%s gradient norm %v: the %s diverged; use a lower --learning-rate (the last checkpoint is kept)",
			s.Step, l.loss[0], alpha, l.norm[0], l.task.name())
	}
	t, images := &s.Totals, float64(l.size.batch)
	t.Images += int64(l.size.batch)
	t.Loss += float64(l.loss[0]) * images
	t.AlphaLoss += float64(l.alphaLoss[0]) * images
	t.Correct += float64(l.correct[0])
	t.Correct5 += float64(l.correct5[0])
	inEpoch := int(s.Step - int64(s.Epoch)*int64(l.steps))
	if inEpoch%l.size.reportFreq == 0 {
		line := stepReport{
			Event: "step", Epoch: s.Epoch, Step: s.Step, Loss: t.mean(t.Loss),
			Top1: 100 * t.mean(t.Correct), Top5: 100 * t.mean(t.Correct5), GradNorm: float64(l.norm[0]),
		}
		if l.hasAlphas() {
			loss := t.mean(t.AlphaLoss)
			line.AlphaLoss = &loss
		}
		if err := folder.AppendMetrics(line); err != nil {
			return err
		}
	}
	if l.options.OnStep != nil {
		l.options.OnStep(Progress{
			Epoch: s.Epoch, Epochs: l.size.epochs, Step: inEpoch, Steps: l.steps,
			Loss: t.mean(t.Loss), Top1: 100 * t.mean(t.Correct), Time: time.Since(start),
		})
	}
	return nil
}

// hasAlphas tells whether the step reports a loss of the alphas' batch.
func (l *loop[C]) hasAlphas() bool { return l.results["valid_loss"] != nil }

func finite(v float32) bool { return !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) }

// endEpoch writes what an epoch leaves, then the checkpoint that counts its lines.
func (l *loop[C]) endEpoch(folder *run.Folder, s *standing) error {
	r, err := l.report(s, s.Epoch, s.Totals)
	if err != nil {
		return err
	}
	if err := folder.AppendMetrics(r); err != nil {
		return err
	}
	if err := l.task.record(folder, r); err != nil {
		return err
	}
	s.Epoch++
	s.Last, s.Totals = s.Totals, totals{}
	if err := l.save(folder, s); err != nil {
		return err
	}
	if l.options.OnEpoch != nil {
		l.options.OnEpoch(r)
	}
	return nil
}

// report sums an epoch up.
func (l *loop[C]) report(s *standing, epoch int, t totals) (EpochReport, error) {
	r := EpochReport{Event: "epoch", Epoch: epoch, Step: s.Step, LearningRate: l.task.controls(epoch)[bilevel.LearningRate]}
	r.train(t)
	r.valid(s.Valid)
	return r, l.task.report(&r, s)
}
