package recipe

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/safetensors"
)

// searchState is what a checkpoint holds beside the variables: where the search stands. The position in the data is
// the step, since batches are a function of it.
type searchState struct {
	Config SearchConfig `json:"config"`
	Data   data.Summary `json:"data"`
	Epoch  int          `json:"epoch"`
	Step   int64        `json:"step"`
	Totals totals       `json:"totals"` // of the present epoch
	Last   totals       `json:"last"`   // of the epoch before
	Valid  totals       `json:"valid"`  // of the last evaluation
}

// totals are sums over images.
type totals struct {
	Images    int64   `json:"images"`
	Loss      float64 `json:"loss"`
	AlphaLoss float64 `json:"alpha_loss"`
	Correct   float64 `json:"correct"`
	Correct5  float64 `json:"correct5"`
}

func (t totals) mean(sum float64) float64 { return sum / float64(max(t.Images, 1)) }

// start initialises the variables, or takes them from a checkpoint.
func (s *Search) start(from *run.Checkpoint) (*searchState, error) {
	state := &searchState{Config: s.config, Data: s.data.Summary()}
	if from == nil {
		if err := s.session.Initialize(s.config.Seed); err != nil {
			return nil, err
		}
		return state, s.session.SetScalar(bilevel.Seed, float64(s.config.Seed))
	}
	saved := &searchState{}
	if err := from.DecodeState(saved); err != nil {
		return nil, err
	}
	saved.Config.Data = s.config.Data // where the data set lies now; whether it is the same is asked below
	if field, got, want := difference(saved.Config, s.config); field != "" {
		return nil, fmt.Errorf("the checkpoint at step %d is of another configuration: its %s is %v, config.json says %v", from.Step, field, got, want)
	}
	saved.Data.Path, state.Data.Path = "", ""
	if field, got, want := difference(saved.Data, state.Data); field != "" {
		return nil, fmt.Errorf("the data set has changed since the checkpoint at step %d: its %s was %v and is %v now", from.Step, field, got, want)
	}
	saved.Data = s.data.Summary()
	return saved, s.restore(from)
}

// difference names the first field, as JSON has it, in which two structs differ.
func difference(a, b any) (field string, x, y any) {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		if x, y := va.Field(i).Interface(), vb.Field(i).Interface(); !reflect.DeepEqual(x, y) {
			return va.Type().Field(i).Tag.Get("json"), x, y
		}
	}
	return "", nil, nil
}

// save writes a checkpoint: every variable of the plan (weights, alphas, both optimisers, running statistics, counters)
// and the state.
func (s *Search) save(folder *run.Folder, state *searchState) error {
	var tensors []safetensors.Tensor
	for _, v := range s.Plan().Variables {
		if v.DType == plan.I64 {
			values := make([]int64, v.Elements())
			if err := s.session.Get(v.Name, values); err != nil {
				return err
			}
			tensors = append(tensors, safetensors.FromInt64s(v.Name, v.Shape, values))
			continue
		}
		values := make([]float32, v.Elements())
		if err := s.session.Get(v.Name, values); err != nil {
			return err
		}
		tensors = append(tensors, safetensors.FromFloat32s(v.Name, v.Shape, values))
	}
	return folder.SaveCheckpoint(state.Step, tensors, map[string]string{"format": "dartsc search checkpoint"}, state)
}

// restore sets every variable from a checkpoint.
func (s *Search) restore(from *run.Checkpoint) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("the checkpoint at step %d is of another configuration: %s", from.Step, fmt.Sprintf(format, args...))
	}
	for _, v := range s.Plan().Variables {
		t, ok := from.Tensors.Lookup(v.Name)
		if !ok {
			return wrong("it has no %s", v.Name)
		}
		if !slices.Equal(t.Shape, v.Shape) {
			return wrong("%s has shape %v, this network's has %v", v.Name, t.Shape, v.Shape)
		}
		var values any
		var err error
		if v.DType == plan.I64 {
			values, err = t.Int64s()
		} else {
			values, err = t.Float32s()
		}
		if err != nil {
			return wrong("%v", err)
		}
		if err := s.session.Set(v.Name, values); err != nil {
			return err
		}
	}
	if got, want := len(from.Tensors.Tensors), len(s.Plan().Variables); got != want {
		return wrong("it has %d tensors, this network %d variables", got, want)
	}
	return nil
}

// batches are the buffers that every step reuses.
type batches struct {
	trainImages, validImages                 []uint8
	trainLabels, validLabels                 []int32
	loss, alphaLoss, correct, correct5, norm []float32
	stepInputs, stepResults                  map[string]any
}

func newBatches(config SearchConfig, d *data.Dataset) batches {
	pixels := config.BatchSize * d.Height * d.Width * d.Channels
	one := func() []float32 { return make([]float32, 1) }
	b := batches{
		trainImages: make([]uint8, pixels), validImages: make([]uint8, pixels),
		trainLabels: make([]int32, config.BatchSize), validLabels: make([]int32, config.BatchSize),
		loss: one(), alphaLoss: one(), correct: one(), correct5: one(), norm: one(),
	}
	b.stepInputs = map[string]any{"train_images": b.trainImages, "train_labels": b.trainLabels, "valid_images": b.validImages, "valid_labels": b.validLabels}
	b.stepResults = map[string]any{"loss": b.loss, "valid_loss": b.alphaLoss, "correct": b.correct, "correct5": b.correct5, "grad_norm": b.norm}
	return b
}
