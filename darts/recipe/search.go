package recipe

import (
	"cmp"
	"context"
	"fmt"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
)

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
	loop[SearchConfig]
	weights, alphas         data.Batches // the two parts of the training images
	weightBatch, alphaBatch data.Batch
}

// SearchModule builds the programs of a search on data of the given summary, for a plan of this target and limit of memory
// (0: none). On a GPU a data set that fits stays there.
func SearchModule(config SearchConfig, d data.Summary, target string, limit int64) (*ir.Module, error) {
	if err := cnn.CheckImage(d.Height, d.Width, config.Layers); err != nil {
		return nil, err
	}
	m := ir.NewModule("search")
	step := config.step(d)
	step.Batch.Kept = kept(d.Train, d, target, limit)
	if err := bilevel.BuildSearchStep(m, config.network(d), step); err != nil {
		return nil, err
	}
	return m, bilevel.BuildEvaluate(m, config.network(d), step.Batch)
}

// SearchMetadata is recorded in the plan of a search: every setting that the programs depend on. What changes from run
// to run or from step to step (seed, learning rates) is a variable.
func SearchMetadata(config SearchConfig, d data.Summary) map[string]string {
	order, cutout := "first", 0
	if config.Unrolled {
		order = "second"
	}
	if config.Cutout {
		cutout = config.CutoutLength
	}
	return map[string]string{
		"what": "cnn search", "order": order, "data": d.Name,
		"init_channels": fmt.Sprint(config.InitChannels), "layers": fmt.Sprint(config.Layers),
		"batch_size": fmt.Sprint(config.BatchSize), "classes": fmt.Sprint(len(d.Classes)),
		"image": fmt.Sprintf("%dx%dx%d", d.Height, d.Width, d.Channels), "mean": fmt.Sprint(d.Mean), "std": fmt.Sprint(d.Std),
		"momentum": fmt.Sprint(config.Momentum), "weight_decay": fmt.Sprint(config.WeightDecay), "grad_clip": fmt.Sprint(config.GradClip),
		"arch_weight_decay": fmt.Sprint(config.ArchWeightDecay), "cutout": fmt.Sprint(cutout),
		"precision": cmp.Or(config.Precision, cuda.FP32),
	}
}

// NewSearch opens the data, compiles the search and places it on the device. Nothing is written.
func NewSearch(ctx context.Context, config SearchConfig, o Options) (*Search, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if err := config.limit().Check(); err != nil {
		return nil, err
	}
	d, err := config.open(ctx, o.Workers)
	if err != nil {
		return nil, err
	}
	s := &Search{}
	s.set(s, config, size{config.Epochs, config.BatchSize, config.ReportFreq, config.Seed, config.Precision}, o)
	s.data = d.Summary()
	if err := s.split(d); err != nil {
		return nil, err
	}
	build := func() (*ir.Module, error) { return SearchModule(config, s.data, o.Device.Target(), o.Memory) }
	if err := s.open(ctx, bilevel.SearchStep, build, SearchMetadata(config, s.data), d); err != nil {
		return nil, err
	}
	s.weightBatch, s.alphaBatch = s.batch("train_"), s.batch("valid_")
	s.results["valid_loss"] = s.alphaLoss
	if err := s.check(cnn.AlphasNormal, cnn.AlphasReduce, bilevel.AlphaLearningRate); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// The streams of the seed that put images into batches.
const weightStream, alphaStream = 1, 2

// split divides the training images between weights and alphas. Each epoch is evaluated on the alphas' part, without
// augmentation (the original augments these images too).
func (s *Search) split(d *data.Dataset) error {
	weights, alphas := data.SplitTrain(d.Train.Len(), s.config.TrainPortion)
	train, err := data.NewSampler(weights, s.config.BatchSize, s.config.Seed, weightStream)
	if err != nil {
		return fmt.Errorf("the weights' part of the training images: %w", err)
	}
	valid, err := data.NewSampler(alphas, s.config.BatchSize, s.config.Seed, alphaStream)
	if err != nil {
		return fmt.Errorf("the alphas' part of the training images: %w", err)
	}
	walk, err := data.NewEvaluation(alphas, s.config.BatchSize)
	if err != nil {
		return err
	}
	s.weights, s.alphas, s.images = d.Sampled(train), d.Sampled(valid), d.WalkedTrain(walk)
	s.steps = s.weights.Steps()
	return nil
}

func (s *Search) name() string { return "search" }

func (s *Search) controls(epoch int) map[string]float64 {
	return map[string]float64{bilevel.LearningRate: s.config.rateAt(epoch), bilevel.AlphaLearningRate: s.config.ArchLearningRate}
}

func (s *Search) read(ctx context.Context, step int64) error {
	if err := s.weights.Read(ctx, step, s.weightBatch); err != nil {
		return err
	}
	return s.alphas.Read(ctx, step, s.alphaBatch)
}

// report derives the genotype.
func (s *Search) report(r *EpochReport, _ *standing) error {
	var alphas [2][][]float64
	for i, name := range []string{cnn.AlphasNormal, cnn.AlphasReduce} {
		v := s.Plan().Variable(name)
		values := make([]float32, v.Elements())
		if err := s.session.Get(name, values); err != nil {
			return err
		}
		alphas[i] = matrix(values, v.Shape[1])
	}
	limit := s.config.limit()
	derived, err := limit.Derive(alphas[0], alphas[1])
	if err != nil {
		return err
	}
	genotype := derived.Genotype
	r.Cells = &Cells{
		EntropyNormal: space.Entropy(alphas[0]), EntropyReduce: space.Entropy(alphas[1]),
		SkipsNormal: space.SkipConnects(genotype.Normal), SkipsReduce: space.SkipConnects(genotype.Reduce),
	}
	if limit.Bounds() {
		r.Cells.Cost, r.Cells.Penalty = &derived.Cost, derived.Penalty
	}
	r.genotype, r.Genotype = genotype, genotype.String()
	return nil
}

func (s *Search) record(folder *run.Folder, r EpochReport) error {
	return folder.AppendGenotype(genotypeLine{Epoch: r.Epoch, Step: r.Step, Genotype: r.genotype, Text: r.Genotype, Cells: *r.Cells})
}
