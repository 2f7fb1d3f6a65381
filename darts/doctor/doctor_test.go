package doctor

import (
	"runtime"
	"testing"

	"github.com/dartsc/dartsc/runtime/cpu"
)

func TestCheckStep(t *testing.T) {
	worst, err := CheckStep(t.Context(), cpu.New(0))
	if err != nil {
		t.Fatal(err)
	}
	if worst == 0 {
		t.Error("the plan in float32 and the reference in float64 agree in every bit: were both run?")
	}
}

func TestSpeed(t *testing.T) {
	got, err := Speed(t.Context(), 64)
	if err != nil || !(got > 0) {
		t.Errorf("got %v GFLOP/s, error %v", got, err)
	}
}

func TestLook(t *testing.T) {
	m := Look()
	if m.OS != runtime.GOOS || m.Processors < 1 || runtime.GOOS == "linux" && m.MemoryBytes < 1<<26 {
		t.Errorf("got %+v", m)
	}
}
