package recipe

import (
	"context"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/ir"
)

// loop is the course of a search or a training on images: rates, steps, evaluation and log lines. C is the configuration
// of the task.
type loop[C any] struct {
	driver[C, data.Summary, EpochReport]
	task      task
	program   string // the step
	evaluator *evaluator
	images    data.Batches // that each epoch is evaluated on
	steps     int          // of an epoch

	inputs, results                          map[string]any
	loss, alphaLoss, correct, correct5, norm []float32
}

// task is what tells a search from a training.
type task interface {
	course[EpochReport]
	// controls are the control variables of an epoch, the learning rate among them.
	controls(epoch int) map[string]float64
	// read puts the images of a step into the step's inputs.
	read(ctx context.Context, step int64) error
	// report adds to the report of an epoch what only this task knows.
	report(r *EpochReport, s *standing) error
}

// set gives the loop its task, which embeds it.
func (l *loop[C]) set(t task, config C, s size, o Options) {
	l.task, l.course, l.config, l.size, l.options, l.onEpoch = t, t, config, s, o, o.OnEpoch
}

// open compiles a module, whose step is the program named, and places it on the device, with the images that are to stay
// there; or the plan that it is given.
func (l *loop[C]) open(ctx context.Context, program string, build func() (*ir.Module, error), metadata map[string]string, set imageSet) error {
	if err := l.driver.open(ctx, build, metadata); err != nil {
		return err
	}
	if err := place(l.session, set); err != nil {
		l.Close()
		return err
	}
	one := func() []float32 { return make([]float32, 1) }
	l.program = program
	l.loss, l.alphaLoss, l.correct, l.correct5, l.norm = one(), one(), one(), one(), one()
	l.inputs = map[string]any{}
	l.results = map[string]any{"loss": l.loss, "correct": l.correct, "correct5": l.correct5, "grad_norm": l.norm}
	var err error
	l.evaluator, err = newEvaluator(l.session)
	return err
}

// batch makes room for a batch of the step, and for its inputs, whose names have this prefix. A plan that lacks them is
// refused by check.
func (l *loop[C]) batch(prefix string) data.Batch {
	p := l.Plan().Program(l.program)
	if p == nil {
		return data.Batch{}
	}
	b, inputs := newBatch(p, prefix)
	maps.Copy(l.inputs, inputs)
	return b
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

// StepsPerEpoch is how many steps an epoch has.
func (l *loop[C]) StepsPerEpoch() int { return l.steps }

func (l *loop[C]) begin(s *standing) (end int64, err error) {
	for name, value := range l.task.controls(s.Epoch) {
		if err := l.session.SetScalar(name, value); err != nil {
			return 0, err
		}
	}
	return int64(s.Epoch+1) * int64(l.steps), nil
}

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
	t.Count += int64(l.size.batch)
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
			Loss: t.mean(t.Loss), Top1: 100 * t.mean(t.Correct), Items: l.size.batch, Time: time.Since(start),
		})
	}
	return nil
}

// hasAlphas tells whether the step reports a loss of the alphas' batch.
func (l *loop[C]) hasAlphas() bool { return l.results["valid_loss"] != nil }

func finite(v float32) bool { return !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) }

func (l *loop[C]) evaluate(ctx context.Context, s *standing) (err error) {
	if s.Valid, err = l.evaluator.run(ctx, l.images); err != nil {
		return err
	}
	if loss := s.Valid.Loss; math.IsNaN(loss) || math.IsInf(loss, 0) {
		return fmt.Errorf("evaluation after step %d: loss %v: the %s diverged; use a lower --learning-rate", s.Step, loss, l.task.name())
	}
	return nil
}

func (l *loop[C]) sum(s *standing, epoch int, t totals) (EpochReport, error) {
	r := EpochReport{Event: "epoch", Epoch: epoch, Step: s.Step, LearningRate: l.task.controls(epoch)[bilevel.LearningRate]}
	r.train(t)
	r.valid(s.Valid)
	return r, l.task.report(&r, s)
}
