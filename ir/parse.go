package ir

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// maxDepth bounds how deep the bodies of operations nest in the text form, so that no text exhausts the stack.
const maxDepth = 100

// Parse reads the text form that Module.String prints. Line breaks are only space, and // starts a comment that ends
// with the line. Parse checks the syntax, every type, and that variables and values are defined once and before their
// uses; what the operations mean it leaves to Verify. An error names line, column and operation.
func Parse(text string) (*Module, error) {
	p := &parser{scanner: scanner{text: text}}
	p.advance()
	p.parseModule()
	if p.err != nil {
		return nil, p.err
	}
	return p.module, nil
}

// parser reads the text form by recursive descent with one token of lookahead. The first error sticks and makes the
// rest of the text look empty, so that every loop ends and only the end of Parse asks for it.
type parser struct {
	scanner scanner
	token   token // the next one, not yet taken
	module  *Module
	context string // the kind of the operation being read, for errors
	depth   int    // how many bodies are open, and the program
	err     error
}

// parseModule = `module "name" {` {variable | program} `}`.
func (p *parser) parseModule() {
	p.expectWord("module")
	p.module = NewModule(p.string("the name of the module"))
	p.expect("{")
	for p.err == nil && !p.accept("}") {
		switch {
		case p.acceptWord("variable"):
			p.parseVariable()
		case p.acceptWord("program"):
			p.module.Programs = append(p.module.Programs, p.parseProgram())
		default:
			p.want(`"variable", "program" or "}"`)
		}
	}
	if p.err == nil && p.token.kind != tokenEnd {
		p.want("the end of the text")
	}
}

// parseVariable = `@name kind type = distribution(number)`.
func (p *parser) parseVariable() {
	name := p.take(tokenVariable, "a variable such as @weight")
	v := Variable{Name: name.text}
	if p.module.Variable(v.Name) != nil {
		p.fail(name.at, "variable %s is declared twice", p.source(name))
	}
	var err error
	at := p.token.at
	if v.Kind, err = ParseKind(p.take(tokenWord, "the kind of the variable").text); err != nil {
		p.fail(at, "%w", err)
	}
	v.Type = p.parseType()
	p.expect("=")
	v.Init.Distribution = p.parseDistribution()
	p.expect("(")
	switch value := p.parseNumber().(type) {
	case int:
		v.Init.Value = float64(value)
	case float64:
		v.Init.Value = value
	}
	p.expect(")")
	if p.err != nil {
		return
	}
	if _, err := p.module.Declare(v); err != nil {
		p.fail(name.at, "%w", err)
	}
}

func (p *parser) parseDistribution() Distribution {
	at := p.token.at
	name := p.take(tokenWord, "constant, uniform or normal").text
	for d, n := range distributions {
		if n == name {
			return Distribution(d)
		}
	}
	p.fail(at, "unknown distribution %q: want constant, uniform or normal", name)
	return Constant
}

// scope holds the values of one program or body by their numbers in the text.
type scope map[int]*Value

// parseProgram = `"name"(%0 "input" type, …) {` {operation} `return("result" %1, …) }`. A body reads the same.
func (p *parser) parseProgram() *Program {
	if p.depth > maxDepth {
		p.fail(p.token.at, "bodies nest deeper than %d", maxDepth)
	}
	p.depth++
	program := &Program{Name: p.string("the name of the program")}
	values := scope{}
	p.list("(", ")", func() {
		t := p.take(tokenValue, "an input such as %0")
		v := &Value{Name: p.string("the name of the input"), Type: p.parseType()}
		p.define(values, t, v)
		program.Inputs = append(program.Inputs, v)
	})
	p.expect("{")
	for p.err == nil && !p.acceptWord("return") {
		program.Ops = append(program.Ops, p.parseOp(values))
	}
	p.list("(", ")", func() {
		name := p.string("the name of the result")
		program.Results = append(program.Results, Result{name, p.use(values)})
	})
	p.expect("}")
	program.Number()
	p.depth--
	return program
}

