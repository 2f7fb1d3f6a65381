package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/export"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/internal/atomicfile"
)

// architecture is a genotype with what one asks of it first.
type architecture struct {
	Name       string         `json:"name,omitempty"`
	Nodes      [2]int         `json:"nodes"` // of the normal and of the reduction cell
	Skips      [2]int         `json:"skips"`
	Parameters int            `json:"parameters"`
	Channels   int            `json:"init_channels"`
	Layers     int            `json:"layers"`
	Genotype   space.Genotype `json:"genotype"`
}

func describe(name string, g space.Genotype, channels, layers int) (architecture, error) {
	d, err := data.Absent(10, data.Size{Height: 32, Width: 32}, 3)
	if err != nil {
		return architecture{}, err
	}
	network := cnn.Derived{Genotype: g, Channels: channels, Layers: layers, Classes: len(d.Classes)}
	parameters, err := export.Model{Network: network, Data: d}.Parameters()
	return architecture{
		Name:       name,
		Nodes:      [2]int{len(g.Normal) / space.EdgesPerNode, len(g.Reduce) / space.EdgesPerNode},
		Skips:      [2]int{space.SkipConnects(g.Normal), space.SkipConnects(g.Reduce)},
		Parameters: parameters, Channels: channels, Layers: layers, Genotype: g,
	}, err
}

func newArchList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the published architectures", Args: noArgs,
		Long: "List the published architectures by name: nodes and skip connections of the normal and the reduction cell, and the\nparameters of the network of 36 channels and 20 layers for CIFAR-10, without its auxiliary head. Recurrent cells, which\n--task rnn of the other commands takes by name, follow, with the parameters of the model for the Penn Treebank.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			rows := [][]string{{"name", "nodes", "skips", "parameters"}}
			list := []architecture{}
			for _, name := range space.Names() {
				g, _ := space.Named(name)
				a, err := describe(name, g, 36, 20)
				if err != nil {
					return err
				}
				list = append(list, a)
				rows = append(rows, []string{name, fmt.Sprintf("%d, %d", a.Nodes[0], a.Nodes[1]), fmt.Sprintf("%d, %d", a.Skips[0], a.Skips[1]), grouped(a.Parameters)})
			}
			cells, cellRows, err := recurrentList()
			if err != nil {
				return err
			}
			if asJSON {
				all := make([]any, 0, len(list)+len(cells))
				for _, a := range list {
					all = append(all, a)
				}
				return writeJSON(cmd.OutOrStdout(), append(all, cells...))
			}
			if err := table(cmd.OutOrStdout(), rows...); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout())
			return table(cmd.OutOrStdout(), cellRows...)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newArchShow() *cobra.Command {
	var asJSON bool
	var channels, layers int
	var task taskFlag
	cmd := &cobra.Command{
		Use: "show GENOTYPE", Short: "Show a genotype", Args: oneArg("a genotype's name, text or file, or the folder of a run"),
		Long:              "Show a genotype, given by name, text, file or the folder of a run: in the original's words, which it reads back, or as\nJSON; and the size of its network for CIFAR-10.",
		ValidArgsFunction: cobra.FixedCompletions(space.Names(), cobra.ShellCompDirectiveDefault),
		RunE: func(cmd *cobra.Command, args []string) error {
			recurrent, err := task.recurrent()
			if err != nil {
				return err
			}
			if recurrent {
				return showRecurrent(cmd, args[0], &task, asJSON)
			}
			g, err := loadGenotype(args[0])
			if err != nil {
				return err
			}
			network := cnn.Derived{Genotype: g, Channels: channels, Layers: layers, Classes: 10}
			if err := network.Validate(); err != nil {
				return &usageError{err}
			}
			a, err := describe("", g, channels, layers)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), a)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%v\n%s parameters with %d channels and %d layers; skip connections %d, %d\n",
				g, grouped(a.Parameters), channels, layers, a.Skips[0], a.Skips[1])
			return err
		},
	}
	cmd.Flags().IntVar(&channels, "init-channels", 36, "channels of the first cell")
	cmd.Flags().IntVar(&layers, "layers", 20, "cells")
	task.bind(cmd)
	cmd.Flags().IntVar(&task.hidden, "nhid", 850, "size of a recurrent model")
	cmd.Flags().IntVar(&task.vocabulary, "vocabulary", 10000, "words that a recurrent model knows")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newArchDraw() *cobra.Command {
	var out string
	var dot bool
	var task taskFlag
	cmd := &cobra.Command{
		Use: "draw GENOTYPE", Short: "Draw both cells of a genotype", Args: oneArg("a genotype's name, text or file, or the folder of a run"),
		Long:              "Draw both cells of a genotype, given by name, text, file or the folder of a run, to normal.svg and reduction.svg in the\nfolder -o; with --task rnn a recurrent cell, to recurrent.svg.",
		ValidArgsFunction: cobra.FixedCompletions(space.Names(), cobra.ShellCompDirectiveDefault),
		RunE: func(cmd *cobra.Command, args []string) error {
			cells, err := task.cells(args[0])
			if err != nil {
				return err
			}
			files, err := drawings(cells, dot)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(out, 0o777); err != nil {
				return fmt.Errorf("-o: %w", err)
			}
			for _, file := range files {
				path := filepath.Join(out, file.name)
				if err := atomicfile.Write(path, file.content); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			return nil
		},
	}
	task.bind(cmd)
	cmd.Flags().StringVarP(&out, "output", "o", ".", "folder to draw into")
	cmd.Flags().BoolVar(&dot, "dot", false, "write Graphviz text, as normal.dot, in place of pictures")
	return cmd
}

type drawnFile struct {
	name    string
	content []byte
}

// drawings draws all cells before anything is written.
func drawings(cells []drawnCell, dot bool) (files []drawnFile, err error) {
	for _, cell := range cells {
		drawing, err := cell.draw()
		if err != nil {
			return nil, err
		}
		if dot {
			files = append(files, drawnFile{cell.name + ".dot", []byte(drawing.DOT())})
			continue
		}
		files = append(files, drawnFile{cell.name + ".svg", drawing.SVG()})
	}
	return files, nil
}
