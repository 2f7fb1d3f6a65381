package emulation_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// edge is a separable convolution of a state x with c channels.
func edge(b *ops.Builder, x, depthwise, pointwise *ir.Value, pad, dilation int) []*ir.Value {
	c := x.Type.Shape[1]
	z := b.Conv2D(b.Relu(x), depthwise, ops.ConvAttrs{
		Strides: [2]int{1, 1}, Pads: [4]int{pad, pad, pad, pad}, Dilations: [2]int{dilation, dilation}, Groups: c,
	})
	z = b.Conv2D(z, pointwise, ops.ConvAttrs{Strides: [2]int{1, 1}, Dilations: [2]int{1, 1}, Groups: 1})
	mean, variance := b.BatchStats(z)
	return []*ir.Value{z, mean, variance}
}

// TestTogether: what all edges out of a state do is one launch of each family of kernels, whatever the primitives, and blocks of
// many tiles add as exactly as those of few.
func TestTogether(t *testing.T) {
	filters := func(c, k int) []ir.Type { return []ir.Type{f32(c, 1, k, k), f32(c, c, 1, 1)} }
	pool := ops.PoolAttrs{Kernel: [2]int{3, 3}, Strides: [2]int{1, 1}, Pads: [4]int{1, 1, 1, 1}}
	many := kernelCase{name: "many tiles", in: []ir.Type{f32(1300, 4, 1, 1)}, tolerance: 1e-5, build: func(b *ops.Builder, in []*ir.Value) (out []*ir.Value) {
		for i := 1; i < len(in); i += 2 {
			out = append(out, edge(b, in[0], in[i], in[i+1], 1, 1)...)
		}
		return out
	}}
	for range 24 {
		many.in = append(many.in, filters(4, 3)...)
	}
	for _, c := range []struct {
		kernelCase
		launches map[string]int
		kernel   string // of an entry
	}{
		{kernelCase{
			name: "edges out of a state", in: slices.Concat([]ir.Type{f32(3, 8, 9, 7)}, filters(8, 3), filters(8, 3), filters(8, 5), filters(8, 3), filters(8, 5)), tolerance: 1e-5,
			build: func(b *ops.Builder, in []*ir.Value) []*ir.Value {
				x := in[0]
				return slices.Concat([]*ir.Value{b.MaxPool2D(x, pool), b.AvgPool2D(x, pool)}, edge(b, x, in[1], in[2], 1, 1), edge(b, x, in[3], in[4], 1, 1),
					edge(b, x, in[5], in[6], 2, 1), edge(b, x, in[7], in[8], 2, 2), edge(b, x, in[9], in[10], 4, 2))
			},
		}, map[string]int{"separable": 1, "avg_pool2d and max_pool2d": 1}, "Separable"},
		{many, map[string]int{"separable": 1}, ", true>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := ir.NewModule("together")
			program := c.add(t, m, "state")
			p, err := compiler.Compile(t.Context(), m, compiler.Options{Target: target})
			if err != nil {
				t.Fatal(err)
			}
			launches := map[string]int{}
			for _, l := range p.Programs[0].All() {
				launches[l.Kernel]++
			}
			for kernel, n := range c.launches {
				if launches[kernel] != n {
					t.Errorf("%d launches of %s, want %d; there are %v", launches[kernel], kernel, n, launches)
				}
			}
			if !strings.Contains(fmt.Sprint(p.Modules), c.kernel) {
				t.Errorf("no kernel has %q", c.kernel)
			}
			inputs, want := c.reference(t, program)
			compare(t, runBothWays(t, open(t, p, false), open(t, p, true), "state", inputs, want), want, c.tolerance)
		})
	}
}
