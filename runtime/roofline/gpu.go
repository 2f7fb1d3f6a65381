package roofline

import "slices"

// GPU is a GPU as its data sheet has it, for predictions where there is none to measure.
type GPU struct {
	Name      string // for flags
	Processor string
	Target    string  // of the plans that it runs
	FP32      float64 // TFLOP/s of multiply-adds, which count two
	TF32      float64 // of those on tensor cores, whose factors are dense tf32
	Memory    float64 // TB/s
}

// gpus are from NVIDIA's data sheets of the SXM modules: "H200 Tensor Core GPU" (2024), "H100 Tensor Core GPU" (2023) and
// "A100 80GB" (2021); tf32 without sparsity, which is half of what the first two print.
var gpus = []GPU{
	{"h200", "NVIDIA H200 SXM", "cuda:sm_90", 67, 494.7, 4.8},
	{"h100", "NVIDIA H100 SXM", "cuda:sm_90", 67, 494.7, 3.35},
	{"a100", "NVIDIA A100 SXM 80GB", "cuda:sm_80", 19.5, 156, 2.039},
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

// What plans do on a GPU, as measured on an H200 in float32 (docs/benchmarks.md): with these two numbers search1 is
// predicted to take 34.2 ms where it took 34.3, rnn1 65 (73), rnn2 170 (170) and rnntrain 20 (21).
const (
	gpuReached = 0.34
	gpuLaunch  = 2.5 // µs
)

// Roofline is what the GPU can do at most: on tensor cores, or without.
func (g GPU) Roofline(tensorCores bool) Roofline {
	tflops := g.FP32
	if tensorCores {
		tflops = g.TF32
	}
	all := Speeds{GFLOPS: 1e3 * tflops, Levels: []Level{{Name: "memory", Read: 1e3 * g.Memory, Update: 1e3 * g.Memory}}}
	return Roofline{Key: Key{Processor: g.Processor, Kernels: g.Target}, All: all, Launch: gpuLaunch, Reached: gpuReached}
}
