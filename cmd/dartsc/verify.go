package main

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/darts/infer"
	"github.com/dartsc/dartsc/darts/verify"
)

type verifyONNX struct {
	onnx      onnxFlags
	tolerance float64
	seed      uint64
	workers   int
	runs      int
	turns     int
	skip      bool
	json      bool
}

func newVerify() *cobra.Command {
	var o verifyONNX
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "Check a compiled ONNX file against others", Args: oneArg("the ONNX file"),
		Long: `Compile an ONNX file for the CPU, run it on random inputs, and compare the results with those of the reference
interpreter in float64, and of onnxruntime where python3 has it. Differences are relative to the largest element of a
result. The exit code is 1 where one is above --tolerance. --runs 20 also says how fast both are; with --turns 5 each
runs so often five times, turn about.

Fresh weights of a deep network let the images vanish on the way: it answers nearly the same to all of them, and so
would a wrong plan. Where other inputs change the results by no more than --tolerance, a warning says so.`,
		Example: `  dartsc verify model.onnx --batch 7
  dartsc verify model.onnx --batch 32 --skip-reference --runs 20 --turns 3`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	o.onnx.bind(flags)
	flags.Float64Var(&o.tolerance, "tolerance", 1e-4, "largest relative difference that is right")
	flags.Uint64Var(&o.seed, "seed", 0, "of the random inputs")
	flags.IntVar(&o.workers, "workers", 0, "worker threads, here and in onnxruntime (default one for each processor)")
	flags.IntVar(&o.runs, "runs", 1, "how often to run in a turn, for times")
	flags.IntVar(&o.turns, "turns", 1, "turns of dartsc and onnxruntime, one after the other")
	flags.BoolVar(&o.skip, "skip-reference", false, "leave the reference interpreter out, which takes seconds an image")
	flags.BoolVar(&o.json, "json", false, "print the report as JSON")
	return cmd
}

func (o *verifyONNX) run(cmd *cobra.Command, path string) error {
	if o.runs < 1 || o.turns < 1 || !(o.tolerance >= 0) {
		return usagef("--runs %d, --turns %d, --tolerance %v: want positive numbers", o.runs, o.turns, o.tolerance)
	}
	options, err := o.onnx.options(cmd.Flags())
	if err != nil {
		return err
	}
	network, content, err := infer.ReadONNX(path, options)
	if err != nil {
		return err
	}
	report, err := verify.Run(cmd.Context(), network, content, verify.Options{
		Options: infer.Options{Options: options, Version: version(), Logger: slog.Default()},
		Seed:    o.seed, Workers: o.workers, Runs: o.runs, Turns: o.turns, SkipReference: o.skip,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := o.print(cmd.OutOrStdout(), path, report); err != nil {
		return err
	}
	if report.Effect <= o.tolerance {
		slog.Warn("that results agree says little here: other inputs change them hardly; verify trained weights", "change", report.Effect)
	}
	worst := report.Reference
	if report.OnnxRuntime != nil {
		worst = max(worst, report.OnnxRuntime.Difference)
	}
	if !(worst <= o.tolerance) {
		return fmt.Errorf("%s: a difference of %.3g is above --tolerance %g", path, worst, o.tolerance)
	}
	return nil
}

func (o *verifyONNX) print(w io.Writer, path string, r *verify.Report) error {
	if o.json {
		return o.printJSON(w, path, r)
	}
	fmt.Fprintf(w, "%s: %s → %s, %d operations, %d launches\n", path, list(r.Inputs), list(r.Results), r.Operations, r.Launches)
	if !o.skip {
		fmt.Fprintf(w, "reference interpreter: max difference %.3g\n", r.Reference)
	}
	if r.OnnxRuntime == nil {
		_, err := fmt.Fprintf(w, "onnxruntime: not compared: %s\n", r.Missing)
		return err
	}
	_, err := fmt.Fprintf(w, "onnxruntime %s: max difference %.3g\n", r.OnnxRuntime.Version, r.OnnxRuntime.Difference)
	if runs := o.runs * o.turns; err == nil && runs > 1 {
		_, err = fmt.Fprintf(w, "fastest of %d runs: dartsc %s, onnxruntime %s (%.2f times as long)\n", runs,
			milliseconds(r.Fastest), milliseconds(r.OnnxRuntime.Fastest), r.OnnxRuntime.Fastest.Seconds()/r.Fastest.Seconds())
	}
	return err
}

func (o *verifyONNX) printJSON(w io.Writer, path string, r *verify.Report) error {
	type peer struct {
		Version    string  `json:"version"`
		Difference float64 `json:"difference"`
		Seconds    float64 `json:"seconds"`
	}
	out := struct {
		File        string            `json:"file"`
		Inputs      map[string]string `json:"inputs"`
		Results     map[string]string `json:"results"`
		Launches    int               `json:"launches"`
		Effect      float64           `json:"effect"` // of other inputs
		Reference   *float64          `json:"reference_difference,omitempty"`
		Seconds     float64           `json:"seconds"`
		OnnxRuntime *peer             `json:"onnxruntime"`
	}{path, r.Inputs, r.Results, r.Launches, r.Effect, nil, r.Fastest.Seconds(), nil}
	if !o.skip {
		out.Reference = &r.Reference
	}
	if p := r.OnnxRuntime; p != nil {
		out.OnnxRuntime = &peer{p.Version, p.Difference, p.Fastest.Seconds()}
	}
	return writeJSON(w, out)
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1e3) }

// list names ports with their types.
func list(ports map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		out = append(out, name+" "+ports[name])
	}
	return strings.Join(out, ", ")
}
