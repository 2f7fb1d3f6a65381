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
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/runtime"
)

// Options is what does not change a search's result.
type Options struct {
	Device     runtime.Device
	Workers    int           // for decoding images; 0: one a processor
	Checkpoint time.Duration // between checkpoints within an epoch; 0: at the ends of epochs only
	Version    string        // of dartsc, for plans and models
	Dump       string        // folder for the text after every pass of the compiler, or ""
	Memory     int64         // bytes that the plan may take; 0: as many as it likes
	Logger     *slog.Logger  // nil: silent
	OnStep     func(Progress)
	OnEpoch    func(EpochReport)
}

// Progress is told after every step.
type Progress struct {
	Epoch, Epochs int
	Step, Steps   int // within the epoch, Step counted from 1
	Loss          float64
	Top1          float64 // percent, over the epoch so far
	Time          time.Duration
}

// EpochReport is one line of metrics.jsonl at the end of an epoch. It holds nothing that depends on the machine, so
// that equal runs write equal bytes.
type EpochReport struct {
	Event        string  `json:"event"` // "epoch"
	Epoch        int     `json:"epoch"`
	Step         int64   `json:"step"`
	LearningRate float64 `json:"learning_rate"`
	TrainLoss    float64 `json:"train_loss"`
	TrainTop1    float64 `json:"train_top1"` // percent, as all accuracies
	TrainTop5    float64 `json:"train_top5"`
	ValidLoss    float64 `json:"valid_loss"`
	ValidTop1    float64 `json:"valid_top1"`
	ValidTop5    float64 `json:"valid_top5"`
	Cells        Cells   `json:"cells"`
	Genotype     string  `json:"genotype"`
}

// Cells says how far the search has decided: the mean entropy of the edges' softmax in nats (log 8 = 2.08 at the
// start, 0 when all are decided), and the skip connections of the derived cells, whose growing number is the known
// way in which DARTS collapses.
type Cells struct {
	EntropyNormal float64 `json:"entropy_normal"`
	EntropyReduce float64 `json:"entropy_reduce"`
	SkipsNormal   int     `json:"skips_normal"`
	SkipsReduce   int     `json:"skips_reduce"`
}

// stepReport is one line of metrics.jsonl every report_freq steps: means over the epoch so far.
type stepReport struct {
	Event     string  `json:"event"` // "step"
	Epoch     int     `json:"epoch"`
	Step      int64   `json:"step"`
	Loss      float64 `json:"loss"`
	Top1      float64 `json:"top1"`
	Top5      float64 `json:"top5"`
	AlphaLoss float64 `json:"alpha_loss"` // on the batches that the alphas learn from
	GradNorm  float64 `json:"grad_norm"`  // of this step
}

// genotypeLine is one line of genotypes.jsonl.
type genotypeLine struct {
	Epoch    int            `json:"epoch"`
	Step     int64          `json:"step"`
	Genotype space.Genotype `json:"genotype"`
	Text     string         `json:"text"`
	Cells    Cells          `json:"cells"`
}

// Search is a search that is compiled and ready to run.
type Search struct {
	config  SearchConfig
	options Options
	data    *data.Dataset
	session *runtime.Session
	train   *data.Sampler // the weights' half
	valid   *data.Sampler // the alphas' half
	check   *data.Evaluation
	batch   batches
	compile time.Duration

	evaluator *evaluator
}

// SearchModule builds the programs of a search on data of the given summary.
func SearchModule(config SearchConfig, d data.Summary) (*ir.Module, error) {
	if err := cnn.CheckImage(d.Height, d.Width, config.Layers); err != nil {
		return nil, err
	}
	m := ir.NewModule("search")
	step := config.step(d)
	if err := bilevel.BuildSearchStep(m, config.network(d), step); err != nil {
		return nil, err
	}
	return m, bilevel.BuildEvaluate(m, config.network(d), step.Batch)
}

// SearchMetadata is recorded in the plan of a search.
func SearchMetadata(config SearchConfig, d data.Summary) map[string]string {
	order := "first"
	if config.Unrolled {
		order = "second"
	}
	return map[string]string{
		"what": "cnn search", "order": order, "data": d.Name,
		"init_channels": fmt.Sprint(config.InitChannels), "layers": fmt.Sprint(config.Layers),
		"batch_size": fmt.Sprint(config.BatchSize), "classes": fmt.Sprint(len(d.Classes)),
		"image": fmt.Sprintf("%dx%dx%d", d.Height, d.Width, d.Channels),
	}
}

