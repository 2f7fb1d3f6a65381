// Package compiler turns a module of the IR into a static plan: [Compile] runs the table of passes, each of which can
// be dumped, then lowers every program to the kernels of a target and places its tensors in one arena.
//
//	module ─ passes (differentiate, share, fuse, schedule, …) ─▶ module ─ lower ─▶ launches ─ place ─▶ plan
//
// It knows the operations through package ops and targets through package lower; it knows no network, no data and no
// device. Read passes below first: it is the compiler.
package compiler

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dartsc/dartsc/compiler/fuse"
	"github.com/dartsc/dartsc/compiler/lower"
	"github.com/dartsc/dartsc/compiler/lower/cpu"
	"github.com/dartsc/dartsc/compiler/lower/cuda"
	"github.com/dartsc/dartsc/compiler/memory"
	"github.com/dartsc/dartsc/compiler/pass"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// passes is the compiler, in order. A name that stands twice runs twice.
var passes = []struct {
	name string
	run  func(s settings) pass.Func
}{
	{"fold", func(s settings) pass.Func { return pass.Fold(s.values) }},          // while a BatchNorm is one operation, and before anything joins convolutions to others
	{"share", always(pass.Share)},                                                // before differentiation: a shared value has one backward pass, not one a copy
	{"simplify", always(pass.Simplify)},                                          // a node's weighted sums become one, so its gradient is one as well
	{"dead", always(pass.Dead)},                                                  // what simplification left unused needs no gradient
	{"differentiate", always(pass.Differentiate)},                                // while reads of variables still end the derivative of each pass
	{"variables", always(pass.Variables)},                                        // state becomes values, so that everything below sees plain data flow
	{"dead", always(pass.Dead)},                                                  // gradients that nobody asked for, before anything spends time on them
	{"simplify", always(pass.Simplify)},                                          // what the gradient rules wrote
	{"commute", always(pass.Commute)},                                            // scaled cotangents, while BatchNorm is still one operation
	{"share", always(pass.Share)},                                                // the backward passes of one state meet again
	{"dead", always(pass.Dead)},                                                  // what the three before left unused
	{"decompose", always(pass.Decompose)},                                        // BatchNorm into statistics and normalisation
	{"fuse", func(s settings) pass.Func { return fuse.Fuse(s.byImage) }},         // groups that become one launch
	{"recompute", func(s settings) pass.Func { return pass.Recompute(s.again) }}, // of launches as they will be: a prologue comes along at no cost
	{"schedule", always(pass.Schedule)},                                          // after fusion: a group moves as one
}

// limited is the index of the first pass that depends on how much is computed twice: all before it run once for all
// amounts that a memory limit makes Compile try.
var limited = slices.Index(Passes(), "recompute")

// settings are what passes depend on besides the module.
type settings struct {
	again   pass.Recomputation
	values  pass.Values // of variables that never change
	byImage bool        // see fuse.Fuse
}

// always is a pass that depends on the module alone.
func always(f pass.Func) func(settings) pass.Func {
	return func(settings) pass.Func { return f }
}

// passOrder holds what must come before what, and is checked by a test: [before, after, reason].
var passOrder = [][3]string{
	{"differentiate", "variables", "an update between two passes is no part of the second one's gradient"},
	{"variables", "schedule", "reads and assignments may only move once state is data flow"},
	{"share", "differentiate", "cotangents of equal values add up once they are one value"},
	{"simplify", "differentiate", "crops of convolutions and zero terms have no gradient worth computing"},
	{"differentiate", "decompose", "the parts of BatchNorm have no gradients of their own"},
	{"differentiate", "commute", "it rewrites gradients"},
	{"commute", "decompose", "it recognises BatchNorm by its whole"},
	{"fold", "decompose", "it recognises BatchNorm by its whole"},
	{"fold", "fuse", "a bias joins the convolution's launch"},
	{"decompose", "fuse", "normalisation fuses with what follows it"},
	{"dead", "fuse", "a group may hold only what is used"},
	{"fuse", "schedule", "groups move as one"},
	{"share", "recompute", "it would undo it"},
	{"recompute", "schedule", "what is made again moves to where it is needed"},
}

// Passes returns the names of the passes, in order.
func Passes() []string {
	var names []string
	for _, p := range passes {
		names = append(names, p.name)
	}
	return names
}

