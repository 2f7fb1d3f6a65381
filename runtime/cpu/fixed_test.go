package cpu

import (
	"math/rand/v2"
	"testing"

	"github.com/dartsc/dartsc/compiler/plan"
)

// TestFixed compares with looking at every buffer that is written, step by step of loops.
func TestFixed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var buffers []plan.Buffer
		for range 12 {
			n, space := 1+r.IntN(4), plan.Variables
			if r.IntN(5) == 0 {
				space = plan.Arena
			}
			buffers = append(buffers, plan.Buffer{Tensor: plan.Tensor{DType: plan.F32, Shape: []int{n}}, Space: space, Offset: 4 * int64(r.IntN(40))})
		}
		buffers[2].Stride = 8
		const steps = 3
		p := &plan.Plan{Programs: []*plan.Program{{Buffers: buffers, Launches: []plan.Launch{
			{Results: []int{0, 1}},
			{Kernel: plan.Scan, Loop: &plan.Loop{Steps: steps, Launches: []plan.Launch{{Results: []int{2}}}}},
		}}}}
		w := &workspace{}
		w.findWritten(p)
		for i, b := range buffers {
			want := b.Space == plan.Variables && b.Stride == 0
			for _, written := range []plan.Buffer{buffers[0], buffers[1], buffers[2], buffers[2].At(1), buffers[2].At(2)} {
				apart := b.Offset+b.Bytes() <= written.Offset || written.Offset+written.Bytes() <= b.Offset
				want = want && (written.Space != plan.Variables || apart)
			}
			// Between the steps of a buffer that moves by more than its size, nothing is written; counting that as written is safe.
			if got := w.fixed(b); got && !want || !got && want && buffers[2].Bytes() >= 8 {
				t.Fatalf("buffer %d %+v of %+v: fixed %v, want %v", i, b, buffers, got, want)
			}
		}
	}
}
