package cuda

import (
	"embed"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
)

//go:embed kernels
var sources embed.FS

// files are the kernels in an order in which they compile, first what all of them share.
var files = []string{
	"common.cuh", "elementwise.cu", "move.cu", "columns.cu", "norm.cu", "node.cu", "mixture.cu", "pool.cu", "depthwise.cu", "product.cu", "outer.cu", "pointwise.cu",
	"separable.cu",
	"loss.cu", "image.cu", "optimiser.cu", "recurrent.cu", "highway.cu", "cell.cu", "matmul.cu",
}

// perModule is how many specialisations a module holds. Modules compile side by side, and the last one to be done decides
// how long that takes: a specialisation takes up to seconds, the text before them a thirtieth of one.
const perModule = 4

// code collects the functions of a plan: kernels with their specialisations, each once.
type code struct {
	functions map[string]function // by template and constants
	entries   map[entry]bool
	list      []*unit
}

// unit is a module in the making.
type unit struct {
	specialisations strings.Builder
	functions       int
	counters        int
}

// function is a specialised kernel: a type of the source, as MaxPool<S3>.
type function struct {
	module int
	kind   string // the type
	name   string // what entries are called after
	joins  bool   // as many blocks in every launch: several launches can be one
	// How many of its blocks run on a multiprocessor at once, at least, which limits its registers.
	resident int
	tiles    int // which any number of blocks may share, a constant of the type behind the specialisation; 0 if that number is given
}

// blocksOf is how many blocks each of so many members has, of blocks at most: where they may be any number, as many as run at once, for what a block
// does before its first tile and after its last is then done least often.
func (f function) blocksOf(members, blocks int) int {
	if f.tiles == 0 {
		return blocks
	}
	for rounds := ceiling(f.tiles, blocks); ; rounds++ {
		if n := ceiling(f.tiles, rounds); n == 1 || n*members <= multiprocessors*f.resident {
			return n
		}
	}
}

// entry is what a launch calls: a function for so many members of so many blocks.
type entry struct {
	function
	name string
}

// add returns the function of a template with constants, which it writes if they are new.
func (c *code) add(template string, s *specialisation, joins bool, resident, tiles int) function {
	key := template + s.tables.String() + s.fields.String()
	if f, ok := c.functions[key]; ok {
		return f
	}
	if len(c.list) == 0 || c.list[len(c.list)-1].functions == perModule {
		c.list = append(c.list, &unit{})
	}
	u := c.list[len(c.list)-1]
	u.functions++
	name := fmt.Sprintf("S%d", len(c.functions))
	f := function{len(c.list) - 1, template + "<" + name + ">", fmt.Sprintf("%s_%d", template, len(c.functions)), joins, resident, tiles}
	if c.functions == nil {
		c.functions = map[string]function{}
	}
	c.functions[key] = f
	w := &u.specialisations
	w.WriteByte('\n')
	w.WriteString(strings.ReplaceAll(s.tables.String(), tablePrefix, name+"_"))
	fmt.Fprintf(w, "struct %s {\n%s};\n", name, strings.ReplaceAll(s.fields.String(), tablePrefix, name+"_"))
	return f
}

// entry returns the name of what launches of a function call, for up to so many members of so many blocks each; it
// writes it when it is first asked for.
func (c *code) entry(f function, members, blocks int) string {
	name, kind := f.name, f.kind
	if f.tiles > 0 {
		name, kind = fmt.Sprintf("%s_b%d", name, blocks), fmt.Sprintf("%s, %d>", strings.TrimSuffix(kind, ">"), blocks)
	}
	if members > 1 {
		name, kind = fmt.Sprintf("%s_x%d", name, members), fmt.Sprintf("Joined<%s, %d, %d>", kind, members, blocks)
	}
	if e := (entry{f, name}); !c.entries[e] {
		if c.entries == nil {
			c.entries = map[entry]bool{}
		}
		c.entries[e] = true
		fmt.Fprintf(&c.list[f.module].specialisations, "KERNEL(%s, %d, %s)\n", name, f.resident, kind)
	}
	return name
}

// counters reserves counters of a module, for reductions whose blocks wait for one another.
func (c *code) counters(module, n int) (first int) {
	u := c.list[module]
	first = u.counters
	u.counters += n
	return first
}

