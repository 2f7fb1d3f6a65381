package cpu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dartsc/dartsc/compiler/plan"
)

func init() { register("horizontal", horizontal) }

// byImage is a task whose work is image by image (or by some rows of one), so that several tasks which read the same
// images, or add to them, can take turns at each while it is in the cache.
type byImage struct {
	scratch      int
	once         []phase // see task
	before       []phase // none depends on another, nor do those after
	units, parts int
	begin        func(part int) // nil: nothing
	source       *padded        // of which a unit is an image, or nil
	run          func(part, unit int, scratch []float32, source *feed, next *ahead)
	reads        func(unit int, into *ahead) // adds the memory of images that a unit goes through, but for the source
	work         int                         // multiply-adds of a unit
	after        []phase
}

// imageKernel is a kernel of this form.
type imageKernel func(l *launch) (byImage, error)

// imageKernels are those that can be joined.
var imageKernels = map[string]imageKernel{"separable": separable, "separable_grad": separableGrad}

// alone is the kernel of single launches.
func alone(k imageKernel) kernel {
	return func(l *launch) (task, error) {
		t, err := k(l)
		if err != nil {
			return task{}, err
		}
		return inTurns([]byImage{t})
	}
}

// inTurns is the task of several: one after the other at each image, where they have the same units and parts, else
// one after the other as a whole, which gives the same numbers.
func inTurns(list []byImage) (task, error) {
	t := task{}
	same := true
	for _, one := range list {
		t.scratch = max(t.scratch, one.scratch)
		t.once = append(t.once, one.once...)
		same = same && one.units == list[0].units && one.parts == list[0].parts
	}
	if !same {
		for _, one := range list {
			alone, err := inTurns([]byImage{one})
			if err != nil {
				return task{}, err
			}
			t.phases = append(t.phases, alone.phases...)
		}
		return t, nil
	}
	var before, after []phase
	for _, one := range list {
		before, after = append(before, one.before...), append(after, one.after...)
	}
	first, err := sideBySide(before, 1)
	if err != nil {
		return task{}, err
	}
	last, err := sideBySide(after, 1)
	if err != nil {
		return task{}, err
	}
	units, parts := list[0].units, list[0].parts
	source, room := commonSource(list)
	t.scratch += room
	reads := func(i, unit int, into *ahead) {
		from := list[i].source
		if source != nil {
			from = source
		}
		if from != nil && (i == 0 || source == nil) {
			from.reads(unit, 0, from.height, into)
		}
		list[i].reads(unit, into)
	}
	t.phases = []phase{first, {parts, func(part int, scratch []float32) {
		for i := range list {
			if begin := list[i].begin; begin != nil {
				begin(part)
			}
		}
		next := aheads.take()
		defer aheads.give(next)
		from, to := span(part, parts, units)
		var image *feed
		if source != nil {
			image = feeds.take()
			defer feeds.give(image)
		}
		for unit := from; unit < to; unit++ {
			if source != nil {
				*image = source.feed(scratch[:room], unit, 0, source.height)
				image.clean = unit > from
			}
			for i := range list {
				next.clear(list[i].work)
				if i+1 < len(list) {
					reads(i+1, unit, next)
				} else if unit+1 < units { // also of the next part, which the same worker has
					reads(0, unit+1, next)
				}
				list[i].run(part, unit, scratch[room:], image, next)
			}
		}
	}}, last}
	return t, nil
}

// commonSource is the padded image that all tasks read which read one, where they differ in their pads alone, and how many
// elements it has; nil otherwise. It has memory of its own, in which the pads stay from image to image.
func commonSource(list []byImage) (common *padded, elements int) {
	tasks := 0
	for _, one := range list {
		p := one.source
		switch {
		case p == nil:
			continue
		case common == nil:
			common = new(*p)
		case !common.join(p):
			return nil, 0
		}
		tasks++
	}
	if tasks == 0 {
		return nil, 0
	}
	return common, common.height * common.width * common.c
}

// horizontal(…) → … are several launches of one kernel at once. Parameter kernel names it, members is their number. Those of
// member i have its number and a dot before their names; its operands and results are lists of places among the
// operands of the launch and, counted on from there, its results: a member may add to the result of another.
func horizontal(l *launch) (task, error) {
	c := check(l, 0, anyNumber, len(l.out))
	k, members := imageKernels[param[string](c, "kernel", "a text")], c.intParam("members")
	if c.err == nil && k == nil {
		c.failf("parameter kernel is %q: it cannot be joined", c.Params.Text("kernel"))
	}
	if c.err == nil && (members < 1 || members > len(l.Params)) {
		c.failf("parameter members is %d, wants 1 or more", members)
	}
	if c.err != nil {
		return task{}, c.err
	}
	list, params, all := make([]byImage, members), c.ofMembers(members), slices.Concat(l.in, l.out)
	for i := range list {
		one := *l.Launch
		one.Params = params[i]
		bound := &launch{Launch: &one, workspace: l.workspace, taken: l.taken}
		bound.in, bound.out = c.pick(all, params[i], "operands", 0), c.pick(all, params[i], "results", len(l.in))
		if c.err != nil {
			return task{}, fmt.Errorf("member %d: %w", i, c.err)
		}
		var err error
		if list[i], err = k(bound); err != nil {
			return task{}, fmt.Errorf("member %d %w", i, err)
		}
		l.taken = bound.taken // members take turns, so each has memory of its own
	}
	return inTurns(list)
}

// ofMembers are the parameters of every member.
func (c *checker) ofMembers(members int) []plan.Params {
	all := make([]plan.Params, members)
	for i := range all {
		all[i] = make(plan.Params, len(c.Params)/members)
	}
	for name, v := range c.Params {
		number, own, of := strings.Cut(name, ".")
		if i, err := strconv.Atoi(number); of && err == nil && i >= 0 && i < members {
			all[i][own] = v
		}
	}
	return all
}

// pick returns those of all tensors, from one on, that a parameter of a member lists.
func (c *checker) pick(all []tensor, member plan.Params, list string, from int) []tensor {
	places, ok := member[list].([]int)
	if !ok {
		c.failf("parameter %s is %v, wants a list of integers", list, member[list])
	}
	picked := make([]tensor, len(places))
	for i, at := range places {
		if at < from || at >= len(all) {
			c.failf("parameter %s names tensor %d of %d", list, at, len(all))
			return nil
		}
		picked[i] = all[at]
	}
	return picked
}
