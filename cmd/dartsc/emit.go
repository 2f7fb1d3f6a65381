package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/internal/atomicfile"
	"github.com/dartsc/dartsc/internal/nvrtc"
	"github.com/dartsc/dartsc/ir"
)

// What --emit stops at.
const (
	emitIR    = "ir"
	emitFused = "fused"
	emitCUDA  = "cuda"
	emitPTX   = "ptx"
	emitPlan  = "plan"
)

var emits = []string{emitIR, emitFused, emitCUDA, emitPTX, emitPlan}

const emitUsage = "where to stop: ir, fused, cuda or ptx (with a target cuda:…), or plan"

// checkEmit checks --emit beside the flags that it excludes.
func checkEmit(emit, target string, json bool) error {
	if !slices.Contains(emits, emit) {
		return usagef("--emit %q: want ir, fused, cuda, ptx or plan", emit)
	}
	if json && emit != emitPlan {
		return usagef("--json cannot go with --emit %s: it prints the summary of a plan", emit)
	}
	if (emit == emitCUDA || emit == emitPTX) && !slices.Contains(cuda.Names(), target) {
		return usagef("--emit %s wants --target %s", emit, strings.Join(cuda.Names(), " or "))
	}
	return nil
}

// assemble compiles the code of a plan for CUDA where NVIDIA's compiler is at hand; other plans stay as they are.
func assemble(ctx context.Context, p *plan.Plan, required bool) error {
	if len(p.Modules) == 0 {
		return nil
	}
	library, err := nvrtc.Open()
	if errors.Is(err, nvrtc.ErrAbsent) && !required {
		slog.Info("the plan holds source only, which the machine that runs it must compile", "reason", err)
		return nil
	}
	if err != nil {
		return err
	}
	slog.Info("NVRTC compiles the kernels", "version", library.Version(), "modules", len(p.Modules))
	return cuda.Assemble(ctx, library, p)
}

// writeModule writes the text of a module to a file, or to standard output.
func writeModule(stdout io.Writer, path string, module *ir.Module) error {
	return writeText(stdout, path, module.String())
}

// writeCode writes the source of a plan's modules, or their PTX.
func writeCode(stdout io.Writer, path string, p *plan.Plan, emit string) error {
	var text strings.Builder
	for i := range p.Modules {
		m := &p.Modules[i]
		if emit == emitCUDA {
			fmt.Fprintf(&text, "// ---- %s.cu, options %s\n%s", m.Name, strings.Join(m.Options, " "), m.Source)
			continue
		}
		for _, image := range m.Images {
			if image.Format == plan.PTX {
				fmt.Fprintf(&text, "// ---- %s.ptx\n%s\n", m.Name, image.Data)
			}
		}
	}
	return writeText(stdout, path, text.String())
}

func writeText(stdout io.Writer, path, text string) error {
	if path == "" || path == "-" {
		_, err := io.WriteString(stdout, text)
		return err
	}
	if err := atomicfile.Write(path, []byte(text)); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	return nil
}
