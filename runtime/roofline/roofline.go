// Package roofline says what a device can do at most: floating-point operations a second, and bytes a second from each
// level of its memory (Williams, Waterman and Patterson 2009). Devices measure themselves; the package keeps what they
// measured in a file of the user's cache folder. For GPUs that are not at hand it has what their data sheets say. It
// knows no device and no plan.
package roofline

import (
	"context"
	"fmt"
)

// Roofline is what was measured of one device, or what its data sheet says of a GPU.
type Roofline struct {
	Key
	One    Speeds  `json:"one"`       // of one worker
	All    Speeds  `json:"all"`       // of all workers together
	Launch float64 `json:"launch_us"` // microseconds that a launch takes with nothing to do
	// Reached is the part of a data sheet's roofline that launches come to; 0 of a measured one, of which it is not known.
	Reached float64 `json:"reached,omitempty"`
	// Blocks is how many blocks a device runs at once of those that launches are of, side by side; 0 where launches run one after the other.
	Blocks int `json:"blocks,omitempty"`
}

// Key is what a measurement holds for: another processor, set of kernels or number of workers is measured anew.
type Key struct {
	Processor string `json:"processor"`
	Kernels   string `json:"kernels"`
	Workers   int    `json:"workers"`
}

// Speeds are the best that was seen.
type Speeds struct {
	GFLOPS float64 `json:"gflop_per_s"` // float32 multiply-adds, which count two
	Levels []Level `json:"levels"`      // of memory, the nearest first
}

// Level is a level of memory.
type Level struct {
	Name   string  `json:"name"`
	Bytes  int64   `json:"bytes,omitempty"` // the most that stays there; 0 is no limit
	Read   float64 `json:"read_gb_per_s"`   // sums of products: all bytes are read
	Update float64 `json:"update_gb_per_s"` // y += a·x: a third of the bytes is written
}

// Seconds is the least that so many operations take which read and write so many bytes: the longer of the time to compute and
// the time to move the bytes once to and from the nearest level that holds them all. Most memories give less to what hardly
// writes than to what does both: reads have ways of their own.
func (s Speeds) Seconds(flops, read, written float64) (compute, memory float64) {
	if s.GFLOPS > 0 {
		compute = flops / (s.GFLOPS * 1e9)
	}
	all := read + written
	for _, l := range s.Levels {
		if best := max(l.Read, l.Update); best > 0 && (l.Bytes == 0 || all <= float64(l.Bytes)) {
			reading := max(l.Read, l.Update*2/3) // of the three that an update moves, two are read
			return compute, max(all/(best*1e9), read/(reading*1e9))
		}
	}
	return compute, 0
}

// Device is what can be measured.
type Device interface {
	RooflineKey() Key
	// MeasureRoofline takes about a second.
	MeasureRoofline(ctx context.Context) (Roofline, error)
}

// Of returns the roofline of a device: the one in the cache, or a new measurement, which replaces it, if there is none
// or again is set. A cache that cannot be written is the error of a roofline that is good all the same.
func Of(ctx context.Context, d Device, again bool) (Roofline, error) {
	if !again {
		if r, ok := load(d.RooflineKey()); ok {
			return r, nil
		}
	}
	r, err := d.MeasureRoofline(ctx)
	if err != nil {
		return Roofline{}, fmt.Errorf("measure the roofline: %w", err)
	}
	if err := store(r); err != nil {
		return r, fmt.Errorf("the roofline was measured, but is not kept: %w", err)
	}
	return r, nil
}
