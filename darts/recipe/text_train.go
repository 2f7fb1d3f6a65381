package recipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/safetensors"
	"github.com/dartsc/dartsc/darts/text"
	"github.com/dartsc/dartsc/darts/weights"
	"github.com/dartsc/dartsc/ir"
)

// TextTraining is the training of a recurrent cell, compiled and ready to run (rnn/train.py of the original). It goes by
// SGD until the perplexity on the validation text does not fall any more, and from then on by averaged SGD, of which the
// averages are what is evaluated and kept.
type TextTraining struct {
	textLoop[TextTrainConfig]
}

// textStanding is how far a training on text has come, beside what every run has.
type textStanding struct {
	Average   bool      `json:"average"`             // whether steps are of averaged SGD
	Averaged  bool      `json:"averaged"`            // whether the last evaluation was of averages
	Losses    []float64 `json:"losses,omitempty"`    // of all evaluations that the rule looks at
	Best      *BestText `json:"best,omitempty"`      // over all evaluations
	Rollbacks int       `json:"rollbacks,omitempty"` // since the last epoch that ended
}

// maxRollbacks is after how many epochs in a row that diverged a training ends.
const maxRollbacks = 5

// rollbackFile holds every variable after the best epoch, for a training that diverges to go on from.
const rollbackFile = "rollback.safetensors"

// rooms are the lengths that there are programs for. Half of the lengths drawn are at most bptt, nearly all at most ten
// more.
func (c TextTrainConfig) rooms() []int {
	longest := c.lengths().Longest()
	rooms := []int{min(c.BPTT, longest), min(c.BPTT+10, longest), longest}
	if c.BPTT >= 20 {
		rooms = append(rooms, c.BPTT/2+5)
	}
	slices.Sort(rooms)
	return slices.Compact(rooms)
}

func (c TextTrainConfig) lengths() text.Lengths {
	return text.Lengths{BPTT: c.BPTT, Vary: true, Delta: c.Delta}
}

