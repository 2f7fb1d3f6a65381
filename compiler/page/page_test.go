package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// module is a chain of ReLUs, each at a place of its own.
func module(t *testing.T, places int) *ir.Module {
	t.Helper()
	m := ir.NewModule("chain")
	b := ops.NewBuilder(m, "main")
	x := b.Input("x", ir.T(ir.F32, 2))
	for i := range places {
		b.In("train", func() { b.At(fmt.Sprintf("cell %d </script>", i), func() { x = b.Relu(x) }) })
	}
	b.Result("y", x)
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	return m
}

// content is what the script of a page sees.
func content(t *testing.T, p *Page) (html []byte, data struct {
	Name   string
	Places []string
	Left   int
	Stages []stage
}) {
	t.Helper()
	html, err := p.HTML()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(html, []byte(`id="data">`))
	text, _, _ := bytes.Cut(rest, []byte("</script>"))
	if err := json.Unmarshal(text, &data); err != nil {
		t.Fatalf("%v in %.200s", err, text)
	}
	return html, data
}

func TestPage(t *testing.T) {
	var p Page
	p.Add("input", module(t, 2))
	other := p.Fork()
	other.Add("abandoned", module(t, 1))
	p.Add("share", module(t, 1))
	p.AddLaunches(&plan.Plan{Programs: []*plan.Program{{
		Name:    "main",
		Buffers: []plan.Buffer{{Tensor: plan.Tensor{DType: plan.F32, Shape: []int{2}}, Offset: 64}, {Tensor: plan.Tensor{DType: plan.F32, Shape: []int{2}}, Space: plan.Variables}},
		Launches: []plan.Launch{
			{Kernel: "relu", Operands: []int{0}, Results: []int{1}, Phase: "train", Scope: "cell 1 </script>"},
			{Kernel: "copy", Scope: "nowhere"},
		},
	}}})
	html, data := content(t, &p)
	if n := bytes.Count(html, []byte("</script>")); n != 2 {
		t.Errorf("%d scripts end, want 2: a name has ended one", n)
	}
	if data.Name != "chain" || len(data.Places) != 2 || data.Places[1] != "cell 1 </script>" || len(data.Stages) != 3 {
		t.Fatalf("got %+v", data)
	}
	if s := data.Stages[0]; s.Operations != 2 || len(s.Text[1]) != 1 || s.Text[1][0] != `%2 = relu(%1) : f32[2] in "train"` {
		t.Errorf("input: %+v", s)
	}
	if s := data.Stages[1]; s.Name != "share" || len(s.Text[0]) != 1 || len(s.Text[1]) != 0 {
		t.Errorf("share: %+v", s)
	}
	if s := data.Stages[2]; s.Operations != 2 || s.Text[1][0] != `launch 0 of main: relu(f32[2]@arena+64) → f32[2]@variables+0 in "train"` {
		t.Errorf("launches: %+v", s)
	}
}

// TestLargePage: a page stays readable by a browser, and says what it leaves out.
func TestLargePage(t *testing.T) {
	var p Page
	m := module(t, 12000)
	for i := range 10 {
		p.Add(fmt.Sprint(i), m)
	}
	html, data := content(t, &p)
	if len(html) > 10*mostStage {
		t.Errorf("%d bytes", len(html))
	}
	if data.Left == 0 || data.Left+len(data.Places) != 12000 || data.Stages[0].Operations != 12000 {
		t.Errorf("%d places shown, %d left", len(data.Places), data.Left)
	}
	s := stage{Text: map[int][]string{}}
	for range 3 {
		p.line(&s, data.Places[0], func() string { return strings.Repeat("x", mostStage/2) })
	}
	if !s.Cut || len(s.Text[0]) != 2 {
		t.Error("a stage over its bound is not cut")
	}
}