// parseOp = `%2, %3 = kind(%0, %1) @variable {attributes} : type, type in "phase" at "scope" body program`. Results with
// their types, variable, attributes, phase, scope and body are there only where the operation has them.
func (p *parser) parseOp(values scope) *Op {
	defer func(outer string) { p.context = outer }(p.context)
	results := p.parseResults()
	op := &Op{}
	at := p.token.at
	if op.Kind = p.take(tokenWord, `an operation or "return"`).text; p.err == nil && !isKind(op.Kind) {
		p.fail(at, "%q is a word of the text form and names no operation", op.Kind)
	}
	p.context = op.Kind
	p.list("(", ")", func() { op.Operands = append(op.Operands, p.use(values)) })
	if p.token.kind == tokenVariable {
		t := p.take(tokenVariable, "a variable")
		if op.Variable = p.module.Variable(t.text); op.Variable == nil {
			p.fail(t.at, "variable %s is not declared", p.source(t))
		}
	}
	if p.is(tokenMark, "{") {
		op.Attrs = p.parseAttrs()
	}
	for _, t := range p.parseTypes(len(results)) {
		op.Results = append(op.Results, &Value{Type: t})
	}
	if p.acceptWord("in") {
		op.Phase = p.string("the phase")
	}
	if p.acceptWord("at") {
		op.Scope = p.string("the scope")
	}
	if p.acceptWord("body") {
		op.Body = p.parseProgram()
	}
	if p.err == nil {
		for i, t := range results {
			p.define(values, t, op.Results[i])
		}
	}
	return op
}

// parseResults = [`%2, %3 =`]. They are defined only after the operation, which cannot use them.
func (p *parser) parseResults() []token {
	if p.token.kind != tokenValue {
		return nil
	}
	results := []token{p.take(tokenValue, "a result")}
	for p.accept(",") {
		results = append(results, p.take(tokenValue, "a result such as %3"))
	}
	p.expect("=")
	return results
}

// parseTypes = [`: type, type`], as many as there are results.
func (p *parser) parseTypes(results int) []Type {
	at := p.token.at
	var types []Type
	if p.accept(":") {
		types = append(types, p.parseType())
		for p.accept(",") {
			types = append(types, p.parseType())
		}
	}
	if len(types) != results {
		p.fail(at, "has %d results and the types of %d", results, len(types))
	}
	return types
}

// parseType = `f32[4,2]`.
func (p *parser) parseType() Type {
	at := p.token.at
	dtype, err := ParseDType(p.take(tokenWord, "a type such as f32[4,2]").text)
	if err != nil {
		p.fail(at, "%w", err)
	}
	t := Type{DType: dtype}
	p.list("[", "]", func() {
		at := p.token.at
		d, ok := p.parseNumber().(int)
		if !ok {
			p.fail(at, "want a dimension, a whole number")
		}
		t.Shape = append(t.Shape, d)
	})
	if p.err == nil {
		if err := t.Check(); err != nil {
			p.fail(at, "%w", err)
		}
	}
	return t
}

// parseAttrs = `{name=constant, …}`.
func (p *parser) parseAttrs() Attrs {
	at := p.token.at
	var list []Attr
	p.list("{", "}", func() {
		name := p.take(tokenWord, "the name of an attribute").text
		p.expect("=")
		list = append(list, Attr{name, p.parseConstant()})
	})
	if p.err != nil {
		return nil
	}
	attrs, err := NewAttrs(list...)
	if err != nil {
		p.fail(at, "%w", err)
	}
	return attrs
}

// parseConstant = integer | float | true | false | string | list of integers | list of floats.
func (p *parser) parseConstant() any {
	switch {
	case p.is(tokenMark, "["):
		return p.parseNumbers()
	case p.token.kind == tokenString:
		return p.string("a string")
	case p.acceptWord("true"):
		return true
	case p.acceptWord("false"):
		return false
	}
	return p.parseNumber()
}

// parseNumbers reads a list, all integers or all floats; the empty one is of integers.
func (p *parser) parseNumbers() any {
	ints, floats := []int{}, []float64(nil)
	p.list("[", "]", func() {
		at := p.token.at
		switch v := p.parseNumber().(type) {
		case int:
			ints = append(ints, v)
		case float64:
			floats = append(floats, v)
		}
		if len(ints) > 0 && len(floats) > 0 {
			p.fail(at, "want a list of only integers or only floats: a float has a point or an exponent")
		}
	})
	if floats != nil {
		return floats
	}
	return ints
}

