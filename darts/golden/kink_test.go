package golden

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/dartsc/dartsc/ir"
)

// mostNeighbours is how often kinks looks for the other side of one: a quarter of the neighbours were there, of the kink that is known.
const mostNeighbours = 8

// kinks says what else than the case's a second-order gradient of alphas may be in float32. A ReLU or a maximum at w ± εv may be so near its
// kink that parameters which differ in the last place of float32 put it on the other side, and the difference is divided by 2ε: two
// answers are then right, a hundredth apart. The other is what the reference, in float64, makes of parameters moved by so much; a gradient
// that is neither is wrong.
type kinks struct {
	c       *testCase
	module  *ir.Module
	answers []map[string][]float64 // of neighbours, by step and result
}

// nearest returns want if got is no further than the tolerance from it, and otherwise the first neighbour's value of which that is so, or
// want if there is none.
func (k *kinks) nearest(t *testing.T, step int, result string, got, want []float64, tolerance float64) []float64 {
	t.Helper()
	if near(got, want, tolerance) {
		return want
	}
	for neighbour := range mostNeighbours {
		if neighbour == len(k.answers) {
			k.answers = append(k.answers, k.answer(t, neighbour))
		}
		if other := k.answers[neighbour][fmt.Sprintf("step%d/%s", step, result)]; near(got, other, tolerance) {
			t.Logf("step%d/%s is on the other side of a kink, as neighbour %d is", step, result, neighbour)
			return other
		}
	}
	return want
}

// answer runs the case's steps from parameters each moved by up to the last place of float32.
func (k *kinks) answer(t *testing.T, neighbour int) map[string][]float64 {
	t.Helper()
	c, e, random := &testCase{t, k.c.file}, newReference(t, k.module), rand.New(rand.NewPCG(7, uint64(neighbour))) // 7 finds the kink of the case in testdata at once
	c.beginSearch(e)
	for _, name := range c.under("init/") {
		values := e.get(name)
		for i := range values {
			values[i] *= 1 + 0x1p-23*(2*random.Float64()-1)
		}
		e.set(name, values)
	}
	answers := map[string][]float64{}
	for step := range c.int("steps") {
		at := fmt.Sprintf("step%d/", step)
		for result, values := range c.searchStep(e, at) {
			answers[at+result] = values
		}
	}
	return answers
}
