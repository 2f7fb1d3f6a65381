package weights

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// AuxiliaryPrefix begins the names of a head that evaluation does not have: a file may hold it or not.
const AuxiliaryPrefix = "auxiliary_head."

// Fit returns the values of a network's variables, which must be all there in the right shapes, and nothing else but an
// auxiliary head. The error names the first tensor that differs, in the order of the network, and which architecture
// the file would fit.
func (w *Weights) Fit(network cnn.Network, variables []*ir.Variable) (map[string][]float32, error) {
	if difference := w.difference(variables); difference != "" {
		return nil, fmt.Errorf("%s does not fit %s: %s; %s", w.Path, describe(network), difference, w.suggest(network))
	}
	fitted := map[string][]float32{}
	for _, v := range variables {
		if !isNetwork(v) {
			continue
		}
		t, _ := w.Lookup(v.Name)
		var err error
		if fitted[v.Name], err = values(t); err != nil {
			return nil, fmt.Errorf("%s: %w", w.Path, err)
		}
	}
	return fitted, nil
}

// Language is the recurrent model that the file holds, but for its cell.
func (w *Weights) Language() (rnn.Language, error) {
	table, ok := w.Lookup("encoder.weight")
	if !ok || len(table.Shape) != 2 {
		return rnn.Language{}, fmt.Errorf("%s holds no recurrent network: it has no encoder.weight [words, nhid]", w.Path)
	}
	return rnn.Language{Vocabulary: table.Shape[0], Hidden: table.Shape[1]}, nil
}

// FitLanguage returns the values of a recurrent model's weights, which must be all there in the right shapes. The file may
// hold the tied decoder a second time, as the original's does, and nothing else.
func (w *Weights) FitLanguage(l rnn.Language) (map[string][]float32, error) {
	parameters, err := l.Parameters()
	if err != nil {
		return nil, err
	}
	fitted := map[string][]float32{}
	for _, v := range parameters {
		t, ok := w.Lookup(v.Name)
		if !ok {
			return nil, fmt.Errorf("%s has no tensor %s %v, which this cell needs: is it of another --arch?", w.Path, v.Name, v.Type.Shape)
		}
		if !slices.Equal(t.Shape, v.Type.Shape) {
			return nil, fmt.Errorf("%s: tensor %s has shape %v, this model's has %v", w.Path, v.Name, t.Shape, v.Type.Shape)
		}
		if fitted[v.Name], err = values(t); err != nil {
			return nil, fmt.Errorf("%s: %w", w.Path, err)
		}
	}
	for _, t := range w.Tensors {
		if fitted[t.Name] == nil && t.Name != "decoder.weight" {
			return nil, fmt.Errorf("%s has a tensor %s %v, which this cell has not: is it of another --arch?", w.Path, t.Name, t.Shape)
		}
	}
	return fitted, nil
}

// isNetwork tells a network's variables from those of optimisers and loops.
func isNetwork(v *ir.Variable) bool {
	return v.Kind == ir.Weight || v.Kind == ir.Statistic || v.Kind == ir.Alpha
}

// difference says in what the file differs first from a network, "" if in nothing.
func (w *Weights) difference(variables []*ir.Variable) string {
	wanted := map[string]bool{}
	for _, v := range variables {
		if !isNetwork(v) {
			continue
		}
		wanted[v.Name] = true
		t, ok := w.Lookup(v.Name)
		if !ok {
			return fmt.Sprintf("tensor %s, %s in the network, is not in the file", v.Name, shape(v.Type.Shape))
		}
		if !slices.Equal(t.Shape, v.Type.Shape) {
			return fmt.Sprintf("tensor %s is %s in the file, %s in the network", v.Name, shape(t.Shape), shape(v.Type.Shape))
		}
	}
	for _, t := range w.Tensors {
		if !wanted[t.Name] && !strings.HasPrefix(t.Name, AuxiliaryPrefix) {
			return fmt.Sprintf("tensor %.200s, %s in the file, is not in the network", t.Name, shape(t.Shape))
		}
	}
	return ""
}

