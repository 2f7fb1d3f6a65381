package fuse

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// Horizontal groups: separable convolutions that read one state become one launch, and so do their ways back, which
// all add to the cotangent of that state. A target goes through them image by image, so the state is read from memory
// once, and its cotangent written once.

// mostJoined is how many members a group has at most: on the way back a launch holds what all of them read.
const mostJoined = 6

// nearby is how many operations lie between members at most: those of an edge, or of two.
const nearby = 48

func horizontal(m *ir.Module, p *ir.Program) error {
	j := &joining{program: p, at: make(map[*ir.Op]int, len(p.Ops)), users: make(map[*ir.Value][]*ir.Op, len(p.Ops)), taken: map[*ir.Op]bool{}}
	for i, op := range p.Ops {
		j.at[op] = i
		for _, v := range op.Operands {
			j.users[v] = append(j.users[v], op)
		}
	}
	for _, r := range p.Results {
		j.users[r.Value] = append(j.users[r.Value], nil)
	}
	groups := map[*ir.Op][]*ir.Op{} // by the member in whose place the group is
	for _, op := range p.Ops {
		if j.taken[op] || op.Kind != ir.Fusion {
			continue
		}
		var members []*ir.Op
		place := op
		switch op.Attrs.Text("group") {
		case Separable:
			members = j.readers(op)
		case SeparableGrad:
			if members = j.chain(op); len(members) > 0 {
				place = members[len(members)-1]
			}
		}
		if len(members) < 2 {
			continue
		}
		for _, member := range members {
			j.taken[member] = true
		}
		groups[place] = members
	}
	if len(groups) == 0 {
		return nil
	}
	return j.rebuild(m, groups)
}

type joining struct {
	program *ir.Program
	at      map[*ir.Op]int
	users   map[*ir.Value][]*ir.Op // nil stands for the caller
	taken   map[*ir.Op]bool
}

// readers returns the separable convolutions near the first that read the same state, and whose other operands are
// there when the first one runs.
func (j *joining) readers(first *ir.Op) []*ir.Op {
	members := []*ir.Op{first}
	x := stateOf(first)
	for _, user := range j.users[x] {
		if len(members) == mostJoined {
			break
		}
		if user == nil || j.taken[user] || !isGroup(user, Separable) || user.Phase != first.Phase || stateOf(user) != x ||
			j.at[user] <= j.at[first] || j.at[user] > j.at[first]+nearby || slices.Contains(members, user) {
			continue
		}
		if !slices.ContainsFunc(user.Operands, func(v *ir.Value) bool { return v.Def != nil && j.at[v.Def] >= j.at[first] }) {
			members = append(members, user)
		}
	}
	return members
}

// chain returns ways back of which each adds to the result of the one before, up to the last that the others can wait
// for.
func (j *joining) chain(first *ir.Op) []*ir.Op {
	members := []*ir.Op{first}
	for len(members) < mostJoined {
		last := members[len(members)-1]
		dx := last.Results[0]
		if len(j.users[dx]) != 1 {
			break
		}
		next := j.users[dx][0]
		if next == nil || j.taken[next] || !isGroup(next, SeparableGrad) || next.Phase != first.Phase || sumOf(next) != dx ||
			j.at[next] > j.at[first]+nearby || !next.Results[0].Type.Equal(dx.Type) || j.needed(members, next) {
			break
		}
		members = append(members, next)
	}
	return members
}

// needed says whether something before the operation last needs a result of the members, but for what the next one
// adds to.
func (j *joining) needed(members []*ir.Op, last *ir.Op) bool {
	for _, op := range members {
		for _, v := range op.Results[1:] {
			for _, user := range j.users[v] {
				if user != nil && j.at[user] <= j.at[last] {
					return true
				}
			}
		}
	}
	return false
}

func isGroup(op *ir.Op, group string) bool {
	return op.Kind == ir.Fusion && op.Attrs.Text("group") == group
}

// stateOf is what a separable convolution reads: the operand of the first operation of its body.
func stateOf(op *ir.Op) *ir.Value { return outer(op, op.Body.Ops[0].Operands[0]) }

// sumOf is what a way back adds to, or nil.
func sumOf(op *ir.Op) *ir.Value {
	for _, inner := range op.Body.Ops {
		if inner.Kind == "add" {
			for _, v := range inner.Operands {
				if v.Def == nil {
					return outer(op, v)
				}
			}
		}
	}
	return nil
}

// outer is the operand that an input of a group's body stands for, nil if the value is none.
func outer(op *ir.Op, v *ir.Value) *ir.Value {
	if i := slices.Index(op.Body.Inputs, v); i >= 0 {
		return op.Operands[i]
	}
	return nil
}

// rebuild puts the groups into their places.
func (j *joining) rebuild(m *ir.Module, groups map[*ir.Op][]*ir.Op) error {
	b := ops.Continue(m)
	replaced := map[*ir.Value]*ir.Value{}
	kept := make([]*ir.Op, 0, len(j.program.Ops))
	for _, op := range j.program.Ops {
		if j.taken[op] && groups[op] == nil {
			continue
		}
		for _, member := range append(groups[op], op) {
			for i, v := range member.Operands {
				if r := replaced[v]; r != nil {
					member.Operands[i] = r
				}
			}
		}
		members := groups[op]
		if members == nil {
			kept = append(kept, op)
			continue
		}
		body, operands, results := horizontalBody(members)
		b.Place(op)
		for i, v := range b.Fuse(body, operands, ir.A("group", Horizontal)) {
			replaced[results[i]] = v
		}
		kept = append(kept, b.Program.Ops...)
		b.Program.Ops = nil
	}
	for i, r := range j.program.Results {
		if v := replaced[r.Value]; v != nil {
			j.program.Results[i].Value = v
		}
	}
	j.program.Ops = kept
	j.program.Number()
	return b.Err()
}

// horizontalBody makes a program of the members, and returns the operands that it needs and the values outside that its
// results replace. The result of a member that the next one adds to is none; that of the last comes first.
func horizontalBody(members []*ir.Op) (body *ir.Program, operands, results []*ir.Value) {
	body = &ir.Program{Name: Horizontal}
	inside := map[*ir.Value]*ir.Value{}
	internal := map[*ir.Value]bool{}
	for i, op := range members[1:] {
		if isGroup(op, SeparableGrad) {
			internal[members[i].Results[0]] = true
		}
	}
	for _, op := range members {
		inner := &ir.Op{Kind: op.Kind, Attrs: op.Attrs, Body: op.Body}
		for _, v := range op.Operands {
			in := inside[v]
			if in == nil {
				in = &ir.Value{Type: v.Type, Name: fmt.Sprintf("in%d", len(operands))}
				inside[v] = in
				body.Inputs, operands = append(body.Inputs, in), append(operands, v)
			}
			inner.Operands = append(inner.Operands, in)
		}
		for at, v := range op.Results {
			r := &ir.Value{Type: v.Type, Def: inner, At: at}
			inside[v] = r
			inner.Results = append(inner.Results, r)
		}
		body.Ops = append(body.Ops, inner)
	}
	last := members[len(members)-1].Results[0]
	result := func(v *ir.Value) {
		body.Results = append(body.Results, ir.Result{Name: fmt.Sprintf("out%d", len(results)), Value: inside[v]})
		results = append(results, v)
	}
	result(last)
	for _, op := range members {
		for _, v := range op.Results {
			if v != last && !internal[v] {
				result(v)
			}
		}
	}
	return body, operands, results
}
