package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/compiler/plan/drawing"
	"github.com/dartsc/dartsc/internal/atomicfile"
)

type inspect struct {
	program         string
	arena, launches bool
	picture         string
	cost, measure   bool
	device          string
	workers, runs   int
	json            bool
}

func newInspect() *cobra.Command {
	var o inspect
	cmd := &cobra.Command{
		Use: "inspect PLAN", Short: "Show what a plan holds", Args: oneArg("the plan file"),
		Long: `Show the programs of a plan, their launches by kernel, the arena's peak beside its lower bound (what no placement can
go below), and the variables. --map adds where the largest buffers lie and from which launch to which they live,
--launches every launch in order.

--memory-svg draws the arena over time: of --program, or else of the program with the highest peak.

--cost compares with the roofline of this machine (see doctor): what launches must take at least, by kernel, by shape
and the slowest alone. With --measure each program runs here a few times on random data, and the table is in the order
of the measured times. Of a plan for a GPU the times are predictions by that GPU's data sheet, unless they are measured,
and there is what launches take side by side, and the longest chain of those that wait for one another.`,
		Example: `  dartsc inspect search.dplan --cost --measure --program search_step
  dartsc inspect gpu.dplan --cost --device h100`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.program, "program", "", "only this program")
	flags.BoolVar(&o.arena, "map", false, "show the arena: the largest buffers of each program")
	flags.BoolVar(&o.launches, "launches", false, "show every launch")
	flags.StringVar(&o.picture, "memory-svg", "", "file for a picture of the arena over time")
	flags.BoolVar(&o.cost, "cost", false, "show operations, bytes and time beside the roofline")
	flags.BoolVar(&o.measure, "measure", false, "with --cost: run the programs and measure every launch")
	flags.IntVar(&o.runs, "runs", 3, "with --measure: runs of each program; the shortest time of a launch counts")
	bindPredicted(cmd, &o.device)
	flags.IntVar(&o.workers, "workers", 0, "with --cost: processors to use (default all)")
	flags.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (o *inspect) run(cmd *cobra.Command, path string) error {
	if o.measure && !o.cost {
		return usagef("--measure goes with --cost")
	}
	if o.device != "" && (o.measure || !o.cost) {
		return usagef("--device goes with --cost, and not with --measure, which runs here")
	}
	if o.picture != "" && (o.cost || o.json || o.arena || o.launches) {
		return usagef("--memory-svg goes alone")
	}
	if o.runs < 1 || o.workers < 0 {
		return usagef("--runs must be at least 1, --workers at least 0")
	}
	p, err := plan.ReadFile(path)
	if err != nil {
		return err
	}
	if !slices.Contains(compiler.Targets(), p.Target) {
		return fmt.Errorf("%s is for target %q; this dartsc knows %s", path, p.Target, strings.Join(compiler.Targets(), ", "))
	}
	if len(p.Programs) == 0 {
		return fmt.Errorf("%s holds no program", path)
	}
	if o.program != "" {
		only := p.Program(o.program)
		if only == nil {
			var names []string
			for _, program := range p.Programs {
				names = append(names, program.Name)
			}
			return usagef("--program %q: %s has %s", o.program, path, strings.Join(names, ", "))
		}
		p.Programs = []*plan.Program{only}
	}
	if o.picture != "" {
		program := slices.MaxFunc(p.Programs, func(a, b *plan.Program) int { return cmp.Compare(a.PeakBytes, b.PeakBytes) })
		if err := atomicfile.Write(o.picture, drawing.Arena(program.Name+" of "+p.Name, program)); err != nil {
			return err
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), o.picture)
		return err
	}
	var costs []programCost
	if o.cost {
		if costs, err = o.costs(cmd.Context(), p); err != nil {
			return err
		}
	}
	if o.json {
		return o.writeJSON(cmd.OutOrStdout(), path, p, costs)
	}
	if o.cost {
		return writeCosts(cmd.OutOrStdout(), costs)
	}
	return o.writeText(cmd.OutOrStdout(), path, p)
}

func (o *inspect) writeJSON(w io.Writer, path string, p *plan.Plan, costs []programCost) error {
	report := struct {
		File string `json:"file"`
		plan.Summary
		Arena    map[string][]plan.Placed `json:"arena,omitempty"`
		Launches map[string][]launchEntry `json:"launch_list,omitempty"`
		Cost     []programCost            `json:"cost,omitempty"`
	}{File: path, Summary: plan.Summarize(p), Cost: costs}
	if o.arena {
		report.Arena = map[string][]plan.Placed{}
	}
	if o.launches {
		report.Launches = map[string][]launchEntry{}
	}
	for _, program := range p.Programs {
		if o.arena {
			report.Arena[program.Name] = plan.ArenaMap(program)
		}
		if o.launches {
			report.Launches[program.Name] = launchEntries(program)
		}
	}
	return writeJSON(w, report)
}

