package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/darts/doctor"
	"github.com/dartsc/dartsc/runtime/cpu"
	"github.com/dartsc/dartsc/runtime/roofline"
)

type doctorReport struct {
	build
	doctor.Machine
	LargestError float64 `json:"self_check_error"` // relative, against the float64 reference
	SelfCheck    string  `json:"self_check"`       // "ok", or what is wrong
	GFLOPS       float64 `json:"matmul_gflops"`
	Kernels      string  `json:"kernels"` // the set of CPU kernels in use

	CUDA         doctor.CUDA       `json:"cuda"`
	Roofline     roofline.Roofline `json:"roofline"`
	RooflineFile string            `json:"roofline_file,omitempty"` // where it is kept
}

func newDoctor() *cobra.Command {
	var asJSON, again bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Examine this machine and this build", Args: noArgs,
		Long: `Show what dartsc runs on, compare one compiled search step with the reference interpreter, and measure a matrix product
of side 512. The exit code is 1 where the comparison fails.

The roofline, what the processor can compute and its memory can move at most, is measured once, which takes a second, and
kept in the user's cache folder; inspect --cost and bench compare with it. --measure measures it again: on a busy machine
it comes out too low.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := doctorReport{build: buildInfo(), Machine: doctor.Look(), SelfCheck: "ok", Kernels: cpu.Kernels(), CUDA: doctor.LookCUDA(cmd.Context())}
			worst, failure := doctor.CheckStep(cmd.Context(), cpu.New(0))
			if failure != nil {
				r.SelfCheck = failure.Error()
			}
			speed, err := doctor.Speed(cmd.Context(), 512)
			if err != nil {
				return err
			}
			r.LargestError, r.GFLOPS = worst, rounded(speed, 1)
			if r.Roofline, err = rooflineOf(cmd.Context(), cpu.New(0), again); err != nil {
				return err
			}
			if path, err := roofline.Path(r.Roofline.Key); err == nil {
				if _, err := os.Stat(path); err == nil {
					r.RooflineFile = path
				}
			}
			if err := r.write(cmd, asJSON); err != nil {
				return err
			}
			if failure != nil {
				return errors.New("the self-check failed: " + r.SelfCheck)
			}
			if check := r.CUDA.SelfCheck; check != "" && check != "ok" {
				return errors.New("the self-check on the GPU failed: " + check)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&again, "measure", false, "measure the roofline again")
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
	rows := [][]string{
		{"dartsc", r.Version},
		{"go", r.Go},
		{"system", r.OS + "/" + r.Arch},
		{"processors", fmt.Sprint(r.Processors)},
		{"vectors", vectors},
		{"kernels", r.Kernels + " (DARTSC_CPU forces others)"},
		{"memory", memory},
		{"self-check", checked(r.SelfCheck, r.LargestError)},
		{"matrix product", fmt.Sprintf("%.1f GFLOP/s", r.GFLOPS)},
	}
	rows = append(rows, cudaRows(r.CUDA)...)
	return table(cmd.OutOrStdout(), append(rows, r.rooflineRows()...)...)
}

// checked is the result of a self-check for people.
func checked(result string, largest float64) string {
	if result == "ok" {
		return fmt.Sprintf("ok, largest error %.1e", largest)
	}
	return result
}

func cudaRows(c doctor.CUDA) [][]string {
	driver, compiler := c.Problem, "not found (DARTSC_NVRTC may name its folder)"
	if c.Driver != "" {
		driver = "driver for CUDA " + c.Driver
		if c.Problem != "" {
			driver += "; " + c.Problem
		}
	}
	if c.NVRTC != "" {
		compiler = c.NVRTC + " (" + c.NVRTCPath + ")"
	}
	rows := [][]string{{"CUDA", driver}}
	for _, d := range c.Devices {
		rows = append(rows, []string{fmt.Sprintf("cuda:%d", d.Index), fmt.Sprintf("%s, %s, %s, %d multiprocessors", d.Name, d.Architecture, size(d.Bytes), d.Multiprocessors)})
	}
	if c.SelfCheck != "" {
		rows = append(rows, []string{"self-check of cuda:0", checked(c.SelfCheck, c.Error)})
	}
	return append(rows, []string{"NVRTC", compiler})
}

func (r doctorReport) rooflineRows() [][]string {
	both := func(unit string, one, all float64) string {
		if r.Roofline.Workers == 1 {
			return fmt.Sprintf("%.1f %s", one, unit)
		}
		return fmt.Sprintf("%.1f %s, %.1f by %d workers", one, unit, all, r.Roofline.Workers)
	}
	one, all := r.Roofline.One, r.Roofline.All
	rows := [][]string{{"peak", both("GFLOP/s", one.GFLOPS, all.GFLOPS)}}
	for i, l := range one.Levels {
		rows = append(rows, []string{l.Name + " read", both("GB/s", l.Read, all.Levels[i].Read)},
			[]string{l.Name + " update", both("GB/s", l.Update, all.Levels[i].Update)})
	}
	rows = append(rows, []string{"launch", fmt.Sprintf("%.2f µs", r.Roofline.Launch)})
	if r.RooflineFile == "" {
		return rows
	}
	return append(rows, []string{"kept in", r.RooflineFile})
}
