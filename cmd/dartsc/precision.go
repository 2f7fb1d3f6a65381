package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
)

// bindPrecision adds --precision, of plans for a GPU.
func bindPrecision(flags *pflag.FlagSet, precision *string) {
	flags.StringVar(precision, "precision", cmp.Or(*precision, cuda.FP32),
		"on a GPU: "+cuda.FP32+"; "+cuda.TF32+", products on tensor cores; or "+cuda.BF16+", which keeps images in half the memory, too")
}

// How commands say what has other precisions than fp32.
var (
	wantTarget = "--target " + strings.Join(cuda.Names(), " or ")
	wantDevice = "--device cuda"
)

// checkPrecision finds one that a target lacks; want is what gives a target that has it.
func checkPrecision(precision, target, want string) error {
	if !slices.Contains(cuda.Precisions, precision) {
		return usagef("--precision %q: want %s", precision, strings.Join(cuda.Precisions, " or "))
	}
	if precision != cuda.FP32 && !slices.Contains(cuda.Names(), target) {
		return usagef("--precision %s wants %s: a CPU computes in %s", precision, want, cuda.FP32)
	}
	return nil
}
