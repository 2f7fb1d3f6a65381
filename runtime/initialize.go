package runtime

import (
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/internal/philox"
)

// initialPiece is how many elements of a variable Initialize makes at a time: a whole embedding beside the variables
// would be most of the memory that a process takes beside its plan. It is a multiple of what the generator makes at once.
const initialPiece = 1 << 16

// Initialize gives every variable its first value: the one that the plan holds, or as it says; data is left as it is. Random values are a
// function of the seed, the variable's name and the logical position alone, so the same model starts the same in every
// layout, on every device, and with variables added or removed beside it.
func (s *Session) Initialize(seed uint64) error {
	piece, filter := make([]float32, initialPiece), []float32(nil)
	for i := range s.plan.Variables {
		v := &s.plan.Variables[i]
		var err error
		switch fill := initial(v, seed); {
		case v.Kind == "data":
		case v.Values != nil:
			err = s.Set(v.Name, v.Values)
		case v.DType != plan.F32:
			err = s.Set(v.Name, constants(v))
		case rowMajor(&v.Tensor):
			err = s.setPieces(v, piece, fill)
		default: // filters, which are small
			filter = slices.Grow(filter[:0], v.Elements())[:v.Elements()]
			fill(filter, 0)
			err = s.Set(v.Name, filter)
		}
		if err != nil {
			return fmt.Errorf("initialize: %w", err)
		}
	}
	return nil
}

// setPieces gives a row-major variable a value piece by piece.
func (s *Session) setPieces(v *plan.Variable, piece []float32, fill func(into []float32, from int)) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.instance == nil {
		return errClosed
	}
	for from, n := 0, v.Elements(); from < n; from += len(piece) {
		values := piece[:min(len(piece), n-from)]
		fill(values, from)
		if err := s.instance.Write(plan.Variables, v.Offset+int64(4*from), bytesOf(values)); err != nil {
			return fmt.Errorf("variable %s %w", v.Name, err)
		}
	}
	return nil
}

// initial makes the first value of a variable of f32 in logical order, from an element on that is a multiple of four.
func initial(v *plan.Variable, seed uint64) func(into []float32, from int) {
	hash := fnv.New64a()
	hash.Write([]byte(v.Name))
	id := hash.Sum64()
	stream := philox.New(seed, id, id>>32)
	switch value := float32(v.Init.Value); v.Init.Distribution {
	case "uniform":
		return func(into []float32, from int) {
			stream.Float32s(into, uint64(from))
			for i, u := range into {
				into[i] = value * (2*u - 1)
			}
		}
	case "normal":
		return func(into []float32, from int) {
			for i := range into {
				into[i] = float32(v.Init.Value * stream.Normal(uint64(from+i)))
			}
		}
	default:
		return func(into []float32, _ int) {
			for i := range into {
				into[i] = value
			}
		}
	}
}

// constants is the first value of a variable of integers.
func constants(v *plan.Variable) any {
	switch n := v.Elements(); v.DType {
	case plan.I64:
		return slices.Repeat([]int64{int64(v.Init.Value)}, n)
	case plan.I32:
		return slices.Repeat([]int32{int32(v.Init.Value)}, n)
	default:
		return slices.Repeat([]uint8{uint8(v.Init.Value)}, n)
	}
}
