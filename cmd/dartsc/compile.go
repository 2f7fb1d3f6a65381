package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/text"
	"github.com/dartsc/dartsc/ir"
)

// compileFlags are the flags of every command that compiles a search or a training.
type compileFlags struct {
	target, out, emit, dump string
	name                    string // of the plan, where out is ""
	limit                   byteSize
	json                    bool
}

// bind adds the flags to a command, whose plans have this name unless --output gives another.
func (o *compileFlags) bind(cmd *cobra.Command, name string) {
	flags := cmd.Flags()
	flags.StringVar(&o.target, "target", "cpu", "what the plan is for: "+strings.Join(compiler.Targets(), ", "))
	o.name = name
	flags.StringVarP(&o.out, "output", "o", "", "file to write (default "+name+")")
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
	return writePlan(cmd, p, o.emit, o.out, o.name, start, o.json)
}

// writePlan writes a plan to the file out, or else to name, and says what is in it; or writes only its code, where that is
// asked for. Its compilation began at start.
func writePlan(cmd *cobra.Command, p *plan.Plan, emit, out, name string, start time.Time, asJSON bool) error {
	if emit == emitCUDA {
		return writeCode(cmd.OutOrStdout(), out, p, emit)
	}
	if err := assemble(cmd.Context(), p, emit == emitPTX); err != nil {
		return err
	}
	if emit == emitPTX {
		return writeCode(cmd.OutOrStdout(), out, p, emit)
	}
	took, path := time.Since(start), cmp.Or(out, name)
	if err := plan.WriteFile(path, p); err != nil {
		return err
	}
	return reportPlan(cmd.OutOrStdout(), path, plan.Summarize(p), took, asJSON)
}

// imageFlags say which images a plan is for, where --data does not.
type imageFlags struct{ classes int }

func (o *imageFlags) bind(flags *pflag.FlagSet) {
	flags.IntVar(&o.classes, "classes", 10, "number of classes, without --data")
}

// summary describes the data set given, which open opens, or else one of CIFAR-10's shape but for --classes and
// --image-size.
func (o *imageFlags) summary(cmd *cobra.Command, given, imageSize string, open func(context.Context) (data.Summary, error)) (data.Summary, error) {
	if given != "" {
		if cmd.Flags().Changed("classes") {
			return data.Summary{}, usagef("--classes cannot go with --data, which has classes of its own")
		}
		return open(cmd.Context())
	}
	side := data.Size{Height: 32, Width: 32}
	if imageSize != "" {
		var err error
		if side, err = data.ParseSize(imageSize); err != nil {
			return data.Summary{}, err
		}
	}
	summary, err := data.Absent(o.classes, side, 3)
	if err != nil {
		err = &usageError{err}
	}
	return summary, err
}

// textFlags say which text a plan is for, where --data does not.
type textFlags struct{ vocabulary int }

func (o *textFlags) bind(flags *pflag.FlagSet) {
	flags.IntVar(&o.vocabulary, "vocabulary", 10000, "number of words, without --data")
}

// pennValid is how many words the Penn Treebank has for validation.
const pennValid = 73760

// summary describes the corpus in a folder where --data is given, or else one like the Penn Treebank but for --vocabulary.
func (o *textFlags) summary(flags *pflag.FlagSet, path string, seed uint64) (text.Summary, error) {
	if !flags.Changed("data") {
		return text.Summary{Name: "unnamed", Vocabulary: o.vocabulary, Valid: pennValid}, nil
	}
	if flags.Changed("vocabulary") {
		return text.Summary{}, usagef("--vocabulary cannot go with --data, which has words of its own")
	}
	corpus, err := text.Open(path, seed)
	if err != nil {
		return text.Summary{}, err
	}
	return corpus.Summary(), nil
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