// TextTrainModule builds the programs of a training on a corpus of the given summary.
func TextTrainModule(config TextTrainConfig, d text.Summary) (*ir.Module, error) {
	m := ir.NewModule("rnn training")
	l := config.language(d.Vocabulary, &config.Genotype)
	for _, averaged := range []bool{false, true} {
		for _, rows := range config.rooms() {
			if err := bilevel.BuildTextTrainStep(m, l, config.step(rows), averaged); err != nil {
				return nil, err
			}
		}
		if err := bilevel.BuildTextEvaluate(m, l, min(evaluationRows, max(1, d.Valid/2)), config.BPTT, averaged); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// TextTrainMetadata is recorded in the plan of a training.
func TextTrainMetadata(config TextTrainConfig, d text.Summary) map[string]string {
	m := config.metadata("rnn training", d)
	m["genotype"] = config.Genotype.String()
	return m
}

// NewTextTraining opens the text, compiles the training and places it on the device. Nothing is written.
func NewTextTraining(ctx context.Context, config TextTrainConfig, o Options) (*TextTraining, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	t := &TextTraining{}
	if err := t.set(t, config, config.TextSettings, o); err != nil {
		return nil, err
	}
	t.lengths, t.rooms = config.lengths(), config.rooms()
	build := func() (*ir.Module, error) { return TextTrainModule(config, t.data) }
	if err := t.open(ctx, build, TextTrainMetadata(config, t.data)); err != nil {
		return nil, err
	}
	return t, t.ready(evaluationRows, "train")
}

func (t *TextTraining) name() string { return "training" }

func (t *TextTraining) program(s *standing) string {
	if s.Text.Average {
		return bilevel.TrainAverageStep
	}
	return bilevel.TrainStep
}

func (t *TextTraining) texts(w text.Window) []source { return []source{{t.streams, w}} }

func (t *TextTraining) begin(s *standing) (end int64, err error) {
	if s.Text == nil {
		s.Text = &textStanding{Average: t.config.Finetune != ""}
	}
	if s.Step == 0 {
		if err := t.LoadFinetune(); err != nil {
			return 0, err
		}
	}
	return t.textLoop.begin(s)
}

// LoadFinetune sets the weights from the file that a finetuning starts from, if it is one. Run does so by itself, when it
// has a folder; before that, it tells whether they fit.
func (t *TextTraining) LoadFinetune() error {
	if t.config.Finetune == "" {
		return nil
	}
	w, err := weights.Read(t.config.Finetune)
	if err == nil {
		_, err = setText(t.session, t.config.language(t.data.Vocabulary, &t.config.Genotype), w)
	}
	if err != nil {
		return fmt.Errorf("--finetune: %w", err)
	}
	return nil
}

// weights lists the variables that are weights of the model.
func (t *TextTraining) weights() (list []plan.Variable) {
	for _, v := range t.Plan().Variables {
		if v.Kind == ir.Weight.String() {
			list = append(list, v)
		}
	}
	return list
}

// diverged goes back to the best epoch's weights and gives the present epoch up. The count of steps goes on, and with it
// the dropout and the lengths: the same would happen again otherwise.
func (t *TextTraining) diverged(folder *run.Folder, s *standing, why error) error {
	if s.Text.Best == nil || s.Text.Rollbacks >= maxRollbacks {
		return why
	}
	f, err := safetensors.Read(filepath.Join(folder.Path(), rollbackFile))
	if err != nil {
		return errors.Join(why, err)
	}
	if err := t.setAll(f); err != nil {
		return fmt.Errorf("%s: %w", rollbackFile, err)
	}
	if err := t.session.SetScalar(bilevel.Step, float64(s.Step)); err != nil {
		return err
	}
	s.Text.Average = s.Text.Best.Averaged
	s.Text.Rollbacks++
	if err := folder.AppendMetrics(rollbackReport{Event: "rollback", Epoch: s.Epoch, Step: s.Step, To: s.Text.Best.Epoch}); err != nil {
		return err
	}
	return errGivenUp
}

// evaluate also decides, by the non-monotone rule, when averaging begins; a finetuning ends by that rule.
func (t *TextTraining) evaluate(ctx context.Context, s *standing) (err error) {
	x := s.Text
	if s.Valid, err = t.evaluator.run(ctx, x.Average); err != nil {
		return err
	}
	loss := s.Valid.mean(s.Valid.Loss)
	x.Averaged, x.Rollbacks = x.Average, 0
	finetune := t.config.Finetune != ""
	if !x.Average || finetune {
		if t.stalled(x.Losses, loss) {
			x.Average, s.Ended = true, finetune
		}
		x.Losses = append(x.Losses, loss)
	}
	if x.Best == nil || loss < x.Best.Loss {
		r := newTextReport(s, s.Epoch, totals{})
		x.Best = &BestText{Epoch: s.Epoch, Loss: loss, Perplexity: r.ValidPerplexity, Averaged: x.Averaged}
	}
	return nil
}

// stalled is the rule of Merity et al. 2017: a loss is above the lowest of those but the last few.
func (t *TextTraining) stalled(losses []float64, loss float64) bool {
	n := t.config.NonMono
	return len(losses) > n && loss > slices.Min(losses[:len(losses)-n])
}

func (t *TextTraining) sum(s *standing, epoch int, of totals) (TextReport, error) {
	r := newTextReport(s, epoch, of)
	r.Averaged, r.Best = s.Text.Averaged, s.Text.Best
	return r, nil
}

// record keeps the weights of the best epoch, averages where it has them, and what it takes to go back to it. It comes
// before the checkpoint: a run that is killed in between does the epoch again, and writes the same.
func (t *TextTraining) record(folder *run.Folder, r TextReport) error {
	if r.Best.Epoch != r.Epoch {
		return nil
	}
	all, err := t.tensors(func(*plan.Variable) bool { return true })
	if err != nil {
		return err
	}
	if err := writeTensors(folder, rollbackFile, all, nil); err != nil {
		return err
	}
	suffix := ""
	if r.Averaged {
		suffix = ".average"
	}
	var best []safetensors.Tensor
	for _, v := range t.weights() {
		for _, tensor := range all {
			if tensor.Name == v.Name+suffix {
				tensor.Name = v.Name
				best = append(best, tensor)
			}
		}
	}
	return writeTensors(folder, BestWeights, best, map[string]string{
		"genotype": t.config.Genotype.String(), "nhid": fmt.Sprint(t.config.Hidden), "vocabulary": fmt.Sprint(t.data.Vocabulary),
		"data": t.data.Name, "epoch": fmt.Sprint(r.Epoch), "averaged": fmt.Sprint(r.Averaged), "valid_perplexity": fmt.Sprint(r.ValidPerplexity),
	})
}

func writeTensors(folder *run.Folder, name string, tensors []safetensors.Tensor, metadata map[string]string) error {
	var content bytes.Buffer
	if err := safetensors.Encode(&content, tensors, metadata); err != nil {
		return err
	}
	return folder.WriteFile(name, content.Bytes())
}

// TextTrainResult is results.json of a training; the numbers but Parameters are perplexities.
type TextTrainResult struct {
	Task       string   `json:"task"`
	Arch       string   `json:"arch"`
	Genotype   string   `json:"genotype"`
	Data       string   `json:"data"`
	Seed       uint64   `json:"seed"`
	Epochs     int      `json:"epochs"` // that were run
	Parameters int      `json:"parameters"`
	Unigram    float64  `json:"unigram_perplexity"`
	Last       float64  `json:"last_valid_perplexity"`
	Best       BestText `json:"best"`
	Test       float64  `json:"test_perplexity"` // of the best epoch's weights, row by row
}

// finish writes what came out: the cell, its drawing, and results.json with the perplexity on the test text, which comes
// last and so marks a training that has ended.
func (t *TextTraining) finish(ctx context.Context, folder *run.Folder, r TextReport) error {
	if err := writeRecurrent(folder, t.config.Genotype); err != nil {
		return err
	}
	score, err := TestText(ctx, TextTestConfig{
		Model: filepath.Join(folder.Path(), BestWeights), Genotype: t.config.Genotype, Data: t.config.Data, Seed: t.config.Seed,
		BatchSize: 1, BPTT: t.config.BPTT, Precision: t.config.Precision,
	}, t.options)
	if err != nil {
		return err
	}
	return writeJSONFile(folder, Results, TextTrainResult{
		Task: TaskTextTrain, Arch: t.config.Arch, Genotype: t.config.Genotype.String(), Data: t.data.Name, Seed: t.config.Seed,
		Epochs: r.Epoch + 1, Parameters: score.Parameters, Unigram: t.data.Unigram, Last: r.ValidPerplexity, Best: *r.Best,
		Test: score.Perplexity,
	})
}