// suggest names the architecture that the file does fit: the one asked for in other sizes, or a published one.
func (w *Weights) suggest(asked cnn.Network) string {
	if _, ok := w.Lookup(cnn.AlphasNormal); ok {
		return "the file is of a search, whose cells are mixtures of all operations"
	}
	if _, ok := w.Lookup("rnns.0._W0"); ok {
		return "the file is of a recurrent cell"
	}
	network, channels, ok := w.sizes()
	if !ok {
		return "it holds no network of DARTS"
	}
	if derived, ok := asked.(cnn.Derived); ok {
		network.Genotype = derived.Genotype
		if w.fits(network, channels) {
			return "the file fits these cells with " + flags(network)
		}
	}
	if text, ok := w.Recognise(); ok {
		return text
	}
	return fmt.Sprintf("by its shapes the file has %s, of cells that are none of %s", flags(network), strings.Join(space.Names(), ", "))
}

// Recognise says which published architecture the file fits, and in which sizes; ok is false if it fits none.
func (w *Weights) Recognise() (text string, ok bool) {
	network, channels, ok := w.sizes()
	if !ok {
		return "", false
	}
	for _, name := range space.Names() {
		network.Genotype, _ = space.Named(name)
		if w.fits(network, channels) {
			return fmt.Sprintf("the file fits --arch %s with %s", name, flags(network)), true
		}
	}
	return "", false
}

func (w *Weights) fits(network cnn.Derived, channels int) bool {
	variables, err := Variables(network, channels)
	return err == nil && w.difference(variables) == ""
}

// sizes reads a derived network's sizes and the channels of its images off the shapes.
func (w *Weights) sizes() (network cnn.Derived, channels int, ok bool) {
	if t, found := w.Lookup("stem.0.weight"); found && len(t.Shape) == 4 {
		network.Channels, channels = t.Shape[0]/3, t.Shape[1]
	} else if t, found := w.Lookup("stem0.3.weight"); found && len(t.Shape) == 4 {
		first, _ := w.Lookup("stem0.0.weight")
		if len(first.Shape) != 4 {
			return network, 0, false
		}
		network.Channels, network.ImageNet, channels = t.Shape[0], true, first.Shape[1]
	}
	if t, found := w.Lookup("classifier.weight"); found && len(t.Shape) == 2 {
		network.Classes = t.Shape[0]
	}
	for _, t := range w.Tensors {
		rest, found := strings.CutPrefix(t.Name, "cells.")
		number, _, _ := strings.Cut(rest, ".")
		if cell, err := strconv.Atoi(number); found && err == nil && cell < maxLayers {
			network.Layers = max(network.Layers, cell+1)
		}
	}
	const maxSize = 1 << 16 // beyond it the shapes are nonsense
	ok = network.Channels > 0 && network.Channels < maxSize && channels > 0 && channels < maxSize &&
		network.Classes > 1 && network.Classes < maxSize && network.Layers > 0
	return network, channels, ok
}

// maxLayers keeps a file's numbers from making a network without end.
const maxLayers = 200

// Variables lists the variables of a network for evaluation on images of so many channels, in the order in which it
// uses them.
func Variables(network cnn.Derived, channels int) ([]*ir.Variable, error) {
	side := 32
	if network.ImageNet {
		side = 224
	}
	m := ir.NewModule("variables")
	b := ops.NewBuilder(m, "evaluate")
	logits, _ := network.Forward(&cnn.Scope{Builder: b, Weights: &model.Weights{}}, b.Input("images", ir.T(ir.F32, 1, channels, side, side)))
	b.Result("logits", logits)
	_, err := b.Build()
	return m.Variables, err
}

func describe(network cnn.Network) string {
	switch n := network.(type) {
	case cnn.Derived:
		return "the network of " + flags(n)
	case cnn.Supernet:
		return fmt.Sprintf("the supernet of --init-channels %d --layers %d and %d classes", n.Channels, n.Layers, n.Classes)
	}
	return "the network"
}

// flags writes a network's sizes as the command line takes them.
func flags(n cnn.Derived) string {
	form := ""
	if n.ImageNet {
		form = "--imagenet "
	}
	return fmt.Sprintf("%s--init-channels %d --layers %d and %d classes", form, n.Channels, n.Layers, n.Classes)
}

func shape(dims []int) string { return strings.ReplaceAll(fmt.Sprint(dims), " ", ",") }
