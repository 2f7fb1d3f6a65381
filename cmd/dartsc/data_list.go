package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/darts/data"
	"github.com/dartsc/dartsc/darts/text"
)

func newDataList() *cobra.Command {
	var path, imageSize string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the kinds of data sets, or describe one", Args: noArgs,
		Long: "List what --data of run search and of run search rnn recognises. With --data, read that data set and describe it.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" && imageSize != "" {
				return usagef("--image-size wants --data")
			}
			if path == "" {
				return listFormats(cmd, asJSON)
			}
			if path == text.Grammar || text.Holds(path) {
				return describeText(cmd, path, imageSize, asJSON)
			}
			options := data.Options{Path: path}
			if imageSize != "" {
				var err error
				if options.Size, err = data.ParseSize(imageSize); err != nil {
					return usagef("--image-size: %w", err)
				}
			}
			d, err := data.Open(cmd.Context(), options)
			if err != nil {
				return err
			}
			return describeData(cmd, d.Summary(), asJSON)
		},
	}
	cmd.Flags().StringVar(&path, "data", "", "folder of a data set, or shapes, or grammar")
	cmd.Flags().StringVar(&imageSize, "image-size", "", "size that images get, as 32 or 24x48 (default: that of the data)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func listFormats(cmd *cobra.Command, asJSON bool) error {
	type entry struct {
		Name  string `json:"name"`
		Files string `json:"files"`
	}
	list := []entry{{shapes, "none: ten classes of generated 32x32 images"}}
	for _, f := range data.Formats() {
		list = append(list, entry{f.Name, f.Files})
	}
	list = append(list, entry{text.Grammar, "none: generated sentences of 180 words, for recurrent cells"})
	for _, files := range text.Formats() {
		list = append(list, entry{"text", files})
	}
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), list)
	}
	rows := [][]string{{"data set", "files"}}
	for _, e := range list {
		rows = append(rows, []string{e.Name, e.Files})
	}
	return table(cmd.OutOrStdout(), rows...)
}

// describeText describes a corpus.
func describeText(cmd *cobra.Command, path, imageSize string, asJSON bool) error {
	if imageSize != "" {
		return usagef("--image-size: %s holds text", path)
	}
	c, err := text.Open(path, 0)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), c.Summary())
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), c.Summary())
	return err
}

func describeData(cmd *cobra.Command, s data.Summary, asJSON bool) error {
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), s)
	}
	fmt.Fprintln(cmd.OutOrStdout(), s)
	return table(cmd.OutOrStdout(),
		[]string{"classes", fmt.Sprintf("%q", s.Classes)},
		[]string{"mean", fmt.Sprint(s.Mean)},
		[]string{"deviation", fmt.Sprint(s.Std)})
}
