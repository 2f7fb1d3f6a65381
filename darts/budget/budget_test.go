package budget

import (
	"context"
	"testing"

	"github.com/dartsc/dartsc/darts/space"
)

// TestPublished: parameters as the original's code counts them; multiply-adds of DARTS_V2 against a count from the
// shapes alone, layer by layer. (The paper says 574 M for ImageNet; others who count convolutions and linear layers get
// 523 to 545 M too, see quark0/darts#46.)
func TestPublished(t *testing.T) {
	for _, c := range []struct {
		form Form
		name string
		want Cost
	}{
		{CIFAR, "DARTS_V2", Cost{3349342, 528359040}},
		{CIFAR, "DARTS_V1", Cost{3169414, 0}},
		{ImageNet, "DARTS_V2", Cost{4718752, 529911552}},
	} {
		g, _ := space.Named(c.name)
		got, err := Of(c.form, g)
		if err != nil {
			t.Fatal(err)
		}
		if c.want.MultiplyAdds == 0 {
			got.MultiplyAdds = 0
		}
		if got != c.want {
			t.Errorf("%s %s: %+v, want %+v", c.form.Name, c.name, got, c.want)
		}
	}
}

// TestPlans: training keeps activations, inference does not, and both grow with the batch.
func TestPlans(t *testing.T) {
	g, _ := space.Named("DARTS_V2")
	form := Form{Name: "small", Channels: 4, Layers: 6, Classes: 10, Height: 32, Width: 32, Colours: 3}
	memory := func(compile func(batch int) int64) [2]int64 { return [2]int64{compile(2), compile(8)} }
	inference := memory(func(batch int) int64 {
		p, err := Inference(context.Background(), form, g, batch, "cpu")
		if err != nil {
			t.Fatal(err)
		}
		return Memory(p)
	})
	training := memory(func(batch int) int64 {
		p, err := Training(context.Background(), form, g, batch, "cpu")
		if err != nil {
			t.Fatal(err)
		}
		return Memory(p)
	})
	if inference[0] >= inference[1] || training[0] >= training[1] || training[1] < 4*inference[1] {
		t.Errorf("inference takes %v bytes, training %v", inference, training)
	}
}

// TestText: parameters as the original's code counts them, and multiply-adds of one word by hand: two gates from the input
// and the state, two for each of eight nodes, and the decoder.
func TestText(t *testing.T) {
	for _, c := range []struct {
		form TextForm
		want int
	}{{PTB, 22960000}, {WikiText2, 33127878}} {
		for _, name := range []string{"DARTS_V1", "DARTS_V2"} {
			g, ok := space.NamedRecurrent(name)
			if !ok {
				t.Fatal(name)
			}
			got, err := OfText(c.form, g)
			if err != nil {
				t.Fatal(err)
			}
			n, v := int64(c.form.Hidden), int64(c.form.Vocabulary)
			if want := (Cost{c.want, 2*n*2*n + 8*n*2*n + n*v}); got != want {
				t.Errorf("%s %s: %+v, want %+v", c.form.Name, name, got, want)
			}
		}
	}
	small := TextForm{Name: "small", Vocabulary: 50, Hidden: 16, Steps: 8}
	g, _ := space.NamedRecurrent("DARTS_V2")
	inference, err := TextInference(context.Background(), small, g, 4, "cpu")
	if err != nil {
		t.Fatal(err)
	}
	training, err := TextTraining(context.Background(), small, g, 4, "cpu")
	if err != nil {
		t.Fatal(err)
	}
	if Memory(inference) >= Memory(training) {
		t.Errorf("inference takes %d bytes, training %d", Memory(inference), Memory(training))
	}
}