// NewSearch opens the data, compiles the search and places it on the device. Nothing is written.
func NewSearch(ctx context.Context, config SearchConfig, o Options) (*Search, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	opened, err := config.DataOptions(o.Workers)
	if err != nil {
		return nil, err
	}
	d, err := data.Open(ctx, opened)
	if err != nil {
		return nil, err
	}
	s := &Search{config: config, options: o, data: d}
	if err := s.split(); err != nil {
		return nil, err
	}
	start := time.Now()
	m, err := SearchModule(config, d.Summary())
	if err != nil {
		return nil, err
	}
	p, err := compiler.Compile(ctx, m, compiler.Options{
		Target: o.Device.Target(), Version: o.Version, Metadata: SearchMetadata(config, d.Summary()), Dump: o.Dump, Logger: o.Logger,
		MemoryLimit: o.Memory,
	})
	if err != nil {
		return nil, err
	}
	s.compile = time.Since(start)
	s.session, err = runtime.Open(p, o.Device)
	if err != nil {
		return nil, err
	}
	s.batch = newBatches(config, d)
	s.evaluator, err = newEvaluator(s.session)
	return s, err
}

// split divides the training images between weights and alphas.
func (s *Search) split() (err error) {
	weights, alphas := data.SplitTrain(s.data.Train.Len(), s.config.TrainPortion)
	const weightStream, alphaStream = 1, 2
	if s.train, err = data.NewSampler(weights, s.config.BatchSize, s.config.Seed, weightStream); err != nil {
		return fmt.Errorf("the weights' part of the training images: %w", err)
	}
	if s.valid, err = data.NewSampler(alphas, s.config.BatchSize, s.config.Seed, alphaStream); err != nil {
		return fmt.Errorf("the alphas' part of the training images: %w", err)
	}
	s.check, err = data.NewEvaluation(alphas, s.config.BatchSize)
	return err
}

// Plan returns the compiled plan.
func (s *Search) Plan() *plan.Plan { return s.session.Plan() }

// Data describes the data set.
func (s *Search) Data() data.Summary { return s.data.Summary() }

// CompileTime is how long it took to build the programs and to compile them.
func (s *Search) CompileTime() time.Duration { return s.compile }

// StepsPerEpoch is how many steps an epoch has.
func (s *Search) StepsPerEpoch() int { return s.train.StepsPerEpoch() }

// Close frees the device.
func (s *Search) Close() error { return s.session.Close() }

// ErrStopped is returned by Run when its context ended: the state is saved, and Run can go on from it.
var ErrStopped = errors.New("stopped; the state is saved")

// Run searches to the end, from a checkpoint or, with nil, from the start. It writes checkpoints, logs and, at the end,
// the genotype, its drawings and its network as ONNX into the folder. When ctx ends it finishes the step, saves a
// checkpoint and returns ErrStopped.
func (s *Search) Run(ctx context.Context, folder *run.Folder, from *run.Checkpoint) (EpochReport, error) {
	state, err := s.start(from)
	if err != nil {
		return EpochReport{}, err
	}
	for state.Epoch < s.config.Epochs {
		if err := s.epoch(ctx, folder, state); err != nil {
			return EpochReport{}, err
		}
	}
	report, genotype, err := s.report(state)
	if err != nil {
		return report, err
	}
	report.Epoch = s.config.Epochs - 1
	err = writeResults(ctx, folder, s.config, s.Data(), genotype, s.options)
	if err != nil && ctx.Err() != nil {
		return report, ErrStopped // the last checkpoint is of the end: only the results are to be written again
	}
	return report, err
}

// epoch runs what is left of the present epoch, evaluates, and saves.
func (s *Search) epoch(ctx context.Context, folder *run.Folder, state *searchState) error {
	steps := int64(s.train.StepsPerEpoch())
	end := int64(state.Epoch+1) * steps
	if err := s.session.SetScalar(bilevel.LearningRate, s.config.rateAt(state.Epoch)); err != nil {
		return err
	}
	if err := s.session.SetScalar(bilevel.AlphaLearningRate, s.config.ArchLearningRate); err != nil {
		return err
	}
	saved := time.Now()
	for state.Step < end {
		if ctx.Err() != nil {
			if err := s.save(folder, state); err != nil {
				return err
			}
			return ErrStopped
		}
		if err := s.step(ctx, folder, state); err != nil {
			return err
		}
		if every := s.options.Checkpoint; every > 0 && time.Since(saved) >= every && state.Step < end {
			if err := s.save(folder, state); err != nil {
				return err
			}
			saved = time.Now()
		}
	}
	if err := s.evaluate(ctx, state); err != nil {
		if ctx.Err() == nil {
			return err
		}
		if err := s.save(folder, state); err != nil { // the evaluation is done again when the run goes on
			return err
		}
		return ErrStopped
	}
	return s.endEpoch(folder, state)
}

