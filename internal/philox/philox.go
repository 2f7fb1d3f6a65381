// Package philox is the counter-based random number generator of dartsc: Philox4x32-10 of Salmon et al. 2011
// ("Parallel random numbers: as easy as 1, 2, 3", SC'11). A number is a pure function of a key and a counter, so the
// same seed gives the same numbers on every backend, for any number of workers and any schedule.
//
// It is a leaf that the reference interpreter, the runtimes and the data pipeline share; it knows nothing of any of them.
package philox

import "math"

const (
	multiplier0 = 0xD2511F53
	multiplier1 = 0xCD9E8D57
	weyl0       = 0x9E3779B9
	weyl1       = 0xBB67AE85
	rounds      = 10
)

// Block returns the four random words of one counter under one key.
func Block(key [2]uint32, counter [4]uint32) [4]uint32 {
	for range rounds {
		p0 := uint64(multiplier0) * uint64(counter[0])
		p1 := uint64(multiplier1) * uint64(counter[2])
		counter = [4]uint32{
			uint32(p1>>32) ^ counter[1] ^ key[0], uint32(p1),
			uint32(p0>>32) ^ counter[3] ^ key[1], uint32(p0),
		}
		key[0] += weyl0
		key[1] += weyl1
	}
	return counter
}

// Stream is a source of random numbers addressed by position: the key is the seed, and the upper half of the counter
// tells apart the users of one seed (an operation, a variable, an epoch).
type Stream struct {
	key  [2]uint32
	high [2]uint32
}

// New returns the stream with the given identity under a seed. Step and id are any two numbers that tell this use of
// the seed apart from the others; only their low 32 bits count.
func New(seed uint64, step, id uint64) Stream {
	return Stream{key: [2]uint32{uint32(seed), uint32(seed >> 32)}, high: [2]uint32{uint32(step), uint32(id)}}
}

// Uint32 returns the word at position i.
func (s Stream) Uint32(i uint64) uint32 {
	block := i / 4
	return Block(s.key, [4]uint32{uint32(block), uint32(block >> 32), s.high[0], s.high[1]})[i%4]
}

// Intn returns an integer in [0, n) for position i; n must be positive and below 2^31.
func (s Stream) Intn(i uint64, n int) int {
	return int(uint64(s.Uint32(i)) * uint64(n) >> 32)
}

// Float32 returns a number in [0, 1) with 24 random bits, exactly representable in float32.
func (s Stream) Float32(i uint64) float32 {
	return float32(s.Uint32(i)>>8) * (1.0 / (1 << 24))
}

// Float32s fills a slice with the numbers of Float32 at the positions from one on, a multiple of four, four at a time.
func (s Stream) Float32s(into []float32, from uint64) {
	for block := from / 4; len(into) > 0; block++ {
		words := Block(s.key, [4]uint32{uint32(block), uint32(block >> 32), s.high[0], s.high[1]})
		n := min(4, len(into))
		for i := range n {
			into[i] = float32(words[i]>>8) * (1.0 / (1 << 24))
		}
		into = into[n:]
	}
}

// Normal returns a standard normal number for position i (Box and Muller 1958; two words a number).
func (s Stream) Normal(i uint64) float64 {
	u := (float64(s.Uint32(2*i)) + 1) / (1 << 32)
	v := float64(s.Uint32(2*i+1)) / (1 << 32)
	return math.Sqrt(-2*math.Log(u)) * math.Cos(2*math.Pi*v)
}

// Permutation returns a random order of 0…n-1 (Fisher and Yates).
func (s Stream) Permutation(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := s.Intn(uint64(i), i+1)
		order[i], order[j] = order[j], order[i]
	}
	return order
}
