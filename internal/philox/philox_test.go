package philox

import (
	"math"
	"testing"
)

// The known answers that the authors of Philox publish with Random123 (kat_vectors, philox4x32 10 rounds).
func TestBlockKnownAnswers(t *testing.T) {
	const ones = 0xffffffff
	for _, c := range []struct {
		name    string
		key     [2]uint32
		counter [4]uint32
		want    [4]uint32
	}{
		{"zeros", [2]uint32{}, [4]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{"ones", [2]uint32{ones, ones}, [4]uint32{ones, ones, ones, ones}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{"digits of pi", [2]uint32{0xa4093822, 0x299f31d0}, [4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Block(c.key, c.counter); got != c.want {
				t.Errorf("Block = %x, want %x", got, c.want)
			}
		})
	}
}

func TestNormalMoments(t *testing.T) {
	const n = 100000
	stream := New(7, 1, 2)
	var sum, squares float64
	for i := range uint64(n) {
		x := stream.Normal(i)
		sum += x
		squares += x * x
	}
	mean, variance := sum/n, squares/n
	if math.Abs(mean) > 0.02 || math.Abs(variance-1) > 0.02 {
		t.Errorf("mean %.4f, variance %.4f; want 0 and 1", mean, variance)
	}
}

func TestFloat32sAreFloat32(t *testing.T) {
	stream := New(9, 8, 7)
	for n := range 11 {
		for _, from := range []uint64{0, 8} {
			got := make([]float32, n)
			stream.Float32s(got, from)
			for i, v := range got {
				if want := stream.Float32(from + uint64(i)); v != want {
					t.Errorf("%d of %d from %d on: got %v, want %v", i, n, from, v, want)
				}
			}
		}
	}
}

func TestPermutationHoldsEveryIndexOnce(t *testing.T) {
	seen := make([]bool, 1000)
	for _, i := range New(3, 0, 0).Permutation(len(seen)) {
		if seen[i] {
			t.Fatalf("index %d twice", i)
		}
		seen[i] = true
	}
}

func TestStreamsDiffer(t *testing.T) {
	base := New(1, 1, 1).Uint32(0)
	for name, other := range map[string]Stream{"seed": New(2, 1, 1), "step": New(1, 2, 1), "id": New(1, 1, 2)} {
		if other.Uint32(0) == base {
			t.Errorf("another %s gives the same first word", name)
		}
	}
}
