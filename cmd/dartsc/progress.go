package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/run"
)

// listener tells of a run as it goes; R reports an epoch.
type listener[R any] interface {
	start(path string, of running, data any, from *run.Checkpoint)
	step(recipe.Progress)
	epoch(R)
	end() // whichever way it ends
	done(path string, last R)
}

// running is a search or a training that begins.
type running interface {
	Plan() *plan.Plan
	CompileTime() time.Duration
	StepsPerEpoch() int
}

// terms are what a listener knows of a run beforehand.
type terms[R any] struct {
	config                    any
	epochs, batch, reportFreq int
	step                      string // the program of a step
	summary                   string // the settings in a few words
	unit                      string // what steps read: images or words
	score                     func(recipe.Progress) string
	epoch                     func(R) (line, genotype string) // genotype is "" where there is none
	done                      func(path string, last R) (text string, event any)
	stepEvent                 func(p recipe.Progress, rate float64) any
}

func newListener[R any](json bool, t terms[R], stdout, stderr io.Writer) listener[R] {
	if json {
		return &jsonListener[R]{terms: t, out: stdout}
	}
	return newTextListener(t, stdout, stderr)
}

// imageTerms is what the runs on images have in common.
func imageTerms(config any, epochs, batch, reportFreq int) terms[recipe.EpochReport] {
	return terms[recipe.EpochReport]{
		config: config, epochs: epochs, batch: batch, reportFreq: reportFreq, unit: "images",
		score: func(p recipe.Progress) string { return fmt.Sprintf("loss %.4f  top1 %.2f%%", p.Loss, p.Top1) },
		epoch: func(r recipe.EpochReport) (line, genotype string) { return imageEpoch(r, epochs) },
		stepEvent: func(p recipe.Progress, rate float64) any {
			return stepEvent{"step", p.Epoch, p.Step, p.Steps, p.Loss, p.Top1, rate}
		},
	}
}

// imageEpoch says how an epoch on images went.
func imageEpoch(r recipe.EpochReport, epochs int) (line, genotype string) {
	line = fmt.Sprintf("epoch %d/%d  train loss %.4f  top1 %.2f%%  valid loss %.4f  top1 %.2f%%  top5 %.2f%%",
		r.Epoch+1, epochs, r.TrainLoss, r.TrainTop1, r.ValidLoss, r.ValidTop1, r.ValidTop5)
	if c := r.Cells; c != nil {
		line += fmt.Sprintf("  entropy %.4f, %.4f  skips %d, %d", c.EntropyNormal, c.EntropyReduce, c.SkipsNormal, c.SkipsReduce)
		if c.Cost != nil {
			line += fmt.Sprintf("  %s parameters, %s multiply-adds by penalty %.3f", grouped(c.Cost.Parameters), grouped(c.Cost.MultiplyAdds), c.Penalty)
		}
	}
	return line, r.Genotype
}

// pace measures images or words a second since it was last asked.
type pace struct {
	since time.Time
	items int
}

func (p *pace) take() float64 {
	rate := float64(p.items) / time.Since(p.since).Seconds()
	*p = pace{since: time.Now()}
	return rate
}

// textListener writes lines for people: a bar on a terminal, every report_freq steps a line elsewhere.
type textListener[R any] struct {
	terms    terms[R]
	out      io.Writer
	terminal io.Writer // nil where there is none
	bar      *progressbar.ProgressBar
	pace     pace
}

func newTextListener[R any](t terms[R], stdout, stderr io.Writer) *textListener[R] {
	l := &textListener[R]{terms: t, out: stdout}
	if file, ok := stderr.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		l.terminal = stderr
	}
	return l
}

