package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/run"
)

// listener tells of a run as it goes.
type listener interface {
	start(path string, of running, from *run.Checkpoint)
	step(recipe.Progress)
	epoch(recipe.EpochReport)
	end() // whichever way it ends
	done(path string, last recipe.EpochReport)
}

// running is a search or a training that begins.
type running interface {
	Plan() *plan.Plan
	Data() data.Summary
	CompileTime() time.Duration
	StepsPerEpoch() int
}

// terms are what a listener knows of a run beforehand.
type terms struct {
	config                    any
	epochs, batch, reportFreq int
	step                      string // the program of a step
	summary                   string // the settings in a few words
	done                      func(path string, last recipe.EpochReport) string
}

func newListener(json bool, t terms, stdout, stderr io.Writer) listener {
	if json {
		return &jsonListener{terms: t, out: stdout}
	}
	return newTextListener(t, stdout, stderr)
}

// pace measures images a second since it was last asked.
type pace struct {
	since time.Time
	steps int
}

func (p *pace) take(batch int) float64 {
	rate := float64(p.steps*batch) / time.Since(p.since).Seconds()
	*p = pace{since: time.Now()}
	return rate
}

// textListener writes lines for people: a bar on a terminal, every report_freq steps a line elsewhere.
type textListener struct {
	terms    terms
	out      io.Writer
	terminal io.Writer // nil where there is none
	bar      *progressbar.ProgressBar
	pace     pace
}

func newTextListener(t terms, stdout, stderr io.Writer) *textListener {
	l := &textListener{terms: t, out: stdout}
	if file, ok := stderr.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		l.terminal = stderr
	}
	return l
}

func (l *textListener) start(path string, of running, from *run.Checkpoint) {
	summary := plan.Summarize(of.Plan())
	step := summary.Program(l.terms.step)
	alphas := ""
	if n := summary.Elements("alpha"); n > 0 {
		alphas = fmt.Sprintf(", %s alphas", grouped(n))
	}
	fmt.Fprintf(l.out, "%v; %s parameters%s; %s launches a step, memory %s (lower bound %s), ",
		of.Data(), grouped(summary.Elements("weight")), alphas, grouped(step.Launches), size(step.PeakBytes), size(step.LowerBound))
	if took := of.CompileTime(); took > 0 {
		fmt.Fprintf(l.out, "compiled in %.1f s\n", took.Seconds())
	} else {
		fmt.Fprintln(l.out, "compiled before")
	}
	fmt.Fprintf(l.out, "%s: %d epochs of %d steps, batch %d, %s\n", path, l.terms.epochs, of.StepsPerEpoch(), l.terms.batch, l.terms.summary)
	if from != nil {
		fmt.Fprintf(l.out, "goes on after step %d\n", from.Step)
	}
	l.pace = pace{since: time.Now()}
}

func (l *textListener) step(p recipe.Progress) {
	l.pace.steps++
	if l.terminal != nil {
		l.draw(p)
		return
	}
	if p.Step%l.terms.reportFreq != 0 && p.Step != p.Steps {
		return
	}
	fmt.Fprintf(l.out, "epoch %d/%d  step %d/%d  loss %.4f  top1 %.2f%%  %.1f images/s\n",
		p.Epoch+1, p.Epochs, p.Step, p.Steps, p.Loss, p.Top1, l.pace.take(l.terms.batch))
	if p.Step == p.Steps {
		l.pace.since = time.Now()
	}
}

func (l *textListener) draw(p recipe.Progress) {
	if l.bar == nil {
		l.bar = progressbar.NewOptions(p.Steps, progressbar.OptionSetWriter(l.terminal),
			progressbar.OptionShowCount(), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond))
	}
	_ = l.bar.Set(p.Step) // a bar that cannot be drawn is no reason to stop
	l.bar.Describe(fmt.Sprintf("epoch %d/%d  loss %.4f  top1 %.2f%%", p.Epoch+1, p.Epochs, p.Loss, p.Top1))
}

