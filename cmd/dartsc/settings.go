package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// binder adds the flags of a run's settings to a set. The values bound to have the defaults.
type binder func(*pflag.FlagSet)

func (b binder) set() *pflag.FlagSet {
	settings := pflag.NewFlagSet("", pflag.ContinueOnError)
	b(settings)
	return settings
}

// overlay sets, in the values bound to, what was given on the command line.
func (b binder) overlay(flags *pflag.FlagSet) (err error) {
	b.set().VisitAll(func(setting *pflag.Flag) {
		if given := flags.Lookup(setting.Name); given.Changed && err == nil {
			err = setting.Value.Set(given.Value.String())
		}
	})
	return err
}

// given lists the flags on a command line that are settings, the preset included.
func (b binder) given(flags *pflag.FlagSet) (names []string) {
	settings := b.set()
	flags.Visit(func(flag *pflag.Flag) {
		if settings.Lookup(flag.Name) != nil || flag.Name == "preset" {
			names = append(names, "--"+flag.Name)
		}
	})
	return names
}

// differences lists the settings that are not those of another set, as flags.
func (b binder) differences(from binder) string {
	ours, settings := b.set(), []string(nil)
	from.set().VisitAll(func(flag *pflag.Flag) {
		if value := ours.Lookup(flag.Name).DefValue; value != flag.DefValue && value != "" {
			text := "--" + flag.Name + " " + value
			if flag.Value.Type() == "bool" {
				text = "--" + flag.Name + strings.TrimSuffix("="+value, "=true")
			}
			settings = append(settings, text)
		}
	})
	slices.Sort(settings)
	return strings.Join(settings, " ")
}

// deadFlag is a flag of the original's that means nothing here.
type deadFlag struct {
	name       string
	takesValue bool
	reason     string
}

func bindDead(cmd *cobra.Command, flags []deadFlag) {
	for _, flag := range flags {
		if flag.takesValue {
			cmd.Flags().String(flag.name, "", "")
		} else {
			cmd.Flags().Bool(flag.name, false, "")
		}
		cmd.Flags().Lookup(flag.name).Hidden = true
	}
}

// warn says which given flags have no effect, and why.
func warn(cmd *cobra.Command, dead []deadFlag) {
	for _, flag := range dead {
		if cmd.Flags().Changed(flag.name) {
			fmt.Fprintf(cmd.ErrOrStderr(), "dartsc: --%s has no effect: %s\n", flag.name, flag.reason)
		}
	}
}

// absoluteData names a data set so that its run can be resumed from anywhere.
func absoluteData(path string) (string, error) {
	if path == shapes {
		return path, nil
	}
	return filepath.Abs(path)
}
