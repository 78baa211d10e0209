// Command berth is the command line of berth. It speaks to berthd by the
// control API, except for run, check, explain, schema, calendar, build-image and
// plan --syscalls, which need no daemon.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"berth/isolate"
	"berth/supervisor/api"
	"berth/units"

	"github.com/spf13/cobra"
)

// version is set by the linker (make build).
var version = "development"

// The exit codes. They are part of the interface: docs/cli.md.
const (
	exitOK = iota
	exitFailed
	exitUsage
	exitNotRunning
	exitNoUnit
	exitInvalid
	exitTimeout
)

// exitError ends the command with a code; an empty text prints nothing more.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	a := &app{out: os.Stdout, err: os.Stderr, in: os.Stdin}
	root := a.command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return a.report(err)
}

// report prints an error as people read it and gives the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitOK
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.text != "" {
			fmt.Fprintln(a.err, "berth: "+exit.text)
		}
		return exit.code
	}
	var diags units.Diagnostics
	if errors.As(err, &diags) {
		diags.Format(a.err, a.colorErr())
		return exitInvalid
	}
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(a.err, "berth: %s\nsee: %s\n", usage.Error(), strings.TrimSpace("berth help "+usage.command))
		return exitUsage
	}
	if errors.Is(err, context.DeadlineExceeded) {
		fmt.Fprintln(a.err, "berth: timed out")
		return exitTimeout
	}
	if errors.Is(err, context.Canceled) {
		return 128 + int(syscall.SIGINT)
	}
	fmt.Fprintln(a.err, "berth: "+err.Error())
	if errors.Is(err, api.ErrNoDaemon) {
		fmt.Fprintf(a.err, "start it: berthd (socket %s; another one: --socket or BERTH_SOCKET)\n", a.socket)
		return exitFailed
	}
	var e *api.Error
	if !errors.As(err, &e) {
		return exitFailed
	}
	if e.Hint != "" {
		fmt.Fprintln(a.err, e.Hint)
	}
	switch e.Code {
	case "not-found":
		return exitNoUnit
	case "not-running":
		return exitNotRunning
	case "invalid":
		return exitInvalid
	case "timeout":
		return exitTimeout
	case "usage":
		return exitUsage
	case "no-command":
		return isolate.ExitNotFound
	case "not-executable":
		return isolate.ExitNotExecutable
	}
	return exitFailed
}

// usageError is a wrong use of the command line.
type usageError struct {
	error
	command string // the one to look up in the help; "": berth itself
}

func usageOf(cmd *cobra.Command, err error) *usageError {
	return &usageError{err, strings.TrimSpace(strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()))}
}

// usage wraps argument checks, so that their failures give the usage exit code.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageOf(cmd, err)
		}
		return nil
	}
}
