package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/darts/report"
	"github.com/dartsc/dartsc/darts/space"
)

// taskFlag tells recurrent cells from convolutional ones, which have names in common.
type taskFlag struct {
	name               string
	hidden, vocabulary int // of the recurrent model to count
}

func (t *taskFlag) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.name, "task", "cnn", "what the genotype is of: cnn, or rnn for a recurrent cell")
	complete(cmd, "task", "cnn", "rnn")
}

func (t *taskFlag) recurrent() (bool, error) {
	switch t.name {
	case "cnn":
		return false, nil
	case "rnn":
		return true, nil
	}
	return false, usagef("--task %q: want cnn or rnn", t.name)
}

// drawnCell is a cell and what its picture is called.
type drawnCell struct {
	name string
	draw func() (report.Drawing, error)
}

// cells are those of a genotype of the task.
func (t *taskFlag) cells(argument string) ([]drawnCell, error) {
	recurrent, err := t.recurrent()
	if err != nil {
		return nil, err
	}
	if recurrent {
		g, err := recurrentOf(argument)
		return []drawnCell{{"recurrent", func() (report.Drawing, error) { return report.Recurrent(g) }}}, err
	}
	g, err := loadGenotype(argument)
	return []drawnCell{
		{"normal", func() (report.Drawing, error) { return report.Cell(g.Normal, g.NormalConcat) }},
		{"reduction", func() (report.Drawing, error) { return report.Cell(g.Reduce, g.ReduceConcat) }},
	}, err
}

// recurrentCell is a recurrent cell with what one asks of it first.
type recurrentCell struct {
	Name       string          `json:"name,omitempty"`
	Task       string          `json:"task"` // "rnn"
	Nodes      int             `json:"nodes"`
	Parameters int             `json:"parameters"`
	Hidden     int             `json:"nhid"`
	Vocabulary int             `json:"vocabulary"`
	Genotype   space.Recurrent `json:"genotype"`
}

func describeRecurrent(name string, g space.Recurrent, hidden, vocabulary int) (recurrentCell, error) {
	parameters, err := recipe.TextParameters(g, hidden, vocabulary)
	return recurrentCell{name, "rnn", len(g.Edges), parameters, hidden, vocabulary, g}, err
}

// recurrentList lists the published recurrent cells, and as rows of a table.
func recurrentList() (list []any, rows [][]string, err error) {
	rows = [][]string{{"recurrent", "nodes", "parameters"}}
	for _, name := range space.RecurrentNames() {
		g, _ := space.NamedRecurrent(name)
		c, err := describeRecurrent(name, g, 850, 10000)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, c)
		rows = append(rows, []string{name, fmt.Sprint(c.Nodes), grouped(c.Parameters)})
	}
	return list, rows, nil
}

func showRecurrent(cmd *cobra.Command, argument string, t *taskFlag, asJSON bool) error {
	g, err := recurrentOf(argument)
	if err != nil {
		return err
	}
	c, err := describeRecurrent("", g, t.hidden, t.vocabulary)
	if err != nil {
		return &usageError{err}
	}
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), c)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%v\n%s parameters with nhid %d and %s words\n", g, grouped(c.Parameters), t.hidden, grouped(t.vocabulary))
	return err
}
