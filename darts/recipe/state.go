package recipe

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/safetensors"
	"github.com/dartsc/dartsc/ir"
)

// state is what a checkpoint holds beside the variables. The position in the data is the step, since batches are a
// function of it.
type state[C, D any] struct {
	Config C `json:"config"`
	Data   D `json:"data"`
	standing
}

// standing is how far a run has come.
type standing struct {
	Epoch  int    `json:"epoch"`
	Step   int64  `json:"step"`
	Start  int64  `json:"start"`          // the step at which the present epoch began
	Totals totals `json:"totals"`         // of the present epoch
	Last   totals `json:"last"`           // of the epoch before
	Valid  totals `json:"valid"`          // of the last evaluation
	Best   *Best  `json:"best,omitempty"` // of a training, over all evaluations

	// Of a training on text.
	Text  *textStanding `json:"text,omitempty"`
	Ended bool          `json:"ended,omitempty"` // before the last epoch
}

// start initialises the variables, or takes them from a checkpoint.
func (d *driver[C, D, R]) start(from *run.Checkpoint) (*standing, error) {
	if from == nil {
		if err := d.session.Initialize(d.size.seed); err != nil {
			return nil, err
		}
		return &standing{}, d.session.SetScalar(bilevel.Seed, float64(d.size.seed))
	}
	var saved state[C, D]
	if err := from.DecodeState(&saved); err != nil {
		return nil, err
	}
	// Where the data set lies now, in a folder of whatever name, does not matter; whether it is the same is asked next.
	if field, got, want := difference(saved.Config, d.config, "data"); field != "" {
		return nil, fmt.Errorf("the checkpoint at step %d is of another configuration: its %s is %v, config.json says %v", from.Step, field, got, want)
	}
	if field, got, want := difference(saved.Data, d.data, "path", "name"); field != "" {
		return nil, fmt.Errorf("the data set has changed since the checkpoint at step %d: its %s was %v and is %v now", from.Step, field, got, want)
	}
	return &saved.standing, d.restore(from)
}

// difference names the first field, as JSON has it, in which two structs differ, but for those that may.
func difference(a, b any, but ...string) (field string, x, y any) {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		if va.Type().Field(i).Anonymous {
			if field, x, y := difference(va.Field(i).Interface(), vb.Field(i).Interface(), but...); field != "" {
				return field, x, y
			}
			continue
		}
		name, _, _ := strings.Cut(va.Type().Field(i).Tag.Get("json"), ",")
		if x, y := va.Field(i).Interface(), vb.Field(i).Interface(); !slices.Contains(but, name) && !reflect.DeepEqual(x, y) {
			return name, x, y
		}
	}
	return "", nil, nil
}

// saved says that a variable is part of a checkpoint, as all are (weights, alphas, optimisers, running statistics, counters)
// but images that stay on the device.
func saved(v *plan.Variable) bool { return v.Kind != ir.Data.String() }

// save writes a checkpoint: the variables of the plan and the state.
func (d *driver[C, D, R]) save(folder *run.Folder, s *standing) error {
	tensors, err := d.tensors(saved)
	if err != nil {
		return err
	}
	metadata := map[string]string{"format": "dartsc " + d.course.name() + " checkpoint"}
	return folder.SaveCheckpoint(s.Step, tensors, metadata, state[C, D]{d.config, d.data, *s})
}

// tensors reads the variables of some kind.
func (d *driver[C, D, R]) tensors(wanted func(*plan.Variable) bool) ([]safetensors.Tensor, error) {
	var tensors []safetensors.Tensor
	for i := range d.Plan().Variables {
		v := &d.Plan().Variables[i]
		if !wanted(v) {
			continue
		}
		if v.DType == plan.I64 {
			values := make([]int64, v.Elements())
			if err := d.session.Get(v.Name, values); err != nil {
				return nil, err
			}
			tensors = append(tensors, safetensors.FromInt64s(v.Name, v.Shape, values))
			continue
		}
		values := make([]float32, v.Elements())
		if err := d.session.Get(v.Name, values); err != nil {
			return nil, err
		}
		tensors = append(tensors, safetensors.FromFloat32s(v.Name, v.Shape, values))
	}
	return tensors, nil
}

// restore sets every variable from a checkpoint.
func (d *driver[C, D, R]) restore(from *run.Checkpoint) error {
	if err := d.setAll(from.Tensors); err != nil {
		return fmt.Errorf("the checkpoint at step %d is of another configuration: %w", from.Step, err)
	}
	return nil
}

// setAll sets every variable from a file that has them all, and nothing else.
func (d *driver[C, D, R]) setAll(from *safetensors.File) error {
	variables := 0
	for i := range d.Plan().Variables {
		v := &d.Plan().Variables[i]
		if !saved(v) {
			continue
		}
		variables++
		t, ok := from.Lookup(v.Name)
		if !ok {
			return fmt.Errorf("it has no %s", v.Name)
		}
		if !slices.Equal(t.Shape, v.Shape) {
			return fmt.Errorf("%s has shape %v, this network's has %v", v.Name, t.Shape, v.Shape)
		}
		var values any
		var err error
		if v.DType == plan.I64 {
			values, err = t.Int64s()
		} else {
			values, err = t.Float32s()
		}
		if err != nil {
			return err
		}
		if err := d.session.Set(v.Name, values); err != nil {
			return err
		}
	}
	if got, want := len(from.Tensors), variables; got != want {
		return fmt.Errorf("it has %d tensors, this network %d variables", got, want)
	}
	return nil
}
