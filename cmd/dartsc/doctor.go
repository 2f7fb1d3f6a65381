package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/darts/doctor"
	"github.com/dartsc/dartsc/runtime/cpu"
)

type doctorReport struct {
	build
	doctor.Machine
	LargestError float64 `json:"self_check_error"` // relative, against the float64 reference
	SelfCheck    string  `json:"self_check"`       // "ok", or what is wrong
	GFLOPS       float64 `json:"matmul_gflops"`
	Kernels      string  `json:"kernels"` // the set of CPU kernels in use
	CUDA         string  `json:"cuda"`
}

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Examine this machine and this build", Args: noArgs,
		Long: "Show what dartsc runs on, compare one compiled search step with the reference interpreter, and measure a matrix product\nof side 512. The exit code is 1 where the comparison fails.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := doctorReport{build: buildInfo(), Machine: doctor.Look(), SelfCheck: "ok", Kernels: cpu.Kernels(), CUDA: "not built"}
			worst, failure := doctor.CheckStep(cmd.Context())
			if failure != nil {
				r.SelfCheck = failure.Error()
			}
			speed, err := doctor.Speed(cmd.Context(), 512)
			if err != nil {
				return err
			}
			r.LargestError, r.GFLOPS = worst, rounded(speed, 1)
			if err := r.write(cmd, asJSON); err != nil {
				return err
			}
			if failure != nil {
				return errors.New("the self-check failed: " + r.SelfCheck)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (r doctorReport) write(cmd *cobra.Command, asJSON bool) error {
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), r)
	}
	vectors, memory := strings.Join(r.Vectors, ", "), "unknown"
	if vectors == "" {
		vectors = "none known"
	}
	if r.MemoryBytes > 0 {
		memory = size(r.MemoryBytes)
	}
	check := r.SelfCheck
	if check == "ok" {
		check = fmt.Sprintf("ok, largest error %.1e", r.LargestError)
	}
	return table(cmd.OutOrStdout(),
		[]string{"dartsc", r.Version},
		[]string{"go", r.Go},
		[]string{"system", r.OS + "/" + r.Arch},
		[]string{"processors", fmt.Sprint(r.Processors)},
		[]string{"vectors", vectors},
		[]string{"kernels", r.Kernels + " (DARTSC_CPU forces others)"},
		[]string{"memory", memory},
		[]string{"self-check", check},
		[]string{"matrix product", fmt.Sprintf("%.1f GFLOP/s", r.GFLOPS)},
		[]string{"CUDA", r.CUDA})
}
