package runtime

import (
	"fmt"
	"hash/fnv"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/internal/philox"
)

// Initialize gives every variable its first value: the one that the plan holds, or as it says. Random values are a function of the seed, the variable's name and
// the logical position alone, so the same model starts the same in every layout, on every device, and with variables
// added or removed beside it.
func (s *Session) Initialize(seed uint64) error {
	for i := range s.plan.Variables {
		v := &s.plan.Variables[i]
		if err := s.Set(v.Name, initial(v, seed)); err != nil {
			return fmt.Errorf("initialize: %w", err)
		}
	}
	return nil
}

// initial returns the first value of a variable in logical order.
func initial(v *plan.Variable, seed uint64) any {
	if v.Values != nil {
		return v.Values
	}
	n := v.Elements()
	switch v.DType {
	case plan.I64:
		return constant(n, int64(v.Init.Value))
	case plan.I32:
		return constant(n, int32(v.Init.Value))
	case plan.U8:
		return constant(n, uint8(v.Init.Value))
	}
	hash := fnv.New64a()
	hash.Write([]byte(v.Name))
	id := hash.Sum64()
	stream := philox.New(seed, id, id>>32)
	switch v.Init.Distribution {
	case "uniform":
		values, most := make([]float32, n), float32(v.Init.Value)
		stream.Float32s(values)
		for i := range values {
			values[i] = most * (2*values[i] - 1)
		}
		return values
	case "normal":
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(v.Init.Value * stream.Normal(uint64(i)))
		}
		return values
	}
	return constant(n, float32(v.Init.Value))
}

func constant[T any](n int, value T) []T {
	values := make([]T, n)
	for i := range values {
		values[i] = value
	}
	return values
}
