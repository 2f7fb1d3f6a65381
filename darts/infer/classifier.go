package infer

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/runtime"
)

// Classifier is a plan with one input, images f32 [N,C,H,W], and a first result with a number for each class, [N,K].
type Classifier struct {
	Classes   []string // names; may be fewer than K, or none
	Mean, Std []float32

	session   *runtime.Session
	program   *plan.Program
	batch     int
	channels  int
	size      data.Size
	classes   int
	images    []float32
	responses []float32
}

// Guess is a class with its probability.
type Guess struct {
	Class       int     `json:"class"`
	Name        string  `json:"name,omitempty"`
	Probability float64 `json:"probability"`
}

// Open places a plan on a device. Names and normalisation are those of the plan's metadata, where it has them: classes,
// mean and std, separated by commas.
func Open(p *plan.Plan, device runtime.Device) (*Classifier, error) {
	c := &Classifier{}
	if err := c.find(p); err != nil {
		return nil, fmt.Errorf("plan %s: %w", p.Name, err)
	}
	if list := p.Metadata["classes"]; list != "" {
		c.Classes = strings.Split(list, ",")
	}
	for key, to := range map[string]*[]float32{"mean": &c.Mean, "std": &c.Std} {
		if text := p.Metadata[key]; text != "" {
			list, err := ParseList(text)
			if err != nil {
				return nil, fmt.Errorf("plan %s: metadata %s: %w", p.Name, key, err)
			}
			*to = list
		}
	}
	session, err := runtime.Open(p, device)
	if err != nil {
		return nil, err
	}
	if err := session.Initialize(0); err != nil {
		session.Close()
		return nil, err
	}
	c.session = session
	return c, nil
}

// find checks that the plan classifies images.
func (c *Classifier) find(p *plan.Plan) error {
	if len(p.Programs) != 1 {
		return fmt.Errorf("has %d programs: want a plan of compile onnx, which has one", len(p.Programs))
	}
	for _, v := range p.Variables {
		if v.Values == nil {
			return fmt.Errorf("has no weights (variable %s): want a plan of compile onnx", v.Name)
		}
	}
	c.program = p.Programs[0]
	if len(c.program.Inputs) != 1 || len(c.program.Results) < 1 {
		return fmt.Errorf("has %d inputs and %d results, want one input of images and a result", len(c.program.Inputs), len(c.program.Results))
	}
	in, out := c.program.Buffers[c.program.Inputs[0].Buffer].Tensor, c.program.Buffers[c.program.Results[0].Buffer].Tensor
	if in.DType != plan.F32 || len(in.Shape) != 4 || in.Shape[1] != 1 && in.Shape[1] != 3 {
		return fmt.Errorf("input %s is %s, want f32 images [N,3,H,W] or [N,1,H,W]", c.program.Inputs[0].Name, in)
	}
	if out.DType != plan.F32 || len(out.Shape) < 2 || out.Shape[0] != in.Shape[0] {
		return fmt.Errorf("result %s is %s, want f32 [%d,classes]", c.program.Results[0].Name, out, in.Shape[0])
	}
	c.batch, c.channels, c.size = in.Shape[0], in.Shape[1], data.Size{Height: in.Shape[2], Width: in.Shape[3]}
	c.classes = out.Elements() / c.batch
	c.images, c.responses = make([]float32, in.Elements()), make([]float32, out.Elements())
	return nil
}

// ParseList reads numbers separated by commas.
func ParseList(text string) ([]float32, error) {
	var list []float32
	for field := range strings.SplitSeq(text, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(field), 32)
		if err != nil {
			return nil, fmt.Errorf("%q: want numbers separated by commas", text)
		}
		list = append(list, float32(v))
	}
	return list, nil
}

// Close frees the device.
func (c *Classifier) Close() error { return c.session.Close() }

// Check reports what is missing before images can be classified.
func (c *Classifier) Check() error {
	if len(c.Mean) != c.channels || len(c.Std) != c.channels {
		return fmt.Errorf("the images' normalisation is not known: want %d numbers each for mean and std, got %v and %v", c.channels, c.Mean, c.Std)
	}
	if slices.ContainsFunc(c.Std, func(v float32) bool { return !(v > 0) }) {
		return fmt.Errorf("std %v: want positive numbers", c.Std)
	}
	return nil
}

// Classify returns the best guesses for each image file, the likeliest first. Crop is the part of an image's shorter side
// that is seen, 0 < crop ≤ 1: ImageNet's networks are tested at 224/256.
func (c *Classifier) Classify(ctx context.Context, paths []string, crop float64, best int) ([][]Guess, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	var all [][]Guess
	for batch := range slices.Chunk(paths, c.batch) {
		clear(c.images)
		for i, path := range batch {
			pixels, err := data.ReadImage(path, c.size, c.channels, crop)
			if err != nil {
				return nil, err
			}
			c.normalise(c.images[i*len(pixels):(i+1)*len(pixels)], pixels)
		}
		inputs, results := map[string]any{c.program.Inputs[0].Name: c.images}, map[string]any{c.program.Results[0].Name: c.responses}
		if err := c.session.Run(ctx, c.program.Name, inputs, results); err != nil {
			return nil, err
		}
		for i := range batch {
			all = append(all, c.guesses(c.responses[i*c.classes:(i+1)*c.classes], best))
		}
	}
	return all, nil
}

// normalise brings an image [H,W,C] of bytes to [C,H,W]: (pixel/255 - mean)/std.
func (c *Classifier) normalise(image []float32, pixels []uint8) {
	plane := len(pixels) / c.channels
	for i, v := range pixels {
		channel := i % c.channels
		image[channel*plane+i/c.channels] = (float32(v)/255 - c.Mean[channel]) / c.Std[channel]
	}
}

// guesses are the likeliest classes. Logits become probabilities; a network that ends in Softmax gives them itself.
func (c *Classifier) guesses(responses []float32, best int) []Guess {
	probabilities := probabilitiesOf(responses)
	list := make([]Guess, len(probabilities))
	for i, p := range probabilities {
		list[i] = Guess{Class: i, Probability: p}
		if i < len(c.Classes) {
			list[i].Name = c.Classes[i]
		}
	}
	slices.SortStableFunc(list, func(a, b Guess) int {
		switch {
		case a.Probability > b.Probability:
			return -1
		case a.Probability < b.Probability:
			return 1
		}
		return 0
	})
	return list[:min(best, len(list))]
}

func probabilitiesOf(responses []float32) []float64 {
	sum, least, most := 0.0, math.Inf(1), math.Inf(-1)
	for _, v := range responses {
		sum, least, most = sum+float64(v), min(least, float64(v)), max(most, float64(v))
	}
	out := make([]float64, len(responses))
	if least >= 0 && math.Abs(sum-1) < 1e-3 {
		for i, v := range responses {
			out[i] = float64(v)
		}
		return out
	}
	total := 0.0
	for i, v := range responses {
		out[i] = math.Exp(float64(v) - most)
		total += out[i]
	}
	for i := range out {
		out[i] /= total
	}
	return out
}
