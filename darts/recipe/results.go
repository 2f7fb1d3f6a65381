package recipe

import (
	"context"
	"encoding/json"

	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/export"
	"github.com/dartsc/dartsc/darts/report"
	"github.com/dartsc/dartsc/darts/run"
	"github.com/dartsc/dartsc/darts/space"
)

// writeResults puts what a search found into its folder: genotype.json, drawings of both cells, and model.onnx, the
// derived network at the size of the search with fresh weights.
func writeResults(ctx context.Context, folder *run.Folder, config SearchConfig, d data.Summary, genotype space.Genotype, o Options) error {
	text, err := json.MarshalIndent(genotype, "", "  ")
	if err != nil {
		return err
	}
	if err := folder.WriteFile("genotype.json", append(text, '\n')); err != nil {
		return err
	}
	for name, cell := range map[string]func() (report.Drawing, error){
		"normal.svg":    func() (report.Drawing, error) { return report.Cell(genotype.Normal, genotype.NormalConcat) },
		"reduction.svg": func() (report.Drawing, error) { return report.Cell(genotype.Reduce, genotype.ReduceConcat) },
	} {
		drawing, err := cell()
		if err != nil {
			return err
		}
		svg, err := drawing.SVG()
		if err != nil {
			return err
		}
		if err := folder.WriteFile(name, svg); err != nil {
			return err
		}
	}
	model, err := export.ONNX(ctx, export.Model{
		Network: cnn.Derived{Genotype: genotype, Channels: config.InitChannels, Layers: config.Layers, Classes: len(d.Classes)},
		Data:    d, Seed: config.Seed, Version: o.Version,
	}, export.Options{})
	if err != nil {
		return err
	}
	return folder.WriteFile("model.onnx", model)
}
