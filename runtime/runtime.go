// Package runtime replays plans: a Session holds one plan on one device, moves variables, inputs and results between
// the caller's slices (row-major in logical order) and the plan's layouts, and runs programs.
//
// It knows a plan and nothing of where it came from: no IR, no operation, no model. What differs between devices is
// behind Device and Instance; runtime/cpu is the portable one.
package runtime

import (
	"context"
	"time"

	"github.com/dartsc/dartsc/compiler/plan"
)

// Device is where plans of one target run.
type Device interface {
	// Target is the plan.Plan.Target that the device understands.
	Target() string
	// Load places a plan on the device and binds every launch. It passes the plan through plan.Validate, and refuses what the
	// device cannot do, so that a loaded plan only ever runs.
	Load(p *plan.Plan) (Instance, error)
}

// Instance is a plan on a device. One call at a time.
type Instance interface {
	// Write copies bytes in the plan's layout to an offset of a space, Read copies them back.
	Write(space plan.Space, offset int64, data []byte) error
	Read(space plan.Space, offset int64, into []byte) error
	// Run replays the program of that index. It checks the context between launches, and tells observe, where that is
	// not nil, how long each launch took. An error names program, launch, kernel and scope.
	Run(ctx context.Context, program int, observe func(launch int, d time.Duration)) error
	// Close frees the memory and stops the workers; the instance is of no use afterwards.
	Close() error
}
