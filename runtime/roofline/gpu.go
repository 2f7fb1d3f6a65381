package roofline

import "slices"

// GPU is a GPU as its data sheet has it, for predictions where there is none to measure.
type GPU struct {
	Name      string // for flags
	Processor string
	Target    string  // of the plans that it runs
	FP32      float64 // TFLOP/s of multiply-adds, which count two
	Memory    float64 // TB/s
	Units     int     // multiprocessors
}

// gpus are from NVIDIA's data sheets of the SXM modules: "H200 Tensor Core GPU" (2024), "H100 Tensor Core GPU" (2023) and
// "A100 80GB" (2021).
var gpus = []GPU{
	{"h200", "NVIDIA H200 SXM", "cuda:sm_90", 67, 4.8, 132},
	{"h100", "NVIDIA H100 SXM", "cuda:sm_90", 67, 3.35, 132},
	{"a100", "NVIDIA A100 SXM 80GB", "cuda:sm_80", 19.5, 2.039, 108},
}

// GPUs lists the names.
func GPUs() (names []string) {
	for _, g := range gpus {
		names = append(names, g.Name)
	}
	return names
}

// FindGPU returns the GPU of a name that runs plans for a target, or the first that does if name is "".
func FindGPU(name, target string) (GPU, bool) {
	i := slices.IndexFunc(gpus, func(g GPU) bool { return g.Target == target && (name == "" || g.Name == name) })
	if i < 0 {
		return GPU{}, false
	}
	return gpus[i], true
}

// What plans do on a GPU, as measured on an H200 (docs/benchmarks.md): with these numbers steps of convolutional networks are predicted to take, side by side,
// from 0.83 to 1.13 times what they took, in float32 and in bf16, rnn1 65 ms where it took 73, rnn2 170 (170) and rnntrain 20 (21).
const (
	gpuReached = 0.34
	gpuLaunch  = 2.5 // µs
	gpuBlocks  = 3   // that a multiprocessor runs at once: their registers have no room for more
)

// Roofline is what the GPU can do at most without tensor cores: what plans do beside products takes as long in any precision, and takes most of the time.
func (g GPU) Roofline() Roofline {
	all := Speeds{GFLOPS: 1e3 * g.FP32, Levels: []Level{{Name: "memory", Read: 1e3 * g.Memory, Update: 1e3 * g.Memory}}}
	return Roofline{Key: Key{Processor: g.Processor, Kernels: g.Target}, All: all, Launch: gpuLaunch, Reached: gpuReached, Blocks: gpuBlocks * g.Units}
}
