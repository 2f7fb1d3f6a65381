package reader

import (
	"fmt"
	"slices"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// convolution is Conv in two dimensions.
func convolution(t *translator, n *node) ([]*value, error) {
	x, w := n.in[0].shape(), n.in[1].shape()
	if len(x) != 4 || len(w) != 4 {
		return nil, fmt.Errorf("convolves %v with %v: only two-dimensional convolutions, of [N,C,H,W], are read", x, w)
	}
	if kernel, err := n.attrs.numbers("kernel_shape"); err != nil {
		return nil, err
	} else if kernel != nil && !slices.Equal(kernel, w[2:]) {
		return nil, fmt.Errorf("kernel_shape is %v, the weights have shape %v", kernel, w)
	}
	g, err := n.windows(x, w[2:])
	if err != nil {
		return nil, err
	}
	groups, err := n.attrs.number("group", 1)
	if err != nil {
		return nil, err
	}
	a := ops.ConvAttrs{Strides: g.strides, Pads: g.pads, Dilations: g.dilations, Groups: groups}
	if bias := n.input(2); bias != nil {
		return made(t.Conv2DBias(t.tensor(n.in[0]), t.tensor(n.in[1]), t.tensor(bias), a)), nil
	}
	return made(t.Conv2D(t.tensor(n.in[0]), t.tensor(n.in[1]), a)), nil
}

// windows are the positions of a kernel on an image: those of convolutions and poolings.
type windows struct {
	strides, dilations [2]int
	pads               [4]int // top, left, bottom, right
}

// windows reads the attributes of a convolution or a pooling of x [N,C,H,W].
func (n *node) windows(x, kernel []int) (windows, error) {
	w := windows{strides: [2]int{1, 1}, dilations: [2]int{1, 1}}
	for _, a := range []struct {
		name string
		to   []int
	}{{"strides", w.strides[:]}, {"dilations", w.dilations[:]}, {"pads", w.pads[:]}} {
		list, err := n.attrs.numbers(a.name)
		if err != nil {
			return w, err
		}
		if list != nil && len(list) != len(a.to) {
			return w, fmt.Errorf("attribute %s is %v, want %d numbers", a.name, list, len(a.to))
		}
		if slices.ContainsFunc(list, func(v int) bool { return v < 0 || v == 0 && a.name != "pads" }) {
			return w, fmt.Errorf("attribute %s is %v, want positive numbers", a.name, list)
		}
		copy(a.to, list)
	}
	auto, err := n.attrs.text("auto_pad", "NOTSET")
	if err != nil {
		return w, err
	}
	return w, w.autoPad(auto, x, kernel)
}

// autoPad sets the pads that auto_pad asks for: as many as make ⌈size/stride⌉ outputs.
func (w *windows) autoPad(auto string, x, kernel []int) error {
	switch auto {
	case "NOTSET":
		return nil
	case "VALID":
		w.pads = [4]int{}
		return nil
	case "SAME_UPPER", "SAME_LOWER":
	default:
		return fmt.Errorf("auto_pad is %q: want NOTSET, VALID, SAME_UPPER or SAME_LOWER", auto)
	}
	for i := range 2 {
		outputs := (x[2+i] + w.strides[i] - 1) / w.strides[i]
		total := max(0, (outputs-1)*w.strides[i]+(kernel[i]-1)*w.dilations[i]+1-x[2+i])
		w.pads[i], w.pads[2+i] = total/2, total-total/2
		if auto == "SAME_LOWER" {
			w.pads[i], w.pads[2+i] = w.pads[2+i], w.pads[i]
		}
	}
	return nil
}

func batchNormalization(t *translator, n *node) ([]*value, error) {
	if training, err := n.attrs.number("training_mode", 0); err != nil || training != 0 {
		return nil, fmt.Errorf("is in training mode: export the network for inference (model.eval())")
	}
	if spatial, err := n.attrs.number("spatial", 1); err != nil || spatial != 1 {
		return nil, fmt.Errorf("has statistics for every pixel (spatial 0), which are not read")
	}
	eps, err := n.attrs.float("epsilon", 1e-5)
	if err != nil {
		return nil, err
	}
	gamma, beta, mean, variance := t.tensor(n.in[1]), t.tensor(n.in[2]), t.tensor(n.in[3]), t.tensor(n.in[4])
	return made(t.BatchNorm(t.tensor(n.in[0]), mean, variance, []*ir.Value{gamma, beta}, eps)), nil
}

// pooling reads what the poolings share.
func (n *node) pooling() (ops.PoolAttrs, error) {
	x := n.in[0].shape()
	if len(x) != 4 {
		return ops.PoolAttrs{}, fmt.Errorf("pools %v: only two-dimensional poolings, of [N,C,H,W], are read", x)
	}
	kernel, err := n.attrs.numbers("kernel_shape")
	if err != nil {
		return ops.PoolAttrs{}, err
	}
	if len(kernel) != 2 || min(kernel[0], kernel[1]) < 1 {
		return ops.PoolAttrs{}, fmt.Errorf("kernel_shape is %v, want two positive numbers", kernel)
	}
	w, err := n.windows(x, kernel)
	if err != nil {
		return ops.PoolAttrs{}, err
	}
	if w.dilations != [2]int{1, 1} {
		return ops.PoolAttrs{}, fmt.Errorf("has dilations %v, which poolings are not read with", w.dilations)
	}
	a := ops.PoolAttrs{Kernel: [2]int(kernel), Strides: w.strides, Pads: w.pads}
	ceil, err := n.attrs.number("ceil_mode", 0)
	if err != nil || ceil == 0 {
		return a, err
	}
	for i := range 2 {
		a.Pads[2+i] += padToCeil(x[2+i], a.Pads[i], a.Pads[2+i], kernel[i], w.strides[i])
	}
	return a, nil
}

// padToCeil is the pad that a last window which does not fit needs; it must begin in the image or in the first pad.
func padToCeil(size, before, after, kernel, stride int) int {
	rest := size + before + after - kernel
	if rest < 0 || rest%stride == 0 {
		return 0
	}
	start := (rest/stride + 1) * stride
	if start >= size+before {
		return 0
	}
	return start - rest
}

func maxPool(t *translator, n *node) ([]*value, error) {
	if order, err := n.attrs.number("storage_order", 0); err != nil || order != 0 {
		return nil, fmt.Errorf("storage_order is %d, want 0", order)
	}
	a, err := n.pooling()
	if err != nil {
		return nil, err
	}
	return made(t.MaxPool2D(t.tensor(n.in[0]), a)), nil
}

func averagePool(t *translator, n *node) ([]*value, error) {
	a, err := n.pooling()
	if err != nil {
		return nil, err
	}
	include, err := n.attrs.number("count_include_pad", 0)
	if err != nil {
		return nil, err
	}
	if a.CountIncludePad = include != 0; a.CountIncludePad {
		if ceil, _ := n.attrs.number("ceil_mode", 0); ceil != 0 {
			return nil, fmt.Errorf("has ceil_mode and count_include_pad together, of which runtimes make different things")
		}
	}
	return made(t.AvgPool2D(t.tensor(n.in[0]), a)), nil
}

func globalAveragePool(t *translator, n *node) ([]*value, error) {
	x := t.tensor(n.in[0])
	if len(x.Type.Shape) < 3 {
		return nil, fmt.Errorf("pools %v, want an image [N,C,…]", x.Type.Shape)
	}
	var axes []int
	kept := []int{x.Type.Shape[0], x.Type.Shape[1]}
	for i := range x.Type.Shape[2:] {
		axes, kept = append(axes, 2+i), append(kept, 1)
	}
	return made(t.Reshape(t.ReduceMean(x, axes...), kept...)), nil
}

func globalMaxPool(t *translator, n *node) ([]*value, error) {
	x := n.in[0].shape()
	if len(x) != 4 {
		return nil, fmt.Errorf("pools %v: only two-dimensional poolings, of [N,C,H,W], are read", x)
	}
	a := ops.PoolAttrs{Kernel: [2]int{x[2], x[3]}, Strides: [2]int{1, 1}}
	return made(t.MaxPool2D(t.tensor(n.in[0]), a)), nil
}
