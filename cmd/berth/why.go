package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func (a *app) whyCommand() *cobra.Command {
	var lines int
	c := &cobra.Command{
		Use: "why UNIT", Short: "Tell what led to a unit's state",
		Long: `Tells the chain of causes that led to a unit's state: who or what asked for it,
how its program ended, the failing step or check, the start limit with its
times, the units that it waits for or that took it down with them, system calls
that its seccomp filter refused as far as the kernel tells, and the last lines
that it wrote. What is told outlives a crash of the daemon, not a reboot.`,
		Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: a.units,
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := a.client().Why(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(w)
			}
			output := map[string][]api.LogEntry{}
			for _, l := range w.Chain {
				if lines > 0 && troubled(l) && !l.Seen {
					output[l.Unit] = a.lastLines(cmd.Context(), l, lines)
				}
			}
			a.tellWhy(w, output, time.Now())
			return nil
		},
	}
	c.Flags().IntVarP(&lines, "lines", "n", 5, "log lines of each unit in trouble to show")
	return c
}

// troubled tells whether a unit's output may explain something.
func troubled(l core.Link) bool {
	switch l.Phase {
	case core.Failed, core.Backoff:
		return l.Incarnation > 0
	case core.Running:
		return !l.Ready
	case core.Inactive, core.Waiting, core.Stopping, core.Cleaning:
		return l.LastExit != nil && l.LastExit.Code != 0
	}
	return false
}

// lastLines gives the last output of the unit's last life.
func (a *app) lastLines(ctx context.Context, l core.Link, lines int) []api.LogEntry {
	entries, err := a.client().Logs(ctx, api.LogQuery{Units: []string{l.Unit}, Lines: lines})
	if err != nil {
		return nil // without the lines the rest is still of use
	}
	var all []api.LogEntry
	for e, err := range entries {
		if err != nil {
			break
		}
		if e.Incarnation == 0 || e.Incarnation == uint64(l.Incarnation) {
			all = append(all, e)
		}
	}
	return all
}

func (a *app) tellWhy(w *api.Why, output map[string][]api.LogEntry, now time.Time) {
	p := a.paint()
	for _, l := range w.Chain {
		margin := strings.Repeat("   ", l.Depth)
		head := margin
		if l.Depth > 0 {
			head = strings.Repeat("   ", l.Depth-1) + "└─ " + p.in(faint, l.Relation+" ")
		}
		fmt.Fprint(a.out, head, p.in(bold, l.Unit))
		if l.Seen {
			fmt.Fprintln(a.out, ", told above")
			continue
		}
		fmt.Fprint(a.out, ", ", p.in(phaseColor(l.Phase), stateText(l)), " for ", age(now.Sub(l.Since)))
		if l.Reason != "" {
			fmt.Fprint(a.out, ": ", safe(l.Reason))
		}
		fmt.Fprintln(a.out)
		for _, line := range details(l, w.Denied[l.Unit], now) {
			fmt.Fprintf(a.out, "%s   %s\n", margin, line)
		}
		if lines := output[l.Unit]; len(lines) > 0 {
			fmt.Fprintf(a.out, "%s   its last output:\n", margin)
			for _, e := range lines {
				fmt.Fprintf(a.out, "%s     %s %s\n", margin, p.in(faint, clock(e.Time, now)), safe(e.Text))
			}
		}
	}
}

// stateText is the phase, and whether there is more to come.
func stateText(l core.Link) string {
	switch {
	case l.Phase != core.Running:
	case !l.Ready:
		return "running, not ready"
	case l.Health == core.HealthStarting:
		return "running, not healthy yet"
	case l.Health != "":
		return "running, " + string(l.Health)
	}
	return string(l.Phase)
}