// Options says how to compile. The zero value compiles for the CPU.
type Options struct {
	Precision string            // on targets that have several: "" and "fp32", "tf32" or "bf16"
	Target    string            // "" and "cpu": this machine's processor
	Version   string            // of dartsc, recorded in the plan
	Metadata  map[string]string // recorded in the plan
	Dump      string            // folder for the text after every pass and the page that shows them, or ""
	Verify    bool              // check the module after every pass
	Logger    *slog.Logger      // nil: silent

	// Values are what variables of f32 hold for good, by name: the plan carries them, BatchNorms are folded into
	// convolutions of them, and variables that are then not read any more are left out.
	Values map[string][]float32

	// MemoryLimit is how many bytes the plan may take, variables and arena together; 0 is no limit. Under a limit,
	// results of convolutions are computed twice instead of kept, no more of them than it takes, and no fewer than
	// Recompute says. A plan for the CPU computes at least twice what one pass over memory makes, an eighth of its
	// memory for 1 % of its time, and a seventh of the results of convolutions, as much for 2 %. A plan for a GPU that has
	// neither a limit nor a Recompute does so with values of largeOnGPU and more, and with half of the results of
	// convolutions: half the memory of a training at the paper's size for a predicted 8 % of its time.
	MemoryLimit int64
	Recompute   pass.Recomputation
}

// largeOnGPU is the size in bytes from which values are made again on a GPU without being asked for: a launch that makes less
// takes about as long to start.
const largeOnGPU = 6 << 20

func (o Options) onCPU() bool { return o.Target == "" || o.Target == cpu.Name }

// again is the least that is computed twice.
func (o Options) again() pass.Recomputation {
	again := o.Recompute
	again.Passes = true
	switch {
	case o.onCPU():
		again.Convolutions = max(again.Convolutions, 1./7)
	case o.MemoryLimit <= 0 && o.Recompute == pass.Recomputation{}:
		again.Convolutions, again.Least = 1./2, largeOnGPU
	}
	return again
}

// Compile makes a plan of a module, which it leaves as it is.
func Compile(ctx context.Context, m *ir.Module, o Options) (*plan.Plan, error) {
	common, err := begin(m, o)
	if err != nil {
		return nil, err
	}
	again := o.again()
	if err := common.run(ctx, limited, again); err != nil {
		return nil, err
	}
	for {
		c := common
		target, err := targetOf(o.Target, o.Precision) // a new one each time: it collects code
		if err != nil {
			return nil, err
		}
		if o.MemoryLimit > 0 && again.Convolutions < 1 { // another turn may have to begin from here
			c = common.fork()
		}
		if err := c.run(ctx, len(passes), again); err != nil {
			return nil, err
		}
		p, err := lowerModule(ctx, c.module, target, o, c.values)
		if err != nil {
			return nil, err
		}
		need := p.VariableBytes + p.ArenaBytes
		if o.MemoryLimit <= 0 || need <= o.MemoryLimit {
			return p, c.dump.finish(p)
		}
		if o.Logger != nil {
			o.Logger.Debug("over the memory limit", "bytes", need, "limit", o.MemoryLimit, "convolutions computed twice", again.Convolutions)
		}
		if again.Convolutions >= 1 {
			return nil, fmt.Errorf("compile %s: --memory-limit is %.1f MiB, the least that this plan needs is %.1f MiB: allow that, or use a smaller batch",
				m.Name, float64(o.MemoryLimit)/(1<<20), float64(need)/(1<<20))
		}
		again.Convolutions = min(1, again.Convolutions+1.2*float64(need-o.MemoryLimit)/float64(need))
	}
}

// Transform runs the passes without a memory limit and returns the fused and scheduled module, which means the same as
// the given one.
func Transform(ctx context.Context, m *ir.Module, o Options) (*ir.Module, error) {
	c, err := begin(m, o)
	if err != nil {
		return nil, err
	}
	if err := c.run(ctx, len(passes), o.again()); err != nil {
		return nil, err
	}
	return c.module, c.dump.finish(nil)
}

// compilation is a module on its way through the passes.
type compilation struct {
	options Options
	module  *ir.Module
	values  pass.Values
	next    int // the pass that comes next
	dump    dumper
}

// begin checks a module and copies it.
func begin(m *ir.Module, o Options) (*compilation, error) {
	if err := ir.Verify(m, ops.Rules); err != nil {
		return nil, fmt.Errorf("compile %s: %w", m.Name, err)
	}
	c := &compilation{options: o, module: m.Clone(), values: maps.Clone(o.Values), dump: dumper{folder: o.Dump}}
	return c, c.dump.write("input", c.module)
}

