package golden

import (
	"fmt"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/darts/cnn"
)

// Bounds of plans in bf16. Rounding an image changes an element by up to 1/512; the networks of the cases are small, and
// BatchNorm over their few values magnifies that: what is left of a loss is its second digit, of gradients their direction.
const (
	bf16Loss     = 1e-2
	bf16Logits   = 5e-2
	bf16Gradient = 0.2
)

// TestBF16 compares emulated plans with images in bf16 with the golden cases: every step of a search, from the variables that
// its own steps leave, and a training step of a derived network.
func TestBF16(t *testing.T) {
	const target = "cuda:sm_90"
	options := compiler.Options{Target: target, Precision: cuda.BF16}
	t.Run("search", func(t *testing.T) {
		c := readCase(t, caseFile("cnn_search_first_order.safetensors"))
		e := newPlannedOn(t, c.searchModule(), options, emulated(t, target))
		c.beginSearch(e)
		for step := range c.int("steps") {
			at := fmt.Sprintf("step%d/", step)
			got := c.searchStep(e, at)
			compare(t, at+"loss", got["loss"], c.values(at+"loss"), bf16Loss)
			compare(t, at+"logits", got["logits"], c.values(at+"logits"), bf16Logits)
			compare(t, at+"norm of the gradient", got["grad_norm"], c.values(at+"grad_norm"), bf16Logits)
			if step > 0 {
				continue // Adam's first step goes as far for a small gradient as for a large one
			}
			for _, alphas := range []string{cnn.AlphasNormal, cnn.AlphasReduce} {
				compare(t, at+"gradient of "+alphas, got["gradient/"+alphas], c.values(at+"g"+alphas), bf16Gradient)
			}
		}
	})
	t.Run("derived", func(t *testing.T) {
		c := readCase(t, caseFile("cnn_cifar_darts_v2.safetensors"))
		e := newPlannedOn(t, derivedModule(t, c.derived(), c.shape("x")), options, emulated(t, target))
		for _, name := range c.under("init/") {
			e.set(name, c.values("init/"+name))
		}
		got := e.run("train", map[string][]float64{"x": c.values("x"), "y": c.values("y")})
		compare(t, "loss", got["loss"], c.values("loss"), bf16Loss)
		compare(t, "logits", got["logits"], c.values("logits"), bf16Logits)
		// Further down gradients have passed the auxiliary head's BatchNorm over three values, which leaves tf32 one digit too.
		compare(t, "gradient of the classifier", got["classifier.weight"], c.values("grad/classifier.weight"), bf16Gradient)
	})
}
