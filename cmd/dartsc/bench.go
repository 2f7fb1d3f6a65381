package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/bench"
	"github.com/dartsc/dartsc/runtime/roofline"
)

type runBench struct {
	options   bench.Options
	workloads []string
	deviceFlags
	limit   byteSize
	plan    string
	peer    string
	rounds  int
	alone   bool
	started int64
}

func newBenchCommand() *cobra.Command {
	var o runBench
	cmd := &cobra.Command{
		Use: "bench", Short: "Time search and training steps", Args: noArgs,
		Long: `Time single steps on random data and print one JSON line a workload: search1 and search2 (first and second order),
train (DARTS_V2 with its auxiliary head), and on text rnn1, rnn2 and rnntrain. Each runs in a process of its own, whose largest memory is peak_mib; on a GPU that is the plan's.

--plan times the first program of a plan file instead, and says how long its process took from its start to the first
step (start_s).

--peer runs another program beside it, turn about, which takes the same --workloads, --steps, --warmup, --batch,
--channels, --layers and --nhid and prints the same keys; a last line gives the ratio of the medians.`,
		Example: `  dartsc bench --workloads search1 --batch 16
  dartsc bench --workloads search1 --peer "python3 torch_darts.py --device cpu --channels-last"`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&o.workloads, "workloads", bench.Workloads(), "what to time")
	flags.IntVar(&o.options.Batch, "batch", 0, "images in a batch, or rows of text (default: the workload's)")
	flags.IntVar(&o.options.Channels, "channels", 0, "channels of the first cell (default: the workload's)")
	flags.IntVar(&o.options.Layers, "layers", 0, "cells (default: the workload's)")
	flags.IntVar(&o.options.Hidden, "nhid", 0, "hidden size of a recurrent network (default: the workload's)")
	flags.IntVar(&o.options.Steps, "steps", 10, "timed steps")
	flags.IntVar(&o.options.Warmup, "warmup", 3, "steps before that")
	o.deviceFlags.bind(cmd)
	bindMemoryLimit(flags, &o.limit)
	bindPrecision(flags, &o.options.Precision)
	flags.StringVar(&o.plan, "plan", "", "plan file to time in place of workloads")
	flags.StringVar(&o.peer, "peer", "", "command to run beside each workload")
	flags.IntVar(&o.rounds, "rounds", 3, "turns of each with --peer")
	flags.BoolVar(&o.options.Profile, "profile", false, "add what each kernel takes, with its rates")
	flags.BoolVar(&o.alone, "alone", false, "time in this very process")
	flags.Int64Var(&o.started, "started", 0, "when this process was started, in nanoseconds since 1970")
	for _, internal := range []string{"alone", "started"} {
		if err := flags.MarkHidden(internal); err != nil {
			panic(err)
		}
	}
	complete(cmd, "precision", cuda.Precisions...)
	complete(cmd, "workloads", bench.Workloads()...)
	return cmd
}

func (o *runBench) run(cmd *cobra.Command) error {
	for _, w := range o.workloads {
		if !slices.Contains(bench.Workloads(), w) {
			return usagef("--workloads %q: want some of %s", w, strings.Join(bench.Workloads(), ", "))
		}
	}
	if o.options.Steps < 1 || o.options.Warmup < 0 || o.rounds < 1 {
		return usagef("--steps and --rounds must be at least 1, --warmup at least 0")
	}
	if err := o.deviceFlags.check(); err != nil {
		return err
	}
	if o.plan != "" {
		for _, flag := range []string{"workloads", "batch", "channels", "layers", "nhid", "memory-limit", "precision", "peer"} {
			if cmd.Flags().Changed(flag) {
				return usagef("--%s cannot go with --plan", flag)
			}
		}
		o.workloads = []string{o.plan}
	}
	// Also of the processes that time themselves, which then find the roofline in the cache.
	if err := o.place(cmd.Context()); err != nil {
		return err
	}
	if err := checkPrecision(o.options.Precision, o.options.Device.Target(), wantDevice); err != nil {
		return err
	}
	if o.alone {
		return o.runAlone(cmd)
	}
	for _, w := range o.workloads {
		if err := o.compare(cmd, w); err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
	}
	return nil
}

// place reads the plan, if there is one, and finds the device and what it can do at most.
func (o *runBench) place(ctx context.Context) (err error) {
	target := ""
	if o.plan != "" {
		if o.options.Plan, err = plan.ReadFile(o.plan); err != nil {
			return err
		}
		target = o.options.Plan.Target
	}
	if o.options.Device, err = o.deviceFlags.open(target); err != nil {
		return err
	}
	if d, ok := o.options.Device.(roofline.Device); ok { // of GPUs nothing is measured
		o.options.Roofline, err = rooflineOf(ctx, d, false)
	}
	return err
}

