package ir

import (
	"strconv"
	"strings"
)

// String returns the text form of the module; Parse reads it back.
func (m *Module) String() string {
	var b strings.Builder
	b.WriteString("module " + strconv.Quote(m.Name) + " {\n")
	for _, v := range m.Variables {
		b.WriteString("  variable @" + quoteName(v.Name) + " " + v.Kind.String() + " " + v.Type.String() + " = " + v.Init.String() + "\n")
	}
	for _, p := range m.Programs {
		b.WriteString("  program ")
		p.write(&b, "  ")
		b.WriteByte('\n')
	}
	b.WriteString("}\n")
	return b.String()
}

// String returns the text form of one program.
func (p *Program) String() string {
	var b strings.Builder
	b.WriteString("program ")
	p.write(&b, "")
	return b.String()
}

func (p *Program) write(b *strings.Builder, indent string) {
	p.Number()
	b.WriteString(strconv.Quote(p.Name) + "(")
	for i, v := range p.Inputs {
		if i > 0 {
			b.WriteString(", ")
		}
		writeValue(b, v)
		b.WriteString(" " + strconv.Quote(v.Name) + " " + v.Type.String())
	}
	b.WriteString(") {\n")
	for _, op := range p.Ops {
		op.write(b, indent+"  ")
	}
	b.WriteString(indent + "  return(")
	for i, r := range p.Results {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(r.Name) + " ")
		writeValue(b, r.Value)
	}
	b.WriteString(")\n" + indent + "}")
}

// String returns the text form of one operation; values have the numbers that Program.Number gave them last.
func (op *Op) String() string {
	var b strings.Builder
	op.write(&b, "")
	return strings.TrimSuffix(b.String(), "\n")
}

func (op *Op) write(b *strings.Builder, indent string) {
	b.WriteString(indent)
	for i, v := range op.Results {
		if i > 0 {
			b.WriteString(", ")
		}
		writeValue(b, v)
	}
	if len(op.Results) > 0 {
		b.WriteString(" = ")
	}
	b.WriteString(op.Kind + "(")
	for i, v := range op.Operands {
		if i > 0 {
			b.WriteString(", ")
		}
		writeValue(b, v)
	}
	b.WriteByte(')')
	if op.Variable != nil {
		b.WriteString(" @" + quoteName(op.Variable.Name))
	}
	if len(op.Attrs) > 0 {
		b.WriteByte(' ')
		op.Attrs.write(b)
	}
	for i, v := range op.Results {
		if i == 0 {
			b.WriteString(" : ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(v.Type.String())
	}
	if op.Phase != "" {
		b.WriteString(" in " + strconv.Quote(op.Phase))
	}
	if op.Scope != "" {
		b.WriteString(" at " + strconv.Quote(op.Scope))
	}
	if op.Body != nil {
		b.WriteString(" body ")
		op.Body.write(b, indent)
	}
	b.WriteByte('\n')
}

func writeValue(b *strings.Builder, v *Value) {
	b.WriteByte('%')
	b.WriteString(strconv.Itoa(v.ID))
}

// quoteName leaves names of letters, digits, _ and . bare, and quotes the rest.
func quoteName(s string) string {
	for _, part := range strings.Split(s, ".") {
		if part == "" {
			return strconv.Quote(s)
		}
		for _, r := range part {
			if r != '_' && (r < 'a' || 'z' < r) && (r < 'A' || 'Z' < r) && (r < '0' || '9' < r) {
				return strconv.Quote(s)
			}
		}
	}
	return s
}
