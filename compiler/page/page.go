// Package page writes one HTML page that shows a module after every pass side by side, and the launches that it becomes:
// choose a place in the model and follow its operations, forward and backward, from the model to the kernels. The page
// needs no other file and no network. The package knows modules and plans, and no pass.
package page

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
)

// Bounds of the page: places are taken in the order of the model until their text in the input has so many bytes, and
// of what one stage makes of them no more than that is shown. The text files beside the page have everything.
const (
	mostInput = 256 << 10
	mostStage = 1 << 20
)

// Page gathers the stages of one compilation. The zero value is ready to use.
type Page struct {
	name   string
	places []string       // of the model, in its order
	index  map[string]int // of places
	left   int            // places that are not shown
	stages []stage
}

// stage is a module after a pass, or the launches.
type stage struct {
	Name       string           `json:"name"`
	Operations int              `json:"operations"`
	Text       map[int][]string `json:"text"` // lines by place
	Cut        bool             `json:"cut"`  // there was more
	bytes      int
}

// Add adds a module after a pass, the first one being the input.
func (p *Page) Add(name string, m *ir.Module) {
	if p.index == nil {
		p.name = m.Name
		p.choose(m)
	}
	s := stage{Name: name, Text: map[int][]string{}}
	for _, program := range m.Programs {
		program.Number()
		s.Operations += len(program.Ops)
		for _, op := range program.Ops {
			p.line(&s, op.Scope, func() string { return text(op) })
		}
	}
	p.stages = append(p.stages, s)
}

// text is an operation without its place, under which it stands.
func text(op *ir.Op) string {
	placeless := *op
	placeless.Scope = ""
	return placeless.String()
}

// choose takes places from the input until there is enough text.
func (p *Page) choose(m *ir.Module) {
	p.index = map[string]int{}
	bytes, more := 0, map[string]bool{}
	for _, program := range m.Programs {
		for _, op := range program.Ops {
			if _, known := p.index[op.Scope]; !known {
				if bytes >= mostInput {
					more[op.Scope] = true
					continue
				}
				p.index[op.Scope] = len(p.places)
				p.places = append(p.places, op.Scope)
			}
			bytes += len(text(op))
		}
	}
	p.left = len(more)
}

// line adds the text of an operation or a launch, if its place is shown.
func (p *Page) line(s *stage, scope string, text func() string) {
	at, shown := p.index[scope]
	if !shown || s.Cut {
		return
	}
	t := text()
	if s.bytes += len(t); s.bytes > mostStage {
		s.Cut = true
		return
	}
	s.Text[at] = append(s.Text[at], t)
}

// AddLaunches adds the plan that the last module became.
func (p *Page) AddLaunches(plan *plan.Plan) {
	s := stage{Name: "launches", Text: map[int][]string{}}
	for _, program := range plan.Programs {
		s.Operations += program.Count()
		for i, l := range program.All() {
			p.line(&s, l.Scope, func() string { return launch(program, i, l.Launch) })
		}
	}
	p.stages = append(p.stages, s)
}

// launch is a line such as "launch 12 of step: conv2d(f32[2,4,8,8]@0, …) → f32[2,4,8,8]@1024 in "train"".
func launch(program *plan.Program, i int, l *plan.Launch) string {
	var b strings.Builder
	list := func(buffers []int) {
		for k, index := range buffers {
			buffer := program.Buffers[index]
			space := "arena"
			if buffer.Space == plan.Variables {
				space = "variables"
			}
			if k > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s@%s+%d", buffer.Tensor, space, buffer.Offset)
		}
	}
	fmt.Fprintf(&b, "launch %d of %s: %s(", i, program.Name, l.Kernel)
	list(l.Operands)
	b.WriteString(") → ")
	list(l.Results)
	if l.Phase != "" {
		fmt.Fprintf(&b, " in %q", l.Phase)
	}
	return b.String()
}

// Fork copies a page, for a compilation that may go two ways.
func (p Page) Fork() Page {
	p.stages = append([]stage(nil), p.stages...)
	return p
}

//go:embed page.html
var html []byte

// HTML returns the page.
func (p *Page) HTML() ([]byte, error) {
	data, err := json.Marshal(struct { // with < and > escaped, so that nothing in it can end the script
		Name   string   `json:"name"`
		Places []string `json:"places"`
		Left   int      `json:"left"`
		Stages []stage  `json:"stages"`
	}{p.name, p.places, p.left, p.stages})
	if err != nil {
		return nil, fmt.Errorf("page of %s: %w", p.name, err)
	}
	return bytes.Replace(html, []byte("{{data}}"), data, 1), nil
}
