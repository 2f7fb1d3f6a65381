package cost

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/internal/philox"
	"github.com/dartsc/dartsc/runtime"
)

// Measure runs a program so many times, after one that does not count, and gives every launch its shortest time: what
// else the machine does only makes them longer. The session's variables must have values; they change as the program
// says. Profiles of the session end.
func Measure(ctx context.Context, s *runtime.Session, program string, runs int, launches []Launch) error {
	p := s.Plan().Program(program)
	if p == nil || p.Count() != len(launches) {
		return fmt.Errorf("measure: the session has no program %s of %d launches", program, len(launches))
	}
	inputs, err := Inputs(s.Plan(), p)
	if err != nil {
		return fmt.Errorf("measure %s: %w", program, err)
	}
	spent := make([]time.Duration, len(launches)) // in one run; a launch of a loop runs more than once
	defer s.SetProfile(nil)
	for run := range runs + 1 {
		clear(spent)
		s.SetProfile(func(_ string, launch int, d time.Duration) { spent[launch] += d })
		if err := s.Run(ctx, program, inputs, nil); err != nil {
			return err
		}
		for i, d := range spent {
			if t := &launches[i].Measured; run == 1 || run > 1 && d.Seconds() < *t {
				*t = d.Seconds()
			}
		}
	}
	return nil
}

// Inputs makes random data for every input of a plan's program: standard normal numbers as images that have been
// normalised, bytes as pixels, as labels the classes that the plan says it has, as words its vocabulary, and as the
// length of a text all the steps of time that there is room for.
func Inputs(whole *plan.Plan, p *plan.Program) (map[string]any, error) {
	inputs := map[string]any{}
	number := func(key string) int { n, _ := strconv.Atoi(whole.Metadata[key]); return n }
	classes, length := max(number("classes"), number("vocabulary"), 1), int64(number("bptt"))
	for i, in := range p.Inputs {
		b := &p.Buffers[in.Buffer]
		n, random := b.Elements(), philox.New(1, 0, uint64(i))
		switch b.DType {
		case plan.F32:
			values := make([]float32, n)
			for k := range values {
				values[k] = float32(random.Normal(uint64(k)))
			}
			inputs[in.Name] = values
		case plan.U8:
			values := make([]uint8, n)
			for k := range values {
				values[k] = uint8(random.Intn(uint64(k), 256))
			}
			inputs[in.Name] = values
		case plan.I32:
			values := make([]int32, n)
			for k := range values {
				values[k] = int32(random.Intn(uint64(k), classes))
			}
			inputs[in.Name] = values
		case plan.I64:
			inputs[in.Name] = slices.Repeat([]int64{length}, n)
		default:
			return nil, fmt.Errorf("input %s is %s: want f32, u8, i32 or i64", in.Name, b.DType)
		}
	}
	return inputs, nil
}
