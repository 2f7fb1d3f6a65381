package plan

import (
	"cmp"
	"slices"
)

// Summary is what a person wants to know of a plan.
type Summary struct {
	Name          string            `json:"name"`
	Target        string            `json:"target"`
	Compiler      string            `json:"compiler"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	ArenaBytes    int64             `json:"arena_bytes"`
	VariableBytes int64             `json:"variable_bytes"`
	Variables     []KindSummary     `json:"variables"`
	Modules       []ModuleSummary   `json:"modules,omitempty"`
	Programs      []ProgramSummary  `json:"programs"`
}

// KindSummary adds up the variables of one kind.
type KindSummary struct {
	Kind     string `json:"kind"`
	Count    int    `json:"count"`
	Elements int64  `json:"elements"`
	Bytes    int64  `json:"bytes"`
}

// ModuleSummary is a module of device code without the code. Images names architecture and format of each.
type ModuleSummary struct {
	Name        string            `json:"name"`
	SourceBytes int               `json:"source_bytes"`
	Images      []string          `json:"images,omitempty"`
	Functions   []FunctionSummary `json:"functions,omitempty"`
}

// FunctionSummary is what a compiler said of a kernel.
type FunctionSummary struct {
	Name        string `json:"name"`
	Registers   int    `json:"registers"`
	SharedBytes int    `json:"shared_bytes"`
	SpillBytes  int    `json:"spill_bytes"`
}

// ProgramSummary adds up the launches of a program, those of loops counted once; FLOPs and Bytes are what they must do at
// least, in all steps.
type ProgramSummary struct {
	Name       string          `json:"name"`
	Launches   int             `json:"launches"`
	FLOPs      float64         `json:"flops"`
	Bytes      float64         `json:"bytes"`
	PeakBytes  int64           `json:"peak_bytes"`
	LowerBound int64           `json:"lower_bound"`
	Kernels    []KernelSummary `json:"kernels"` // most launches first
}

// KernelSummary adds up the launches of one kernel in a program.
type KernelSummary struct {
	Kernel   string  `json:"kernel"`
	Launches int     `json:"launches"`
	FLOPs    float64 `json:"flops"`
	Bytes    float64 `json:"bytes"`
}

// Summarize adds a plan up.
func Summarize(p *Plan) Summary {
	s := Summary{
		Name: p.Name, Target: p.Target, Compiler: p.Compiler, Metadata: p.Metadata,
		ArenaBytes: p.ArenaBytes, VariableBytes: p.VariableBytes,
		Variables: []KindSummary{}, Programs: []ProgramSummary{},
	}
	for _, kind := range variableKinds {
		sum := KindSummary{Kind: kind}
		for _, v := range p.Variables {
			if v.Kind == kind {
				sum.Count++
				sum.Elements += int64(v.Elements())
				sum.Bytes += v.Bytes()
			}
		}
		if sum.Count > 0 {
			s.Variables = append(s.Variables, sum)
		}
	}
	for _, m := range p.Modules {
		s.Modules = append(s.Modules, summarizeModule(m))
	}
	for _, program := range p.Programs {
		s.Programs = append(s.Programs, summarizeProgram(program))
	}
	return s
}

func summarizeModule(m Module) ModuleSummary {
	s := ModuleSummary{Name: m.Name, SourceBytes: len(m.Source)}
	for _, i := range m.Images {
		s.Images = append(s.Images, i.Architecture+" "+i.Format)
	}
	for _, f := range m.Functions {
		s.Functions = append(s.Functions, FunctionSummary(f))
	}
	return s
}

func summarizeProgram(p *Program) ProgramSummary {
	s := ProgramSummary{Name: p.Name, Launches: p.Count(), PeakBytes: p.PeakBytes, LowerBound: p.LowerBound}
	kernels := map[string]*KernelSummary{}
	for _, l := range p.All() {
		k := kernels[l.Kernel]
		if k == nil {
			k = &KernelSummary{Kernel: l.Kernel}
			kernels[l.Kernel] = k
		}
		k.Launches++
		if l.Loop != nil {
			continue // what it costs is in its launches
		}
		times := float64(l.Times)
		k.FLOPs += times * l.FLOPs
		k.Bytes += times * l.Bytes
		s.FLOPs += times * l.FLOPs
		s.Bytes += times * l.Bytes
	}
	s.Kernels = make([]KernelSummary, 0, len(kernels))
	for _, k := range kernels {
		s.Kernels = append(s.Kernels, *k)
	}
	slices.SortFunc(s.Kernels, func(a, b KernelSummary) int {
		return cmp.Or(cmp.Compare(b.Launches, a.Launches), cmp.Compare(a.Kernel, b.Kernel))
	})
	return s
}

// Program returns the summary of the program of that name, or an empty one.
func (s Summary) Program(name string) ProgramSummary {
	for _, p := range s.Programs {
		if p.Name == name {
			return p
		}
	}
	return ProgramSummary{}
}

// Elements is the number of elements of all variables of a kind.
func (s Summary) Elements(kind string) int64 {
	for _, k := range s.Variables {
		if k.Kind == kind {
			return k.Elements
		}
	}
	return 0
}

// Placed is a buffer of the arena with its lifetime.
type Placed struct {
	Buffer int    `json:"buffer"` // index into Program.Buffers
	Offset int64  `json:"offset"`
	Bytes  int64  `json:"bytes"`
	First  int    `json:"first"` // the launch that writes it first; -1 for an input, which is there before the first launch
	Last   int    `json:"last"`  // the launch that uses it last; the number of launches for a result, which is read after them
	DType  string `json:"dtype"`
	Shape  []int  `json:"shape"`
	Made   string `json:"made"` // by which kernel and where, or the name of the input
}

// ArenaMap lists the buffers that a program places in the arena, the largest first, then in the order of their births.
func ArenaMap(p *Program) []Placed {
	placed := make([]Placed, len(p.Buffers))
	for i, b := range p.Buffers {
		placed[i] = Placed{Buffer: i, Offset: b.Offset, Bytes: b.Bytes(), First: len(p.Launches), Last: -1, DType: b.DType.String(), Shape: b.Shape}
	}
	use := func(buffer, at int, made string) {
		b := &placed[buffer]
		if at < b.First {
			b.First, b.Made = at, made
		}
		b.Last = max(b.Last, at)
	}
	for _, input := range p.Inputs {
		use(input.Buffer, -1, "input "+input.Name)
	}
	for at, l := range p.Launches {
		made := l.Kernel
		if l.Scope != "" {
			made += " at " + l.Scope
		}
		for _, buffer := range slices.Concat(l.Operands, l.Results) {
			use(buffer, at, made)
		}
		if l.Loop == nil {
			continue
		}
		for _, inner := range l.Loop.Launches {
			for _, buffer := range slices.Concat(inner.Operands, inner.Results) {
				use(buffer, at, made+": "+inner.Kernel)
			}
		}
	}
	for _, result := range p.Results {
		use(result.Buffer, len(p.Launches), "result "+result.Name)
	}
	placed = slices.DeleteFunc(placed, func(b Placed) bool {
		return p.Buffers[b.Buffer].Space != Arena || b.First > b.Last
	})
	slices.SortStableFunc(placed, func(a, b Placed) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.First, b.First), cmp.Compare(a.Offset, b.Offset))
	})
	return placed
}