// runAlone times in this process.
func (o *runBench) runAlone(cmd *cobra.Command) error {
	o.options.MemoryLimit = int64(o.limit)
	if o.started > 0 {
		o.options.Started = time.Unix(0, o.started)
	}
	for _, w := range o.workloads {
		o.options.Workload = w
		r, err := bench.Run(cmd.Context(), o.options)
		if err != nil {
			return err
		}
		if err := writeJSON(cmd.OutOrStdout(), r); err != nil {
			return err
		}
	}
	return nil
}

// compare times one workload in a process of its own, and the peer's after each turn.
func (o *runBench) compare(cmd *cobra.Command, workload string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	what := []string{"--workloads", workload}
	if o.plan != "" {
		what = []string{"--plan", o.plan}
	}
	arguments := append(what, "--steps", strconv.Itoa(o.options.Steps), "--warmup", strconv.Itoa(o.options.Warmup))
	for _, size := range []struct {
		flag  string
		value int
	}{{"--batch", o.options.Batch}, {"--channels", o.options.Channels}, {"--layers", o.options.Layers}, {"--nhid", o.options.Hidden}} {
		if size.value > 0 {
			arguments = append(arguments, size.flag, strconv.Itoa(size.value))
		}
	}
	own := append([]string{"bench", "--alone", "--workers", strconv.Itoa(o.workers), "--device", o.device, "--gpu", o.gpu}, arguments...)
	if o.plan == "" {
		own = append(own, "--precision", o.options.Precision)
	}
	if o.options.Profile {
		own = append(own, "--profile")
	}
	if o.limit > 0 {
		own = append(own, "--memory-limit", o.limit.String())
	}
	rounds := o.rounds
	if o.peer == "" {
		rounds = 1
	}
	var ours, theirs []float64
	for range rounds {
		started := "--started=" + strconv.FormatInt(time.Now().UnixNano(), 10)
		ms, err := measure(cmd, exec.CommandContext(cmd.Context(), self, append(own, started)...))
		if err != nil {
			return err
		}
		ours = append(ours, ms)
		if o.peer == "" {
			continue
		}
		shell := exec.CommandContext(cmd.Context(), "sh", append([]string{"-c", o.peer + ` "$@"`, "peer"}, arguments...)...)
		if ms, err = measure(cmd, shell); err != nil {
			return fmt.Errorf("--peer: %w", err)
		}
		theirs = append(theirs, ms)
	}
	if o.peer == "" {
		return nil
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	return writeJSON(cmd.OutOrStdout(), map[string]any{
		"workload": workload, "rounds": rounds, "ratio": rounded(theirs[len(theirs)/2]/ours[len(ours)/2], 2), "peer": o.peer,
	})
}

// measure runs a process that prints JSON lines, prints them with the memory that the process took at most, if it ran
// on the CPU, and returns the median of the last line.
func measure(cmd *cobra.Command, process *exec.Cmd) (float64, error) {
	var out, problems bytes.Buffer
	process.Stdout, process.Stderr = &out, &problems
	if err := process.Run(); err != nil {
		if cmd.Context().Err() != nil {
			return 0, context.Canceled
		}
		last := strings.TrimSpace(problems.String())
		return 0, fmt.Errorf("%w: %s", err, last[strings.LastIndexByte(last, '\n')+1:])
	}
	median := 0.0
	for line := range bytes.Lines(out.Bytes()) {
		var r map[string]any
		if json.Unmarshal(line, &r) != nil {
			continue
		}
		m, ok := r["median_ms"].(float64)
		if !ok {
			return 0, fmt.Errorf("a line without median_ms: %s", line)
		}
		median = m
		device, _ := r["device"].(string)
		if peak := peakMiB(process.ProcessState); peak > 0 && !strings.HasPrefix(device, "cuda") { // else it is the device's memory
			r["peak_mib"] = rounded(peak, 1)
		}
		for key, value := range r {
			if v, ok := value.(float64); ok {
				r[key] = rounded(v, 4)
			}
		}
		if err := writeJSON(cmd.OutOrStdout(), r); err != nil {
			return 0, err
		}
	}
	if median <= 0 {
		return 0, fmt.Errorf("printed no JSON line with median_ms")
	}
	return median, nil
}

// byteSize is a flag for an amount of memory.
type byteSize int64

func (b *byteSize) String() string {
	if *b == 0 {
		return "" // no limit, which help need not show
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Type names the flag's value in help.
func (b *byteSize) Type() string { return "bytes" }

// bindMemoryLimit adds the flag to a command that compiles.
func bindMemoryLimit(flags *pflag.FlagSet, limit *byteSize) {
	flags.Var(limit, "memory-limit", "memory of the plan, as 500MB or 2GiB: values are computed twice to keep it, which changes no result")
}

// Set reads a number with an optional unit: 500MB, 2GiB, 100000000.
func (b *byteSize) Set(text string) error {
	units := []struct {
		name  string
		bytes float64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || v < 0 || v*u.bytes >= 1<<60 {
			break
		}
		*b = byteSize(v * u.bytes)
		return nil
	}
	return fmt.Errorf("want an amount of memory such as 500MB or 2GiB")
}
