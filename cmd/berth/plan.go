package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"berth/config"
	"berth/supervisor/api"
	"berth/supervisor/history"
	"berth/units"

	"github.com/spf13/cobra"
)

func (a *app) applyCommand() *cobra.Command {
	var noBlock bool
	c := &cobra.Command{
		Use: "apply", Short: "Apply the unit files as they are",
		Long: `Reads all unit files and applies what changed as a new generation, also where
changes are held back: with [daemon] reload = "manual", and after berth rollback.
Versions that did not become ready before are tried once more. Files that are not
valid change nothing, are reported, and give exit code 5. See berth plan for what
will happen.

Waits until it is clear what became of all that changes, and exits with 1 if a
unit went back to the version before, or did not come up. berth history tells of
it later.`,
		Example: `  berth apply
  berth apply --no-block`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := a.client().Apply(cmd.Context())
			if err != nil {
				return err
			}
			return a.taken(cmd.Context(), out, noBlock)
		},
	}
	a.takenFlags(c, &noBlock)
	return c
}

func (a *app) takenFlags(c *cobra.Command, noBlock *bool) {
	c.Flags().BoolVar(noBlock, "no-block", false, "do not wait until it is clear what became of it")
	c.Flags().DurationVar(&a.timeout, "timeout", 0, "wait at most so long; 0: for ever")
}

// taken shows a generation that was taken up, and what becomes of it.
func (a *app) taken(ctx context.Context, out *api.Reload, noBlock bool) error {
	if err := a.printReload(out, false); err != nil || noBlock || !out.Applied {
		return err
	}
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	for {
		d, err := a.client().Daemon(ctx)
		switch {
		case err != nil && !isCut(err): // a supervisor that is replaced is back soon
			return err
		case err != nil:
		case d.Generation != out.Generation:
			return &exitError{exitFailed, fmt.Sprintf("generation %d has taken its place: see berth history", d.Generation)}
		case d.Outcome == nil: // it could not be written down
			return nil
		case d.Outcome.State != history.Applying:
			return a.printOutcome(d.Outcome)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(outcomeLook):
		}
	}
}

// outcomeLook is the time between two looks at a generation that is applied.
const outcomeLook = 100 * time.Millisecond

// printOutcome tells of the units that did not come up as they were to.
func (a *app) printOutcome(o *history.Outcome) error {
	for _, name := range slices.Sorted(maps.Keys(o.Rejected)) {
		fmt.Fprintf(a.err, "berth: %s: %s\n", name, safe(o.Rejected[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(o.Failed)) {
		fmt.Fprintf(a.err, "berth: %s did not come up: %s\n", name, safe(o.Failed[name]))
	}
	if len(o.Rejected)+len(o.Failed) > 0 {
		return &exitError{exitFailed, ""}
	}
	return nil
}

// printReload shows what a generation changed, or with plan would change.
func (a *app) printReload(out *api.Reload, plan bool) error {
	if a.json() {
		if err := a.printJSON(out); err != nil {
			return err
		}
		if out.Diagnostics.HasErrors() {
			return &exitError{exitInvalid, ""}
		}
		return nil
	}
	out.Diagnostics.Format(a.err, a.colorErr())
	if out.Diagnostics.HasErrors() {
		return &exitError{exitInvalid, "the unit files are not valid: nothing was changed"}
	}
	printPlan(a.out, a.paint(), out.Changes)
	fmt.Fprintln(a.out, planSummary(out))
	if text := heldText(out, plan); text != "" {
		fmt.Fprintln(a.out, text)
	}
	return nil
}

// heldText tells why the changes are not, or will not be, taken up by themselves.
func heldText(out *api.Reload, plan bool) string {
	switch {
	case out.Held == "rollback" && out.Applied:
		return "the unit files say something else and are held back: berth apply takes them up again,\nand so does a change of what was rolled back"
	case out.Held == "rollback":
		return "held back by a rollback: berth apply takes them up"
	case out.Held == "manual":
		return "nothing is applied until berth apply"
	case out.Applied:
		return fmt.Sprintf("this is generation %d now", out.Generation)
	case plan && slices.ContainsFunc(out.Changes, func(s config.Step) bool { return s.Rejected != "" }):
		return "what did not become ready is not tried again until it is changed, or by berth apply"
	}
	return "" // of a plan: taken up as soon as the files have settled
}

func planSummary(out *api.Reload) string {
	var parts []string
	for _, action := range []config.Action{config.ActionStop, config.ActionRestart, config.ActionReplace, config.ActionReload, config.ActionLive, config.ActionStart} {
		n := 0
		for _, s := range out.Changes {
			if s.Action == action {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, action))
		}
	}
	text := "nothing changes"
	if len(parts) > 0 {
		text = strings.Join(parts, ", ")
	} else if len(out.Changes) > 0 {
		text = "nothing that runs changes"
	}
	switch {
	case out.Unchanged == 1:
		text += "; 1 unit stays as it is"
	case out.Unchanged > 1:
		text += fmt.Sprintf("; %d units stay as they are", out.Unchanged)
	}
	return text
}

// printPlan shows a plan as a diff: a line for each unit, and below it one for
// each key with the class in which it is applied.
func printPlan(w io.Writer, p paint, plan config.Plan) {
	width, keys := 0, 0
	for _, s := range plan {
		width = max(width, len(s.Unit))
		for _, k := range s.Keys {
			keys = max(keys, len(k.Key))
		}
	}
	for _, s := range plan {
		symbol, color := stepSymbol(s)
		line := fmt.Sprintf("%s %-*s  %-7s", symbol, width, s.Unit, actionText(s.Action))
		if note := stepNote(s); note != "" {
			line += "  " + note
		}
		fmt.Fprintln(w, p.in(color, strings.TrimRight(line, " ")))
		for _, k := range s.Keys {
			fmt.Fprintf(w, "    %-*s  %-7s  %s\n", keys, k.Key, classText(k.Class), valuesText(s, k))
		}
	}
}

func stepSymbol(s config.Step) (symbol, color string) {
	switch {
	case s.New:
		return "+", green
	case s.Gone:
		return "-", red
	case s.Action == config.ActionNone:
		return "~", faint
	}
	return "~", yellow
}

func actionText(action config.Action) string {
	if action == config.ActionNone {
		return "nothing"
	}
	return string(action)
}

func classText(c units.Class) string {
	if c == units.None {
		return "nothing"
	}
	return c.String()
}

func stepNote(s config.Step) string {
	switch {
	case s.Rejected != "":
		return "tried again: " + safe(s.Rejected)
	case s.Gone:
		return "its file is gone"
	case s.New && s.Action == config.ActionNone:
		return "new, started on demand"
	case s.New:
		return "new"
	case s.Down && s.Action == config.ActionNone:
		return "it is not up: holds from its next start on"
	case s.Action == config.ActionStart:
		return "it had failed"
	}
	return ""
}

func valuesText(s config.Step, k units.KeyChange) string {
	if slices.Contains(s.Hidden, k.Key) {
		return "(shown only to root)"
	}
	or := func(s string) string {
		if s == "" {
			return "(none)"
		}
		return safe(s)
	}
	return or(k.Old) + " → " + or(k.New)
}

// brief tells a plan in a few words, for a line of the history.
func brief(r history.Record) string {
	var parts []string
	shown := 0
	for _, s := range r.Changes {
		if shown == 3 {
			break
		}
		symbol, _ := stepSymbol(s)
		parts = append(parts, symbol+s.Unit)
		shown++
	}
	if more := len(r.Changes) + r.More - shown; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, " ")
}
