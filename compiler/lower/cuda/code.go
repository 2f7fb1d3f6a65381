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

// perModule is how many parts the entries of a module have. Modules compile side by side, and the last one to be done decides
// how long that takes: a part takes up to seconds, the text before them a thirtieth of one.
const perModule = 16

// code collects the functions of a plan: kernels with their specialisations, each once.
type code struct {
	functions map[string]function // by template and constants
	constants map[string]string   // of each function, by its number
	entries   map[string]int      // the module of each, by name
	list      []*unit
}

// unit is a module in the making.
type unit struct {
	specialisations strings.Builder
	holds           []string // the numbers of the functions whose constants it has
	parts           int      // of its entries
	counters        int
}

// function is a specialised kernel: a type of the source, as MaxPool<S3>.
type function struct {
	template string
	number   string // which tells it from others
	joins    bool   // as many blocks in every launch: several launches can be one
	family   string // whose functions' launches can be one as well; "" for none
	// How many of its blocks run on a multiprocessor at once, at least, which limits its registers.
	resident int
	tiles    int // which any number of blocks may share, that number being the last argument; 0 if it is given
	groups   int // the blocks are of so many groups, each of which shares the tiles; 0 if they are of one
	few      int // tiles of a block for whose sums float does; 0 if the kernel does not want to know whether there are more
	counters int // that a launch needs; the number of the first is the last argument, but for the number of blocks
}

// blocksOf is how many blocks a launch has, of blocks at most: where it may be any number, no more than share, for what a block
// does before its first tile and after its last is done least often if as many run as the device takes at once.
func (f function) blocksOf(share, blocks int) int {
	if f.tiles == 0 {
		return blocks
	}
	groups := max(1, f.groups)
	for rounds := ceiling(f.tiles, blocks/groups); ; rounds++ {
		if n := ceiling(f.tiles, rounds); n == 1 || n*groups <= share {
			return n * groups
		}
	}
}

// add returns the function of a template with constants.
func (c *code) add(s *specialisation, f function) function {
	key := f.template + s.tables.String() + s.fields.String()
	if f, ok := c.functions[key]; ok {
		return f
	}
	if c.functions == nil {
		c.functions, c.constants, c.entries = map[string]function{}, map[string]string{}, map[string]int{}
	}
	f.number = strconv.Itoa(len(c.functions))
	c.functions[key] = f
	name := "S" + f.number
	c.constants[f.number] = fmt.Sprintf("\n%sstruct %s {\n%s};\n",
		strings.ReplaceAll(s.tables.String(), tablePrefix, name+"_"), name, strings.ReplaceAll(s.fields.String(), tablePrefix, name+"_"))
	return f
}

// part is what a launch has of one function: so many members of so many blocks each.
type part struct {
	function
	members, blocks int
}

// many says that a block has so many tiles that float does not do for their sums.
func (p part) many() bool { return p.few > 0 && ceiling(p.tiles, p.blocks) > p.few }

// kernel is the type of a part.
func (p part) kernel() string {
	if p.few > 0 {
		return fmt.Sprintf("%s<S%s, %t>", p.template, p.number, p.many())
	}
	return fmt.Sprintf("%s<S%s>", p.template, p.number)
}

// entry returns the name of what launches call that do all of the parts, and its module; it writes it when it is first asked
// for. Words is the room for the arguments of several members, 0 where there is one.
func (c *code) entry(words int, parts ...part) (module int, name string) {
	var kernels []string
	for i, p := range parts {
		kernels = append(kernels, p.kernel())
		if i == 0 || p.template != parts[i-1].template {
			name += "_" + p.template
		}
		name += "_" + p.number
		if p.many() {
			name += "m"
		}
	}
	name = name[1:]
	kind := kernels[0]
	if words > 0 {
		name, kind = fmt.Sprintf("%s_w%d", name, words), fmt.Sprintf("Together<%d, %s>", words, strings.Join(kernels, ", "))
	}
	if module, ok := c.entries[name]; ok {
		return module, name
	}
	module = c.module(parts)
	c.entries[name] = module
	u := c.list[module]
	for _, p := range parts {
		if !slices.Contains(u.holds, p.number) {
			u.holds = append(u.holds, p.number)
			u.specialisations.WriteString(c.constants[p.number])
		}
	}
	u.parts += len(parts)
	fmt.Fprintf(&u.specialisations, "KERNEL(%s, %d, %s)\n", name, parts[0].resident, kind)
	return module, name
}

// module chooses the module of a new entry: of those that have room the one that has the most of its parts' constants already,
// the last one if none has any.
func (c *code) module(parts []part) int {
	best, most := -1, 0
	for i, u := range c.list {
		shared := 0
		for _, p := range parts {
			if slices.Contains(u.holds, p.number) {
				shared++
			}
		}
		if u.parts+len(parts) <= perModule && (shared > most || shared == most && i == len(c.list)-1) {
			best, most = i, shared
		}
	}
	if best < 0 {
		best, c.list = len(c.list), append(c.list, &unit{})
	}
	return best
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