func (l *textListener[R]) start(path string, of running, data any, from *run.Checkpoint) {
	summary := plan.Summarize(of.Plan())
	step := summary.Program(l.terms.step)
	alphas := ""
	if n := summary.Elements("alpha"); n > 0 {
		alphas = fmt.Sprintf(", %s alphas", grouped(n))
	}
	fmt.Fprintf(l.out, "%v; %s parameters%s; %s launches a step, memory %s (lower bound %s), ",
		data, grouped(summary.Elements("weight")), alphas, grouped(step.Launches), size(step.PeakBytes), size(step.LowerBound))
	if took := of.CompileTime(); took > 0 {
		fmt.Fprintf(l.out, "compiled in %.1f s\n", took.Seconds())
	} else {
		fmt.Fprintln(l.out, "compiled before")
	}
	fmt.Fprintf(l.out, "%s: %s of %s, batch %d, %s\n", path, counted(l.terms.epochs, "epoch"), counted(of.StepsPerEpoch(), "step"), l.terms.batch, l.terms.summary)
	if from != nil {
		fmt.Fprintf(l.out, "goes on after step %d\n", from.Step)
	}
	l.pace = pace{since: time.Now()}
}

// counted is "1 epoch" or "2 epochs".
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}

func (l *textListener[R]) step(p recipe.Progress) {
	l.pace.items += p.Items
	if l.terminal != nil {
		l.draw(p)
		return
	}
	if p.Step%l.terms.reportFreq != 0 && p.Step != p.Steps {
		return
	}
	fmt.Fprintf(l.out, "epoch %d/%d  step %d/%d  %s  %.1f %s/s\n",
		p.Epoch+1, p.Epochs, p.Step, p.Steps, l.terms.score(p), l.pace.take(), l.terms.unit)
	if p.Step == p.Steps {
		l.pace.since = time.Now()
	}
}

func (l *textListener[R]) draw(p recipe.Progress) {
	if l.bar == nil {
		l.bar = progressbar.NewOptions(p.Steps, progressbar.OptionSetWriter(l.terminal),
			progressbar.OptionShowCount(), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond))
	}
	_ = l.bar.Set(p.Step) // a bar that cannot be drawn is no reason to stop
	l.bar.Describe(fmt.Sprintf("epoch %d/%d  %s", p.Epoch+1, p.Epochs, l.terms.score(p)))
}

func (l *textListener[R]) epoch(r R) {
	l.end()
	speed := ""
	if l.terminal != nil {
		speed = fmt.Sprintf("  %.1f %s/s", l.pace.take(), l.terms.unit)
	}
	line, genotype := l.terms.epoch(r)
	fmt.Fprintln(l.out, line+speed)
	if genotype != "" {
		fmt.Fprintf(l.out, "  %s\n", genotype)
	}
	l.pace = pace{since: time.Now()}
}

func (l *textListener[R]) end() {
	if l.bar != nil {
		_ = l.bar.Clear()
		l.bar = nil
	}
}

func (l *textListener[R]) done(path string, r R) {
	text, _ := l.terms.done(path, r)
	fmt.Fprintln(l.out, text)
}

// jsonListener writes one object a line for scripts.
type jsonListener[R any] struct {
	terms terms[R]
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

func (l *jsonListener[R]) start(path string, of running, data any, from *run.Checkpoint) {
	summary := plan.Summarize(of.Plan())
	step := summary.Program(l.terms.step)
	event := startEvent{
		Event: "start", Run: path, Version: version(), Config: l.terms.config, Data: data, StepsPerEpoch: of.StepsPerEpoch(),
		Parameters: summary.Elements("weight"), Alphas: summary.Elements("alpha"), Launches: step.Launches,
		PeakBytes: step.PeakBytes, LowerBound: step.LowerBound, CompileSeconds: rounded(of.CompileTime().Seconds(), 3),
	}
	if from != nil {
		event.FromStep = from.Step
	}
	l.write(event)
	l.pace = pace{since: time.Now()}
}

func (l *jsonListener[R]) step(p recipe.Progress) {
	l.pace.items += p.Items
	if p.Step%l.terms.reportFreq == 0 || p.Step == p.Steps {
		l.write(l.terms.stepEvent(p, rounded(l.pace.take(), 2)))
	}
}

func (l *jsonListener[R]) epoch(r R) {
	l.write(r)
	l.pace = pace{since: time.Now()}
}

func (l *jsonListener[R]) end() {}

func (l *jsonListener[R]) done(path string, r R) {
	_, event := l.terms.done(path, r)
	l.write(event)
}

// write leaves errors to the output, which keeps them for the end of the command.
func (l *jsonListener[R]) write(event any) { _ = writeJSON(l.out, event) }
