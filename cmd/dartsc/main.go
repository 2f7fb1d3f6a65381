// Command dartsc compiles Differentiable Architecture Search: it searches cells on images, shows what a plan holds, and
// writes the networks it found.
//
// Each command is a file: flags become a config, and one call does the work, which other packages own. main.go says how
// commands end: exit code 0, 1 for a failure, 2 for wrong usage, and one line on standard error that says why.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// The exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

// execute runs one command line and returns its exit code. The first interrupt asks the command to end in order; a
// second one kills, since nobody listens to signals any more.
func execute(args []string, stdout, stderr io.Writer) int {
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	context.AfterFunc(ctx, release)

	out := &output{writer: stdout}
	started := false
	root := newRoot(&started)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = out.failure
	}
	if err == nil {
		return 0
	}
	message := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
	// What fails before a command has started failed in its flags and arguments.
	if _, usage := errors.AsType[*usageError](err); usage || !started {
		fmt.Fprintf(stderr, "dartsc: %s; see %s --help\n", message, command.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(stderr, "dartsc: %s\n", message)
	return exitFailure
}

// usageError is an error that another command line would avoid.
type usageError struct{ error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// output remembers the first error of standard output, so that a result that did not arrive is not a success.
type output struct {
	writer  io.Writer
	failure error
}

func (o *output) Write(data []byte) (int, error) {
	n, err := o.writer.Write(data)
	if err != nil && o.failure == nil {
		o.failure = fmt.Errorf("standard output: %w", err)
	}
	return n, err
}
