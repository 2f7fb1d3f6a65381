package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cost"
	"github.com/dartsc/dartsc/runtime/roofline"
)

// programCost is what the launches of a program take.
type programCost struct {
	Program  string            `json:"program"`
	Machine  roofline.Roofline `json:"roofline"`
	Total    cost.Times        `json:"total"`
	Beside   *cost.Beside      `json:"side_by_side,omitempty"` // on devices that run launches so
	Kernels  []cost.Group      `json:"kernels"`
	Shapes   []cost.Group      `json:"shapes"`
	Launches []cost.Launch     `json:"launches"` // longest first
}

// costs predicts the time of every program, and measures it where that is asked for.
func (o *inspect) costs(ctx context.Context, p *plan.Plan) ([]programCost, error) {
	machine, err := o.machine(ctx, p)
	if err != nil {
		return nil, err
	}
	var s *runtime.Session
	if o.measure {
		flags := deviceFlags{workers: o.workers}
		device, err := flags.open(p.Target)
		if err != nil {
			return nil, err
		}
		if s, err = runtime.Open(p, device); err != nil {
			return nil, err
		}
		defer s.Close()
	}
	var costs []programCost
	for _, program := range p.Programs {
		launches := cost.Predict(program, machine)
		if o.measure {
			if err := s.Initialize(1); err != nil {
				return nil, err
			}
			if err := cost.Measure(ctx, s, program.Name, o.runs, launches); err != nil {
				return nil, err
			}
		}
		c := programCost{
			Program: program.Name, Machine: machine, Total: cost.Total(launches),
			Kernels: cost.ByKernel(launches), Shapes: cost.ByShape(launches), Launches: cost.Slowest(launches),
		}
		if machine.Blocks > 0 {
			beside := cost.SideBySide(program, launches, machine.Blocks)
			c.Beside = &beside
		}
		costs = append(costs, c)
	}
	return costs, nil
}

// machine is the roofline of what the plan is for; of a GPU that measures only how many blocks it runs at once is known, if it is one of those that
// such plans are made for.
func (o *inspect) machine(ctx context.Context, p *plan.Plan) (roofline.Roofline, error) {
	if o.measure && slices.Contains(cuda.Names(), p.Target) {
		gpu, _ := roofline.FindGPU("", p.Target)
		return roofline.Roofline{Blocks: gpu.Roofline().Blocks}, nil
	}
	return predictedOn(ctx, p.Target, o.device, o.workers)
}

// Rows of the tables of costs; JSON has all.
const costRows = 25

func writeCosts(w io.Writer, costs []programCost) error {
	for i, c := range costs {
		if i > 0 {
			fmt.Fprintln(w)
		}
		m, t := c.Machine, c.Total
		fmt.Fprintf(w, "%s: %s launches, %.3f GFLOP, %.3f GB\n", c.Program, grouped(t.Launches), t.FLOPs/1e9, t.Bytes/1e9)
		writeMachine(w, m, t, c.Beside)
		for _, groups := range [][]cost.Group{c.Kernels, c.Shapes} {
			rows := [][]string{costHeader(t, "kernel", "shape")}
			for _, g := range groups[:min(costRows, len(groups))] {
				rows = append(rows, costRow(g.Times, t, g.Bound, g.Kernel, g.Shape))
			}
			if err := tableWithRest(w, rows, len(groups)-costRows); err != nil {
				return err
			}
		}
		rows := [][]string{costHeader(t, "launch", "kernel", "where", "shape")}
		for _, l := range c.Launches[:min(costRows, len(c.Launches))] {
			rows = append(rows, costRow(l.Times, t, l.Bound, fmt.Sprint(l.Index), l.Kernel, l.Phase+" "+l.Scope, l.Shape))
		}
		if err := tableWithRest(w, rows, len(c.Launches)-costRows); err != nil {
			return err
		}
	}
	return nil
}

// writeMachine says what the times are compared with, and which of them are predictions.
func writeMachine(w io.Writer, m roofline.Roofline, t cost.Times, beside *cost.Beside) {
	if m.Processor == "" {
		fmt.Fprintf(w, "measured %.3f ms", 1e3*t.Measured)
	} else {
		by := fmt.Sprintf("by %d workers", m.Workers)
		if m.Reached > 0 {
			by = "of " + m.Processor + " by its data sheet"
		}
		fmt.Fprintf(w, "roofline %.1f ms: %.1f GFLOP/s %s", 1e3*t.Roofline, m.All.GFLOPS, by)
		for _, l := range m.All.Levels {
			fmt.Fprintf(w, ", %s %.1f GB/s", l.Name, max(l.Read, l.Update))
		}
		fmt.Fprintf(w, "\npredicted %.1f ms", 1e3*t.Predicted)
		switch {
		case t.Measured > 0:
			fmt.Fprintf(w, ", measured %.1f ms: %.1f %% of the roofline", 1e3*t.Measured, 100*t.Fraction())
		case m.Reached > 0:
			fmt.Fprintf(w, ", as if launches came to %.0f %% of the roofline and took %.1f µs to start: no measurement", 100*m.Reached, m.Launch)
		}
	}
	if beside != nil {
		fmt.Fprintf(w, "\nside by side %.1f ms; the longest chain of launches that wait for one another, %s of them, takes %.1f ms", 1e3*beside.Seconds, grouped(beside.Launches), 1e3*beside.Chain)
	}
	fmt.Fprint(w, "\n\n")
}

// costHeader names the columns; the first is of predictions where nothing was measured.
func costHeader(total cost.Times, what ...string) []string {
	first := "predicted ms"
	if total.Measured > 0 {
		first = "ms"
	}
	return append([]string{first, "%", "of roofline", "bound by", "roofline ms", "launches", "GFLOP", "MB", "GFLOP/s", "GB/s"}, what...)
}

// costRow shows the measured time, or the predicted one, its share of the program, and the rates over it.
func costRow(t, total cost.Times, bound string, what ...string) []string {
	fraction := "-"
	if t.Measured > 0 && t.Roofline > 0 {
		fraction = fmt.Sprintf("%.1f %%", 100*t.Fraction())
	}
	share, flops, bytes := 0.0, 0.0, 0.0
	if s := t.Seconds(); s > 0 {
		share, flops, bytes = 100*s/total.Seconds(), t.FLOPs/s/1e9, t.Bytes/s/1e9
	}
	return append([]string{
		fmt.Sprintf("%.3f", 1e3*t.Seconds()), fmt.Sprintf("%.1f", share), fraction, bound, fmt.Sprintf("%.3f", 1e3*t.Roofline),
		grouped(t.Launches), fmt.Sprintf("%.4f", t.FLOPs/1e9), fmt.Sprintf("%.2f", t.Bytes/1e6), fmt.Sprintf("%.1f", flops), fmt.Sprintf("%.1f", bytes),
	}, what...)
}

// tableWithRest writes a table, and how many rows it leaves out.
func tableWithRest(w io.Writer, rows [][]string, rest int) error {
	if rest > 0 {
		rows = append(rows, []string{fmt.Sprintf("and %s more", grouped(rest))})
	}
	if err := table(w, rows...); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}
