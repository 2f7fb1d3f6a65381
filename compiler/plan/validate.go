package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Limits that no real plan comes near; they keep sums of sizes and offsets far from overflow.
const (
	largestRank   = 16
	largestRegion = 1 << 46 // bytes
)

// Validate reports the first thing in a plan that a runtime could not trust: an index, size, offset, type or name that
// is not right, or a launch whose results would overwrite what it still reads. It does not know the kernels; each
// checks its own operands and parameters when a runtime binds it.
func Validate(p *Plan) error {
	if p.VariableBytes < 0 || p.VariableBytes > largestRegion || p.ArenaBytes < 0 || p.ArenaBytes > largestRegion {
		return fmt.Errorf("plan has %d bytes of variables and an arena of %d, want each from 0 to %d", p.VariableBytes, p.ArenaBytes, int64(largestRegion))
	}
	if err := validateVariables(p); err != nil {
		return err
	}
	if err := validateModules(p.Modules); err != nil {
		return err
	}
	names := map[string]bool{}
	for i, program := range p.Programs {
		if program == nil || program.Name == "" || names[program.Name] {
			return fmt.Errorf("program %d has no name of its own", i)
		}
		names[program.Name] = true
		if err := validateProgram(p, program); err != nil {
			return fmt.Errorf("program %s: %w", program.Name, err)
		}
	}
	return nil
}

var (
	variableKinds = []string{"weight", "alpha", "moment", "statistic", "control", "data"}
	distributions = []string{"constant", "uniform", "normal"}
)