// parseNumber returns an int, or a float64 where the text has a point or an exponent or is inf or nan.
func (p *parser) parseNumber() any {
	switch {
	case p.acceptWord("inf"):
		return math.Inf(1)
	case p.acceptWord("nan"):
		return math.NaN()
	}
	t := p.take(tokenNumber, "a number")
	if p.err != nil {
		return 0
	}
	if t.text == "-inf" {
		return math.Inf(-1)
	}
	// strconv reads more than the text form has: hexadecimal, underscores, long names of infinity.
	var v any
	err := strconv.ErrSyntax
	if strings.Trim(t.text, "0123456789.eE+-") == "" {
		if strings.ContainsAny(t.text, ".eE") {
			v, err = strconv.ParseFloat(t.text, 64)
		} else {
			v, err = strconv.Atoi(t.text)
		}
	}
	if err != nil {
		p.fail(t.at, "%s is not a decimal number of 64 bits", p.source(t))
		return 0
	}
	return v
}

// number is the number of a value; a text that has none that large is no text of ours.
func (p *parser) number(t token) int {
	n, err := strconv.Atoi(t.text)
	if err != nil {
		p.fail(t.at, "value %s: the number is too large", p.source(t))
	}
	return n
}

// use reads a value that must be defined.
func (p *parser) use(values scope) *Value {
	t := p.take(tokenValue, "a value such as %3")
	if p.err != nil {
		return nil
	}
	v := values[p.number(t)]
	if v == nil {
		p.fail(t.at, "value %s is not defined", p.source(t))
	}
	return v
}

func (p *parser) define(values scope, t token, v *Value) {
	if p.err != nil {
		return
	}
	n := p.number(t)
	if values[n] != nil {
		p.fail(t.at, "value %s is defined twice", p.source(t))
	}
	values[n] = v
}

// list reads items with commas between two marks.
func (p *parser) list(opening, closing string, item func()) {
	p.expect(opening)
	for n := 0; p.err == nil && !p.accept(closing); n++ {
		if n > 0 && !p.accept(",") {
			p.want(fmt.Sprintf(`"," or %q`, closing))
		}
		item()
	}
}

func (p *parser) is(kind tokenKind, text string) bool {
	return p.token.kind == kind && p.token.text == text
}

func (p *parser) accept(mark string) bool {
	found := p.is(tokenMark, mark)
	if found {
		p.advance()
	}
	return found
}

func (p *parser) acceptWord(word string) bool {
	found := p.is(tokenWord, word)
	if found {
		p.advance()
	}
	return found
}

func (p *parser) expect(mark string) {
	if !p.accept(mark) {
		p.want(strconv.Quote(mark))
	}
}

func (p *parser) expectWord(word string) {
	if !p.acceptWord(word) {
		p.want(strconv.Quote(word))
	}
}

func (p *parser) string(what string) string {
	return p.take(tokenString, what+" in double quotes").text
}

// take returns the next token if it is of the kind, and fails otherwise.
func (p *parser) take(kind tokenKind, what string) token {
	t := p.token
	if t.kind != kind {
		p.want(what)
		return token{at: t.at, stop: t.at}
	}
	p.advance()
	return t
}

// advance reads the next token.
func (p *parser) advance() {
	t, err := p.scanner.next()
	if err != nil {
		p.context = "" // the token may belong to what follows the operation
		p.fail(t.at, "%w", err)
		return
	}
	p.token = t
}

func (p *parser) want(what string) {
	found := "the end of the text"
	if p.token.kind != tokenEnd {
		found = p.source(p.token)
	}
	p.fail(p.token.at, "want %s, found %s", what, found)
}

// source is a token as the text form writes it, shortened to fit a message.
func (p *parser) source(t token) string {
	const most = 40
	source := p.scanner.text[t.at:t.stop]
	switch t.kind {
	case tokenString:
		source = strconv.Quote(t.text)
	case tokenVariable:
		source = "@" + quoteName(t.text)
	}
	if runes := []rune(source); len(runes) > most {
		source = string(runes[:most]) + "…"
	}
	return source
}

// fail records the first error and skips the rest of the text.
func (p *parser) fail(at int, format string, args ...any) {
	if p.err == nil {
		err := fmt.Errorf(format, args...)
		if p.context != "" {
			err = fmt.Errorf("operation %q: %w", p.context, err)
		}
		p.err = fmt.Errorf("ir text %s: %w", position(p.scanner.text, at), err)
	}
	p.scanner.pos = len(p.scanner.text)
	p.token = token{at: p.scanner.pos, stop: p.scanner.pos}
}
