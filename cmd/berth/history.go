package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/history"

	"github.com/spf13/cobra"
)

func (a *app) historyCommand() *cobra.Command {
	var lines int
	c := &cobra.Command{
		Use: "history [GENERATION]", Short: "Show the generations of the unit files, or one of them",
		Long: `Lists the generations that are kept, the newest last: when each was taken up, who
or what brought it about, the units that it changed, and what became of it. + is a
new unit, - one whose file was gone, ~ one that changed. The one that runs is
marked with *. Versions that did not become ready are named as rejected: the unit
went back to the version before by itself.

With a number: that generation in full, with the changed keys. Values of
environment variables are never kept there.`,
		Example: `  berth history
  berth history 12`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := a.client().History(cmd.Context())
			if err != nil {
				return err
			}
			d, err := a.client().Daemon(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				n, err := generationNumber(args[0], "history")
				if err != nil {
					return err
				}
				i := slices.IndexFunc(list, func(r history.Record) bool { return r.Generation == n })
				if i < 0 {
					return &exitError{exitFailed, fmt.Sprintf("there is no generation %d in the history", n)}
				}
				if a.json() {
					return a.printJSON(list[i])
				}
				a.printGeneration(list[i], d)
				return nil
			}
			if lines > 0 {
				list = list[max(0, len(list)-lines):]
			}
			if a.json() {
				return a.printJSON(list)
			}
			a.printHistory(list, d)
			return nil
		},
	}
	c.Flags().IntVarP(&lines, "lines", "n", 0, "the last so many; 0: all")
	return c
}

func generationNumber(text, command string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, &usageError{fmt.Errorf("%q is not the number of a generation", text), command}
	}
	return n, nil
}

func (a *app) printHistory(list []history.Record, d *api.Daemon) {
	t := &table{}
	t.row(cell{"", bold}, cell{"GENERATION", bold}, cell{"TIME", bold}, cell{"BY", bold}, cell{"CHANGES", bold}, cell{"OUTCOME", bold})
	for _, r := range list {
		mark := ""
		if r.Generation == d.Generation {
			mark = "*"
		}
		text, color := outcomeText(r)
		changes := brief(r)
		if r.Of != 0 {
			changes = strings.TrimSpace(fmt.Sprintf("back to %d: %s", r.Of, changes))
		}
		t.row(cell{mark, green}, cell{text: fmt.Sprint(r.Generation)}, cell{text: r.Time.Local().Format("2006-01-02 15:04:05")},
			cell{text: authorText(r, false)}, cell{text: changes}, cell{text, color})
	}
	t.print(a.out, a.paint())
}

// authorText tells who a generation is of; in full with process and files.
func authorText(r history.Record, full bool) string {
	switch r.Author.Kind {
	case history.KindBoot:
		return "start of berthd"
	case history.KindFiles:
		if full {
			return "the unit files changed"
		}
		switch n := len(r.Files); n {
		case 0:
			return "files"
		case 1:
			return safe(r.Files[0][strings.LastIndexByte(r.Files[0], '/')+1:])
		default:
			return fmt.Sprintf("%d files", n)
		}
	}
	text := r.Author.User
	if text == "" && r.Author.UID != nil {
		text = fmt.Sprint("user ", *r.Author.UID)
	}
	if full && r.Author.PID != 0 {
		text += fmt.Sprintf(", process %d", r.Author.PID)
	}
	if r.Author.Command != "" {
		text += ": " + safe(r.Author.Command)
	}
	return text
}

func outcomeText(r history.Record) (text, color string) {
	o := r.Outcome
	switch o.State {
	case history.Applied:
		text, color = "applied", green
	case history.RolledBack:
		text, color = fmt.Sprintf("rolled back by %d", o.By), yellow
	case history.Invalid:
		return "invalid: " + count(len(r.Diagnostics), "fault"), red
	default:
		text, color = string(o.State), yellow
	}
	if n := len(o.Rejected); n > 0 {
		text, color = text+", rejected: "+strings.Join(slices.Sorted(maps.Keys(o.Rejected)), " "), red
	}
	if n := len(o.Failed); n > 0 {
		text, color = text+", failed: "+strings.Join(slices.Sorted(maps.Keys(o.Failed)), " "), red
	}
	return text, color
}

func (a *app) printGeneration(r history.Record, d *api.Daemon) {
	p := a.paint()
	text, color := outcomeText(r)
	title := fmt.Sprintf("generation %d", r.Generation)
	if r.Generation == d.Generation {
		title += ", which runs"
	}
	fmt.Fprintf(a.out, "%s %s\n", p.in(color, "●"), p.in(bold, title))
	a.field("Time", since(r.Time))
	a.field("By", authorText(r, true))
	a.field("Files", safe(strings.Join(r.Files, ", ")))
	if r.Of != 0 {
		a.field("Back to", fmt.Sprint(r.Of))
	}
	a.field("Units", fmt.Sprint(r.Units))
	a.field("Outcome", p.in(color, text)+" "+r.Outcome.Time.Local().Format(time.DateTime))
	for _, list := range []struct {
		what  string
		units map[string]string
	}{{"Rejected", r.Outcome.Rejected}, {"Failed", r.Outcome.Failed}} {
		for _, name := range slices.Sorted(maps.Keys(list.units)) {
			a.field(list.what, safe(name+": "+list.units[name]))
		}
	}
	if len(r.Held) > 0 {
		a.field("Held back", strings.Join(slices.Sorted(maps.Keys(r.Held)), ", "))
	}
	if len(r.Changes) > 0 {
		fmt.Fprintln(a.out)
		printPlan(a.out, p, r.Changes)
	}
	if r.More > 0 {
		fmt.Fprintf(a.out, "and %d more units\n", r.More)
	}
	if len(r.Diagnostics) > 0 {
		fmt.Fprintln(a.out)
		r.Diagnostics.Format(a.out, bool(p))
	}
}

func (a *app) rollbackCommand() *cobra.Command {
	var noBlock bool
	c := &cobra.Command{
		Use: "rollback [GENERATION]", Short: "Take up the units of an earlier generation again",
		Long: `Takes up the units of an earlier generation as a new one: of the one named, or of
the one before that came up without fault. berth history shows those that there
are. What units are made of beside their files (images, directories, environment
files) is as it is now.

The unit files are not touched. Where they still say what was rolled back, that is
held back, over a restart of the machine too, until berth apply; or, unless
[daemon] reload is "manual", until one of those units is changed again. Other
changes wait so long. berth plan shows what berth apply would do.

Waits, and exits, as berth apply does.`,
		Example: `  berth rollback
  berth rollback 12`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			generation := uint64(0)
			if len(args) == 1 {
				var err error
				if generation, err = generationNumber(args[0], "rollback"); err != nil {
					return err
				}
			}
			out, err := a.client().Rollback(cmd.Context(), generation)
			if err != nil {
				return err
			}
			return a.taken(cmd.Context(), out, noBlock)
		},
	}
	a.takenFlags(c, &noBlock)
	return c
}
