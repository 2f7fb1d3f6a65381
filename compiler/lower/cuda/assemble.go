package cuda

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/internal/nvrtc"
)

// Assemble compiles the modules of a plan with NVIDIA's run-time compiler, side by side: to a cubin for the architecture
// of the plan, with what the compiler says of registers and spills, and to PTX, which later devices can load. It needs no
// GPU. A plan without modules stays as it is.
func Assemble(ctx context.Context, l *nvrtc.Library, p *plan.Plan) error {
	architecture := strings.TrimPrefix(p.Target, prefix)
	errs := make([]error, len(p.Modules))
	free := make(chan bool, runtime.GOMAXPROCS(0))
	var group sync.WaitGroup
	for i := range p.Modules {
		group.Go(func() {
			free <- true
			defer func() { <-free }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				errs[i] = assemble(l, &p.Modules[i], architecture)
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("plan %s: %w", p.Name, err)
		}
	}
	return nil
}

func assemble(l *nvrtc.Library, m *plan.Module, architecture string) error {
	source := nvrtc.Source{Name: m.Name + ".cu", Text: m.Source, Arch: architecture}
	source.Flags = append(append(source.Flags, m.Options...), "--ptxas-options=-v")
	cubin, err := l.Compile(source)
	if err != nil {
		return err
	}
	if m.Functions, err = resources(cubin.Log); err != nil {
		return fmt.Errorf("module %s: %w", m.Name, err)
	}
	source.Arch, source.Flags = strings.Replace(architecture, "sm_", "compute_", 1), m.Options
	ptx, err := l.Compile(source)
	if err != nil {
		return err
	}
	m.Images = []plan.Image{{Architecture: architecture, Format: plan.Cubin, Data: cubin.Code}, {Architecture: architecture, Format: plan.PTX, Data: ptx.Code}}
	return nil
}

// What ptxas writes of a function with option -v.
var (
	entryLine  = regexp.MustCompile(`Function properties for (\w+)|Compiling entry function '(\w+)'`)
	spillLine  = regexp.MustCompile(`(\d+) bytes spill stores, (\d+) bytes spill loads`)
	usageLine  = regexp.MustCompile(`Used (\d+) registers`)
	sharedText = regexp.MustCompile(`(\d+) bytes smem`)
)

// resources reads the compiler's log.
func resources(log string) (functions []plan.Function, err error) {
	number := func(text string) int {
		n, bad := strconv.Atoi(text)
		if bad != nil && err == nil {
			err = fmt.Errorf("what ptxas says cannot be read: %w", bad)
		}
		return n
	}
	at := map[string]int{}
	current := -1
	for line := range strings.Lines(log) {
		if m := entryLine.FindStringSubmatch(line); m != nil {
			name := m[1] + m[2]
			i, known := at[name]
			if !known {
				i = len(functions)
				at[name] = i
				functions = append(functions, plan.Function{Name: name})
			}
			current = i
		}
		if current < 0 {
			continue
		}
		f := &functions[current]
		if m := spillLine.FindStringSubmatch(line); m != nil {
			f.SpillBytes = max(number(m[1]), number(m[2]))
		}
		if m := usageLine.FindStringSubmatch(line); m != nil {
			f.Registers = number(m[1])
			if m := sharedText.FindStringSubmatch(line); m != nil {
				f.SharedBytes = number(m[1])
			}
		}
	}
	return functions, err
}
