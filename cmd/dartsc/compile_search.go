package main

import (
	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/darts/recipe"
	"github.com/dartsc/dartsc/ir"
)

type compileSearch struct {
	flags  searchFlags
	images imageFlags
	compileFlags
}

func newCompileSearch() *cobra.Command {
	var o compileSearch
	cmd := &cobra.Command{
		Use: "search", Short: "Compile a search to a plan", Args: noArgs,
		Long: `Compile the programs of a search, the step and the evaluation, to a plan file, with the flags of run search.

Without --data it compiles for images of CIFAR-10's shape, which --classes and --image-size change. --emit stops
earlier: ir is the text of the programs as they are built, fused the text after all passes, cuda the kernels of a plan
for a GPU in CUDA C++, ptx what NVIDIA's run-time compiler makes of them; all go to standard output unless -o is given.

A plan for a GPU holds the kernels' source and, where that compiler (NVRTC) is found, machine code and PTX. No GPU is
needed to compile one.`,
		Example: `  dartsc compile search --unrolled -o search.dplan
  dartsc compile search --layers 4 --emit fused | less
  dartsc compile search --target cuda:sm_90 --emit cuda -o kernels.cu`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.flags.bind(cmd)
	o.images.bind(cmd.Flags())
	o.bind(cmd, "search.dplan")
	cmd.AddCommand(newCompileSearchRNN())
	return cmd
}

func (o *compileSearch) run(cmd *cobra.Command) error {
	if err := o.check(o.flags.config.Precision); err != nil {
		return err
	}
	warn(cmd, deadSearchFlags)
	if o.flags.preset == "" {
		o.flags.preset = presetPaper
	}
	config, err := o.flags.resolve(cmd.Flags())
	if err != nil {
		return err
	}
	summary, err := o.images.summary(cmd, o.flags.config.Data, config.ImageSize, config.Describe)
	if err != nil {
		return err
	}
	return o.compile(cmd, config.Precision, recipe.SearchMetadata(config, summary), func() (*ir.Module, error) { return recipe.SearchModule(config, summary, o.target, int64(o.limit)) })
}