// details are the facts about one unit, a line each.
func details(l core.Link, denied []string, now time.Time) []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if l.NotReady != "" {
		add("not ready yet: %s", safe(l.NotReady))
	}
	for _, f := range l.Failing {
		times := ""
		if f.Failed > 1 {
			times = fmt.Sprintf(" %d times", f.Failed)
		}
		add("health check %s failed%s, last at %s: %s", f.Check, times, clock(f.At, now), safe(f.Err))
		for _, line := range lastLinesOf(f.Output) {
			add("  %s", safe(line))
		}
	}
	if l.RestartAt != nil {
		add("next try in %v", max(0, l.RestartAt.Sub(now)).Round(100*time.Millisecond))
	}
	if e := l.LastExit; e != nil && !strings.Contains(l.Reason, e.String()) {
		add("its program, at last: %s", exitText(e))
	}
	if e := l.LastExit; e != nil && e.OOM && e.MemoryMax > 0 {
		text := "its memory is limited to " + bytesText(e.MemoryMax)
		if e.MemoryPeak > 0 {
			text += ", its peak was " + bytesText(e.MemoryPeak)
		}
		add("%s: cgroup.memory-max gives it more", text)
	}
	switch {
	case len(denied) > 0:
		add("its seccomp filter refused %s: security.allow-syscalls lets it through", strings.Join(denied, ", "))
	case l.LastExit != nil && l.LastExit.Signal == int(unix.SIGSYS):
		add("SIGSYS is what a seccomp filter kills with; the kernel's log does not tell the call")
	}
	if len(l.Starts) > 0 {
		times := make([]string, len(l.Starts))
		for i, t := range l.Starts {
			times[i] = clock(t, now)
		}
		add("starts that the limit counts: %s", strings.Join(times, ", "))
	}
	if l.Phase != core.Completed && (l.Phase != core.Running || l.Asked.Kind == "") {
		for _, e := range past(l) {
			add("%s", strings.TrimRight(fmt.Sprintf("%s %s %s", clock(e.At, now), e.Phase, safe(e.Reason)), " "))
		}
	}
	if text := causeText(l.Asked, l.Up, now); text != "" {
		add("%s", text)
	}
	return lines
}

// past are the entries before the state itself.
func past(l core.Link) []core.Entry {
	entries := l.Past
	if n := len(entries); n > 0 && entries[n-1].Phase == l.Phase {
		entries = entries[:n-1]
	}
	return entries[max(0, len(entries)-4):]
}

func causeText(c core.Cause, up bool, now time.Time) string {
	did := "asked for"
	if !up {
		did = "taken down"
	}
	var by string
	switch c.Kind {
	case "":
		if up {
			return ""
		}
		return "nothing has asked for it yet: start it, or set unit.start = \"boot\""
	case core.CauseCommand:
		by = "by " + safe(c.By)
	case core.CauseBoot:
		by = "at boot"
	case core.CauseNew:
		by = fmt.Sprintf("by its new unit file (generation %d)", c.Generation)
	case core.CauseChange:
		did, by = "restarted", fmt.Sprintf("because of its changed configuration (generation %d)", c.Generation)
		if len(c.Keys) > 0 {
			by += ": " + strings.Join(c.Keys, ", ")
		}
	case core.CauseRemoved:
		by = fmt.Sprintf("because its unit file was removed (generation %d)", c.Generation)
	case core.CauseTimer:
		by = "by its timer"
	case core.CauseSocket:
		by = "by traffic on its socket " + safe(c.By)
	case core.CausePath:
		by = "because " + safe(c.By) + " changed"
		if up {
			did = "started or restarted"
		}
	case core.CauseShutdown:
		by = "by the shutdown"
	case core.CauseRequired:
		by = "by " + c.Unit + ", which requires it"
	case core.CauseWanted:
		by = "by " + c.Unit + ", which wants it"
	case core.CauseOnFailure:
		by = "by the failure of " + c.Unit
	case core.CauseRevived:
		by = "because " + c.Unit + ", for whose sake it had failed, is up"
	case core.CauseConflict:
		by = "for " + c.Unit + ", which it conflicts with"
	case core.CauseDependency:
		by = "with " + c.Unit + ", which it requires"
		if c.Verb == core.VerbRestart {
			did = "restarted"
		}
	default:
		by = "by " + string(c.Kind)
	}
	return fmt.Sprintf("%s %s, at %s", did, by, clock(c.At, now))
}

// clock is the time of day, with the date if that is another day.
func clock(t, now time.Time) string {
	t = t.Local()
	if t.Format(time.DateOnly) == now.Local().Format(time.DateOnly) {
		return t.Format("15:04:05")
	}
	return t.Format(time.DateTime)
}
