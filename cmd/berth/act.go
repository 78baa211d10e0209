package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"

	"github.com/spf13/cobra"
)

// act sends a command and reports the units that did not make it.
func (a *app) act(cmd *cobra.Command, c api.Command) error {
	ctx, cancel := a.deadline(cmd.Context())
	defer cancel()
	run := func() (*api.Result, error) { return a.client().Command(ctx, c) }
	var out *api.Result
	var err error
	if (c.Verb == core.VerbStop || c.Verb == core.VerbRestart) && !c.NoBlock {
		out, err = a.watched(ctx, c, run)
	} else {
		out, err = run()
	}
	if err != nil {
		return err
	}
	if a.json() {
		if err := a.printJSON(out); err != nil {
			return err
		}
	}
	if !a.json() {
		for _, name := range out.Replaced {
			fmt.Fprintf(a.out, "%s: replaced, the new instance has taken over and the old one is gone\n", name)
		}
	}
	if len(out.Failed) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(out.Failed)) {
		fmt.Fprintf(a.err, "berth: cannot %s %s: %s\n", c.Verb, name, safe(out.Failed[name]))
	}
	fmt.Fprintf(a.err, "see: berth status %s\n", slices.Min(slices.Collect(maps.Keys(out.Failed))))
	if out.NotRunning {
		return &exitError{exitNotRunning, ""}
	}
	return &exitError{exitFailed, ""}
}

func (a *app) verbCommand(verb, short string) *cobra.Command {
	var noBlock bool
	c := &cobra.Command{
		Use: verb + " UNIT...", Short: short, Example: "  berth " + verb + " web db",
		Args: usage(cobra.MinimumNArgs(1)), ValidArgsFunction: a.units,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.act(cmd, api.Command{Verb: core.Verb(verb), Units: args, NoBlock: noBlock})
		},
	}
	if verb == "stop" {
		c.Long = `Stops units and those that require them, and waits until nothing of them is left.
A stop that takes more than a second is told of on standard error: which unit is
waited for, what it was sent, what follows and when, and the processes that are
left. So is one whose processes had to be killed. With -o json the account of each
stop is given: how long it took, the last signal, what was killed, and that its
control group is empty.`
	}
	c.Flags().BoolVar(&noBlock, "no-block", false, "do not wait until it is done")
	c.Flags().DurationVar(&a.timeout, "timeout", 0, "wait at most so long; 0: for ever")
	return c
}

func (a *app) restartCommand() *cobra.Command {
	c := a.verbCommand("restart", "Stop units and start them again, or replace them while they run")
	c.Long = `Stops units, with those that require them, and starts them again. A unit that is
up and has restart.mode = "replace" is not stopped for it: a new instance starts
beside the old one, takes over when it is ready, and only then is the old one
stopped; units that require it do not notice. If the new one does not become
ready the old one stays, and that is an error. Waits until the old one is gone,
and says for each unit that was replaced that it was.`
	return c
}

func (a *app) killCommand() *cobra.Command {
	var signal string
	var all bool
	c := &cobra.Command{
		Use: "kill UNIT...", Short: "Send a signal to the main process of units, or to all of theirs",
		Long: `Sends a signal to the main process of units, or with --all to every process of
theirs. A unit that ends by it is restarted by its policy; use berth stop to stop
one. Exits with 3 if a unit is not running.`,
		Example: `  berth kill -s HUP web
  berth kill -s KILL --all web`,
		Args: usage(cobra.MinimumNArgs(1)), ValidArgsFunction: a.units,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := signalName(signal)
			if err != nil {
				return err
			}
			return a.act(cmd, api.Command{Verb: core.VerbKill, Units: args, Signal: name, Whole: all})
		},
	}
	c.Flags().StringVarP(&signal, "signal", "s", "TERM", "name or number")
	c.Flags().BoolVar(&all, "all", false, "every process of the unit")
	return c
}

func (a *app) pauseCommand() *cobra.Command {
	c := a.verbCommand("pause", "Freeze the processes of units where they are")
	c.Long = `Freezes all processes of running units, until berth resume. A paused unit is
running for all others; nothing can be executed in it. To stop one, or to send it
KILL, resumes it; other signals wait until it is resumed. Exits with 3 if a unit
is not running.`
	return c
}

func (a *app) resumeCommand() *cobra.Command {
	c := a.verbCommand("resume", "Let paused units run on")
	c.Long = `Lets the processes of paused units run on; a unit that is not paused stays as it
is. Exits with 3 if a unit is not running.`
	return c
}

func (a *app) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use: "reload [UNIT...]", Short: "Read the unit files again, or have units reload themselves",
		Long: `Without a unit: reads all unit files and applies what changed as a new
generation, as berthd does by itself when it sees a change. Where changes are held
back ([daemon] reload = "manual", or after berth rollback) they only wait then for
berth apply. Files that are not valid change nothing, are reported, and give exit
code 5. With units: runs their own [service] reload.`,
		Example: `  berth reload
  berth reload web`,
		ValidArgsFunction: a.units,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return a.act(cmd, api.Command{Verb: core.VerbReload, Units: args})
			}
			out, err := a.client().Reload(cmd.Context())
			if err != nil {
				return err
			}
			return a.printReload(out, false)
		},
	}
}

func (a *app) reexecCommand() *cobra.Command {
	return &cobra.Command{
		Use: "daemon-reexec", Short: "Replace the running berthd by the program on disk; no service stops",
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			before, err := a.client().Daemon(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.client().Reexec(cmd.Context()); err != nil && !isCut(err) {
				return err
			}
			// The answer may be lost with the old supervisor: look for the new one.
			deadline := time.Now().Add(30 * time.Second)
			for time.Now().Before(deadline) {
				d, err := a.client().Daemon(cmd.Context())
				if err == nil && d.PID != before.PID {
					return nil
				}
				select {
				case <-cmd.Context().Done():
					return cmd.Context().Err()
				case <-time.After(50 * time.Millisecond):
				}
			}
			return &exitError{exitTimeout, "the new berthd did not answer within 30s; see its log"}
		},
	}
}