func (l *textListener) epoch(r recipe.EpochReport) {
	l.end()
	speed := ""
	if l.terminal != nil {
		speed = fmt.Sprintf("  %.1f images/s", l.pace.take(l.terms.batch))
	}
	fmt.Fprintf(l.out, "epoch %d/%d  train loss %.4f  top1 %.2f%%  valid loss %.4f  top1 %.2f%%  top5 %.2f%%",
		r.Epoch+1, l.terms.epochs, r.TrainLoss, r.TrainTop1, r.ValidLoss, r.ValidTop1, r.ValidTop5)
	if c := r.Cells; c != nil {
		fmt.Fprintf(l.out, "  entropy %.4f, %.4f  skips %d, %d", c.EntropyNormal, c.EntropyReduce, c.SkipsNormal, c.SkipsReduce)
	}
	if c := r.Cells; c != nil && c.Cost != nil {
		fmt.Fprintf(l.out, "  %s parameters, %s multiply-adds by penalty %.3f", grouped(c.Cost.Parameters), grouped(c.Cost.MultiplyAdds), c.Penalty)
	}
	fmt.Fprintln(l.out, speed)
	if r.Genotype != "" {
		fmt.Fprintf(l.out, "  %s\n", r.Genotype)
	}
	l.pace = pace{since: time.Now()}
}

func (l *textListener) end() {
	if l.bar != nil {
		_ = l.bar.Clear()
		l.bar = nil
	}
}

func (l *textListener) done(path string, r recipe.EpochReport) {
	fmt.Fprintln(l.out, l.terms.done(path, r))
}

// jsonListener writes one object a line for scripts.
type jsonListener struct {
	terms terms
	out   io.Writer
	pace  pace
}

type startEvent struct {
	Event          string  `json:"event"` // "start"
	Run            string  `json:"run"`
	Version        string  `json:"version"`
	Config         any     `json:"config"`
	Data           any     `json:"data"`
	FromStep       int64   `json:"from_step"` // of the checkpoint it goes on from, or 0
	StepsPerEpoch  int     `json:"steps_per_epoch"`
	Parameters     int64   `json:"parameters"`
	Alphas         int64   `json:"alphas"`
	Launches       int     `json:"launches"`
	PeakBytes      int64   `json:"peak_bytes"`
	LowerBound     int64   `json:"lower_bound"`
	CompileSeconds float64 `json:"compile_seconds"`
}

type stepEvent struct {
	Event           string  `json:"event"` // "step"
	Epoch           int     `json:"epoch"`
	Step            int     `json:"step"` // within the epoch
	Steps           int     `json:"steps"`
	Loss            float64 `json:"loss"`
	Top1            float64 `json:"top1"`
	ImagesPerSecond float64 `json:"images_per_second"`
}

type doneEvent struct {
	Event     string  `json:"event"` // "done"
	Run       string  `json:"run"`
	ValidTop1 float64 `json:"valid_top1"`
	Genotype  string  `json:"genotype,omitempty"` // of a search
}

func (l *jsonListener) start(path string, of running, from *run.Checkpoint) {
	summary := plan.Summarize(of.Plan())
	step := summary.Program(l.terms.step)
	event := startEvent{
		Event: "start", Run: path, Version: version(), Config: l.terms.config, Data: of.Data(), StepsPerEpoch: of.StepsPerEpoch(),
		Parameters: summary.Elements("weight"), Alphas: summary.Elements("alpha"), Launches: step.Launches,
		PeakBytes: step.PeakBytes, LowerBound: step.LowerBound, CompileSeconds: rounded(of.CompileTime().Seconds(), 3),
	}
	if from != nil {
		event.FromStep = from.Step
	}
	l.write(event)
	l.pace = pace{since: time.Now()}
}

func (l *jsonListener) step(p recipe.Progress) {
	l.pace.steps++
	if p.Step%l.terms.reportFreq == 0 || p.Step == p.Steps {
		l.write(stepEvent{"step", p.Epoch, p.Step, p.Steps, p.Loss, p.Top1, rounded(l.pace.take(l.terms.batch), 2)})
	}
}

func (l *jsonListener) epoch(r recipe.EpochReport) {
	l.write(r)
	l.pace = pace{since: time.Now()}
}

func (l *jsonListener) end() {}

func (l *jsonListener) done(path string, r recipe.EpochReport) {
	l.write(doneEvent{"done", path, r.ValidTop1, r.Genotype})
}

// write leaves errors to the output, which keeps them for the end of the command.
func (l *jsonListener) write(event any) { _ = writeJSON(l.out, event) }