func (o *inspect) writeText(w io.Writer, path string, p *plan.Plan) error {
	s := plan.Summarize(p)
	fmt.Fprintf(w, "%s: plan %q for %s, made by dartsc %s\n", path, s.Name, s.Target, s.Compiler)
	for _, key := range slices.Sorted(maps.Keys(s.Metadata)) {
		fmt.Fprintf(w, "  %s: %s\n", key, s.Metadata[key])
	}
	fmt.Fprintf(w, "arena %s, variables %s\n\n", size(s.ArenaBytes), size(s.VariableBytes))
	rows := [][]string{{"variables", "count", "elements", "bytes"}}
	for _, v := range s.Variables {
		rows = append(rows, []string{v.Kind, grouped(v.Count), grouped(v.Elements), size(v.Bytes)})
	}
	if err := table(w, rows...); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := table(w, programRows(s)...); err != nil {
		return err
	}
	if len(s.Modules) > 0 {
		fmt.Fprintln(w)
		if err := table(w, moduleRows(s.Modules)...); err != nil {
			return err
		}
	}
	for i, program := range p.Programs {
		fmt.Fprintln(w)
		if err := table(w, kernelRows(s.Programs[i])...); err != nil {
			return err
		}
		if o.arena {
			fmt.Fprintln(w)
			if err := table(w, arenaRows(program)...); err != nil {
				return err
			}
		}
		if o.launches {
			fmt.Fprintln(w)
			if err := table(w, launchRows(program)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// moduleRows lists the device code of a plan and, where it was compiled, the functions that take the most registers and
// all that spill some.
func moduleRows(modules []plan.ModuleSummary) [][]string {
	rows := [][]string{{"module", "source", "code"}}
	var functions []plan.FunctionSummary
	for _, m := range modules {
		rows = append(rows, []string{m.Name, size(int64(m.SourceBytes)), strings.Join(m.Images, ", ")})
		functions = append(functions, m.Functions...)
	}
	if len(functions) == 0 {
		return rows
	}
	slices.SortFunc(functions, func(a, b plan.FunctionSummary) int {
		return cmp.Or(b.SpillBytes-a.SpillBytes, b.Registers-a.Registers, strings.Compare(a.Name, b.Name))
	})
	rows = append(rows, []string{""}, []string{"function", "registers", "shared", "spilled"})
	const shown = 12
	for i, f := range functions {
		if i >= shown && f.SpillBytes == 0 {
			rows = append(rows, []string{fmt.Sprintf("and %d with no more", len(functions)-i)})
			break
		}
		rows = append(rows, []string{f.Name, fmt.Sprint(f.Registers), size(int64(f.SharedBytes)), size(int64(f.SpillBytes))})
	}
	return rows
}

func kernelRows(p plan.ProgramSummary) [][]string {
	rows := [][]string{{p.Name + ": kernel", "launches", "GFLOP", "MB"}}
	for _, k := range p.Kernels {
		rows = append(rows, []string{k.Kernel, grouped(k.Launches), fmt.Sprintf("%.4f", k.FLOPs/1e9), fmt.Sprintf("%.2f", k.Bytes/1e6)})
	}
	return rows
}

// mapped is how many buffers the map shows: those that decide the peak.
const mapped = 40

func arenaRows(p *plan.Program) [][]string {
	rows := [][]string{{p.Name + ": offset", "end", "size", "launches", "type", "made by"}}
	placed := plan.ArenaMap(p)
	for _, b := range placed[:min(mapped, len(placed))] {
		rows = append(rows, []string{
			grouped(b.Offset), grouped(b.Offset + b.Bytes), size(b.Bytes), fmt.Sprintf("%d–%d", b.First, b.Last),
			b.DType + strings.ReplaceAll(fmt.Sprint(b.Shape), " ", ","), b.Made,
		})
	}
	if rest := len(placed) - mapped; rest > 0 {
		rows = append(rows, []string{fmt.Sprintf("and %s smaller ones", grouped(rest))})
	}
	return rows
}

// launchEntry is one launch with the buffers that it is bound to.
type launchEntry struct {
	Kernel   string   `json:"kernel"`
	Phase    string   `json:"phase,omitempty"`
	Scope    string   `json:"scope,omitempty"`
	Operands []string `json:"operands"`
	Results  []string `json:"results"`
	FLOPs    float64  `json:"flops"`
	Bytes    float64  `json:"bytes"`
}

func launchEntries(p *plan.Program) []launchEntry {
	describe := func(buffers []int) []string {
		texts := make([]string, len(buffers))
		for i, b := range buffers {
			texts[i] = p.Buffers[b].String()
		}
		return texts
	}
	entries := make([]launchEntry, len(p.Launches))
	for i, l := range p.Launches {
		entries[i] = launchEntry{l.Kernel, l.Phase, l.Scope, describe(l.Operands), describe(l.Results), l.FLOPs, l.Bytes}
	}
	return entries
}

func launchRows(p *plan.Program) [][]string {
	rows := [][]string{{p.Name + ": launch", "kernel", "MFLOP", "MB", "results", "operands", "where"}}
	for i, l := range launchEntries(p) {
		where := l.Phase
		if l.Scope != "" {
			where += " " + l.Scope
		}
		rows = append(rows, []string{
			fmt.Sprint(i), l.Kernel, fmt.Sprintf("%.3f", l.FLOPs/1e6), fmt.Sprintf("%.3f", l.Bytes/1e6),
			strings.Join(l.Results, " "), abbreviated(l.Operands), where,
		})
	}
	return rows
}

// abbreviated keeps a launch on one line: an optimiser may have a thousand operands.
func abbreviated(texts []string) string {
	const shown = 6
	if len(texts) <= shown {
		return strings.Join(texts, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(texts[:shown], " "), len(texts)-shown)
}
