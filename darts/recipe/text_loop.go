package recipe

import (
	"context"
	"fmt"
	"time"

	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/text"
	"github.com/dartsc/dartsc/runtime"
)

// textLoop is the course of a search or a training on text: windows, steps, evaluation and log lines. C is the
// configuration of the task.
type textLoop[C any] struct {
	driver[C, text.Summary, TextReport]
	task      textTask
	settings  TextSettings
	corpus    *text.Corpus
	streams   text.Streams // of the training text
	lengths   text.Lengths
	rooms     []int         // of the programs of a step, ascending
	windows   []text.Window // of the present epoch
	evaluator *textEvaluator

	length          []int64
	buffers         []textBuffer
	loss, alphaLoss []float32
	norm            []float32
}

// textTask is what tells a search from a training.
type textTask interface {
	course[TextReport]
	// program is the kind of step, of the programs that there are for each room.
	program(s *standing) string
	// texts are what a step reads, in the order of the loop's buffers.
	texts(w text.Window) []source
	// diverged is told of a step whose loss is no number; an error ends the run.
	diverged(folder *run.Folder, s *standing, why error) error
}

// source is a window of streams.
type source struct {
	streams text.Streams
	window  text.Window
}

// textBuffer holds the inputs NAME_tokens and NAME_targets of a step.
type textBuffer struct {
	name            string
	tokens, targets []int32
}

// evaluationRows is how many parts of the validation text a training evaluates side by side, as in the original.
const evaluationRows = 10

// set gives the loop its task, which embeds it, and opens its text.
func (l *textLoop[C]) set(t textTask, config C, settings TextSettings, o Options) (err error) {
	l.task, l.course, l.config, l.settings, l.options, l.onEpoch = t, t, config, settings, o, o.OnTextEpoch
	l.size = size{settings.Epochs, settings.BatchSize, settings.ReportFreq, settings.Seed, settings.Precision}
	if l.corpus, err = text.Open(settings.Data, settings.Seed); err != nil {
		return err
	}
	l.data = l.corpus.Summary()
	if l.streams, err = text.NewStreams(l.corpus.Train, settings.BatchSize); err != nil {
		return fmt.Errorf("the training text: %w", err)
	}
	return nil
}

// ready makes the buffers of an evaluation of so many rows, and of a step, whose inputs have these names, once the
// programs are on the device.
func (l *textLoop[C]) ready(rows int, names ...string) (err error) {
	l.length, l.loss, l.alphaLoss, l.norm = make([]int64, 1), make([]float32, 1), make([]float32, 1), make([]float32, 1)
	room := l.rooms[len(l.rooms)-1] * l.settings.BatchSize
	for _, name := range names {
		l.buffers = append(l.buffers, textBuffer{name, make([]int32, room), make([]int32, room)})
	}
	l.evaluator, err = newTextEvaluator(l.session, l.corpus.Valid, rows, l.settings.BPTT)
	return err
}

// StepsPerEpoch is how many steps the first epoch has; others differ by a few.
func (l *textLoop[C]) StepsPerEpoch() int {
	return len(l.lengths.Windows(l.streams, l.settings.Seed, 0))
}

func (l *textLoop[C]) begin(s *standing) (end int64, err error) {
	l.windows = l.lengths.Windows(l.streams, l.settings.Seed, s.Epoch)
	if s.Step == s.Start {
		for _, name := range []string{rnn.HiddenTrain, rnn.HiddenValid} {
			if err := clearVariable(l.session, name); err != nil {
				return 0, err
			}
		}
	}
	return s.Start + int64(len(l.windows)), nil
}

// clearVariable sets a variable to zero, if there is one of that name.
func clearVariable(session *runtime.Session, name string) error {
	v := session.Plan().Variable(name)
	if v == nil {
		return nil
	}
	return session.Set(name, make([]float32, v.Elements()))
}

func (l *textLoop[C]) step(ctx context.Context, folder *run.Folder, s *standing) error {
	start := time.Now()
	w := l.windows[s.Step-s.Start]
	inputs, room, err := l.inputs(w)
	if err != nil {
		return err
	}
	// As in the original the rate goes with the length that was drawn.
	rate := l.settings.LearningRate * float64(w.Drawn) / float64(l.settings.BPTT)
	if err := l.session.SetScalar(bilevel.LearningRate, rate); err != nil {
		return err
	}
	results := map[string]any{"loss": l.loss, "grad_norm": l.norm}
	search := len(l.buffers) > 1
	if search {
		results["valid_loss"] = l.alphaLoss
	}
	if err := l.session.Run(context.WithoutCancel(ctx), rnn.Name(l.task.program(s), room), inputs, results); err != nil {
		return err
	}
	s.Step++
	if !finite(l.loss[0]) || !finite(l.alphaLoss[0]) || !finite(l.norm[0]) {
		return l.task.diverged(folder, s, fmt.Errorf("step %d: loss %v, gradient norm %v: the %s diverged; use a lower --lr (the last checkpoint is kept)",
			s.Step, l.loss[0], l.norm[0], l.task.name()))
	}
	t, words := &s.Totals, float64(w.Length*l.settings.BatchSize)
	t.Count += int64(words)
	t.Loss += float64(l.loss[0]) * words
	t.AlphaLoss += float64(l.alphaLoss[0]) * words
	return l.tell(folder, s, search, time.Since(start))
}

// inputs copies a window's words, and what follows them, into the smallest program's inputs that they fit.
func (l *textLoop[C]) inputs(w text.Window) (inputs map[string]any, room int, err error) {
	for _, room = range l.rooms {
		if room >= w.Length {
			break
		}
	}
	l.length[0] = int64(w.Length)
	inputs = map[string]any{"length": l.length}
	for i, from := range l.task.texts(w) {
		b := l.buffers[i]
		tokens, targets := b.tokens[:room*l.settings.BatchSize], b.targets[:room*l.settings.BatchSize]
		if err := from.streams.Fill(from.window, tokens, targets); err != nil {
			return nil, 0, err
		}
		inputs[b.name+"_tokens"], inputs[b.name+"_targets"] = tokens, targets
	}
	return inputs, room, nil
}

// tell writes the line of a step that has one, and says how far the run is.
func (l *textLoop[C]) tell(folder *run.Folder, s *standing, search bool, took time.Duration) error {
	t := s.Totals
	inEpoch, r := int(s.Step-s.Start), newTextReport(s, s.Epoch, t)
	if inEpoch%l.settings.ReportFreq == 0 {
		line := textStepReport{Event: "step", Epoch: s.Epoch, Step: s.Step, Loss: r.TrainLoss, Perplexity: r.TrainPerplexity, GradNorm: float64(l.norm[0])}
		if search {
			loss := t.mean(t.AlphaLoss)
			line.AlphaLoss = &loss
		}
		if err := folder.AppendMetrics(line); err != nil {
			return err
		}
	}
	if l.options.OnStep != nil {
		l.options.OnStep(Progress{
			Epoch: s.Epoch, Epochs: l.settings.Epochs, Step: inEpoch, Steps: len(l.windows),
			Loss: r.TrainLoss, Perplexity: r.TrainPerplexity, Items: int(l.length[0]) * l.settings.BatchSize, Time: took,
		})
	}
	return nil
}
