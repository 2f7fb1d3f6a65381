package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newRoot makes the tree of commands. started is set once a command line has been understood.
func newRoot(started *bool) *cobra.Command {
	root := group("dartsc", "Search network architectures by gradient descent, compiled",
		group("run", "Search cells, train, test and use networks", newRunSearch(), newRunTrain(), newRunTest(), newRunInfer()),
		newSelect(),
		group("compile", "Compile without running", newCompileSearch(), newCompileTrain(), newCompileONNX()),
		newInspect(),
		newVerify(),
		group("export", "Write networks for use elsewhere", newExportONNX(), newExportSafetensors(), newExportPTNames()),
		group("import", "Read networks from elsewhere", newImportCheckpoint()),
		group("arch", "Look at architectures", newArchList(), newArchShow(), newArchDraw(), newArchCost()),
		group("data", "Look at data sets", newDataList()),
		newBenchCommand(),
		newDoctor(),
		newVersion(),
	)
	root.Long = `dartsc compiles Differentiable Architecture Search (DARTS, arXiv 1806.09055): one search step becomes one static
plan, which is replayed on images; a genotype and an ONNX file come out.

For a first result, without any data:  dartsc run search`
	strictHelpers(root)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetGlobalNormalizationFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-")) // the original's spelling
	})
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return readable(err) })
	level := root.PersistentFlags().String("log-level", "warn", "what to log on standard error: debug, info, warn or error")
	complete(root, "log-level", "debug", "info", "warn", "error")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		*started = true
		var parsed slog.Level
		if err := parsed.UnmarshalText([]byte(*level)); err != nil {
			return usagef("--log-level %q: want debug, info, warn or error", *level)
		}
		slog.SetDefault(slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: parsed})))
		return nil
	}
	return root
}

// group is a command that only holds others.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: name, Short: short}
	g.AddCommand(commands...)
	onlyHolds(g)
	return g
}

// onlyHolds lets a command show its help, and refuse what it does not hold.
func onlyHolds(g *cobra.Command) {
	g.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	g.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var known []string
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				known = append(known, c.Name())
			}
		}
		return fmt.Errorf("unknown command %q: want one of %s", args[0], strings.Join(known, ", "))
	}
}

// strictHelpers makes cobra's own commands refuse what they do not know, as all others do.
func strictHelpers(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			onlyHolds(c)
		case "help":
			c.RunE = func(_ *cobra.Command, args []string) error {
				about, rest, err := root.Find(args)
				if err != nil || len(rest) > 0 {
					return usagef("no help on %q", strings.Join(args, " "))
				}
				return about.Help()
			}
		}
	}
}

// readable puts a flag's error into the words of the command line.
func readable(err error) error {
	invalid, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	flag := invalid.GetFlag()
	want, ok := map[string]string{
		"bool": "true or false", "int": "a whole number", "uint64": "a whole number from 0", "float64": "a number",
		"duration": "a duration such as 90s or 5m", "bytes": "an amount of memory such as 500MB or 2GiB",
		"count": "a number such as 3500000, 3.5M or 600M",
	}[flag.Value.Type()]
	if !ok {
		return err
	}
	return fmt.Errorf("--%s %q: want %s", flag.Name, invalid.GetValue(), want)
}

// complete offers values for a flag to the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	completion := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, completion); err != nil {
		panic(err) // a flag that the program has not got
	}
}

// noArgs and oneArg check arguments in words that say what is wanted.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	return nil
}

func oneArg(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("want one argument, %s, got %d", name, len(args))
		}
		return nil
	}
}

// someArgs is oneArg for commands that take more behind it.
func someArgs(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("want an argument, %s", name)
		}
		return nil
	}
}
