package cpu

import (
	"context"
	"testing"
)

func TestMeasureRoofline(t *testing.T) {
	r, err := New(1).MeasureRoofline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Key != New(1).RooflineKey() || r.Workers != 1 || r.Processor == "" {
		t.Errorf("got key %+v", r.Key)
	}
	for _, s := range []float64{r.One.GFLOPS, r.All.GFLOPS} {
		if s < 0.1 || s > 1e5 {
			t.Errorf("%v GFLOP/s: no processor does that", s)
		}
	}
	for _, l := range r.All.Levels {
		if l.Read < 0.1 || l.Read > 1e5 || l.Update < 0.1 || l.Update > 1e5 {
			t.Errorf("%s: %v and %v GB/s: no memory does that", l.Name, l.Read, l.Update)
		}
	}
	if r.Launch <= 0 || r.Launch > 1e4 {
		t.Errorf("an empty launch takes %v µs", r.Launch)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(1).MeasureRoofline(ctx); err == nil {
		t.Error("a stopped measurement counts")
	}
}
