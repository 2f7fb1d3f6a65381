package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/ir"
)

type compileSearch struct {
	flags   searchFlags
	classes int
	compileFlags
}

// compileFlags are the flags of every command that compiles a search.
type compileFlags struct {
	target, out, emit, dump string
	limit                   byteSize
	json                    bool
}

func (o *compileFlags) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.target, "target", "cpu", "what the plan is for: "+strings.Join(compiler.Targets(), ", "))
	flags.StringVarP(&o.out, "output", "o", "", "file to write (default search.dplan)")
	flags.StringVar(&o.emit, "emit", emitPlan, emitUsage)
	bindMemoryLimit(flags, &o.limit)
	flags.StringVar(&o.dump, "dump", "", "folder for the text after every pass, and a page that shows them side by side")
	flags.BoolVar(&o.json, "json", false, "print the summary of the plan as JSON")
	complete(cmd, "emit", emits...)
	complete(cmd, "target", compiler.Targets()...)
}

func (o *compileFlags) check(precision string) error {
	if err := checkEmit(o.emit, o.target, o.json); err != nil {
		return err
	}
	if !slices.Contains(compiler.Targets(), o.target) {
		return usagef("--target %q: want %s", o.target, strings.Join(compiler.Targets(), ", "))
	}
	return checkPrecision(precision, o.target, wantTarget)
}

func newCompileSearch() *cobra.Command {
	var o compileSearch
	cmd := &cobra.Command{
		Use: "search", Short: "Compile a search to a plan", Args: noArgs,
		Long: `Compile the programs of a search, the step and the evaluation, to a plan file, with the flags of run search.

Without --data it compiles for images of CIFAR-10's shape, which --classes and --image-size change. --emit stops
earlier: ir is the text of the programs as they are built, fused the text after all passes, cuda the kernels of a plan
for a GPU in CUDA C++, ptx what NVIDIA's run-time compiler makes of them; all go to standard output unless -o is given.

A plan for a GPU holds the kernels' source and, where that compiler (NVRTC) is found, machine code and PTX. No GPU is
needed to compile one.`,
		Example: `  dartsc compile search --unrolled -o search.dplan
  dartsc compile search --layers 4 --emit fused | less
  dartsc compile search --target cuda:sm_90 --emit cuda -o kernels.cu`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	flags := cmd.Flags()
	o.flags.bind(cmd)
	flags.IntVar(&o.classes, "classes", 10, "number of classes, without --data")
	o.bind(cmd)
	cmd.AddCommand(newCompileSearchRNN())
	return cmd
}

func (o *compileSearch) run(cmd *cobra.Command) error {
	if err := o.check(o.flags.config.Precision); err != nil {
		return err
	}
	if cmd.Flags().Changed("classes") && o.flags.config.Data != "" {
		return usagef("--classes cannot go with --data, which has classes of its own")
	}
	for _, line := range o.flags.warnings(cmd.Flags()) {
		fmt.Fprintln(cmd.ErrOrStderr(), "dartsc:", line)
	}
	config, summary, err := o.settings(cmd)
	if err != nil {
		return err
	}
	return o.compile(cmd, config.Precision, recipe.SearchMetadata(config, summary), func() (*ir.Module, error) { return recipe.SearchModule(config, summary) })
}

// compile compiles what build builds, as far as --emit asks, and writes it.
func (o *compileFlags) compile(cmd *cobra.Command, precision string, metadata map[string]string, build func() (*ir.Module, error)) error {
	start := time.Now()
	module, err := build()
	if err != nil {
		return err
	}
	options := compiler.Options{
		Target: o.target, Precision: precision, Version: version(), Metadata: metadata, Dump: o.dump, Logger: slog.Default(),
		MemoryLimit: int64(o.limit),
	}
	if o.emit == emitIR || o.emit == emitFused {
		return o.emitText(cmd.Context(), cmd.OutOrStdout(), module, options)
	}
	p, err := compiler.Compile(cmd.Context(), module, options)
	if err != nil {
		return err
	}
	if o.emit == emitCUDA {
		return writeCode(cmd.OutOrStdout(), o.out, p, o.emit)
	}
	if err := assemble(cmd.Context(), p, o.emit == emitPTX); err != nil {
		return err
	}
	if o.emit == emitPTX {
		return writeCode(cmd.OutOrStdout(), o.out, p, o.emit)
	}
	took := time.Since(start)
	if o.out == "" {
		o.out = "search.dplan"
	}
	if err := plan.WriteFile(o.out, p); err != nil {
		return err
	}
	return reportPlan(cmd.OutOrStdout(), o.out, plan.Summarize(p), took, o.json)
}

// settings returns the search to compile, and the data that it is for.
func (o *compileSearch) settings(cmd *cobra.Command) (recipe.SearchConfig, data.Summary, error) {
	if o.flags.preset == "" {
		o.flags.preset = presetPaper
	}
	config, err := o.flags.resolve(cmd.Flags())
	if err != nil {
		return config, data.Summary{}, err
	}
	if o.flags.config.Data == "" {
		side := data.Size{Height: 32, Width: 32}
		if config.ImageSize != "" {
			if side, err = data.ParseSize(config.ImageSize); err != nil {
				return config, data.Summary{}, err
			}
		}
		summary, err := data.Absent(o.classes, side, 3)
		if err != nil {
			err = &usageError{err}
		}
		return config, summary, err
	}
	options, err := config.DataOptions(0)
	if err != nil {
		return config, data.Summary{}, err
	}
	d, err := data.Open(cmd.Context(), options)
	if err != nil {
		return config, data.Summary{}, err
	}
	return config, d.Summary(), nil
}

// emitText writes the module before or after the passes.
func (o *compileFlags) emitText(ctx context.Context, stdout io.Writer, module *ir.Module, options compiler.Options) error {
	if o.emit == emitFused {
		var err error
		if module, err = compiler.Transform(ctx, module, options); err != nil {
			return err
		}
	}
	return writeModule(stdout, o.out, module)
}

// reportPlan says what was written.
func reportPlan(w io.Writer, path string, s plan.Summary, took time.Duration, asJSON bool) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(w, struct {
			File    string  `json:"file"`
			Bytes   int64   `json:"bytes"`
			Seconds float64 `json:"seconds"`
			plan.Summary
		}{path, info.Size(), rounded(took.Seconds(), 3), s})
	}
	fmt.Fprintf(w, "%s: %s, for %s, compiled in %.2f s\n", path, size(info.Size()), s.Target, took.Seconds())
	return table(w, programRows(s)...)
}

// programRows is a table of the programs of a plan.
func programRows(s plan.Summary) [][]string {
	rows := [][]string{{"program", "launches", "GFLOP", "GB", "peak", "lower bound", "ratio"}}
	for _, p := range s.Programs {
		rows = append(rows, []string{
			p.Name, grouped(p.Launches), fmt.Sprintf("%.3f", p.FLOPs/1e9), fmt.Sprintf("%.3f", p.Bytes/1e9),
			size(p.PeakBytes), size(p.LowerBound), fmt.Sprintf("%.3f", ratio(p.PeakBytes, p.LowerBound)),
		})
	}
	return rows
}
