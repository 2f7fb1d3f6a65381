package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/darts/data"
)

func newDataList() *cobra.Command {
	var path, imageSize string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the kinds of data sets, or describe one", Args: noArgs,
		Long: "List what --data of run search recognises. With --data, read that data set and describe it.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" && imageSize != "" {
				return usagef("--image-size wants --data")
			}
			if path == "" {
				return listFormats(cmd, asJSON)
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
	cmd.Flags().StringVar(&path, "data", "", "folder of a data set, or shapes")
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
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), list)
	}
	rows := [][]string{{"data set", "files"}}
	for _, e := range list {
		rows = append(rows, []string{e.Name, e.Files})
	}
	return table(cmd.OutOrStdout(), rows...)
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
