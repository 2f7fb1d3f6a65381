package doctor

import (
	"context"
	"errors"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/internal/nvrtc"
	"github.com/dartsc/dartsc/runtime/cuda"
)

// CUDA is what there is of NVIDIA's: in this build, on this machine.
type CUDA struct {
	Built bool `json:"built"`
	cuda.Machine
	Problem   string  `json:"problem,omitempty"`    // why no GPU can be used
	SelfCheck string  `json:"self_check,omitempty"` // of the first GPU: "ok", or what is wrong
	Error     float64 `json:"self_check_error,omitempty"`
	NVRTC     string  `json:"nvrtc,omitempty"` // version of the run-time compiler
	NVRTCPath string  `json:"nvrtc_path,omitempty"`
}

// LookCUDA opens the driver and the run-time compiler and runs the step of CheckStep on the first GPU.
func LookCUDA(ctx context.Context) CUDA {
	var c CUDA
	if l, err := nvrtc.Open(); err == nil {
		c.NVRTC, c.NVRTCPath = l.Version(), l.Path
	}
	var err error
	c.Machine, err = cuda.Look()
	c.Built = !errors.Is(err, cuda.ErrNotBuilt)
	if err != nil {
		c.Problem = err.Error()
		return c
	}
	gpu, err := cuda.New(0, compiler.Targets())
	if err != nil {
		c.Problem = err.Error()
		return c
	}
	c.SelfCheck = "ok"
	if c.Error, err = CheckStep(ctx, gpu); err != nil {
		c.SelfCheck = err.Error()
	}
	return c
}