// step is one search step. It is not interrupted: half of an update must not be seen.
func (s *Search) step(ctx context.Context, folder *run.Folder, state *searchState) error {
	start := time.Now()
	b := &s.batch
	if err := s.data.Train.Gather(s.train.Batch(state.Step), b.trainImages, b.trainLabels); err != nil {
		return err
	}
	if err := s.data.Train.Gather(s.valid.Batch(state.Step), b.validImages, b.validLabels); err != nil {
		return err
	}
	if err := s.session.Run(context.WithoutCancel(ctx), bilevel.SearchStep, b.stepInputs, b.stepResults); err != nil {
		return err
	}
	state.Step++
	if !finite(b.loss[0]) || !finite(b.alphaLoss[0]) || !finite(b.norm[0]) {
		return fmt.Errorf("step %d: loss %v, alpha loss %v, gradient norm %v: the search diverged; use a lower --learning-rate (the last checkpoint is kept)",
			state.Step, b.loss[0], b.alphaLoss[0], b.norm[0])
	}
	t := &state.Totals
	t.Images += int64(s.config.BatchSize)
	t.Loss += float64(b.loss[0]) * float64(s.config.BatchSize)
	t.AlphaLoss += float64(b.alphaLoss[0]) * float64(s.config.BatchSize)
	t.Correct += float64(b.correct[0])
	t.Correct5 += float64(b.correct5[0])
	steps := s.train.StepsPerEpoch()
	inEpoch := int(state.Step - int64(state.Epoch*steps))
	if inEpoch%s.config.ReportFreq == 0 {
		line := stepReport{
			Event: "step", Epoch: state.Epoch, Step: state.Step, Loss: t.mean(t.Loss), AlphaLoss: t.mean(t.AlphaLoss),
			Top1: 100 * t.mean(t.Correct), Top5: 100 * t.mean(t.Correct5), GradNorm: float64(b.norm[0]),
		}
		if err := folder.AppendMetrics(line); err != nil {
			return err
		}
	}
	if s.options.OnStep != nil {
		s.options.OnStep(Progress{
			Epoch: state.Epoch, Epochs: s.config.Epochs, Step: inEpoch, Steps: steps,
			Loss: t.mean(t.Loss), Top1: 100 * t.mean(t.Correct), Time: time.Since(start),
		})
	}
	return nil
}

func finite(v float32) bool { return !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) }

// evaluate measures the network on the alphas' half, without augmentation (the original augments these images too).
func (s *Search) evaluate(ctx context.Context, state *searchState) (err error) {
	if state.Valid, err = s.evaluator.run(ctx, s.data.Train, s.check); err != nil {
		return err
	}
	if loss := state.Valid.Loss; math.IsNaN(loss) || math.IsInf(loss, 0) {
		return fmt.Errorf("evaluation after step %d: loss %v: the search diverged; use a lower --learning-rate", state.Step, loss)
	}
	return nil
}

// endEpoch writes the lines of an epoch, then the checkpoint that counts them.
func (s *Search) endEpoch(folder *run.Folder, state *searchState) error {
	report, genotype, err := s.report(state)
	if err != nil {
		return err
	}
	if err := folder.AppendMetrics(report); err != nil {
		return err
	}
	line := genotypeLine{Epoch: state.Epoch, Step: state.Step, Genotype: genotype, Text: genotype.String(), Cells: report.Cells}
	if err := folder.AppendGenotype(line); err != nil {
		return err
	}
	state.Epoch++
	state.Last = state.Totals
	state.Totals = totals{}
	if err := s.save(folder, state); err != nil {
		return err
	}
	if s.options.OnEpoch != nil {
		s.options.OnEpoch(report)
	}
	return nil
}

// report derives the genotype and sums the epoch up.
func (s *Search) report(state *searchState) (EpochReport, space.Genotype, error) {
	var alphas [2][][]float64
	for i, name := range []string{cnn.AlphasNormal, cnn.AlphasReduce} {
		v := s.Plan().Variable(name)
		values := make([]float32, v.Elements())
		if err := s.session.Get(name, values); err != nil {
			return EpochReport{}, space.Genotype{}, err
		}
		for width := v.Shape[1]; len(values) > 0; values = values[width:] {
			alphas[i] = append(alphas[i], widen(values[:width]))
		}
	}
	genotype, err := space.Derive(alphas[0], alphas[1])
	if err != nil {
		return EpochReport{}, genotype, err
	}
	t := state.Totals
	if t.Images == 0 {
		t = state.Last
	}
	v := state.Valid
	return EpochReport{
		Event: "epoch", Epoch: state.Epoch, Step: state.Step, LearningRate: s.config.rateAt(min(state.Epoch, s.config.Epochs-1)),
		TrainLoss: t.mean(t.Loss), TrainTop1: 100 * t.mean(t.Correct), TrainTop5: 100 * t.mean(t.Correct5),
		ValidLoss: v.mean(v.Loss), ValidTop1: 100 * v.mean(v.Correct), ValidTop5: 100 * v.mean(v.Correct5),
		Cells: Cells{
			EntropyNormal: space.Entropy(alphas[0]), EntropyReduce: space.Entropy(alphas[1]),
			SkipsNormal: space.SkipConnects(genotype.Normal), SkipsReduce: space.SkipConnects(genotype.Reduce),
		},
		Genotype: genotype.String(),
	}, genotype, nil
}