// fork copies a compilation where it stands.
func (c *compilation) fork() *compilation {
	forked := *c
	forked.module, forked.values, forked.dump.page = c.module.Clone(), maps.Clone(c.values), c.dump.page.Fork()
	return &forked
}

// run runs the passes up to the one of that index.
func (c *compilation) run(ctx context.Context, to int, again pass.Recomputation) error {
	o, m := c.options, c.module
	for ; c.next < to; c.next++ {
		p := passes[c.next]
		if err := ctx.Err(); err != nil {
			return err
		}
		start := time.Now()
		if err := p.run(settings{again, c.values, o.onCPU()})(m); err != nil {
			return fmt.Errorf("compile %s: pass %d, %s: %w", m.Name, c.next+1, p.name, err)
		}
		if o.Logger != nil {
			o.Logger.Debug("pass", "name", p.name, "operations", operations(m), "time", time.Since(start).Round(time.Microsecond))
		}
		if o.Verify {
			if err := ir.Verify(m, ops.Rules); err != nil {
				return fmt.Errorf("compile %s: after pass %d, %s: %w", m.Name, c.next+1, p.name, err)
			}
		}
		if err := c.dump.write(p.name, m); err != nil {
			return err
		}
	}
	return nil
}

func operations(m *ir.Module) int {
	n := 0
	for _, p := range m.Programs {
		n += len(p.Ops)
	}
	return n
}

// Targets returns the names of the targets.
func Targets() []string { return append([]string{cpu.Name}, cuda.Names()...) }

func targetOf(name, precision string) (lower.Target, error) {
	switch name {
	case "", cpu.Name:
		if precision != "" && precision != cuda.FP32 {
			return nil, fmt.Errorf("target cpu computes in fp32, not %s", precision)
		}
		return cpu.Target{}, nil
	}
	if target := cuda.New(name, precision); target != nil {
		return target, nil
	}
	if slices.Contains(cuda.Names(), name) {
		return nil, fmt.Errorf("target %s has no precision %q: want one of %s", name, precision, strings.Join(cuda.Precisions, ", "))
	}
	return nil, fmt.Errorf("unknown target %q: want one of %s", name, strings.Join(Targets(), ", "))
}

// lowerModule places the variables and lowers every program.
func lowerModule(ctx context.Context, m *ir.Module, target lower.Target, o Options, values pass.Values) (*plan.Plan, error) {
	out := &plan.Plan{Name: m.Name, Target: target.Name(), Compiler: o.Version, Metadata: o.Metadata}
	offsets := map[*ir.Variable]int64{}
	for _, v := range m.Variables {
		tensor := plan.Tensor{DType: plan.DType(v.Type.DType), Shape: v.Type.Shape, Order: target.Layout(v)}
		offsets[v] = out.VariableBytes
		out.Variables = append(out.Variables, plan.Variable{
			Name: v.Name, Kind: v.Kind.String(), Tensor: tensor, Offset: out.VariableBytes,
			Init:   plan.Init{Distribution: v.Init.Distribution.String(), Value: v.Init.Value},
			Values: values[v.Name],
		})
		out.VariableBytes += (tensor.Bytes() + memory.Alignment - 1) / memory.Alignment * memory.Alignment
	}
	for _, p := range m.Programs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start := time.Now()
		lowered, err := target.Lower(p)
		if err != nil {
			return nil, err
		}
		placed := lower.Finish(lowered, offsets, target)
		out.Programs = append(out.Programs, placed)
		out.ArenaBytes = max(out.ArenaBytes, placed.PeakBytes)
		if o.Logger != nil {
			o.Logger.Debug("lower", "program", p.Name, "launches", len(placed.Launches), "peak", placed.PeakBytes,
				"lower bound", placed.LowerBound, "time", time.Since(start).Round(time.Microsecond))
		}
	}
	out.Modules = target.Modules()
	return out, plan.Validate(out)
}

// checkOrder reports a violation of passOrder: the first run of "after" must follow a run of "before".
func checkOrder(names []string) error {
	for _, rule := range passOrder {
		before, after := slices.Index(names, rule[0]), slices.Index(names, rule[1])
		if before < 0 || after < 0 || before > after {
			return fmt.Errorf("pass %s must run before %s: %s", rule[0], rule[1], rule[2])
		}
	}
	return nil
}