func validateVariables(p *Plan) error {
	names := map[string]bool{}
	spans := make([]span, len(p.Variables))
	for i := range p.Variables {
		v := &p.Variables[i]
		if v.Name == "" || names[v.Name] {
			return fmt.Errorf("variable %d (%q) has no name of its own", i, v.Name)
		}
		names[v.Name] = true
		if !slices.Contains(variableKinds, v.Kind) {
			return fmt.Errorf("variable %s has kind %q, want one of %v", v.Name, v.Kind, variableKinds)
		}
		if !slices.Contains(distributions, v.Init.Distribution) || !finite(v.Init.Value) {
			return fmt.Errorf("variable %s starts as %s(%v), want one of %v of a finite number", v.Name, v.Init.Distribution, v.Init.Value, distributions)
		}
		if v.Init.Distribution != "constant" && v.DType != F32 {
			return fmt.Errorf("variable %s starts %s, which wants f32, not %s", v.Name, v.Init.Distribution, v.DType)
		}
		if v.Values != nil && (v.DType != F32 || len(v.Values) != v.Elements()) {
			return fmt.Errorf("variable %s %s has %d values", v.Name, v.Tensor, len(v.Values))
		}
		var err error
		if spans[i], err = place(v.Tensor, Variables, v.Offset, p.VariableBytes); err != nil {
			return fmt.Errorf("variable %s: %w", v.Name, err)
		}
		spans[i].owner = i
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(spans); i++ {
		if spans[i].from < spans[i-1].to {
			return fmt.Errorf("variables %s and %s overlap", p.Variables[spans[i-1].owner].Name, p.Variables[spans[i].owner].Name)
		}
	}
	return nil
}

// span is the memory of a placed tensor.
type span struct {
	space    Space
	from, to int64
	owner    int
}

func (s span) overlaps(t span) bool { return s.space == t.space && s.from < t.to && t.from < s.to }

// same says whether both are exactly the same memory, which a kernel may update in place.
func (s span) same(t span) bool { return s.space == t.space && s.from == t.from && s.to == t.to }

// place checks a tensor and its place in a region.
func place(t Tensor, space Space, offset, region int64) (span, error) {
	bytes, err := validateTensor(t)
	if err != nil {
		return span{}, err
	}
	if offset < 0 || offset > region || bytes > region-offset {
		return span{}, fmt.Errorf("%d bytes at offset %d leave the region of %d", bytes, offset, region)
	}
	if offset%t.DType.Size() != 0 {
		return span{}, fmt.Errorf("offset %d is not a multiple of the %d bytes of %s", offset, t.DType.Size(), t.DType)
	}
	return span{space: space, from: offset, to: offset + bytes}, nil
}

// validateTensor returns the size in bytes, computed without overflow.
func validateTensor(t Tensor) (int64, error) {
	if t.DType <= Invalid || t.DType > F64 {
		return 0, fmt.Errorf("element type %d is unknown", uint8(t.DType))
	}
	if len(t.Shape) > largestRank {
		return 0, fmt.Errorf("rank %d, want at most %d", len(t.Shape), largestRank)
	}
	bytes := t.DType.Size()
	for _, d := range t.Shape {
		if d <= 0 {
			return 0, fmt.Errorf("shape %v has a dimension that is not positive", t.Shape)
		}
		if int64(d) > largestRegion/bytes || int64(d)*bytes > math.MaxInt {
			return 0, fmt.Errorf("shape %v of %s is too large", t.Shape, t.DType)
		}
		bytes *= int64(d)
	}
	if t.Order != nil && !isPermutation(t.Order, len(t.Shape)) {
		return 0, fmt.Errorf("order does not name each axis of shape %v once", t.Shape)
	}
	return bytes, nil
}

func isPermutation(order Layout, rank int) bool {
	var seen [largestRank]bool
	for _, axis := range order {
		if axis < 0 || axis >= rank || seen[axis] {
			return false
		}
		seen[axis] = true
	}
	return len(order) == rank
}

func validateProgram(p *Plan, program *Program) error {
	if program.PeakBytes < 0 || program.PeakBytes > p.ArenaBytes || program.LowerBound < 0 {
		return fmt.Errorf("peak %d and lower bound %d do not fit the arena of %d bytes", program.PeakBytes, program.LowerBound, p.ArenaBytes)
	}
	v := &validator{plan: p, buffers: program.Buffers, spans: make([]span, len(program.Buffers)), modules: len(p.Modules)}
	for i, b := range program.Buffers {
		if b.Space != Arena && b.Space != Variables {
			return fmt.Errorf("buffer %d is in space %d, want at most %d", i, b.Space, Variables)
		}
		var err error
		if v.spans[i], err = place(b.Tensor, b.Space, b.Offset, v.region(b.Space)); err != nil {
			return fmt.Errorf("buffer %d: %w", i, err)
		}
	}
	if err := validatePorts("input", program.Inputs, program.Buffers); err != nil {
		return err
	}
	if err := validatePorts("result", program.Results, program.Buffers); err != nil {
		return err
	}
	for i := range program.Launches {
		l := &program.Launches[i]
		err := validateLaunch(l, v.spans, v.modules)
		if err == nil {
			err = v.still(l)
		}
		if err == nil && l.Loop != nil {
			err = v.validateLoop(l)
		}
		if err != nil {
			return fmt.Errorf("launch %d (%s %s): %w", i, l.Kernel, l.Scope, err)
		}
	}
	return nil
}

// validator is what the checks of a program's launches share.
type validator struct {
	plan    *Plan
	buffers []Buffer
	spans   []span // of the buffers; those that move, in the first step
	modules int
}

func (v *validator) region(s Space) int64 {
	if s == Variables {
		return v.plan.VariableBytes
	}
	return v.plan.ArenaBytes
}

// still checks that a launch outside of loops uses no buffer that moves.
func (v *validator) still(l *Launch) error {
	for _, list := range [][]int{l.Operands, l.Results} {
		for _, buffer := range list {
			if v.buffers[buffer].Stride != 0 {
				return fmt.Errorf("uses buffer %d, which moves from step to step, outside of a loop", buffer)
			}
		}
	}
	return nil
}

func validatePorts(what string, ports []Port, buffers []Buffer) error {
	names := map[string]bool{}
	for i, port := range ports {
		if port.Name == "" || names[port.Name] {
			return fmt.Errorf("%s %d (%q) has no name of its own", what, i, port.Name)
		}
		names[port.Name] = true
		if port.Buffer < 0 || port.Buffer >= len(buffers) {
			return fmt.Errorf("%s %s is buffer %d of %d", what, port.Name, port.Buffer, len(buffers))
		}
		if buffers[port.Buffer].Stride != 0 {
			return fmt.Errorf("%s %s is buffer %d, which moves from step to step", what, port.Name, port.Buffer)
		}
	}
	return nil
}

func validateLaunch(l *Launch, spans []span, modules int) error {
	if l.Kernel == "" {
		return fmt.Errorf("names no kernel")
	}
	if !finite(l.FLOPs) || !finite(l.Bytes) || l.FLOPs < 0 || l.Bytes < 0 {
		return fmt.Errorf("costs %v operations and %v bytes, want finite numbers from 0", l.FLOPs, l.Bytes)
	}
	for _, list := range [][]int{l.Operands, l.Results} {
		for _, buffer := range list {
			if buffer < 0 || buffer >= len(spans) {
				return fmt.Errorf("uses buffer %d of %d", buffer, len(spans))
			}
		}
	}
	if sets := max(l.Sets, 1); l.Sets < 0 || len(l.Operands)%sets != 0 || len(l.Results)%sets != 0 || sets > 1 && (len(l.Results) == 0 || l.Loop != nil || l.Device != nil) {
		return fmt.Errorf("has %d operands and %d results in %d sets, want sets of one size with results, and one set for a loop or device code", len(l.Operands), len(l.Results), l.Sets)
	}
	if err := validateOverlap(l, spans); err != nil {
		return err
	}
	for name, v := range l.Params {
		switch v.(type) {
		case int, float64, bool, string, []int, []float64:
		default:
			return fmt.Errorf("parameter %s has type %T, want int, float64, bool, string, []int or []float64", name, v)
		}
	}
	if err := validateDeviceLaunch(l, modules); err != nil {
		return err
	}
	return validateCode(l)
}

// largestResults bounds the work of validateOverlap.
const largestResults = 256

// validateOverlap refuses results that share memory with each other, or with an operand other than exactly and of the
// same set.
func validateOverlap(l *Launch, spans []span) error {
	if len(l.Results) > largestResults {
		return fmt.Errorf("has %d results, want at most %d", len(l.Results), largestResults)
	}
	sets := max(l.Sets, 1)
	for i, r := range l.Results {
		result := spans[r]
		for j, o := range l.Operands {
			operand := spans[o]
			if !result.overlaps(operand) {
				continue
			}
			if !result.same(operand) {
				return fmt.Errorf("result %d overlaps operand %d in part", i, j)
			}
			if i*sets/len(l.Results) != j*sets/len(l.Operands) {
				return fmt.Errorf("result %d is operand %d, which is of another set", i, j)
			}
		}
		for j, other := range l.Results[:i] {
			if result.overlaps(spans[other]) {
				return fmt.Errorf("results %d and %d overlap", j, i)
			}
		}
	}
	return nil
}

func validateCode(l *Launch) error {
	registers := len(l.Operands) / max(l.Sets, 1)
	for i, c := range l.Code {
		for _, r := range c.Args {
			if r < 0 || r >= registers {
				return fmt.Errorf("instruction %d (%s) reads register %d of %d", i, c.Op, r, registers)
			}
		}
		registers++
	}
	if len(l.Code) == 0 {
		return nil
	}
	results := l.Params.Ints("results")
	if want := len(l.Results) / max(l.Sets, 1); len(results) != want {
		return fmt.Errorf("code gives %d results, the launch has %d", len(results), want)
	}
	for _, r := range results {
		if r < 0 || r >= registers {
			return fmt.Errorf("a result is register %d of %d", r, registers)
		}
	}
	return nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
