package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"

	"github.com/spf13/cobra"
)

func (a *app) eventsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "events [UNIT...]", Short: "Show changes of state as they happen",
		Long: `Shows each change of a unit's state as it happens, of all units or of those
named, each step of a stop, and what happens to the unit files (a generation that
is applied, what became of it, a change that waits or is not valid), until it is
interrupted.`,
		ValidArgsFunction: a.units,
		RunE: func(cmd *cobra.Command, args []string) error {
			events, err := a.client().Events(cmd.Context())
			if err != nil {
				return err
			}
			enc := json.NewEncoder(a.out)
			p := a.paint()
			for e, err := range events {
				if err != nil {
					return fmt.Errorf("the stream was cut: %w", err)
				}
				if len(args) > 0 && !slices.Contains(args, e.Unit) {
					continue
				}
				if a.json() {
					if err := enc.Encode(e); err != nil {
						return err
					}
					continue
				}
				at := p.in(faint, e.Time.Local().Format("15:04:05.000"))
				if e.Unit == "" {
					fmt.Fprintf(a.out, "%s generation %d %s\n", at, e.Generation, changeText(e))
					continue
				}
				who := p.in(bold, e.Unit)
				if e.Beside {
					who += fmt.Sprintf(" (instance %d beside it)", e.Incarnation)
				}
				text := fmt.Sprintf("%s %s %s -> %s", at, who, e.From, p.in(phaseColor(e.To), string(e.To)))
				if e.Reason != "" {
					text += " (" + safe(e.Reason) + ")"
				}
				fmt.Fprintln(a.out, text)
			}
			return nil
		},
	}
}

func changeText(e api.Event) string {
	if e.Change == api.ChangeOutcome {
		return safe(e.Reason)
	}
	text := string(e.Change)
	if e.Reason != "" {
		text += " (" + safe(e.Reason) + ")"
	}
	return text
}

var phases = []core.Phase{core.Inactive, core.Waiting, core.Starting, core.Running, core.Stopping, core.Cleaning, core.Backoff, core.Completed, core.Failed}

func (a *app) waitCommand() *cobra.Command {
	var is string
	c := &cobra.Command{
		Use: "wait UNIT...", Short: "Wait until units are in a state",
		Long: `Waits until every unit named is in the state given by --is (up: running or
completed; down: inactive, completed or failed; healthy: running, and all its
health checks succeed; or a state as berth list shows it). Exits with 1 at once
if a unit that shall come up has failed for good, and with 6 when --timeout is
over.`,
		Example: `  berth wait web
  berth wait --is completed --timeout 5m migrate`,
		Args: usage(cobra.MinimumNArgs(1)), ValidArgsFunction: a.units,
		RunE: func(cmd *cobra.Command, args []string) error {
			if is != "up" && is != "down" && is != healthy && !slices.Contains(phases, core.Phase(is)) {
				return &usageError{fmt.Errorf("--is %q is no state: up, down, healthy, %v", is, phases), "wait"}
			}
			ctx, cancel := a.deadline(cmd.Context())
			defer cancel()
			err := a.wait(ctx, args, is)
			if ctx.Err() != nil && cmd.Context().Err() == nil {
				return &exitError{exitTimeout, fmt.Sprintf("not %s within %s", is, a.timeout)}
			}
			return err
		},
	}
	c.Flags().StringVar(&is, "is", "up", "up, down, healthy, or a state")
	c.Flags().DurationVar(&a.timeout, "timeout", 0, "wait at most so long; 0: for ever")
	return c
}

// wait looks once after it has subscribed, and again at each event. When the
// daemon's supervisor is replaced meanwhile it subscribes to the next.
func (a *app) wait(ctx context.Context, names []string, is string) error {
	for {
		events, err := a.client().Events(ctx)
		if err != nil {
			if !errors.Is(err, api.ErrNoDaemon) {
				return err
			}
			if err := a.retry(ctx, err); err != nil {
				return err
			}
			continue
		}
		done, err := a.reached(ctx, names, is)
		if done || err != nil {
			if err == nil || !isCut(err) {
				return err
			}
			continue
		}
		for e, err := range events {
			if err != nil {
				break // cut: subscribe again
			}
			if e.Unit != "" && !slices.Contains(names, e.Unit) {
				continue
			}
			if done, err := a.reached(ctx, names, is); done || (err != nil && !isCut(err)) {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// retry waits a moment for a daemon that is being replaced, then gives up with err.
func (a *app) retry(ctx context.Context, err error) error {
	for range 50 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		if _, e := a.client().Daemon(ctx); e == nil {
			return nil
		}
	}
	return err
}

func (a *app) reached(ctx context.Context, names []string, is string) (bool, error) {
	for _, name := range names {
		st, err := a.client().Status(ctx, name)
		if err != nil {
			return false, err
		}
		if !inState(&st.Unit, is) {
			if (is == "up" || is == healthy || is == string(core.Running) || is == string(core.Completed)) && st.Phase == core.Failed {
				return false, &exitError{exitFailed, fmt.Sprintf("unit %s has failed: %s", name, safe(st.Reason))}
			}
			return false, nil
		}
	}
	return true, nil
}

// healthy is the state of a unit that is up and whose checks succeed, if it has any.
const healthy = string(core.Healthy)

func inState(u *api.Unit, is string) bool {
	p := u.Phase
	switch is {
	case healthy:
		return p == core.Running && (u.Health == "" || u.Health == core.Healthy)
	case "up":
		return isUp(p)
	case "down":
		return p == core.Inactive || p == core.Completed || p == core.Failed
	}
	return string(p) == is
}

// isCut tells whether an error only says that the connection ended.
func isCut(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) || errors.Is(err, api.ErrNoDaemon)
}