// modules writes the sources.
func (c *code) modules() []plan.Module {
	var modules []plan.Module
	for i, u := range c.list {
		var w strings.Builder
		specialisations := u.specialisations.String()
		fmt.Fprintf(&w, "// Module %d of %d. What every specialisation is of stands at the end.\nconstexpr int Counters = %d;\n\n", i, len(c.list), max(1, u.counters))
		w.WriteString(kernels(specialisations))
		w.WriteString("// The specialisations.\n")
		w.WriteString(specialisations)
		modules = append(modules, plan.Module{
			Name: fmt.Sprintf("kernels%d", i), Source: w.String(), Options: []string{"--std=c++17"},
		})
	}
	return modules
}

// kernelFile is one of files.
type kernelFile struct {
	text          string
	defines, uses []string // templates, which are all that one file has for another
}

var (
	definition = regexp.MustCompile(`(?m)^template <.*> struct (\w+) `)
	use        = regexp.MustCompile(`(\w+)<`)
)

// names are those that a pattern finds in a text.
func names(pattern *regexp.Regexp, text string) (list []string) {
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}

// readFiles reads all files.
var readFiles = sync.OnceValue(func() (list []kernelFile) {
	for _, name := range files {
		content, err := sources.ReadFile("kernels/" + name)
		if err != nil {
			panic(err) // embedded: a file that is not there is seen by every test
		}
		text := string(content)
		list = append(list, kernelFile{fmt.Sprintf("// %s\n\n%s\n", name, text), names(definition, text), names(use, text)})
	}
	return list
})

// kernels is the text of the files that define what some specialisations use, and of those that these use.
func kernels(specialisations string) (text string) {
	used := names(use, specialisations)
	for i, f := range slices.Backward(readFiles()) {
		if i == 0 || slices.ContainsFunc(f.defines, func(name string) bool { return slices.Contains(used, name) }) {
			text = f.text + text
			used = append(used, f.uses...)
		}
	}
	return text
}

// specialisation is the struct of constants of a kernel.
type specialisation struct {
	tables strings.Builder // arrays, which stand before the struct
	fields strings.Builder
}

// tablePrefix stands for the name of the struct in the names of its tables, until that is known.
const tablePrefix = "@"

func (s *specialisation) int(name string, v int) {
	fmt.Fprintf(&s.fields, "  static constexpr int %s = %d;\n", name, v)
}

func (s *specialisation) bool(name string, v bool) {
	fmt.Fprintf(&s.fields, "  static constexpr bool %s = %t;\n", name, v)
}

// number is a constant of the precision of its digits: kernels convert where they use it.
func (s *specialisation) number(name string, v float64) {
	fmt.Fprintf(&s.fields, "  static constexpr double %s = %s;\n", name, literal(v))
}

// float is a constant of single precision.
func (s *specialisation) float(name string, v float64) {
	fmt.Fprintf(&s.fields, "  static constexpr float %s = (float)%s;\n", name, literal(v))
}

func (s *specialisation) typename(name string, t ir.DType) {
	fmt.Fprintf(&s.fields, "  typedef %s %s;\n", typenames[t], name)
}

var typenames = map[ir.DType]string{ir.Bool: "u8", ir.U8: "u8", ir.I32: "int", ir.I64: "i64", ir.BF16: "bf16", ir.F32: "float", ir.F64: "double"}

func (s *specialisation) ints(name string, list []int) {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = strconv.Itoa(v)
	}
	s.table("int", name, texts)
}

func (s *specialisation) floats(name string, list []float64) {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = "(float)" + literal(v)
	}
	s.table("float", name, texts)
}

// table is a function of an index, over constant memory where the index is not known to the compiler.
func (s *specialisation) table(of, name string, texts []string) {
	if len(texts) == 0 {
		texts = []string{"0"}
	}
	fmt.Fprintf(&s.tables, "__constant__ constexpr %s %s%s[] = {%s};\n", of, tablePrefix, name, strings.Join(texts, ", "))
	fmt.Fprintf(&s.fields, "  __device__ static constexpr %s %s(int i) { return %s%s[i]; }\n", of, name, tablePrefix, name)
}

// text is a member that is written out, a function.
func (s *specialisation) text(text string) { s.fields.WriteString(text) }

// literal writes a number of C++.
func literal(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "(1.0 / 0.0)"
	case math.IsInf(v, -1):
		return "(-1.0 / 0.0)"
	case math.IsNaN(v):
		return "(0.0 / 0.0)"
	}
	text := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text
}
